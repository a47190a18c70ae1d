"""What users upload: looked at before anything else touches it.

A file is what it decodes to, whatever its name ends in; it is stored under a number of ours, and its name is
only ever shown.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from agsrec.app.pictures import QUALITY, small_picture
from agsrec.app.sessions import Photo, Session, Video
from agsrec.errors import ImageError, OptionError
from agsrec.frames import is_video
from agsrec.images import load_image, open_image

__all__ = ["Limits", "label_of", "take_in"]

_LABEL = 32  # characters


@dataclass(frozen=True)
class Limits:
    """What an upload may be.

    Attributes:
        photos: Photos of one object, at most.
        bytes: Size of one photo's file, at most.
        video_bytes: Size of a video, at most.
        min_side: Shorter side in pixels, at least. `agsrec.images.MAX_PIXELS` is the other end.
    """

    photos: int = 12
    bytes: int = 30 * 2**20
    video_bytes: int = 300 * 2**20
    min_side: int = 32

    @property
    def at_once(self) -> int:
        """Bytes of an upload, at most: of all photos, or of a video."""
        return max(self.photos * self.bytes, self.video_bytes)


def take_in(session: Session, files: Sequence[str | Path], limits: Limits) -> list[str]:
    """Add uploaded files to the photos of a session, as copies in its private folder.

    A video comes alone: frames of it will be the photos. One that waits for that makes room for what comes
    next, and so does a demo object.

    Returns:
        A sentence for every file that cannot be used; all others are added. With no other, nothing changes.

    Raises:
        OptionError: They are too many, or a video among other things; none is added.
    """
    if any(is_video(Path(file)) for file in files):
        return _take_in_video(session, files, limits)
    with session.at_work():
        before = 0 if session.posed else len(session.photos)
        if before + len(files) > limits.photos:
            raise OptionError(
                f"{before + len(files)} photos are too many: use at most {limits.photos} of one object"
            )
        usable, refused = _looked_at(files, limits)
        if not usable:
            return refused
        if session.posed or session.video is not None:
            session.reset()
        folder, pictures = session.new_folder(), session.new_folder(served=True)
        for file, small, suffix in usable:
            name = f"{1 + max((int(p.name) for p in session.photos), default=0):02d}"
            copy, picture = folder / f"{name}{suffix}", pictures / f"{name}.jpg"
            shutil.copyfile(file, copy)
            small.save(picture, "JPEG", quality=QUALITY)
            session.photos.append(Photo(name, label_of(file), picture, copy))
        session.title, session.scene = "your object", None  # the cut-outs are of fewer photos now
    return refused


def _take_in_video(session: Session, files: Sequence[str | Path], limits: Limits) -> list[str]:
    """As `take_in`, of files one of which is a video by its name; what it holds is seen when it is decoded,
    in a process of its own."""
    video = next(Path(file) for file in files if is_video(Path(file)))
    label = label_of(video)
    with session.at_work():
        if len(files) > 1 or (session.photos and not session.posed):
            raise OptionError(
                f"{label} is a video, of which sharp frames become the photos: upload it alone, or photos "
                "without it; Start over makes room"
            )
        if os.path.getsize(video) > limits.video_bytes:
            return [f"{label} is larger than {limits.video_bytes / 2**20:.0f} MB: make it shorter."]
        session.reset()
        copy = session.new_folder() / f"video{video.suffix.lower()}"
        shutil.copyfile(video, copy)
        session.title, session.video = "your object", Video(label, copy)
    return []


def _looked_at(
    files: Sequence[str | Path], limits: Limits
) -> tuple[list[tuple[str | Path, Image.Image, str]], list[str]]:
    """Files that can be used, with a small picture and a suffix each, and a sentence for every other one."""
    usable, refused = [], []
    for file in files:
        try:
            rgba, suffix = _decoded(Path(file), label_of(file), limits)
        except ImageError as error:
            refused.append(str(error))
        else:
            usable.append((file, small_picture(rgba), suffix))
    return usable, refused


def _decoded(file: Path, label: str, limits: Limits) -> tuple[np.ndarray, str]:
    """RGBA [H, W, 4] of a file that may be used, and what its name should end in."""
    if os.path.getsize(file) > limits.bytes:
        raise ImageError(f"{label} is larger than {limits.bytes / 2**20:.0f} MB: scale it down first.")
    try:
        rgba, _ = load_image(file)
    except ImageError as error:
        raise ImageError(_sentence(error, file, label)) from error
    height, width = rgba.shape[:2]
    if min(height, width) < limits.min_side:
        raise ImageError(
            f"{label} has {width} x {height} pixels: use a photo of at least {limits.min_side} on each side."
        )
    with open_image(file) as image:
        suffix = {"JPEG": ".jpg", "MPO": ".jpg", "JPEG2000": ".jp2"}.get(image.format or "", "")
    return rgba, suffix or f".{(image.format or 'png').lower()}"


def _sentence(error: Exception, file: Path, label: str) -> str:
    """The message with the file's label for its path, as a sentence."""
    return str(error).replace(repr(str(file)), label).replace(str(file), label).rstrip(".") + "."


def label_of(file: str | Path) -> str:
    """The stem of a file's name, as far as it is harmless to show."""
    plain = re.sub(r"[^\w .()+-]", "", Path(file).stem).strip(" .")[:_LABEL].strip()
    return plain or "photo"
