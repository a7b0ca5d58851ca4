"use strict";
// The tablet's camera: pictures go to the node, which reads them and keeps none; a code found is sent as if scanned.
(() => {
  const button = document.querySelector("[data-tablet-camera]");
  const finder = document.querySelector("[data-viewfinder]");
  const field = document.querySelector("[data-scan]");
  if (!button || !finder || !field) return;
  const video = finder.querySelector("video");
  const said = finder.querySelector("p");
  const everyMs = 350;
  let stream = null;

  const stop = () => {
    if (stream) stream.getTracks().forEach((track) => track.stop());
    stream = null;
    finder.hidden = true;
  };

  const read = async () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const picture = await new Promise((done) => { canvas.toBlob(done, "image/jpeg", 0.8); });
    const form = new FormData();
    form.append("csrf_token", field.form.elements.csrf_token.value);
    form.append("picture", picture, "picture.jpg");
    const answer = await fetch("/code/read", { method: "POST", body: form });
    if (answer.status === 200) return (await answer.json()).text;
    if (answer.status !== 204) throw new Error(`status ${answer.status}`);
    return null;
  };

  const look = async () => {
    while (stream) {
      let text = null;
      try { text = video.videoWidth ? await read() : null; } catch (error) { console.warn("not read", error); }
      if (text && stream) {
        stop();
        field.value = text;
        field.form.requestSubmit();
        return;
      }
      await new Promise((done) => { setTimeout(done, everyMs); });
    }
  };

  button.addEventListener("click", async () => {
    if (stream) { stop(); return; }
    finder.hidden = false;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
    } catch (error) {
      console.warn("no camera", error);
      said.textContent = said.dataset.none;
      return;
    }
    video.srcObject = stream;
    await video.play();
    look();
  });
  window.addEventListener("pagehide", stop);
})();
