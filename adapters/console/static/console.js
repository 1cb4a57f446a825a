// Keeps the open list fresh, at once while the line holds. Everything works without this script.
"use strict";
(() => {
  const list = document.getElementById("tasks");
  const stale = document.getElementById("stale");
  const news = document.getElementById("news");
  const data = document.body.dataset;
  const rowOf = (id) => document.querySelector('[data-task="' + id + '"]');
  const isWriting = (row) => Array.from(row.querySelectorAll("input[name=note]")).some((note) => note.value || note === document.activeElement);
  const aheadMs = Date.now() - Number(data.now); // a phone's clock may be anywhere
  let source = null, failures = 0, asked = false;

  function waits() { // how long each waits, in the page's own words
    for (const each of list.querySelectorAll(".waits")) {
      const minutes = Math.max(0, Math.floor((Date.now() - aheadMs - Number(each.dataset.opened)) / 60000));
      const time = minutes < 120 ? data.minutes.replace("{n}", String(minutes))
        : minutes < 2880 ? data.hours.replace("{n}", String(Math.floor(minutes / 60)))
        : data.days.replace("{n}", String(Math.floor(minutes / 1440)));
      each.textContent = data.waits.replace("{time}", time);
    }
  }

  function place(order, htmlOf) { // order: [[id, digest], …]; true when every row is as it should be
    const rows = document.getElementById("rows");
    const known = new Set(Array.from(rows.children, (row) => row.dataset.task));
    const wanted = new Set(order.map((pair) => String(pair[0])));
    let complete = true, at = rows.firstElementChild, emergencies = 0;
    for (const row of Array.from(rows.children)) {
      // A note that is being written is never taken away.
      if (!wanted.has(row.dataset.task) && !isWriting(row)) { if (row === at) at = row.nextElementSibling; row.remove(); }
    }
    for (const [id, digest] of order) {
      let row = rowOf(id);
      if (!row || (row.dataset.digest !== digest && !isWriting(row))) {
        const html = htmlOf(String(id));
        if (!html) { complete = false; if (row) at = row.nextElementSibling; continue; }
        const box = document.createElement("template");
        box.innerHTML = html; // made and escaped by our server
        const fresh = box.content.querySelector("article");
        if (row) { if (row === at) at = fresh; row.replaceWith(fresh); } else rows.insertBefore(fresh, at);
        if (!known.has(String(id)) && fresh.classList.contains("emergency")) emergencies += 1;
        row = fresh;
      } else if (row !== at && !row.contains(document.activeElement)) rows.insertBefore(row, at);
      at = row.nextElementSibling;
    }
    document.getElementById("nothing").hidden = rows.children.length > 0;
    if (emergencies) news.textContent = news.dataset.say;
    document.dispatchEvent(new Event("restore"));
    waits();
    return complete;
  }

  async function refresh() {
    if (document.hidden || asked) return;
    asked = true;
    try {
      const answer = await fetch("/console/tasks", { credentials: "same-origin", cache: "no-store" });
      if (answer.status === 401) { location.assign("/console/login"); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const box = document.createElement("template");
      box.innerHTML = await answer.text(); // made and escaped by our server
      const rows = Array.from(box.content.querySelectorAll("[data-task]"));
      document.getElementById("counts").innerHTML = box.content.querySelector("#counts").innerHTML;
      place(rows.map((row) => [row.dataset.task, row.dataset.digest]), (id) => rows.find((row) => row.dataset.task === id).outerHTML);
      stale.hidden = true;
    } catch (error) { stale.hidden = false; } finally { asked = false; }
  }

  function listen() {
    if (source || document.hidden || !window.EventSource || failures > 1) return;
    source = new EventSource("/console/live");
    source.addEventListener("tasks", (event) => {
      failures = 0;
      const said = JSON.parse(event.data);
      stale.hidden = !said.stale;
      document.getElementById("counts").innerHTML = said.counts; // made by our server
      if (!place(said.order, (id) => said.rows[id])) refresh();
    });
    source.addEventListener("over", () => location.assign("/console/login"));
    source.onerror = () => {
      stale.hidden = false;
      if (source.readyState === EventSource.CLOSED) { failures += 1; source = null; refresh(); setTimeout(listen, 5000); }
    };
  }
  function rest() { if (source) { source.close(); source = null; } }

  setInterval(() => { waits(); if (!source) refresh(); }, Number(data.refreshMs));
  document.addEventListener("visibilitychange", () => { if (document.hidden) rest(); else { failures = 0; refresh(); listen(); } });
  addEventListener("pagehide", rest);
  listen();
})();
