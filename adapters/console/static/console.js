// Keeps the open list fresh. Everything on the page works without this script.
"use strict";
(() => {
  const list = document.getElementById("tasks");
  const stale = document.getElementById("stale");
  const everyMs = Number(document.body.dataset.refreshMs);
  // A note that is being written is never taken away.
  const writing = () => Array.from(list.querySelectorAll("input[name=note]")).some((note) => note.value || note === document.activeElement);

  async function refresh() {
    if (document.hidden || writing()) return;
    try {
      const answer = await fetch("/console/tasks", { credentials: "same-origin", cache: "no-store" });
      if (answer.status === 401) { location.assign("/console/login"); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = await answer.text();
      if (!writing()) list.innerHTML = fresh; // made and escaped by our server
      stale.hidden = true;
    } catch { stale.hidden = false; }
  }
  setInterval(refresh, everyMs);
  document.addEventListener("visibilitychange", refresh);
  document.addEventListener("submit", (event) => { // one press, one request
    for (const button of event.target.querySelectorAll("button")) setTimeout(() => { button.disabled = true; });
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
})();
