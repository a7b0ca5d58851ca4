"use strict";
// A signature drawn with a finger, a pen or the mouse: strokes of points, sent as text with the form.
// Without this script there is none, and the consent counts all the same.
(() => {
  const consent = document.querySelector("[data-consent]");
  if (!consent) return;
  const boxes = [...consent.querySelectorAll("input[type=checkbox]")];
  const area = consent.querySelector("[data-sign]");
  const canvas = area.querySelector("canvas");
  const field = area.querySelector("input[name=signature]");
  const pen = canvas.getContext("2d");
  const MOST_POINTS = 1500; // the server takes 20,000 letters
  let strokes = [];
  let points = 0;
  let drawing = false;

  const clear = () => {
    strokes = [];
    points = 0;
    field.value = "";
    pen.clearRect(0, 0, canvas.width, canvas.height);
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const on = (value, size, full) => Math.round(Math.min(Math.max(value / size, 0), 1) * full);
    return [on(event.clientX - box.left, box.width, canvas.width), on(event.clientY - box.top, box.height, canvas.height)];
  };
  const mark = (event) => {
    if (points >= MOST_POINTS) return;
    const stroke = strokes[strokes.length - 1];
    const [x, y] = place(event);
    const last = stroke[stroke.length - 1];
    if (last && Math.hypot(x - last[0], y - last[1]) < 3) return;
    stroke.push([x, y]);
    points += 1;
    pen.beginPath();
    pen.moveTo(...(last || [x, y]));
    pen.lineTo(x, y + (last ? 0 : 0.1));
    pen.stroke();
    field.value = `${canvas.width} ${canvas.height};` + strokes.map((one) => one.map((at) => at.join(",")).join(" ")).join(";");
  };

  pen.lineWidth = 4;
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = "#14211f";
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    drawing = true;
    strokes.push([]);
    mark(event);
  });
  canvas.addEventListener("pointermove", (event) => { if (drawing) mark(event); });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { drawing = false; });
  area.querySelector("[data-sign-again]").addEventListener("click", clear);

  boxes.forEach((box) => box.addEventListener("change", () => { // one of the two texts, and to sign only with one
    if (box.checked) boxes.filter((other) => other !== box).forEach((other) => { other.checked = false; });
    area.hidden = !boxes.some((one) => one.checked);
    clear();
  }));
})();
