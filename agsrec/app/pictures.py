"""The small pictures of photos on the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["QUALITY", "dimmed", "save_picture", "small_picture"]

QUALITY = 88
"""Of the JPEG files, in percent."""

_PICTURE = 320  # pixels, longer side
_PAPER = 255


def save_picture(path: Path, rgba: np.ndarray) -> None:
    """A small JPEG of RGBA [H, W, 4] uint8 on white."""
    small_picture(rgba).save(path, "JPEG", quality=QUALITY)


def small_picture(rgba: np.ndarray) -> Image.Image:
    """RGBA [H, W, 4] uint8 on white, as small as the page shows it."""
    image = Image.fromarray(rgba)
    image.thumbnail((_PICTURE, _PICTURE))
    paper = Image.new("RGB", image.size, (_PAPER, _PAPER, _PAPER))
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def dimmed(picture: Path) -> Path:
    """The small picture as it looks when it is left out, beside it."""
    path = picture.with_name(f"{picture.stem}_out.jpg")
    if not path.exists():
        with Image.open(picture) as image:
            grey = image.convert("L").convert("RGB")
            Image.blend(grey, Image.new("RGB", grey.size, (_PAPER, _PAPER, _PAPER)), 0.7).save(path, "JPEG")
    return path
