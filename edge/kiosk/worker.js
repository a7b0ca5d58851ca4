"use strict";
// Before it stand KEPT, the name of this version's cache, and FILES, all that it holds: styles, scripts, pictures of
// ours, the same for everybody. Pages and their parts come from the node or not at all: what they show is people's.
const AWAY = [502, 504]; // what a proxy says while the node is away; the node's own 503 says why, and is shown

const offline = async (url) => {
  const page = url.pathname === "/display" ? "/static/offline_display.html" : "/static/offline.html";
  return (await caches.match(page)) || Response.error();
};

const shown = async (event, url) => {
  const { request } = event;
  try {
    const answer = (await event.preloadResponse) || (await fetch(request));
    if (!AWAY.includes(answer.status)) return answer;
  } catch (error) {
    console.warn("node away", error);
  }
  // what was sent may have arrived or not: the page it was sent from says so once it can be had again
  return request.method === "GET" ? offline(url) : Response.redirect(request.referrer || "/", 303);
};

const kept = async (request, url) => {
  try {
    return await fetch(request);
  } catch (error) {
    return (await caches.match(url.pathname)) || Response.error();
  }
};

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    await (await caches.open(KEPT)).addAll(FILES);
    await self.skipWaiting();
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    const older = (await caches.keys()).filter((name) => name !== KEPT);
    await Promise.all(older.map((name) => caches.delete(name)));
    await self.registration.navigationPreload?.enable(); // a worker that has to be woken costs the page no time
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.mode === "navigate") event.respondWith(shown(event, url));
  else if (url.origin === self.location.origin && FILES.includes(url.pathname)) event.respondWith(kept(event.request, url));
});
