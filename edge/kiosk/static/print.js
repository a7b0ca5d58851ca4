"use strict";
// A button that prints the page it stands on; what is printed is the style sheet's to say.
for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => { window.print(); });
}
