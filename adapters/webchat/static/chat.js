// The chat page's script. Plain ES2020, no library. Without it the page still works: every button
// is a form. With it, what a person writes is kept until the server has it (outbox), and answers
// arrive by themselves (server-sent events, replayed from the last one seen).
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const page = document.body.dataset;
  const say = JSON.parse(page.texts);
  const log = byId("log"), waiting = byId("outbox"), field = byId("text"), compose = byId("compose");
  const RETRY_FIRST_MS = 1500, RETRY_MOST_MS = 30000, SILENCE_MS = 45000, PHOTOS_AT_ONCE = 10;
  const SENT_SHOWN_MS = 1800000; // longer than any answer takes

  // ---- what survives a killed page (the camera often kills it on small phones)
  const prefix = `oculichat.${page.chat}.`;
  const kept = new Map(); // used where the browser refuses storage
  const recall = (name, fallback) => {
    try { return JSON.parse(localStorage.getItem(prefix + name)) ?? kept.get(name) ?? fallback; }
    catch { return kept.get(name) ?? fallback; }
  };
  const keep = (name, value) => {
    kept.set(name, value);
    try { localStorage.setItem(prefix + name, JSON.stringify(value)); } catch { /* kept above */ }
  };
  try { // words of a conversation this browser no longer holds
    for (const name of Object.keys(localStorage)) {
      if (name.startsWith("oculichat.") && !name.startsWith(prefix)) localStorage.removeItem(name);
    }
  } catch { /* no storage */ }

  const uuid = () => { // crypto.randomUUID needs https
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    const hex = Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };
  const make = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  // ---- outbox: entries {id, text | button+label | upload: "photo" or "voice", state}
  // waiting → sent → gone once the conversation shows it, which is when it has been answered;
  // or failed (tried again by itself), refused (the person decides), lost (an upload without its file)
  const outbox = recall("outbox", []);
  const files = new Map(); // entry id → File; a killed page loses these
  const bubbles = new Map(); // entry id → its <article>
  const laneOf = (entry) => (entry.upload ? "upload" : "text"); // a long upload never delays words
  const lanes = { text: { busy: false, tries: 0 }, upload: { busy: false, tries: 0 } };
  const keepOutbox = () => keep("outbox", outbox.map(({ note, percent, ...entry }) => entry));

  function settle(id) { // the conversation shows it
    const at = outbox.findIndex((entry) => entry.id === id);
    if (at >= 0) { outbox.splice(at, 1); keepOutbox(); }
    files.delete(id);
  }

  function draw(entry) {
    let bubble = bubbles.get(entry.id);
    if (!bubble) {
      bubble = make("article", "message patient");
      bubble.dataset.pending = entry.id;
      bubble.append(make("p", "who unseen", say.you));
      const file = files.get(entry.id);
      if (file && entry.upload === "voice") {
        const sound = make("audio");
        sound.controls = true;
        sound.setAttribute("aria-label", say.a_voice);
        sound.src = URL.createObjectURL(file);
        bubble.append(sound);
      } else if (file) {
        const picture = make("img", "preview");
        picture.alt = say.photo_preview;
        picture.src = URL.createObjectURL(file);
        bubble.append(picture);
      } else bubble.append(make("div", "words", entry.upload ? say[`a_${entry.upload}`] : entry.text || entry.label));
      bubble.append(make("div", "state"));
      bubbles.set(entry.id, bubble);
      waiting.append(bubble);
    }
    const state = bubble.querySelector(".state");
    const failed = ["failed", "refused", "lost"].includes(entry.state);
    const sending = entry.percent === undefined ? say.sending : say[`${entry.upload}_sending`].replace("{percent}", entry.percent);
    const words = { failed: say.not_sent, refused: entry.note, lost: say[`${entry.upload}_lost`], sent: say.sent }[entry.state] || sending;
    state.className = failed ? "state failed" : "state";
    if (failed) state.setAttribute("role", "alert"); // read aloud; progress is not
    else state.removeAttribute("role");
    state.textContent = "";
    state.append(make("span", "", words));
    if (entry.state === "waiting" && entry.percent !== undefined) {
      const bar = make("progress");
      bar.max = 100;
      bar.value = entry.percent;
      bar.setAttribute("aria-label", sending);
      state.append(bar);
    }
    const action = (label, run) => {
      const button = make("button", "", label);
      button.type = "button";
      button.addEventListener("click", run);
      state.append(button);
    };
    if (entry.state === "failed") action(say.retry, () => retry(laneOf(entry)));
    if (entry.state === "refused" && entry.text) {
      action(say.edit, () => { field.value = entry.text; drop(entry); noteDraft(); field.focus(); });
    }
    if (failed) action(say.discard, () => drop(entry));
  }

  function drop(entry) {
    settle(entry.id);
    const bubble = bubbles.get(entry.id);
    if (bubble) bubble.remove();
    bubbles.delete(entry.id);
    if (entry.button) enableReplies();
  }

  function enqueue(entry, file) {
    entry.state = "waiting";
    outbox.push(entry);
    if (file) files.set(entry.id, file);
    keepOutbox();
    draw(entry);
    toLatest();
    retry(laneOf(entry));
  }

  function retry(lane) {
    for (const entry of outbox) {
      if (laneOf(entry) === lane && entry.state === "failed") { entry.state = "waiting"; draw(entry); }
    }
    flush(lane);
  }

  async function flush(name) {
    const lane = lanes[name];
    if (lane.busy) return;
    lane.busy = true;
    clearTimeout(lane.timer);
    for (;;) {
      const entry = outbox.find((e) => laneOf(e) === name && e.state === "waiting");
      if (!entry) break;
      const answer = await post(entry);
      // The stream may bring the message back before, or without, the answer to its post.
      if (answer.status === 202 || !outbox.includes(entry)) {
        lane.tries = 0;
        entry.state = "sent";
        entry.sentAt = Date.now();
        delete entry.percent;
        if (bubbles.has(entry.id)) draw(entry);
      } else if (answer.status === 0 || answer.status === 408 || answer.status === 429 || answer.status >= 500) {
        if (answer.status === 0) lost();
        for (const held of outbox) { // what stands behind it is not on its way either
          if (laneOf(held) !== name || held.state !== "waiting") continue;
          held.state = "failed";
          delete held.percent;
          draw(held);
        }
        const wait = Math.min(RETRY_FIRST_MS * 2 ** lane.tries, RETRY_MOST_MS);
        lane.tries += 1;
        lane.timer = setTimeout(() => retry(name), Math.max(wait, answer.after));
        break;
      } else {
        entry.state = "refused";
        entry.note = answer.message || say.not_sent;
        delete entry.percent;
        draw(entry);
      }
      keepOutbox();
    }
    lane.busy = false;
  }

  function post(entry) {
    return new Promise((resolve) => {
      const request = new XMLHttpRequest(); // fetch cannot tell how far an upload is
      let body;
      if (entry.upload) {
        body = new FormData();
        body.append("id", entry.id);
        if (entry.album) body.append("album", entry.album);
        body.append(entry.upload, files.get(entry.id));
        request.upload.addEventListener("progress", (event) => {
          if (event.lengthComputable) { entry.percent = Math.floor((99 * event.loaded) / event.total); draw(entry); }
        });
      } else {
        body = new URLSearchParams({ id: entry.id });
        body.append(entry.button ? "button" : "text", entry.button || entry.text);
      }
      request.open("POST", entry.upload ? `/chat/${entry.upload}s` : "/chat/messages");
      request.setRequestHeader("Accept", "application/json");
      request.timeout = entry.upload ? 300000 : 20000;
      request.addEventListener("loadend", () => {
        let message = "";
        try { message = JSON.parse(request.responseText).message; } catch { /* a proxy's own page */ }
        const after = 1000 * Number(request.status ? request.getResponseHeader("Retry-After") : 0);
        resolve({ status: request.status, message, after });
      });
      request.send(body);
    });
  }

  // ---- writing
  const noteDraft = () => { keep("draft", field.value); grow(); };
  const grow = () => { field.style.height = "auto"; field.style.height = `${field.scrollHeight + 4}px`; };
  function hint(words) {
    byId("hint").textContent = words;
    byId("hint").hidden = !words;
  }
  field.addEventListener("input", () => { hint(""); noteDraft(); });
  field.addEventListener("keydown", (event) => { // on a phone, Enter makes a new line
    const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
    if (sends && matchMedia("(pointer: fine)").matches) { event.preventDefault(); compose.requestSubmit ? compose.requestSubmit() : compose.querySelector("button").click(); }
  });
  compose.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!text) return;
    if (Array.from(text).length > Number(page.maxCharacters)) { hint(say.too_long); return; }
    hint("");
    field.value = "";
    noteDraft();
    enqueue({ id: uuid(), text });
    field.focus();
  });

  // ---- quick replies: one press each, however often it is tapped
  const replyButtons = () => document.querySelectorAll(".replies button");
  function enableReplies() {
    for (const button of replyButtons()) { button.disabled = false; button.classList.remove("pressed"); }
  }
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.closest(".replies")) return;
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.disabled) return;
    for (const other of replyButtons()) other.disabled = true;
    button.classList.add("pressed");
    const id = form.elements.id.value;
    if (button.name === "button") enqueue({ id, button: button.value, label: button.textContent });
    else enqueue({ id, text: button.value });
  });

  // ---- photos
  for (const input of [byId("camera"), byId("gallery")]) {
    if (input.id === "gallery") input.multiple = true;
    input.addEventListener("change", () => {
      const chosen = Array.from(input.files).slice(0, PHOTOS_AT_ONCE);
      const album = chosen.length > 1 ? uuid() : undefined;
      hint("");
      for (const file of chosen) {
        if (file.size > Number(page.maxBytes)) hint(say.too_large);
        else enqueue({ id: uuid(), upload: "photo", album }, file);
      }
      input.value = ""; // the same photo may be chosen again
    });
  }
  document.addEventListener("recorded", (event) => { // by recorder.js
    hint("");
    enqueue({ id: uuid(), upload: "voice" }, event.detail);
  });
  const viewer = byId("viewer");
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a.picture");
    if (!link || !viewer.showModal) return; // an old browser follows the link
    event.preventDefault();
    const picture = link.querySelector("img");
    byId("viewed").src = picture.src.startsWith("blob:") ? picture.src : link.href; // the whole picture
    byId("viewed").alt = picture.alt;
    viewer.showModal();
  });

  // ---- reading
  const atEnd = () => innerHeight + scrollY > document.documentElement.scrollHeight - 160;
  const toLatest = () => {
    pinned = true;
    byId("jump").hidden = true;
    scrollTo(0, document.documentElement.scrollHeight);
  };
  function show(article) { // the beginning of a long answer, not its end
    const room = innerHeight - document.querySelector("footer").offsetHeight;
    if (article.offsetHeight > room - 20) { pinned = false; article.scrollIntoView({ block: "start" }); }
    else toLatest();
  }
  byId("jump").addEventListener("click", toLatest);
  // At the end, and to stay there when a photo loads or a notice appears, until the person moves up.
  let pinned = false, lastY = scrollY;
  addEventListener("scroll", () => {
    if (atEnd()) { pinned = true; byId("jump").hidden = true; }
    else if (scrollY < lastY) pinned = false;
    lastY = scrollY;
  }, { passive: true });
  const sizes = new ResizeObserver(() => { if (pinned) toLatest(); });
  sizes.observe(document.body);
  sizes.observe(document.querySelector("footer"));

  const LASTING = ["emergency", "plan", "reminder"]; // as in render.py
  function closeReplies(item, article) {
    for (const old of document.querySelectorAll(".replies")) {
      const message = old.closest(".message");
      const lasting = LASTING.find((kind) => message.classList.contains(kind));
      const pressed = Array.from(old.querySelectorAll("form")).some((form) => form.elements.id.value === item.message_id);
      const gone = item.author === "patient" ? pressed || !lasting : lasting && article.classList.contains(lasting);
      if (gone) old.remove();
    }
    if (item.author === "patient") enableReplies();
  }

  function receive(item) {
    const sent = bubbles.get(item.message_id);
    settle(item.message_id);
    const template = document.createElement("template");
    template.innerHTML = item.html; // made and escaped by our server; the policy forbids inline scripts
    const article = template.content.firstElementChild;
    if (!article || byId(article.id)) return;
    closeReplies(item, article);
    const follow = pinned || atEnd() || Boolean(sent);
    if (sent) {
      const preview = sent.querySelector("img"), picture = article.querySelector("a.picture img");
      if (preview && picture) picture.src = preview.src; // do not fetch what we just sent
      else if (preview) article.querySelector(".words").replaceWith(preview);
      sent.remove();
      bubbles.delete(item.message_id);
    }
    if (item.author !== "patient") progress({ typing: false, draft: "" }, true);
    log.append(article);
    if (follow || article.classList.contains("emergency")) show(article);
    else byId("jump").hidden = false;
  }

  let clearing;
  function progress({ typing, draft }, now) {
    clearTimeout(clearing);
    const hide = () => { byId("progress").hidden = true; byId("draft").textContent = ""; };
    if (!typing && !draft) { // the finished answer is about to take the draft's place
      if (now) hide();
      else clearing = setTimeout(hide, 1500);
      return;
    }
    byId("progress").hidden = false;
    byId("typing").hidden = Boolean(draft);
    if (draft) byId("draft").textContent = draft;
  }

  let source, cursor = Number(page.cursor), failures = 0, lostTimer, silenceTimer;
  function lost() {
    if (lostTimer) return;
    lostTimer = setTimeout(() => {
      byId("connection").textContent = say.connection_lost;
      byId("connection").hidden = false;
    }, 2500);
  }
  function alive() {
    clearTimeout(lostTimer);
    lostTimer = undefined;
    byId("connection").hidden = true;
    clearTimeout(silenceTimer);
    silenceTimer = setTimeout(connect, SILENCE_MS); // half-dead mobile links raise no error
  }
  function connect() {
    if (source) source.close();
    clearTimeout(silenceTimer);
    source = new EventSource(`/chat/stream?after=${cursor}`);
    source.addEventListener("open", () => {
      failures = 0;
      alive();
      retry("text");
      retry("upload");
    });
    source.addEventListener("item", (event) => {
      alive();
      cursor = Math.max(cursor, Number(event.lastEventId));
      receive(JSON.parse(event.data));
    });
    source.addEventListener("progress", (event) => { alive(); progress(JSON.parse(event.data)); });
    source.addEventListener("ping", alive);
    source.addEventListener("over", () => location.replace("/chat")); // its link was taken back
    source.addEventListener("error", () => {
      lost();
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again itself
      clearTimeout(silenceTimer);
      silenceTimer = setTimeout(connect, Math.min(2000 * 2 ** failures, RETRY_MOST_MS));
      failures += 1;
    });
  }
  let hiddenAt = 0;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hiddenAt = Date.now();
    else if (Date.now() - hiddenAt > 30000) connect();
  });
  addEventListener("online", () => { failures = 0; connect(); });
  addEventListener("offline", lost);
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) connect(); });

  // ---- start where the last page stopped
  if (!field.value) field.value = recall("draft", "");
  grow();
  for (const entry of outbox.slice()) {
    if (document.querySelector(`[data-message="${CSS.escape(entry.id)}"]`)) { settle(entry.id); continue; }
    if (entry.state === "sent") {
      if (Date.now() - entry.sentAt > SENT_SHOWN_MS) { settle(entry.id); continue; }
    } else if (entry.upload) entry.state = "lost";
    else if (entry.state !== "refused") entry.state = "waiting";
    if (entry.state === "refused") entry.note = say.not_sent;
    draw(entry);
    if (["sent", "waiting"].includes(entry.state)) for (const button of replyButtons()) button.disabled = true;
  }
  if (log.firstElementChild || outbox.length) toLatest(); // a first visit begins at the top
  connect();
  flush("text");
})();
