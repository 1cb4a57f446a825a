// Zoom with two fingers, the wheel, the keyboard or the buttons; drag to move. No library.
"use strict";
(() => {
  const box = document.getElementById("zoom"), picture = document.getElementById("picture"), overlay = box.querySelector(".overlay");
  const fingers = new Map();
  let scale = 1, x = 0, y = 0, apart = 0;
  function show() {
    scale = Math.min(12, Math.max(1, scale));
    x = Math.min(0, Math.max(box.clientWidth * (1 - scale), x));
    y = Math.min(0, Math.max(box.clientHeight * (1 - scale), y));
    const place = "translate(" + x + "px," + y + "px)";
    picture.style.transform = place + " scale(" + scale + ")";
    if (overlay) { // drawn larger instead of scaled: its lines stay thin
      overlay.style.transform = place;
      overlay.style.width = overlay.style.height = 100 * scale + "%";
    }
    box.dataset.scale = scale.toFixed(2);
  }
  function zoom(factor, at) {
    const before = scale;
    scale = Math.min(12, Math.max(1, scale * factor));
    x = at.x - (at.x - x) * scale / before;
    y = at.y - (at.y - y) * scale / before;
    show();
  }
  const centre = () => ({ x: box.clientWidth / 2, y: box.clientHeight / 2 });
  const inside = (event) => { const frame = box.getBoundingClientRect(); return { x: event.clientX - frame.left, y: event.clientY - frame.top }; };
  box.addEventListener("pointerdown", (event) => { fingers.set(event.pointerId, inside(event)); apart = 0; box.setPointerCapture(event.pointerId); });
  box.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = inside(event);
    fingers.set(event.pointerId, now);
    if (fingers.size === 1) { x += now.x - before.x; y += now.y - before.y; show(); return; }
    const [a, b] = Array.from(fingers.values());
    const distance = Math.hypot(a.x - b.x, a.y - b.y);
    if (apart > 0) zoom(distance / apart, { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
    apart = distance;
  });
  const lift = (event) => { fingers.delete(event.pointerId); apart = 0; };
  box.addEventListener("pointerup", lift);
  box.addEventListener("pointercancel", lift);
  box.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, inside(event)); }, { passive: false });
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      const factor = Number(button.dataset.zoom);
      if (factor) zoom(factor, centre()); else { scale = 1; x = y = 0; show(); }
    });
  }
  document.querySelector(".zooming").hidden = false;
})();
