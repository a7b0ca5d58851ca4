"use strict";
// Shows the code of each minute for days on end. What it cannot fetch it does not show: an old code opens nothing.
(() => {
  const shown = document.querySelector("[data-code]");
  const away = document.querySelector("[data-away]");
  const RETRY_MS = 3000;
  const AFTER_MS = 300; // the next code is there by then, whichever clock is a little ahead
  let timer = null;
  let source = null;

  let ended = false;
  const revoked = () => { // heard from the stream and from what it fetches: one way out is enough
    if (ended) return;
    ended = true;
    clearTimeout(timer);
    source.close();
    window.location.assign("/display");
  };

  const show = (lost) => { shown.hidden = lost; away.hidden = !lost; };

  const renew = async () => {
    if (ended) return;
    clearTimeout(timer);
    timer = setTimeout(renew, RETRY_MS);
    try {
      const answer = await fetch(shown.dataset.code, { cache: "no-store", signal: AbortSignal.timeout(RETRY_MS) });
      if (answer.status === 401) { revoked(); return; }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      shown.innerHTML = await answer.text();
      clearTimeout(timer);
      timer = setTimeout(renew, Number(shown.querySelector("[data-left-ms]").dataset.leftMs) + AFTER_MS);
      show(false);
    } catch (error) {
      console.warn("no code", error);
      show(true);
    }
  };

  const follow = () => {
    source = new EventSource(shown.dataset.events);
    source.addEventListener("start", renew);
    source.addEventListener("ended", revoked);
    source.addEventListener("error", () => {
      renew();
      if (source.readyState === EventSource.CLOSED && !ended) setTimeout(follow, RETRY_MS); // refused, not interrupted
    });
  };
  follow();
  navigator.serviceWorker?.register("/sw.js").catch((error) => console.warn("no page for when the node is away", error));

  // A screen that went to sleep has missed its minutes; where the page comes over TLS it may ask not to.
  const wake = async () => {
    if (document.hidden) return;
    renew();
    try { await navigator.wakeLock?.request("screen"); } catch (error) { console.warn("may sleep", error); }
  };
  document.addEventListener("visibilitychange", wake);
  wake();

  const full = document.querySelector("[data-full-screen]");
  const offer = () => {
    full.hidden = !document.fullscreenEnabled || Boolean(document.fullscreenElement)
      || matchMedia("(display-mode: fullscreen)").matches;
  };
  full.addEventListener("click", () => document.documentElement.requestFullscreen());
  document.addEventListener("fullscreenchange", offer);
  offer();
  window.addEventListener("pagehide", () => source.close());
})();
