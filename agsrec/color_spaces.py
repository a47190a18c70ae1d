"""Pictures in other colour spaces as sRGB: by the ICC profile in the file, or Adobe RGB by its EXIF mark.

Display P3 of phones, Adobe RGB of cameras, CMYK and grey of scanners and layout programs; see the ICC
specification (ICC.1:2022), DCF 2.0 (the mark of Adobe RGB) and Adobe RGB (1998) 4.3.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["Recolor", "srgb_converter"]

Recolor = Callable[[Image.Image], np.ndarray]
"""RGB [H, W, 3] uint8 in sRGB of a picture in the colour space of the file."""

_EXIF_INTEROP, _INTEROP_INDEX, _ADOBE_RGB = 0xA005, 1, "R03"
_SPACES = {"RGB": ("RGB", "RGBA", "RGBX", "P", "PA"), "GRAY": ("L", "LA", "1"), "CMYK": ("CMYK",)}
_BASE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # Pillow's modes that colour management takes
_ADOBE_GAMMA = 563 / 256
# Linear Adobe RGB to linear sRGB: both have the white of D65, and only green is another.
_ADOBE_TO_SRGB = np.array(
    [[1.398356, -0.398356, 0.0], [0.0, 1.0, 0.0], [0.0, -0.042930, 1.042930]], dtype=np.float32
)
_STEPS = 2**14  # of the table from linear to sRGB: a quarter of a level where it is steepest

_log = logging.getLogger(__name__)


def srgb_converter(path: str | Path, image: Image.Image) -> Recolor | None:
    """What turns pieces of a picture into sRGB; None where they are in it as far as the file says.

    A damaged profile, or one that is for another kind of picture, is ignored with a warning.

    Args:
        path: The file, for messages.
        image: The picture; its pixels need not be decoded.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return _from_adobe_rgb if _is_adobe_rgb(image) else None
    try:
        return _by_profile(profile, image.mode)
    except Exception as error:  # a damaged profile does not make the picture unusable
        reason = str(error)[:100] or type(error).__name__
        _log.warning("%s: its colour profile is not used (%s)", path, reason)
        return None


def _by_profile(data: bytes, mode: str) -> Recolor | None:
    """Conversion by the contents of an ICC profile, of a picture in a Pillow mode.

    Raises:
        ValueError, PyCMSError, OSError: The profile is damaged, or not of pictures of that mode.
    """
    from PIL import ImageCms

    profile: Any = ImageCms.ImageCmsProfile(io.BytesIO(data))
    space = profile.profile.xcolor_space.strip()
    if mode not in _SPACES.get(space, ()):
        raise ValueError(f"it is for {space}, the picture is {mode}")
    if "sRGB" in (profile.profile.profile_description or ""):
        return None
    base = _BASE[space]
    # Perceptual, as pictures are meant; profiles of matrices have only one way.
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), base, "RGB")

    def recolor(piece: Image.Image) -> np.ndarray:
        plain = piece if piece.mode == base else piece.convert(base)
        return np.asarray(ImageCms.applyTransform(plain, transform))

    return recolor


# -------------------------------------------------------------------- Adobe RGB without a profile


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF data call the picture Adobe RGB, as cameras do that write no profile (DCF 2.0)."""
    if image.mode != "RGB":
        return False
    try:
        index = image.getexif().get_ifd(_EXIF_INTEROP).get(_INTEROP_INDEX)
    except Exception:  # damaged metadata raise almost anything
        return False
    return isinstance(index, str) and index.strip("\0 ") == _ADOBE_RGB


@cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Linear light [256] of Adobe RGB levels, and sRGB levels [_STEPS] of linear light (IEC 61966-2-1)."""
    linear = (np.arange(256) / 255) ** _ADOBE_GAMMA
    light = np.linspace(0.0, 1.0, _STEPS)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return linear.astype(np.float32), (255 * curved).round().astype(np.uint8)


def _from_adobe_rgb(piece: Image.Image) -> np.ndarray:
    linear, levels = _tables()
    light = linear[np.asarray(piece.convert("RGB"))] @ _ADOBE_TO_SRGB.T
    return levels[(light.clip(0, 1) * (_STEPS - 1)).round().astype(np.int32)]
