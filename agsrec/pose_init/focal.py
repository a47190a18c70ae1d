"""What is known of focal lengths before any pose is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from agsrec.errors import OptionError

__all__ = [
    "DEFAULT_FOV_DEG",
    "crop_zooms",
    "default_focal",
    "exif_focals",
    "focals_per_view",
    "typical",
]

DEFAULT_FOV_DEG = 40.0
"""Field of view of the longer image side that is assumed where nothing says better, degrees."""

_WIDEST_FOV_DEG, _NARROWEST_FOV_DEG = 150.0, 0.5


def default_focal(width: int, height: int) -> float:
    """Focal length in pixels of the assumed field of view."""
    return 0.5 * max(width, height) / math.tan(math.radians(DEFAULT_FOV_DEG) / 2)


def focals_per_view(
    focal: float | Sequence[float] | None, count: int, width: int, height: int
) -> list[float] | None:
    """A focal length in pixels for each of `count` views, None where nothing is known.

    Raises:
        OptionError: The number of values does not fit, or one is no usable focal length.
    """
    if focal is None:
        return None
    values = [float(focal)] * count if isinstance(focal, int | float) else [float(f) for f in focal]
    if len(values) != count:
        raise OptionError(f"{len(values)} focal lengths given for {count} views; give one, or one per view")
    low, high = (
        0.5 * max(width, height) / math.tan(math.radians(fov) / 2)
        for fov in (_WIDEST_FOV_DEG, _NARROWEST_FOV_DEG)
    )
    for value in values:
        if not low <= value <= high:
            raise OptionError(
                f"a focal length of {value:g} pixels makes no sense for images of {width} x {height}; "
                f"give one between {low:.0f} and {high:.0f}"
            )
    return values


def typical(focals: Sequence[float] | None) -> float | None:
    """One value for methods that take one: the median."""
    return None if focals is None else float(median(focals))


def exif_focals(folder: str | Path, names: Sequence[str], width: int) -> list[float] | None:
    """Focal lengths in pixels of the cut-out images `width` wide, as cameras wrote them into the photos.

    Args:
        folder: Folder that preprocessing wrote: `processed/crops.json` tells crops and focal lengths.
        names: The views.
        width: Width of their images.

    Returns:
        One per view, or None unless every view has one.
    """
    from agsrec.errors import ImageError
    from agsrec.preprocess.crops import read_crops, read_focals

    path = Path(folder) / "processed" / "crops.json"
    if not path.is_file():
        return None
    try:
        crops, focals = read_crops(path), read_focals(path)
    except ImageError:  # a damaged record: the photos themselves are fine
        return None
    if any(name not in focals or name not in crops for name in names):
        return None
    values = [focals[n] * width / crops[n].side for n in names]
    try:
        return focals_per_view(values, len(names), width, width)
    except OptionError:  # written by a program that did not know
        return None


def crop_zooms(folder: str | Path, names: Sequence[str], width: int) -> list[float] | None:
    """How much larger cut-out images `width` wide show things than their photos, which one camera took.

    Its focal length need not be known: those of the cut-outs are in these proportions.

    Args:
        folder: Folder that preprocessing wrote: `processed/crops.json` tells the crops.
        names: The views.
        width: Width of their images.

    Returns:
        One per view, or None unless all crops are known and their photos of one size, upright or not.
    """
    from agsrec.errors import ImageError
    from agsrec.preprocess.crops import read_crops

    path = Path(folder) / "processed" / "crops.json"
    if not path.is_file():
        return None
    try:
        crops = read_crops(path)
    except ImageError:  # a damaged record: the cut-outs themselves are fine
        return None
    if any(name not in crops for name in names):
        return None
    sizes = {tuple(sorted((crops[name].width, crops[name].height))) for name in names}
    return [width / crops[name].side for name in names] if len(sizes) == 1 else None
