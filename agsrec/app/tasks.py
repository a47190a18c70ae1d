"""The heavy work, as it runs in a process of its own: frames of a video, cutting out, reconstructing."""

from __future__ import annotations

import io
import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.app.events import Began, Said, Send, Step
from agsrec.app.pictures import save_picture
from agsrec.pipeline import Listener, PhotoFolder, Settings, StageName

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.dataset import Scene
    from agsrec.fit import FitProgress
    from agsrec.gaussians import Gaussians

__all__ = ["CutOut", "Reconstruct", "TakeFrames"]

_PREVIEW_SECONDS = 1.5
_PREVIEW_SIZE = 256  # pixels
_PREVIEW_TURN = 12.0  # degrees between two previews


@dataclass(frozen=True)
class TakeFrames:
    """Take photos from a video.

    Attributes:
        video: The video's file.
        label: What the user knows it by.
        folder: Empty folder for the photos.
        pictures: Folder for small pictures of them.
        count: Photos to take, at most.
    """

    video: Path
    label: str
    folder: Path
    pictures: Path
    count: int

    def run(self, send: Send) -> dict[str, Any]:
        """Do it; returns the photos, and when in the video each is shown, in seconds."""
        from agsrec.frames import extract_frames
        from agsrec.images import load_image

        def report(text: str) -> None:
            send(Began("frames", self._public(text[:1].upper() + text[1:])))

        report(f"looking at {self.video.name}")
        taken = extract_frames(self.video, self.folder, count=self.count, report=report)
        for sentence in (*taken.said, *taken.remarks):
            send(Said(f"{self._public(sentence)}."))
        photos = []
        for number, file in enumerate(taken.files, 1):
            photo = self.folder / f"{number:02d}.jpg"
            os.rename(self.folder / file, photo)
            save_picture(self.pictures / photo.name, load_image(photo)[0])
            photos.append(photo)
        return {"photos": photos, "seconds": taken.seconds}

    def public_message(self, error: Exception) -> str:
        """The error without paths of the machine."""
        text = self._public(" ".join(str(error).split()))
        return f"{text[:1].upper()}{text[1:].rstrip('.')}."

    def _public(self, text: str) -> str:
        """A sentence in which the video goes by the user's name for it."""
        text = text.replace(f" in {self.folder}", "").replace(str(self.video), self.label)
        return text.replace(self.video.name, self.label)


@dataclass(frozen=True)
class CutOut:
    """Cut the object out of photos.

    Attributes:
        folder: Folder of the photos alone; gets `processed/`.
        pictures: Folder for small pictures of the cut-outs.
        labels: What the user knows the photos by.
        background_model: See `agsrec.preprocess.process`.
    """

    folder: Path
    pictures: Path
    labels: dict[str, str]
    background_model: str = "auto"

    def run(self, send: Send) -> dict[str, Any]:
        """Do it; returns the small pictures by view name, and of doubtful cuts why they are."""
        from agsrec.images import load_image
        from agsrec.preprocess import process

        send(Began("cutout", "Cutting the object out"))

        def progress(done: int, total: int) -> None:
            send(Began("cutout", f"Cutting the object out: {done} of {total} photos"))

        done = process(self.folder, model=self.background_model, progress=progress)
        pictures = {}
        for file in done.files:
            name = file.name.removesuffix("_rgba.png")
            pictures[name] = self.pictures / f"{name}.jpg"
            save_picture(pictures[name], load_image(file)[0])
        for name, reason in done.skipped.items():
            send(Said(f"Photo {self._known_as(name)} is left out: {reason}."))
        for name, reason in done.doubtful.items():
            send(Said(f"Look at the cut-out of photo {self._known_as(name)}: {reason}."))
        if done.doubtful:
            send(Said("Click a photo to leave it out, or go on with it."))
        return {"pictures": pictures, "doubtful": dict(done.doubtful)}

    def _known_as(self, name: str) -> str:
        label = self.labels.get(name)
        return f"{name} ({label})" if label else name

    def public_message(self, error: Exception) -> str:
        """The error without paths of the machine."""
        return _public_message(error, self.folder, self.labels)


