// Shows what was taken, that it is being sent, and prints. The form works without this script.
"use strict";
(() => {
  const form = document.getElementById("new-photo"), print = document.getElementById("print");
  if (print) { print.hidden = false; print.addEventListener("click", () => window.print()); }
  if (!form) return;
  form.addEventListener("change", (event) => {
    const input = event.target, box = input.closest(".shot");
    if (!box || input.type !== "file") return;
    const preview = box.querySelector(".preview"), file = input.files[0];
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.hidden = !file;
    if (file) { preview.src = URL.createObjectURL(file); preview.onerror = () => { preview.hidden = true; }; }
    // One photo an eye: what was chosen last counts.
    for (const other of box.querySelectorAll("input[type=file]")) if (other !== input && file) other.value = "";
  });
  form.addEventListener("submit", (event) => { setTimeout(() => { if (!event.defaultPrevented) document.getElementById("progress").hidden = false; }); });
})();
