"""From photo files to `processed/*_rgba.png`: the only part of preprocessing that touches the disk."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from agsrec.errors import AgsrecError, ImageError, OptionError
from agsrec.files import atomic_write, folder_entries, read_bytes
from agsrec.images import IMAGE_SUFFIXES, encode_png
from agsrec.lenses import Lens, lens_from_dict
from agsrec.photos import known_photos, read_photo
from agsrec.preprocess.background import GRABCUT, MODELS, Remover, make_remover
from agsrec.preprocess.exif import exif_focal
from agsrec.preprocess.recenter import Crop, crop_rgba, object_box, square_crop

__all__ = ["Processed", "process", "read_crops", "read_focals", "read_lenses"]

_log = logging.getLogger(__name__)
_MAX_CROPS_BYTES = 16 * 2**20
_WHAT = "the crops.json that processing writes"


@dataclass(frozen=True)
class Processed:
    """What `process` wrote.

    Attributes:
        files: The cut-out images, one per photo.
        crops: By view name, the piece of the photo that the image shows.
        focals: By view name, the focal length in pixels of the photo, where its EXIF data or its lens tell.
        lenses: By view name, the lens whose distortion was taken out of the photo.
    """

    files: tuple[Path, ...]
    crops: Mapping[str, Crop]
    focals: Mapping[str, float] = field(default_factory=dict)
    lenses: Mapping[str, Lens] = field(default_factory=dict)


def process(
    path: str | Path,
    *,
    size: int = 512,
    model: str = "u2net",
    border_ratio: float = 0.2,
    recenter: bool = True,
    cameras: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Processed:
    """Cut out and centre the object in a photo, or in every photo of a folder.

    Writes `processed/<name>_rgba.png`, `source/<name>.png` (the same crop with its background) and
    `processed/crops.json` into the folder, or into the folder that holds the photo. A folder without photos
    of its own but with an `images/` or a `source/` is processed from there, and its `source/` is left alone.
    Nothing is written unless every photo could be used.

    Photos whose cameras are known are undistorted first, and cut out by their masks where there are some; see
    `agsrec.photos`.

    Args:
        path: Photo, or folder of photos.
        size: Side of the square results in pixels.
        model: Background model (see `MODELS`), or "grabcut". Transparent images keep their own alpha.
        border_ratio: Share of the result's side left free around the object's longest side.
        recenter: Centre and scale the object; otherwise the whole photo is fitted into the square.
        cameras: Camera file of the photos: nerfstudio's `transforms.json` or a COLMAP model. By default the
            one in the folder, unless the photos are those in `source/`, which it may not be for.
        progress: Called with the number of photos done and their total.

    Raises:
        OptionError: An option is out of range, or there is nothing to process.
        CameraError: The camera file cannot be used.
        ImageError: A photo cannot be used, shows no object, or two photos share a name.
        OutputError: The results cannot be written.
    """
    _check_options(size, model, border_ratio)
    folder, photos, write_source = _find_photos(Path(path))
    remover: Remover | None = None
    results: dict[Path, bytes] = {}
    crops: dict[str, Crop] = {}
    focals: dict[str, float] = {}
    lenses: dict[str, Lens] = {}
    known = known_photos(folder, cameras) if write_source or cameras is not None else {}
    for done, (name, photo) in enumerate(photos.items(), 1):
        taken = read_photo(photo, known.get(name))
        rgba, has_alpha = taken.rgba, taken.cut_out
        if not has_alpha:
            remover = remover or make_remover(model)
            alpha = np.minimum(remover(np.ascontiguousarray(rgba[..., :3])), rgba[..., 3])
        else:
            alpha = rgba[..., 3]
        cut, crop = _cut_out(photo, np.dstack([rgba[..., :3], alpha]), size, border_ratio, recenter)
        crops[name] = crop
        focal = exif_focal(photo, crop.width, crop.height)
        if taken.lens is not None:
            lenses[name], focal = taken.lens, float(taken.lens.pinhole[[0, 1], [0, 1]].mean())
        if focal is not None:
            focals[name] = focal
        results[folder / "processed" / f"{name}_rgba.png"] = encode_png(cut)
        if write_source:
            results[folder / "source" / f"{name}.png"] = _encode_source(rgba, crop, has_alpha)
        if progress:
            progress(done, len(photos))
    for file, data in results.items():
        atomic_write(file, data)
    _write_crops(folder / "processed" / "crops.json", crops, focals, lenses)
    files = tuple(folder / "processed" / f"{name}_rgba.png" for name in photos)
    return Processed(files, crops, focals, lenses)


def _cut_out(
    photo: Path, rgba: np.ndarray, size: int, border_ratio: float, recenter: bool
) -> tuple[np.ndarray, Crop]:
    """The object [size, size, 4] of a photo with alpha [H, W, 4], black where it is transparent."""
    box = object_box(rgba[..., 3])
    if box is None:
        raise ImageError(f"{photo}: no object found in it; cut it out by hand (PNG with alpha) or remove it")
    height, width = rgba.shape[:2]
    crop = square_crop(width, height, size, box=box if recenter else None, border_ratio=border_ratio)
    cut = crop_rgba(rgba, crop, extend=False)
    cut[cut[..., 3] == 0] = 0
    return cut, crop


def _check_options(size: int, model: str, border_ratio: float) -> None:
    if not 16 <= size <= 4096:
        raise OptionError(f"size must be between 16 and 4096 pixels, not {size}")
    if not 0 <= border_ratio < 0.9:
        raise OptionError(f"border_ratio must be at least 0 and below 0.9, not {border_ratio}")
    if model not in (*MODELS, GRABCUT):
        raise OptionError(
            f"unknown background model {model!r}; choose one of {', '.join((*MODELS, GRABCUT))}"
        )


def _find_photos(path: Path) -> tuple[Path, dict[str, Path], bool]:
    """Folder for the results, photos by view name, and whether `source/` is to be written."""
    if os.path.isfile(path):
        return path.parent, _by_name([path]), True
    if not os.path.isdir(path):
        raise OptionError(f"{path} does not exist; give a photo or a folder of photos")
    for folder, write_source in ((path, True), (path / "images", True), (path / "source", False)):
        photos = _photos_in(folder)
        if photos:
            return path, _by_name(photos), write_source
    raise OptionError(
        f"{path} has no photos ({', '.join(s[1:] for s in IMAGE_SUFFIXES)}); give another folder"
    )


def _photos_in(folder: Path) -> list[Path]:
    """Photos directly in a folder, by name; neither our results nor hidden files."""
    return [
        f
        for f in folder_entries(folder)
        if f.suffix.lower() in IMAGE_SUFFIXES
        and not f.name.startswith(".")
        and not f.name.endswith("_rgba.png")
        and os.path.isfile(f)
    ]


def _by_name(photos: Sequence[Path]) -> dict[str, Path]:
    out: dict[str, Path] = {}
    for photo in photos:
        name = photo.stem.removesuffix("_rgba")
        if name in out:
            raise ImageError(
                f"{out[name]} and {photo.name} would both become {name}_rgba.png; rename one of them"
            )
        out[name] = photo
    return out


def _encode_source(rgba: np.ndarray, crop: Crop, has_alpha: bool) -> bytes:
    """PNG of the crop with its background, without an alpha channel if the photo has none."""
    if has_alpha:
        return encode_png(crop_rgba(rgba, crop, extend=False))
    whole = rgba.copy()
    whole[..., 3] = 255  # beyond an undistorted photo, where its border goes on
    return encode_png(crop_rgba(whole, crop, extend=True)[..., :3])


# ---------------------------------------------------------------- crops.json


def _write_crops(
    path: Path, crops: Mapping[str, Crop], focals: Mapping[str, float], lenses: Mapping[str, Lens]
) -> None:
    """Add crops, with focal lengths and lenses where known, to those of earlier runs in the same folder."""
    try:
        known = dict(read_crops(path)) if os.path.exists(path) else {}
        lengths = dict(read_focals(path)) if known else {}
        bent = dict(read_lenses(path)) if known else {}
    except AgsrecError as error:
        _log.warning("%s; it is written anew", error)
        known, lengths, bent = {}, {}, {}
    bent = {name: lens for name, lens in bent.items() if name not in crops} | dict(lenses)
    lengths = {name: f for name, f in lengths.items() if name not in crops} | dict(focals)
    content: dict[str, dict[str, Any]] = {}
    for name, crop in {**known, **crops}.items():
        focal = {"focal_length": lengths[name]} if name in lengths else {}
        lens = {"lens": asdict(bent[name])} if name in bent else {}
        content[name] = {**asdict(crop), "scale": crop.scale, **focal, **lens}
    atomic_write(path, json.dumps(content, indent=2) + "\n")


def read_crops(path: str | Path) -> dict[str, Crop]:
    """The crops by view name from a `crops.json` that `process` has written.

    Raises:
        ImageError: The file cannot be read or used.
    """
    keys = [f.name for f in fields(Crop)]
    content = _read_content(path)
    try:
        crops = {name: Crop(**{key: entry[key] for key in keys}) for name, entry in content.items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ImageError(f"{path} is not {_WHAT}; process the photos again") from error
    for name, crop in crops.items():
        values = [getattr(crop, key) for key in keys]
        if any(type(v) is not int or abs(v) > 10**9 for v in values) or crop.side < 1 or crop.size < 1:
            raise ImageError(f"{path}, view {name!r} has unusable numbers; process the photos again")
    return crops


def read_focals(path: str | Path) -> dict[str, float]:
    """Focal lengths in pixels of the photos, by view name, from a `crops.json`; only those that are known.

    Raises:
        ImageError: The file cannot be read or used.
    """
    out: dict[str, float] = {}
    for name, entry in _read_content(path).items():
        value = entry.get("focal_length") if isinstance(entry, dict) else None
        if value is None:
            continue
        if type(value) not in (int, float) or not math.isfinite(value) or not 0 < value < 1e9:
            raise ImageError(f"{path}, view {name!r} has an unusable focal length; process the photos again")
        out[name] = float(value)
    return out


def read_lenses(path: str | Path) -> dict[str, Lens]:
    """The lenses whose distortion was taken out of the photos, by view name, from a `crops.json`.

    Raises:
        ImageError: The file cannot be read or used.
    """
    out: dict[str, Lens] = {}
    for name, entry in _read_content(path).items():
        value = entry.get("lens") if isinstance(entry, dict) else None
        if value is None:
            continue
        lens = lens_from_dict(value)
        if lens is None:
            raise ImageError(f"{path}, view {name!r} has an unusable lens; process the photos again")
        out[name] = lens
    return out


def _read_content(path: str | Path) -> dict[str, Any]:
    """The entries of a `crops.json`, not yet checked."""
    data = read_bytes(path, error=ImageError, what=_WHAT, limit=_MAX_CROPS_BYTES)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{path} is not {_WHAT}; process the photos again") from error
    if not isinstance(content, dict):
        raise ImageError(f"{path} is not {_WHAT}; process the photos again")
    return content