@dataclass(frozen=True)
class Reconstruct:
    """Reconstruct an object.

    Attributes:
        scene: Folder with cut-out photos, and with cameras where `posed`.
        title: Name of the object.
        views: The views to use.
        posed: Whether the folder has cameras; else they are estimated.
        work: Empty folder to work in.
        served: Empty folder for what the page shows.
        labels: What the user knows the photos by.
        settings: How.
    """

    scene: Path
    title: str
    views: tuple[str, ...]
    posed: bool
    work: Path
    served: Path
    labels: dict[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)

    def run(self, send: Send) -> dict[str, Any]:
        """Do it; returns everything that the page shows."""
        from agsrec.app.outcome import publish
        from agsrec.pipeline.run import run

        folder = self.work / "result"
        finished = run(self._what(), folder, self.settings, _Sender(send))
        send(Began("export", "Packing everything"))
        return publish(finished, folder, self.served, self.title)

    def _what(self) -> Scene | PhotoFolder:
        """The photos, with cameras where there are some or nothing to estimate them from."""
        from agsrec.dataset import load_scene
        from agsrec.single_photo import photo_scene

        size = self.settings.working_size
        if self.posed:
            scene = load_scene(self.scene.parent, self.scene.name, views=self.views, size=size)
        elif len(self.views) == 1:
            scene = photo_scene(self.scene / "processed" / f"{self.views[0]}_rgba.png", size=size)
        else:
            return PhotoFolder(self.scene, views=self.views, name=self.title)
        return replace(scene, name=self.title)

    def public_message(self, error: Exception) -> str:
        """The error without paths of the machine."""
        return _public_message(error, self.scene, self.labels)


def _public_message(error: Exception, folder: Path, labels: dict[str, str]) -> str:
    """One sentence in which files go by the users' names for them."""
    text = " ".join(str(error).split())
    for name, label in labels.items():
        for entry in sorted(os.listdir(folder)):
            if Path(entry).stem == name:
                text = text.replace(str(folder / entry), f"Photo {name} ({label})")
    text = text.replace(f"{folder}{os.sep}", "").replace(str(folder), "the photos")
    return text[:1].upper() + text[1:].rstrip(".") + "."


# -------------------------------------------------------------------- telling the page


class _Sender(Listener):
    """Sends what a run does to the page, with a picture of the scene every now and then."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._azimuth = 0.0
        self._next = 0.0

    def stage(self, name: StageName, text: str) -> AbstractContextManager[object]:
        """Tell that a stage begins; what is slow tells of itself."""
        self._begin(name, text[:1].upper() + text[1:])
        return nullcontext()

    def say(self, text: str) -> None:
        """Pass a sentence on."""
        self._send(Said(text))

    def doing(self, name: StageName, text: str) -> None:
        """What the search for badly posed photos does next."""
        self._begin(name, f"Checking the poses: {text}")

    def step(self, name: StageName, progress: FitProgress) -> None:
        """Pass a step on; of the short fits that judge poses only their pictures."""
        preview = self._preview(progress)
        if name == "fit" or preview is not None:
            self._send(self._step(name, progress, preview))

    def _begin(self, stage: str, text: str) -> None:
        self._send(Began(stage, text))

    @staticmethod
    def _step(stage: str, p: FitProgress, preview: bytes | None) -> Step:
        return Step(stage, p.iteration, p.total, p.size, p.loss, p.psnr, p.gaussians, preview)

    def _preview(self, progress: FitProgress) -> bytes | None:
        """A picture, if the last one is old enough."""
        if time.monotonic() < self._next:
            return None
        self._azimuth += _PREVIEW_TURN
        picture = _preview(*progress.snapshot(), self._azimuth)
        self._next = time.monotonic() + _PREVIEW_SECONDS
        return picture


def _preview(gaussians: Gaussians, cameras: Cameras, turn_deg: float) -> bytes:
    """JPEG of a scene from somewhere around it."""
    from PIL import Image

    from agsrec.figures.video import orbit_cameras
    from agsrec.metrics.evaluation import rendered_on_white

    frames = 360
    camera = orbit_cameras(cameras, frames=frames)[[int(turn_deg) % frames]]
    image = rendered_on_white(gaussians, camera.resized(_PREVIEW_SIZE, _PREVIEW_SIZE))[0]
    data = io.BytesIO()
    Image.fromarray((image * 255).round().byte().cpu().numpy()).save(data, "JPEG", quality=85)
    return data.getvalue()
