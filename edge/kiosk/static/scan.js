"use strict";
// A scanner types a code and ends it with Enter. Wherever the focus is, its letters go to the code's field; what else has
// been filled in (a phone, who came along, a consent) goes along with the code.
(() => {
  const field = document.querySelector("[data-scan]");
  const phone = document.querySelector("input[name=phone][type=tel]");
  const burstMs = 60; // nobody types that fast; scanners take a few milliseconds a letter
  let burst = "";
  let last = 0;

  if (field) document.addEventListener("keydown", (event) => {
    const now = performance.now();
    if (now - last > burstMs) burst = "";
    last = now;
    const at = document.activeElement;
    if (at === field || event.ctrlKey || event.altKey || event.metaKey || event.key.length !== 1 || event.key === " ") return;
    const typing = at instanceof HTMLTextAreaElement
      || (at instanceof HTMLInputElement && !["checkbox", "radio", "submit", "button", "file"].includes(at.type));
    if (typing && !(at === phone && /[a-z]/i.test(event.key))) { burst += event.key; return; }
    if (at === phone && burst && phone.value.endsWith(burst)) { // digits that a code began with
      phone.value = phone.value.slice(0, -burst.length);
      field.value = burst;
    }
    burst = "";
    field.focus(); // before the letter is typed, so that it lands there
  });

  if (field && phone) field.form.addEventListener("submit", () => { // a phone typed as fast as a scanner: digits before ours
    const begins = field.value.toUpperCase().indexOf("FVC1");
    if (begins > 0) {
      phone.value += field.value.slice(0, begins);
      field.value = field.value.slice(begins);
    }
  });
  const own = ["csrf_token", "request_id", "code", "way", "picture", "camera"];
  document.addEventListener("formdata", (event) => { // on the document: some of these forms come later
    const register = document.getElementById("register");
    if (!register || !event.target.matches("[data-with-register]")) return;
    for (const [name, value] of new FormData(register)) if (!own.includes(name)) event.formData.append(name, value);
  });
  document.querySelectorAll("[data-picture]").forEach((picture) => {
    picture.addEventListener("change", () => { if (picture.files.length) picture.form.requestSubmit(); });
  });
})();
