// On a phone of the clinic: what came of a call is written down here first, then posted, so that a
// line that comes and goes loses nothing. Elsewhere, and without this script, forms are forms.
"use strict";
(() => {
  const body = document.body, data = body.dataset;
  if (!navigator.serviceWorker || !window.caches) return;
  const QUEUE = "console-queue", FIRST_MS = 1500, MOST_MS = 20000, NO_ANSWER_MS = 60000;
  const keeps = data.keeps === "1", isKept = body.hasAttribute("data-kept");
  let worker = null, asking = false, again = false, wait = FIRST_MS, timer;

  const uuid = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };

  async function entries() {
    const queue = await caches.open(QUEUE), found = [];
    for (const key of await queue.keys()) {
      const entry = await (await queue.match(key)).json();
      if (entry.by === data.staff) found.push({ key, entry });
    }
    return found.sort((one, other) => one.entry.at - other.entry.at);
  }

  async function draw() {
    const waiting = await entries();
    for (const old of document.querySelectorAll(".queued")) old.remove();
    for (const { key, entry } of waiting) {
      const task = document.getElementById("recall-" + entry.fields.task);
      const line = document.createElement("p");
      line.className = "queued";
      line.textContent = (entry.refused ? data.refused : data.waiting) + " " + entry.fields.words;
      if (entry.refused) {
        const drop = document.createElement("button");
        drop.type = "button";
        drop.textContent = data.drop;
        drop.addEventListener("click", async () => { await (await caches.open(QUEUE)).delete(key); draw(); });
        line.append(" ", drop);
      }
      (task || document.querySelector("main")).append(line);
    }
    return waiting.filter((each) => !each.entry.refused).length;
  }

  function ask(what) {
    return new Promise((done) => {
      const pipe = new MessageChannel();
      pipe.port1.onmessage = (event) => done(event.data);
      setTimeout(done, NO_ANSWER_MS, { line: false, sent: 0 });
      worker.postMessage(what, [pipe.port2]);
    });
  }

  async function send(files) {
    if (!worker) return;
    if (asking) { again = true; return; } // the line came back, or something was written, meanwhile
    asking = true;
    clearTimeout(timer);
    const told = await ask({ files, check: isKept });
    asking = false;
    const left = await draw();
    document.getElementById("kept").hidden = told.line && !isKept;
    if (told.line && (told.sent || told.out || isKept)) location.replace(location.pathname);
    else if (again) { again = false; send(); }
    else if (left || !told.line) { // a line that is announced is often not there yet
      timer = setTimeout(send, wait);
      wait = Math.min(2 * wait, MOST_MS);
    }
  }

  document.addEventListener("submit", (event) => {
    const form = event.target, button = event.submitter || form.querySelector(".primary");
    if (!form.classList.contains("recall") || !worker || !keeps) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const fields = {};
    for (const name of ["task", "plan", "outcome", "day", "words"]) fields[name] = form.elements[name].value;
    fields.key = uuid();
    const path = button && button.hasAttribute("formaction") ? button.getAttribute("formaction") : form.getAttribute("action");
    const words = form.elements.words;
    words.value = ""; // a second tap has nothing to send
    words.dispatchEvent(new Event("input", { bubbles: true }));
    const entry = { by: data.staff, at: Date.now(), path, fields };
    caches.open(QUEUE)
      .then((queue) => queue.put(path + "/" + fields.key, new Response(JSON.stringify(entry))))
      .then(draw).then(() => send(), () => { words.value = fields.words; form.submit(); });
  }, true);

  const files = Array.from(document.querySelectorAll("link[rel=stylesheet], link[rel=icon], script[src]"), (each) => each.href || each.src);
  async function begin() { // where nothing is kept any more, what still waits is sent all the same
    if (keeps) await navigator.serviceWorker.register("/console/worker.js");
    else if (!(await navigator.serviceWorker.getRegistration("/console/"))) return;
    worker = (await navigator.serviceWorker.ready).active;
    await send(keeps ? files : undefined);
  }
  begin().catch(() => { /* forms are forms */ });
  addEventListener("online", () => { wait = FIRST_MS; send(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) send(); });
})();
