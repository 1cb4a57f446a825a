// Forms that survive a double tap, the back button, a reload and a lost line. Nothing needs it.
"use strict";
(() => {
  const fields = () => document.querySelectorAll("form[method=post] input:not([type=hidden]):not([type=password]):not([type=date]):not([type=file]):not([type=checkbox]):not([autocomplete=one-time-code]), form[method=post] textarea");
  const key = (field) => location.pathname + "#" + field.id;
  const store = window.sessionStorage;
  // Not, or no longer, a phone of the clinic: what `worker.js` kept here goes.
  if (document.body.dataset.keeps === "0" && window.caches) caches.delete("console-kept").catch(() => { /* nothing kept */ });
  const entry = performance.getEntriesByType("navigation")[0];
  // Came here by a new request: what was sent has arrived, its draft is done with.
  if (entry && entry.type === "navigate") {
    for (const name of (store.getItem("sent") || "").split("\n")) if (name) store.removeItem(name);
  }
  store.removeItem("sent");
  const restore = () => {
    for (const field of fields()) {
      const draft = field.id && store.getItem(key(field));
      if (draft && !field.value) field.value = draft;
    }
  };
  restore();
  document.addEventListener("restore", restore);
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!field.id || !Array.from(fields()).includes(field)) return;
    if (field.value) store.setItem(key(field), field.value); else store.removeItem(key(field));
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (!navigator.onLine) { // what was written stays where it is
      event.preventDefault();
      const offline = document.getElementById("offline");
      if (offline) { offline.hidden = false; offline.scrollIntoView({ block: "center" }); }
      return;
    }
    const sent = Array.from(form.elements).filter((field) => field.id).map(key);
    store.setItem("sent", sent.join("\n"));
    for (const button of form.querySelectorAll("button")) setTimeout(() => { button.disabled = true; });
  });
  addEventListener("online", () => { const offline = document.getElementById("offline"); if (offline) offline.hidden = true; });
  addEventListener("pageshow", (event) => { if (event.persisted) { store.removeItem("sent"); location.reload(); } });
})();
