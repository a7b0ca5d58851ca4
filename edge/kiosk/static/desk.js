"use strict";
// The menu of pages that a phone's bar has no room for closes by Escape and by a tap elsewhere.
(() => {
  const menu = document.querySelector("[data-menu]");
  if (!menu) return;
  const close = (focus) => { menu.open = false; if (focus) menu.querySelector("summary").focus(); };
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && menu.open) close(true); });
  document.addEventListener("pointerdown", (event) => { if (menu.open && !menu.contains(event.target)) close(false); });
  menu.addEventListener("focusout", (event) => { if (event.relatedTarget && !menu.contains(event.relatedTarget)) close(false); });
})();

// What the tablet shows while the node is away; browsers keep such a worker where pages come over TLS, or from localhost.
navigator.serviceWorker?.register("/sw.js").catch((error) => console.warn("no page for when the node is away", error));

// Without its stream a page is not to be trusted with a tap: it says so and takes no form until the stream is back.
(() => {
  const banner = document.querySelector("[data-offline]");
  if (!banner) return;
  const PATIENCE_MS = 1500; // a stream that is opened again at once has lost nothing
  let lost = false;
  let timer = null;
  const show = () => {
    banner.hidden = !lost;
    banner.setAttribute("role", lost ? "alert" : "presentation"); // spoken when it appears
    document.querySelectorAll("main form").forEach((form) => { form.inert = lost; });
  };
  document.addEventListener("stream", (event) => {
    clearTimeout(timer);
    if (event.detail.lost && !lost) timer = setTimeout(() => { lost = true; show(); }, PATIENCE_MS);
    if (!event.detail.lost && lost) { lost = false; show(); }
  });
  document.addEventListener("submit", (event) => { // by Enter, or from a button outside its form
    if (lost && event.target.closest("main")) event.preventDefault();
  }, true);
})();

// Two soft tones when somebody arrives, on tablets where somebody has switched them on.
(() => {
  const button = document.querySelector("[data-sound]");
  if (!button || !window.AudioContext) return;
  const KEY = "firstvisit.sound";
  let audio = null;
  const stored = () => { try { return localStorage.getItem(KEY) === "on"; } catch { return false; } };
  let on = stored();
  const ALLOWED_WITHIN_MS = 400;
  const show = () => {
    const silent = on && audio !== null && audio.state !== "running"; // said, so that nobody relies on what cannot sound
    button.setAttribute("aria-pressed", String(on));
    button.classList.toggle("silent", silent);
    button.title = silent ? button.dataset.silent : button.getAttribute("aria-label");
  };
  const ready = async () => { // browsers let a page sound only after a touch on it; until then this does not end
    if (audio === null) {
      audio = new AudioContext();
      audio.addEventListener("statechange", show);
    }
    await Promise.race([audio.resume(), new Promise((later) => { setTimeout(later, ALLOWED_WITHIN_MS); })]);
    show();
    return audio.state === "running";
  };
  const tone = (hertz, afterS) => {
    const from = audio.currentTime + afterS;
    const wave = audio.createOscillator();
    const loudness = audio.createGain();
    wave.frequency.value = hertz;
    loudness.gain.setValueAtTime(0, from);
    loudness.gain.linearRampToValueAtTime(0.25, from + 0.02);
    loudness.gain.exponentialRampToValueAtTime(0.001, from + 0.5);
    wave.connect(loudness).connect(audio.destination);
    wave.start(from);
    wave.stop(from + 0.55);
  };
  const ring = async () => {
    if (!(await ready())) return; // tones that wait would all sound at the next touch
    tone(880, 0);
    tone(1174.7, 0.16);
    button.dataset.rung = String(Number(button.dataset.rung || 0) + 1);
  };
  button.hidden = false;
  show();
  button.addEventListener("click", () => {
    on = !on;
    try { localStorage.setItem(KEY, on ? "on" : "off"); } catch (error) { console.warn("not kept", error); }
    show();
    if (on) ring();
  });
  button.addEventListener("arrived", () => { if (on) ring(); });
  document.addEventListener("pointerup", () => { if (on) ready(); });
  document.addEventListener("keyup", () => { if (on) ready(); });
  if (on) ready();
})();
