"use strict";
// The number pad of a registered tablet; without this script the field takes the keyboard.
const form = document.querySelector("[data-pin]");
if (form) {
  const field = form.querySelector("input[name=pin]");
  const pad = form.querySelector("[data-pad]");
  pad.hidden = false;
  form.querySelector("[data-without-pad]").hidden = true;
  field.inputMode = "none";
  pad.addEventListener("click", (event) => {
    const button = event.target.closest("button[type=button]");
    if (!button) return;
    field.value = button.value === "back" ? field.value.slice(0, -1) : (field.value + button.value).slice(0, 8);
  });
}
