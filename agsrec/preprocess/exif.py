"""Focal lengths that cameras write into their photos."""

from __future__ import annotations

import math
from pathlib import Path

from agsrec.images import open_image

__all__ = ["exif_focal"]

_EXIF_BLOCK, _FOCAL_35MM = 0x8769, 0xA405
_DIAGONAL_35MM = math.hypot(36.0, 24.0)  # millimetres; equivalence is by the diagonal (CIPA DCG-001)
_RANGE_35MM = (5.0, 3000.0)  # no lens is outside; 0 means unknown


def exif_focal(photo: str | Path, width: int, height: int) -> float | None:
    """Focal length in pixels of a photo of `width` x `height`, from its 35 mm equivalent; None if not known.

    The photo is taken to be whole: after cropping by other programs, the equivalent is no longer right.
    """
    try:
        with open_image(photo) as image:
            value = float(image.getexif().get_ifd(_EXIF_BLOCK).get(_FOCAL_35MM, 0))
    except Exception:  # damaged metadata raise almost anything, and are no reason to refuse a photo
        return None
    if not _RANGE_35MM[0] <= value <= _RANGE_35MM[1]:
        return None
    return value * math.hypot(width, height) / _DIAGONAL_35MM
