"use strict";
// A scanner types a code and ends it with Enter. Wherever the focus is, its letters go to the code's field and digits to
// the phone's; what else has been filled in (a phone, who came along, a consent) goes along with the code. The script
// runs before there is a body, so that a key pressed as soon as the page is seen finds its field.
(() => {
  const scan = () => document.querySelector("[data-scan]");
  const phoneField = () => document.querySelector("#register input[name=phone]");
  const BURST_MS = 60; // nobody types that fast; scanners take a few milliseconds a letter
  const LONGEST_PHONE = 16; // E.164: fifteen digits behind a +
  let burst = "";
  let last = 0;

  document.addEventListener("keydown", (event) => {
    const now = performance.now();
    if (now - last > BURST_MS) burst = "";
    last = now;
    const at = document.activeElement;
    const [field, phone] = [scan(), phoneField()];
    if (!phone || at === field || event.ctrlKey || event.altKey || event.metaKey || event.key.length !== 1 || event.key === " ") return;
    const typing = at instanceof HTMLTextAreaElement
      || (at instanceof HTMLInputElement && !["checkbox", "radio", "submit", "button", "file"].includes(at.type));
    if (typing && at !== phone) return;
    const digit = /[\d+]/.test(event.key);
    if (field && (/[a-z]/i.test(event.key) || burst.length >= LONGEST_PHONE || !(digit || typing))) {
      if (burst && phone.value.endsWith(burst)) { // digits that a code began with
        phone.value = phone.value.slice(0, -burst.length);
        field.value = burst;
      }
      burst = "";
      field.focus(); // before the letter is typed, so that it lands there
    } else if (digit || typing) {
      burst += event.key;
      if (typing) return;
      phone.focus();
      phone.setSelectionRange(phone.value.length, phone.value.length);
    }
  });

  document.addEventListener("submit", (event) => { // a phone typed as fast as a scanner: digits before ours
    const [field, phone] = [scan(), phoneField()];
    if (!field || !phone || event.target !== field.form) return;
    const begins = field.value.toUpperCase().search(/FV[BC]1/);
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
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-picture]") && event.target.files.length) event.target.form.requestSubmit();
  });
})();
