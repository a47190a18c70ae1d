"""A video file as a row of pictures, of which one is in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agsrec.errors import ImageError
from agsrec.files import folder_entries
from agsrec.images import MAX_PIXELS

if TYPE_CHECKING:
    import cv2

__all__ = ["VIDEO_SUFFIXES", "Film", "Frame", "is_video", "undecodable", "videos_in"]

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".webm", ".avi", ".mkv", ".3gp", ".mpg", ".mpeg", ".mts", ".m2ts"),
    *(".wmv", ".ogv"),
)
"""File name endings, in lower case, that are taken for videos."""

_PLAYLISTS = (b"#EXTM3U", b"ffconcat")  # they would have other files opened
_QUIET = "-8"  # of FFmpeg's levels


def is_video(path: Path) -> bool:
    """Whether a file's name is a video's; a folder's never is."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not os.path.isdir(path)


def videos_in(folder: Path) -> list[Path]:
    """The videos directly in a folder, by name."""
    return [f for f in folder_entries(folder) if is_video(f) and not f.name.startswith(".")]


@dataclass(frozen=True)
class Frame:
    """A picture of a video.

    Attributes:
        index: Its number, from 0.
        seconds: When it is shown.
        picture: [H, W, 3] uint8, blue first, turned as it is meant to be seen.
    """

    index: int
    seconds: float
    picture: NDArray[np.uint8]


@dataclass(frozen=True)
class Film:
    """A video file.

    Attributes:
        path: The file.
        count: Frames it is said to have; 0 where nothing says so.
        fps: Frames per second, on average.
    """

    path: Path
    count: int
    fps: float

    @staticmethod
    def of(path: str | Path) -> Film:
        """A file, if it can be opened as a video.

        Raises:
            ImageError: It is missing, or no video that can be read.
        """
        path = Path(path)
        with _opened(path) as capture:
            import cv2

            fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
            width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if width * height > MAX_PIXELS:
            raise ImageError(
                f"{path}: {width:.0f} x {height:.0f} is more than {MAX_PIXELS / 1e6:.0f} megapixels; "
                "scale the video down first"
            )
        return Film(path, int(count) if 0 < count < 1e9 else 0, fps if 0 < fps < 1e5 else 25.0)

    def frames(self, wanted: Callable[[int], bool], last: int | None = None) -> Iterator[Frame]:
        """The frames whose numbers are wanted, in their order, up to and with the last one, if one is named.

        It ends where the file does, or can no longer be decoded.
        """
        import cv2

        with _opened(self.path) as capture:
            before, index = -1.0, 0
            while (last is None or index <= last) and capture.grab():
                shown = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                seconds = shown if shown > before else max(index / self.fps, before + 1 / self.fps)
                before = seconds
                if wanted(index):
                    decoded, picture = capture.retrieve()
                    if not decoded:
                        return
                    yield Frame(index, seconds, np.asarray(picture, dtype=np.uint8))
                index += 1


@contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    """The decoder of a file, at its beginning.

    Raises:
        ImageError: The file is missing, or no video that can be read.
    """
    import cv2

    _require_file(path)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _QUIET)  # what is wrong is said here
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
    finally:
        cv2.utils.logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise ImageError(_unreadable(path, "it is not a video that can be read, or incomplete"))
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield capture
    finally:
        capture.release()


def _require_file(path: Path) -> None:
    if not os.path.exists(path):
        raise ImageError(f"{path}: no such file; give a video")
    if not os.path.isfile(path):
        raise ImageError(f"{path} is not a file; give a video")
    try:
        with open(path, "rb") as file:
            head = file.read(64).lstrip()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    if not head:
        raise ImageError(f"{path} is empty; copy the video again")
    if head.startswith(_PLAYLISTS):
        raise ImageError(f"{path} is a list of videos; give one of them")


def undecodable(path: Path) -> ImageError:
    """The error of a video of which no picture can be had."""
    return ImageError(_unreadable(path, "none of its frames can be decoded"))


def _unreadable(path: Path, why: str) -> str:
    return (
        f"{path}: {why}; copy it again, or save it as MP4 with H.264, for example with: "
        f"ffmpeg -i {path.name} -c:v libx264 {path.stem}_h264.mp4"
    )
