"""Image files in and out: whatever a camera, a phone or a program wrote becomes 8-bit RGBA."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from agsrec.errors import ImageError
from agsrec.files import atomic_write, read_bytes

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "encode_png", "load_image", "save_png"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".avif", ".ppm")
"""File name endings, in lower case, that are taken for images when a folder is searched."""

MAX_PIXELS = 100_000_000
"""Larger images are refused: a small file can unpack to more memory than there is."""

_MAX_BYTES = 512 * 2**20
_WHAT = "an image"
# Pillow knows more, but some of those run other programs (EPS) or are not pictures (fonts, video).
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")

_log = logging.getLogger(__name__)


def load_image(path: str | Path) -> tuple[np.ndarray, bool]:
    """An image file as it is meant to be seen: EXIF orientation applied, first frame, sRGB assumed.

    Returns:
        RGBA [H, W, 4] uint8 with straight alpha, and whether any pixel is not opaque.

    Raises:
        ImageError: The file is missing, no image, damaged, empty, or larger than `MAX_PIXELS`.
    """
    data = read_bytes(path, error=ImageError, what=_WHAT, limit=_MAX_BYTES)
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, for which the limit below is ours, and of odd metadata.
            warnings.simplefilter("ignore")
            rgba = _decode(path, data)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image that can be read; use PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(path, "it")) from error
    except Exception as error:  # decoders meet damaged data with almost any type of exception
        reason = str(error)[:100] or type(error).__name__
        raise ImageError(
            f"{path} is damaged or incomplete ({reason}); copy it again or save it as PNG"
        ) from error
    if rgba.size == 0:
        raise ImageError(f"{path} has no pixels; use another image")
    return rgba, bool((rgba[..., 3] < 255).any())


def _decode(path: str | Path, data: bytes) -> np.ndarray:
    """RGBA [H, W, 4] uint8 of encoded bytes; raises whatever the decoder raises."""
    Image.init()
    image: Image.Image = Image.open(io.BytesIO(data), formats=[f for f in _FORMATS if f in Image.OPEN])
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(_too_large(path, f"{image.width} x {image.height}"))
    image.load()
    try:
        image = ImageOps.exif_transpose(image)
    except Exception as error:  # a damaged EXIF block does not make the picture unusable
        _log.warning("%s: EXIF data is damaged, its orientation is ignored (%s)", path, error)
    return _to_rgba(image)


def _too_large(path: str | Path, size: str) -> str:
    return f"{path}: {size} is more than {MAX_PIXELS / 1e6:.0f} megapixels; scale the image down first"


def _to_rgba(image: Image.Image) -> np.ndarray:
    """RGBA [H, W, 4] uint8 of an image in any Pillow mode."""
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _grey_to_uint8(np.asarray(image), is_float=image.mode == "F")
        return np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image.convert("RGB").convert("RGBA"))


def _grey_to_uint8(values: np.ndarray, *, is_float: bool) -> np.ndarray:
    """Deep grey [H, W] as uint8: integers are taken as 16 bit, floats as [0, 1] unless they exceed it."""
    deep = np.nan_to_num(values.astype(np.float64))
    if is_float:
        scale = 255.0 if deep.max(initial=0.0) <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0
    return (deep * scale).round().clip(0, 255).astype(np.uint8)


def encode_png(image: np.ndarray) -> bytes:
    """PNG of uint8 [H, W], [H, W, 3] or [H, W, 4]."""
    assert image.dtype == np.uint8, image.dtype
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(path: str | Path, image: np.ndarray) -> None:
    """Write uint8 [H, W], [H, W, 3] or [H, W, 4] as PNG, atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    atomic_write(path, encode_png(image))
