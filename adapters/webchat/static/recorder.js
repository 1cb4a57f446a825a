// Records a voice note: listen, then send or discard. Where the browser cannot record, or may not,
// the button chooses a file instead, as it does without this script. Plain ES2020, no library.
"use strict";
(() => {
  const input = document.getElementById("speak"), panel = document.getElementById("recorder");
  const hint = document.getElementById("hint");
  const say = JSON.parse(panel.dataset.texts);
  const maxBytes = Number(panel.dataset.maxBytes), maxS = Number(panel.dataset.maxS);
  const part = (name) => panel.querySelector(name);
  const button = (name) => panel.querySelector(`[data-do="${name}"]`);
  const sound = part("audio");
  const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
  const SPEECH_BITS = 24000; // two minutes are 360 kB, half a minute on a slow line
  let canRecord = Boolean(window.MediaRecorder && navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
  let state = "idle"; // asking, recording, ready
  let recorder, stream, began, ticking, file;

  function tell(words) {
    hint.textContent = words;
    hint.hidden = !words;
  }
  function show(next, words) {
    state = next;
    panel.hidden = next === "idle" || next === "asking";
    part("[role=status]").textContent = words || "";
    const isReady = next === "ready";
    sound.hidden = !isReady;
    button("stop").hidden = isReady;
    button("send").hidden = !isReady;
    part(".time").hidden = part("progress").hidden = isReady;
  }
  function tick() {
    const seconds = Math.min(maxS, Math.floor((Date.now() - began) / 1000));
    part(".time").textContent = say.time.replace("{seconds}", seconds).replace("{limit}", maxS);
    part("progress").value = seconds;
    if (Date.now() - began >= maxS * 1000) stop(say.stopped);
  }
  function silence() { // the phone's recording light goes out
    clearInterval(ticking);
    if (stream) for (const track of stream.getTracks()) track.stop();
    stream = undefined;
  }
  function forget() {
    if (recorder && recorder.state !== "inactive") { recorder.onstop = null; recorder.stop(); }
    silence();
    sound.pause();
    if (sound.src) URL.revokeObjectURL(sound.src);
    sound.removeAttribute("src");
    recorder = file = undefined;
    show("idle");
  }
  function offer(recorded, words) {
    if (!recorded.size) { forget(); tell(say.nothing); return; }
    if (recorded.size > maxBytes) { forget(); tell(say.too_large); return; }
    file = recorded;
    sound.src = URL.createObjectURL(file);
    show("ready", words);
    button("send").focus();
  }
  function stop(words) {
    clearInterval(ticking);
    if (!recorder || recorder.state === "inactive") return;
    recorder.onstop = () => {
      const type = recorder.mimeType.split(";")[0] || "audio/webm";
      const recorded = new File(recorder.pieces, "voice-note", { type });
      silence();
      offer(recorded, words);
    };
    recorder.stop();
  }
  async function record() {
    tell("");
    show("asking");
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const type = TYPES.find((each) => MediaRecorder.isTypeSupported(each));
      recorder = new MediaRecorder(stream, { audioBitsPerSecond: SPEECH_BITS, ...(type && { mimeType: type }) });
      recorder.pieces = [];
      recorder.addEventListener("dataavailable", (event) => { if (event.data.size) recorder.pieces.push(event.data); });
      recorder.start(1000);
    } catch (error) { // no microphone, or no permission
      canRecord = false;
      forget();
      tell(say.refused);
      return;
    }
    began = Date.now();
    show("recording", say.recording);
    tick();
    ticking = setInterval(tick, 250);
    button("stop").focus();
  }

  input.addEventListener("click", (event) => {
    if (!canRecord && state === "idle") return; // the browser asks for a file
    event.preventDefault();
    if (state === "idle") record();
  });
  input.addEventListener("change", () => {
    const chosen = input.files[0];
    tell("");
    if (chosen) offer(chosen, say.ready);
    input.value = "";
  });
  button("stop").addEventListener("click", () => stop(say.ready));
  button("cancel").addEventListener("click", () => { forget(); input.focus(); });
  button("send").addEventListener("click", () => {
    if (state !== "ready") return; // tapped twice
    const recorded = file;
    forget();
    document.dispatchEvent(new CustomEvent("recorded", { detail: recorded }));
    document.getElementById("text").focus({ preventScroll: true });
  });
  addEventListener("pagehide", silence);
})();
