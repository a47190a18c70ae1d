// A picture turns while it is pointed at, or has the focus: its video is fetched then, and not before.
const still = (event) => {
  const picture = event.target.closest("[data-video]");
  if (picture && !picture.contains(event.relatedTarget)) picture.querySelector("video")?.remove();
};
const turn = (event) => {
  const picture = event.target.closest("[data-video]");
  if (!picture || picture.querySelector("video")) return;
  const video = document.createElement("video");
  Object.assign(video, { src: picture.dataset.video, muted: true, loop: true, autoplay: true, playsInline: true });
  video.addEventListener("error", () => video.remove());
  picture.append(video);
};
for (const name of ["pointerover", "focusin"]) document.addEventListener(name, turn);
for (const name of ["pointerout", "focusout"]) document.addEventListener(name, still);
