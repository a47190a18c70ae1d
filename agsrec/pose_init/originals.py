"""The photos that cut-outs were made from, with their backgrounds, as long as they are there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agsrec.errors import AgsrecError
from agsrec.files import contents_digest
from agsrec.images import load_image
from agsrec.matching import Whole

if TYPE_CHECKING:
    from agsrec.photos import Known
    from agsrec.preprocess import Crop
    from agsrec.views import Views

__all__ = ["originals_digests", "whole_photos"]

_log = logging.getLogger(__name__)

_DIFFERENT = 0.1  # mean difference of a photo's colours from its cut-out's from which it is another photo
_OPAQUE = 128


@dataclass(frozen=True)
class _Record:
    """What preprocessing noted, by view name."""

    photos: Mapping[str, Path] = field(default_factory=dict)
    crops: Mapping[str, Crop] = field(default_factory=dict)
    known: Mapping[str, Known] = field(default_factory=dict)


def originals_digests(folder: Path) -> dict[str, str]:
    """Digests of all files that `whole_photos` may look at."""
    photos = _record(folder).photos
    return {"source": contents_digest(folder / "source")} | {
        name: contents_digest(file) for name, file in photos.items()
    }


def whole_photos(views: Views, folder: str | Path | None) -> list[Whole] | None:
    """The photo of each view with its background, or what preprocessing has kept of it around the object.

    None where that is not known of every view.

    Args:
        views: V cut-outs.
        folder: Folder that preprocessing wrote.
    """
    if folder is None:
        return None
    record = _record(Path(folder))
    found = []
    for index, name in enumerate(views.names):
        view = views.images[index].cpu().numpy()
        whole = _photo(view, name, record) or _kept(view, name, record, Path(folder))
        if whole is None:
            return None
        found.append(whole)
    return found


def _record(folder: Path) -> _Record:
    """What there is; less where files are missing or damaged, which says nothing against the cut-outs."""
    from agsrec.photos import Known, known_photos
    from agsrec.preprocess import find_photos, read_crops, read_lenses

    try:
        photos = find_photos(folder)[1]
    except AgsrecError:
        return _Record()
    file = folder / "processed" / "crops.json"
    try:
        crops, lenses = read_crops(file), read_lenses(file)
        listed = known_photos(folder)
    except AgsrecError as error:
        _log.info("%s; of the photos only what is around the objects is used", error)
        return _Record(photos)
    known = {name: replace(listed.get(name, Known()), lens=lenses.get(name), mask=None) for name in photos}
    return _Record(photos, crops, known)


def _photo(view: np.ndarray, name: str, record: _Record) -> Whole | None:
    """The photo itself, if it is still the one that the view [H, W, 4] was cut from."""
    from agsrec.photos import read_photo

    if name not in record.crops or name not in record.photos:
        return None
    crop = record.crops[name]
    try:
        rgba = read_photo(record.photos[name], record.known[name]).rgba
    except AgsrecError as error:
        _log.info("%s; what is around the object is used alone", error)
        return None
    height, width = rgba.shape[:2]
    if (width, height) != (crop.width, crop.height) or not _shows(rgba, crop, view):
        return None
    return Whole(
        rgb=np.ascontiguousarray(rgba[..., :3]),
        shown=rgba[..., 3] >= _OPAQUE,
        scale=view.shape[1] / crop.side,
        corner=(float(crop.x0), float(crop.y0)),
        principal=(0.5 * width, 0.5 * height),
        reach=float(max(width, height)),
    )


def _shows(rgba: np.ndarray, crop: Crop, view: np.ndarray) -> bool:
    """Whether a view [H, W, 4] in [0, 1] is that piece of a photo [H, W, 4] uint8, where it is solid."""
    solid = np.argwhere(view[..., 3] > 0.9)[::7]
    at = np.floor((solid + 0.5) * crop.side / view.shape[1] + [crop.y0, crop.x0]).astype(int)
    inside = ((at >= 0) & (at < rgba.shape[:2])).all(1)
    if not inside.any():
        return False
    pixels, seen = solid[inside], rgba[at[inside, 0], at[inside, 1], :3] / 255
    return bool(np.abs(seen - view[pixels[:, 0], pixels[:, 1], :3]).mean() < _DIFFERENT)


def _kept(view: np.ndarray, name: str, record: _Record, folder: Path) -> Whole | None:
    """The square around the object that preprocessing keeps in `source/`."""
    try:
        rgba, transparent = load_image(folder / "source" / f"{name}.png")
    except AgsrecError:
        return None
    side = len(rgba)
    if rgba.shape[1] != side or transparent:
        return None
    shown, principal, reach = np.ones(rgba.shape[:2], bool), (0.5 * side, 0.5 * side), None
    crop = record.crops.get(name)
    if crop is not None:  # beyond the photo's border there is nothing but that border
        scale = side / crop.side
        x, y = (np.arange(side) + 0.5) / scale + crop.x0, (np.arange(side) + 0.5) / scale + crop.y0
        shown = ((y > 0) & (y < crop.height))[:, None] & ((x > 0) & (x < crop.width))[None]
        principal = ((0.5 * crop.width - crop.x0) * scale, (0.5 * crop.height - crop.y0) * scale)
        reach = max(crop.width, crop.height) * scale
    to_view = view.shape[1] / side
    return Whole(np.ascontiguousarray(rgba[..., :3]), shown, to_view, (0.0, 0.0), principal, reach)
