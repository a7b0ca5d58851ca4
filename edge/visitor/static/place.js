"use strict";
// Where the browser says it is, when the visitor asks it to: never by itself, and taken back as easily.
(() => {
  const place = document.querySelector("[data-place]");
  if (!place || !window.isSecureContext || !navigator.geolocation) return;
  const said = place.querySelector("[role=status]");
  const add = place.querySelector("[data-place-add]");
  const remove = place.querySelector("[data-place-remove]");
  const fill = (lat, lon, accuracy) => {
    place.querySelector("[name=lat]").value = lat;
    place.querySelector("[name=lon]").value = lon;
    place.querySelector("[name=accuracy]").value = accuracy;
    const added = lat !== "";
    add.hidden = added;
    remove.hidden = !added;
  };
  place.hidden = false;
  add.addEventListener("click", () => {
    add.disabled = true;
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => {
        add.disabled = false;
        fill(coords.latitude.toFixed(7), coords.longitude.toFixed(7), coords.accuracy.toFixed(0));
        said.textContent = place.dataset.added.replace("%s", coords.accuracy.toFixed(0));
      },
      () => { add.disabled = false; said.textContent = place.dataset.failed; },
      { enableHighAccuracy: true, timeout: 15000, maximumAge: 60000 },
    );
  });
  remove.addEventListener("click", () => { fill("", "", ""); said.textContent = ""; });
})();
