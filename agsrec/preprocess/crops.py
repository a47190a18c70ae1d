"""`crops.json`: which piece of a photo each cut-out shows, and what is known of the photo's lens."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from agsrec.errors import AgsrecError, ImageError
from agsrec.files import atomic_write, read_bytes
from agsrec.lenses import Lens, lens_from_dict
from agsrec.preprocess.recenter import Crop

__all__ = ["read_crops", "read_focals", "read_lenses", "write_crops"]

_log = logging.getLogger(__name__)
_MAX_CROPS_BYTES = 16 * 2**20
_WHAT = "the crops.json that processing writes"


def write_crops(
    path: Path,
    crops: Mapping[str, Crop],
    focals: Mapping[str, float],
    lenses: Mapping[str, Lens],
    *,
    without: Collection[str] = (),
) -> None:
    """Add crops, with focal lengths and lenses where known, to those of earlier runs but `without`."""
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
        if name in without:
            continue
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
