"use strict";
// Asks every few seconds whether the node is back, and then shows the page that was asked for.
(() => {
  const EVERY_MS = 4000;
  const AWAY = [502, 503, 504];
  const told = document.querySelector("[data-tried]");
  const back = () => {
    if (window.location.pathname.startsWith("/static/")) window.location.replace("/");
    else window.location.reload();
  };
  const ask = async () => {
    if (told) told.textContent = new Date().toLocaleTimeString("zh-CN", { hour12: false });
    try { // with nobody signed in it answers 401, which is an answer
      const answer = await fetch("/session", { cache: "no-store", signal: AbortSignal.timeout(EVERY_MS) });
      if (!AWAY.includes(answer.status)) { back(); return; }
    } catch (error) {
      console.warn("not reached", error);
    }
    setTimeout(ask, EVERY_MS);
  };
  setTimeout(ask, EVERY_MS);
})();
