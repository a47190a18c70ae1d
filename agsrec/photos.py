"""Photos as their cameras saw them: with what a camera file and masks beside them say worked in."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agsrec.camera_files import CameraFile, find_photo_cameras, read_photo_cameras
from agsrec.camera_files.parsing import find_photo
from agsrec.errors import ImageError
from agsrec.files import folder_entries
from agsrec.images import IMAGE_SUFFIXES, load_image, turned_like
from agsrec.lenses import MAX_SIDE, Lens, undistorted
from agsrec.views import view_name

__all__ = ["Known", "Photo", "known_photos", "notes_of", "read_photo"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """What is known of a photo before it is opened.

    Attributes:
        cameras: File that has its camera; None without one.
        size: Width and height of the pictures that the camera is for.
        lens: Its lens, where that distorts.
        mask: Image that is white where the object is, of the photo as it was taken.
    """

    cameras: Path | None = None
    size: tuple[int, int] | None = None
    lens: Lens | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Photo:
    """A photo as a pinhole camera would have taken it.

    Attributes:
        rgba: The picture [H, W, 4] uint8, straight alpha; transparent where undistorting leaves nothing.
        cut_out: Whether its alpha tells the object from the background.
        background: Whether its colours go on behind the object, whatever the alpha.
        lens: What was taken out of it, in its own pixels.
    """

    rgba: np.ndarray
    cut_out: bool
    background: bool
    lens: Lens | None = None


def known_photos(folder: str | Path, cameras: str | Path | None = None) -> dict[str, Known]:
    """What is known of the photos in a folder, by view name.

    Args:
        folder: Folder of the photos, or one with an `images/`; masks are looked for in its `masks/`.
        cameras: Camera file of the photos; the one that is found in the folder by default.

    Raises:
        OptionError, CameraError: The camera file is missing or cannot be used.
    """
    place = Path(folder if cameras is None else cameras)
    found = find_photo_cameras(place) if cameras is None or os.path.isdir(place) else place
    file = found if cameras is None or found is not None else place
    known = {} if file is None else notes_of(file, read_photo_cameras(file))
    for name, mask in _masks(Path(folder) / "masks").items():
        entry = known.get(name, Known())
        if entry.mask is None:
            known[name] = Known(entry.cameras, entry.size, entry.lens, mask)
    return known


def notes_of(file: Path, listed: CameraFile) -> dict[str, Known]:
    """What a camera file says of its photos, by view name."""
    masks = {name: listed.extras.get(name, {}).get("mask_path") for name in listed.names}
    return {
        name: Known(file, size, lens, find_photo(file.parent, masks[name]))
        for name, size, lens in zip(listed.names, listed.sizes, listed.lenses, strict=True)
    }


def _masks(folder: Path) -> Mapping[str, Path]:
    """Masks by view name, as COLMAP has them (`a.jpg.png` for `a.jpg`) or under the photo's own name."""
    out = {}
    for file in folder_entries(folder):
        if file.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(file):
            inner = file.stem
            out[view_name(inner if Path(inner).suffix.lower() in IMAGE_SUFFIXES else file.name)] = file
    return out


def read_photo(path: Path, known: Known | None = None) -> Photo:
    """A photo with its mask as its alpha, without the distortion of its lens.

    A photo that a camera file is about is taken as it is stored, which is how the programs that write such
    files see it, unless only the upright picture is of the camera's shape.

    Raises:
        ImageError: The photo or its mask cannot be used, or the photo is not of the camera's shape.
    """
    known = known or Known()
    rgba, cut_out = load_image(path, upright=known.size is None)
    if known.size is not None and not _same_shape(rgba, known.size):
        rgba, cut_out = load_image(path)
        if not _same_shape(rgba, known.size):
            raise ImageError(
                f"{path} is {rgba.shape[1]} x {rgba.shape[0]}, but its camera in {known.cameras} is for "
                f"{known.size[0]} x {known.size[1]}; use the photos that the cameras were made from"
            )
    height, width = rgba.shape[:2]
    mask = None if known.mask is None or cut_out else _object_mask(known.mask, path, width, height)
    lens = None if known.lens is None else known.lens.resized(width, height)
    if lens is not None:
        if max(height, width) > MAX_SIDE:
            raise ImageError(
                f"{path}: {width} x {height} is too long to undistort; scale the image down first"
            )
        rgba = undistorted(rgba, lens)
        mask = None if mask is None else undistorted(_as_alpha(mask), lens)[..., 3]
    if mask is not None:
        rgba = np.dstack([rgba[..., :3], np.minimum(rgba[..., 3], mask)])
    return Photo(rgba, cut_out or mask is not None, not cut_out, lens)


def _as_alpha(mask: np.ndarray) -> np.ndarray:
    """Black RGBA [H, W, 4] with the mask [H, W] as its alpha."""
    return np.dstack([*[np.zeros_like(mask)] * 3, mask])


def _same_shape(image: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether an image [H, W, ...] is one of that width and height, perhaps scaled, to whole pixels."""
    height, width = image.shape[:2]
    return abs(width * size[1] / size[0] - height) < 1 or abs(height * size[0] / size[1] - width) < 1


def _object_mask(path: Path, photo: Path, width: int, height: int) -> np.ndarray | None:
    """The mask as alpha [H, W] uint8; None where it is not one of an object.

    It may lie as the photo is stored, which is how programs see it that know nothing of EXIF data. Masks also
    exist to hide something from a matcher, and are white all around then.
    """
    rgba, has_alpha = load_image(path, upright=False)
    mask = np.ascontiguousarray(rgba[..., 3] if has_alpha else rgba[..., 0])
    if not _same_shape(mask, (width, height)):
        mask = turned_like(photo, mask)
    if not _same_shape(mask, (width, height)):
        _log.warning("%s has another shape than its photo; it is not used", path)
        return None
    if mask.shape != (height, width):
        import cv2

        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    edges = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if (edges >= 128).mean() > 0.5 or not (mask >= 128).any():
        _log.warning("%s does not single out an object; it is not used", path)
        return None
    return mask
