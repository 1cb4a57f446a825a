// New messages appear by themselves, phrases go into the reply. Everything works without this script.
"use strict";
(() => {
  const data = document.body.dataset, log = document.getElementById("messages"), news = document.getElementById("news");
  const words = document.getElementById("words");
  let mark = data.mark, asked = false;
  const latest = document.getElementById("latest");
  if (latest && data.newest && !location.hash) latest.scrollIntoView({ block: "start" });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-phrase]");
    if (!button || !words) return;
    words.value = (words.value ? words.value.trimEnd() + "\n\n" : "") + button.textContent;
    words.dispatchEvent(new Event("input", { bubbles: true })); // the draft is kept
    words.focus();
  });
  async function look() {
    if (document.hidden || asked || !data.newest) return;
    if (Array.from(log.querySelectorAll("audio")).some((sound) => !sound.paused)) return; // nobody is cut off
    asked = true;
    try {
      const answer = await fetch(data.messages + "?mark=" + mark, { credentials: "same-origin", cache: "no-store" });
      if (answer.status === 401) { location.assign("/console/login"); return; }
      if (answer.status !== 200) return;
      const fresh = answer.headers.get("X-Mark") || mark;
      const changedHands = fresh.split("-")[1] !== mark.split("-")[1];
      mark = fresh;
      // Who answers has changed: the buttons below are old. What is being written is kept as a draft.
      if (changedHands) { location.reload(); return; }
      log.innerHTML = await answer.text(); // made and escaped by our server
      news.hidden = false;
      const last = document.getElementById("latest");
      if (last) last.scrollIntoView({ block: "nearest" });
      setTimeout(() => { news.hidden = true; }, 4000);
    } catch (error) { /* the line is gone; the next look tries again */ } finally { asked = false; }
  }
  setInterval(look, 4000);
  document.addEventListener("visibilitychange", look);
})();
