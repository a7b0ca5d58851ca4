"use strict";
// Follows the server's events. An event says what changed and its id; what to show is fetched, and checked, there.
// The page marks what it wants kept current:
//   data-refresh="event ..." data-url="/fragment"   is fetched again when one of these events comes, and on reconnect
//   data-feed="event" data-url="/fragment/"         has one child per id, fetched and put in place, new ones first
//   data-hears="event ..."                          is told of each by a DOM event of that name, whose detail is the id
// The document hears "stream" whenever the stream is lost or back: detail.lost.
(() => {
  const indicator = document.querySelector("[data-live]");
  if (!indicator) return;

  const gone = () => { window.location.assign("/login"); };

  const get = async (url) => {
    const answer = await fetch(url, { headers: { "X-Requested-With": "fetch" }, cache: "no-store" });
    if (answer.status === 401) { gone(); return null; }
    return answer.ok ? answer.text() : null;
  };

  const parse = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };

  const refresh = async (element) => {
    const html = await get(element.dataset.url);
    if (html !== null && html !== element.dataset.shown) {
      element.dataset.shown = html;
      const fresh = parse(html);
      const focused = element.contains(document.activeElement) && document.activeElement.id;
      // what is the same stays: a picture is not asked for again, and what somebody types is not lost
      fresh.querySelectorAll("[data-key]").forEach((part) => {
        const shown = element.querySelector(`[data-key="${CSS.escape(part.dataset.key)}"]`);
        if (shown && shown.isEqualNode(part)) part.replaceWith(shown);
      });
      element.replaceChildren(fresh);
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
      element.hidden = html.trim() === "";
    }
  };

  const feed = async (element, id) => {
    const html = await get(element.dataset.url + encodeURIComponent(id));
    const item = html && parse(html).firstElementChild;
    if (!item) return;
    const shown = element.querySelector(`[data-id="${CSS.escape(id)}"]`);
    if (shown) { shown.replaceWith(item); return; }
    item.classList.add("fresh");
    const below = [...element.children].find((child) => Number(child.dataset.order) <= Number(item.dataset.order));
    element.insertBefore(item, below || null);
  };

  // A burst of events ends in one fetch a piece, in order.
  let waiting = new Map();
  let timer = null;
  const later = (key, work) => {
    waiting.set(key, work);
    if (timer === null) timer = setTimeout(async () => {
      const works = [...waiting.values()];
      waiting = new Map();
      timer = null;
      for (const work of works) {
        try { await work(); } catch (error) { console.warn("fetch failed", error); }
      }
    }, 80);
  };

  const refreshing = [...document.querySelectorAll("[data-refresh]")];
  const feeds = [...document.querySelectorAll("[data-feed]")];
  const names = new Set(refreshing.flatMap((element) => element.dataset.refresh.split(" ")));
  feeds.forEach((element) => names.add(element.dataset.feed));
  const hearing = [...document.querySelectorAll("[data-hears]")];
  hearing.flatMap((element) => element.dataset.hears.split(" ")).forEach((name) => names.add(name));
  const tellStream = (lost) => {
    indicator.classList.toggle("off", lost);
    document.dispatchEvent(new CustomEvent("stream", { detail: { lost } }));
  };

  const askAgain = async () => { // what somebody has typed is still there until the page can be had anew
    try {
      if ((await get("/session")) !== null) { window.location.reload(); return; }
    } catch (error) {
      console.warn("not reached", error);
    }
    setTimeout(askAgain, 5000);
  };

  const source = new EventSource("/events");
  let opened = false;
  source.addEventListener("open", () => { tellStream(false); });
  source.addEventListener("start", () => { // what came before it was missed
    if (opened && feeds.length) { window.location.reload(); return; }
    if (opened) refreshing.forEach((element) => later(element.dataset.url, () => refresh(element)));
    opened = true;
  });
  source.addEventListener("error", () => {
    tellStream(true);
    if (source.readyState === EventSource.CLOSED) askAgain(); // refused, not interrupted
  });
  source.addEventListener("ended", () => { source.close(); gone(); });
  names.forEach((name) => source.addEventListener(name, (event) => {
    refreshing.filter((element) => element.dataset.refresh.split(" ").includes(name))
      .forEach((element) => later(element.dataset.url, () => refresh(element)));
    feeds.filter((element) => element.dataset.feed === name)
      .forEach((element) => later(`${name} ${event.data}`, () => feed(element, event.data)));
    hearing.filter((element) => element.dataset.hears.split(" ").includes(name))
      .forEach((element) => element.dispatchEvent(new CustomEvent(name, { detail: event.data })));
  }));
  source.addEventListener("acked", (event) => { // everything up to this record is at central
    const [epoch, seq] = event.data.split(".").map(Number);
    document.querySelectorAll("[data-record]").forEach((element) => {
      const [ofEpoch, ofSeq] = element.dataset.record.split(".").map(Number);
      if (ofEpoch < epoch || (ofEpoch === epoch && ofSeq <= seq)) element.classList.add("acked");
    });
  });
  window.addEventListener("pagehide", () => source.close());

  // Ages ("3 minutes ago") grow by themselves only when asked for again.
  setInterval(() => refreshing.filter((element) => "ages" in element.dataset)
    .forEach((element) => later(element.dataset.url, () => refresh(element))), 20000);
})();

// A picture that is no longer kept leaves the outline behind it.
(() => {
  const gone = (image) => { if (image.matches && image.matches("[data-face]")) image.remove(); };
  document.addEventListener("error", (event) => gone(event.target), true);
  document.querySelectorAll("img[data-face]").forEach((image) => {
    if (image.complete && image.naturalWidth === 0 && image.loading !== "lazy") gone(image);
  });
})();
