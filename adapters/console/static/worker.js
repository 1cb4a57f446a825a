// For the clinic's own phones: the list of calls opens without a line, and what was noted waits
// until it is back. Only what the server marks (X-Keep-S) is kept, and no longer than it says.
"use strict";
const KEPT = "console-kept", QUEUE = "console-queue", FILES = "console-files";
const LIST = "/console/recalls", LOGIN = "/console/login", LOGOUT = "/console/logout";
const PATIENCE_MS = 8000;
let sending = null;

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

function within(promise, ms) {
  return Promise.race([promise, new Promise((_, fail) => setTimeout(fail, ms, new Error("no line")))]);
}

async function keep(answer) { // what comes without the mark ends what was kept
  const seconds = answer.status === 200 ? Number(answer.headers.get("X-Keep-S")) : 0;
  if (answer.status >= 500) return;
  if (!seconds) { await caches.delete(KEPT); return; }
  const headers = new Headers(answer.headers);
  headers.delete("Content-Encoding");
  headers.delete("Content-Length");
  headers.set("X-Until", String(Date.now() + 1000 * seconds));
  const page = (await answer.clone().text()).replace(" data-live", " data-kept");
  await (await caches.open(KEPT)).put(LIST, new Response(page, { headers }));
}

async function kept() {
  const page = await caches.match(LIST, { cacheName: KEPT });
  if (!page) return null;
  if (Number(page.headers.get("X-Until")) > Date.now()) return page;
  await caches.delete(KEPT);
  return null;
}

async function list(request) {
  let answer;
  try { answer = await within(fetch(request), PATIENCE_MS); } catch (error) { /* below */ }
  if (!answer || answer.status >= 500) return (await kept()) || answer || Response.error();
  await keep(answer);
  return answer;
}

async function file(request) { // addressed by content: what was kept is right for ever
  const known = await caches.match(request, { cacheName: FILES });
  return known || fetch(request);
}

async function logout(request) { // what waits goes first; then nothing stays here
  const told = await within(send(), PATIENCE_MS).catch(() => ({}));
  const answer = await fetch(request);
  if (answer.status < 400) {
    await caches.delete(KEPT);
    const queue = await caches.open(QUEUE); // a colleague's notes wait for the colleague
    for (const { key, entry } of await waiting()) if (entry.by === told.by) await queue.delete(key);
  }
  return answer;
}

async function login(request) { // the session has ended, and with it the trust
  const answer = await fetch(request);
  if (answer.ok) await caches.delete(KEPT);
  return answer;
}

self.addEventListener("fetch", (event) => {
  const { request } = event, path = new URL(request.url).pathname;
  if (path === LOGOUT) event.respondWith(logout(request));
  else if (request.method !== "GET") return;
  else if (path === LIST && request.mode === "navigate") event.respondWith(list(request));
  else if (path === LOGIN) event.respondWith(login(request));
  else if (/^(\/console)?\/static\//.test(path)) event.respondWith(file(request));
});

async function post(entry, token, now) {
  const body = new URLSearchParams({ ...entry.fields, form_token: token, waited_s: String(Math.max(0, Math.floor((now - entry.at) / 1000))) });
  const answer = await within(fetch(entry.path, { method: "POST", body, headers: { Accept: "application/json" }, redirect: "manual" }), PATIENCE_MS);
  return answer.status;
}

async function waiting() {
  const queue = await caches.open(QUEUE), found = [];
  for (const key of await queue.keys()) found.push({ key, entry: await (await queue.match(key)).json() });
  return found.sort((one, other) => one.entry.at - other.entry.at);
}

async function sendAll() { // line: the server answers; sent: how many it took; by: whose they were
  const answer = await within(fetch(LIST, { credentials: "same-origin", cache: "no-store" }), PATIENCE_MS).catch(() => null);
  if (!answer || answer.status >= 500) return { line: false, sent: 0 };
  const here = answer.ok && new URL(answer.url).pathname === LIST;
  if (!here) { await caches.delete(KEPT); return { line: true, sent: 0, out: true }; }
  await keep(answer);
  const page = await answer.text();
  const token = /name="form_token" value="(\w+)"/.exec(page), staff = /data-staff="(\d+)"/.exec(page);
  if (!token || !staff) return { line: true, sent: 0 };
  const by = staff[1];
  const queue = await caches.open(QUEUE);
  let sent = 0;
  for (const { key, entry } of await waiting()) {
    if (entry.by !== by || entry.refused) continue;
    const status = await post(entry, token[1], Date.now()).catch(() => 0);
    if (status === 202) { await queue.delete(key); sent += 1; }
    else if (status === 400 || status === 409) await queue.put(key, new Response(JSON.stringify({ ...entry, refused: true })));
    else return { line: status > 0, sent, by };
  }
  return { line: true, sent, by };
}

function send() {
  if (!sending) sending = sendAll().finally(() => { sending = null; });
  return sending;
}

async function remember(urls) {
  const files = await caches.open(FILES), known = new Set((await files.keys()).map((key) => key.url));
  for (const key of await files.keys()) if (!urls.includes(key.url)) await files.delete(key);
  await files.addAll(urls.filter((url) => !known.has(url)));
}

self.addEventListener("message", (event) => {
  const tell = (told) => event.ports[0].postMessage(told);
  event.waitUntil((async () => {
    if (event.data.files) await remember(event.data.files).catch(() => null);
    const idle = !event.data.check && (await kept()) && (await waiting()).length === 0;
    tell(idle ? { line: true, sent: 0 } : await send().catch(() => ({ line: false, sent: 0 })));
  })());
});
