"""Image files in and out: whatever a camera, a phone or a program wrote becomes 8-bit RGBA in sRGB."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from agsrec.color_spaces import Recolor, srgb_converter
from agsrec.errors import ImageError
from agsrec.files import atomic_write, folder_entries, read_bytes

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "encode_png",
    "frame_count",
    "has_photos",
    "image_dimensions",
    "load_image",
    "open_image",
    "premultiplied",
    "resampled",
    "resized",
    "save_png",
    "straight",
    "turned_like",
]

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".heic", ".heif", ".hif", ".webp", ".tif", ".tiff"),
    *(".bmp", ".gif", ".jp2", ".avif", ".ppm"),
)
"""File name endings, in lower case, that are taken for images when a folder is searched."""

MAX_PIXELS = 100_000_000
"""Larger images are refused: a small file can unpack to more memory than there is."""

_MAX_BYTES = 512 * 2**20
_WHAT = "an image"
# Pillow knows more, but some of those run other programs (EPS) or are not pictures (fonts, video).
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
_SOLID = 128  # alpha from which on a pixel is rather opaque
_FRAMED = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")
_BAND = 512  # rows that are worked on at once: large photos are in memory once, not several times
_ORIENTATION = 0x0112  # EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}

_log = logging.getLogger(__name__)


def has_photos(folder: Path) -> bool:
    """Whether there are images in a folder or in its `images/`."""
    files = [*folder_entries(folder), *folder_entries(folder / "images")]
    return any(f.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(f) for f in files)


def load_image(path: str | Path, *, upright: bool = True) -> tuple[np.ndarray, bool]:
    """An image file as it is meant to be seen: EXIF orientation applied, first frame, colours in sRGB.

    A picture that is nowhere more transparent than opaque is taken for opaque.

    Args:
        path: Image file; what it holds counts, not the ending of its name.
        upright: Apply the EXIF orientation; otherwise the pixels stay as they are stored. HEIF has its
            rotation in the picture itself, which is always applied, once.

    Returns:
        RGBA [H, W, 4] uint8 with straight alpha, and whether it has transparency.

    Raises:
        ImageError: The file is missing, no image, damaged, empty, or larger than `MAX_PIXELS`.
    """
    with open_image(path) as image:
        image.load()
        recolor = srgb_converter(path, image)
        rgba = _to_rgba(_upright(path, image, image) if upright else image, recolor)
    if rgba.size == 0:
        raise ImageError(f"{path} has no pixels; use another image")
    transparent = bool((rgba[..., 3] < _SOLID).any())
    if not transparent:
        rgba[..., 3] = 255
    return rgba, transparent


def image_dimensions(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels of an image as it is stored, from its header alone.

    Raises:
        ImageError: As `load_image`.
    """
    with open_image(path) as image:
        return image.size


def turned_like(path: str | Path, pixels: np.ndarray) -> np.ndarray:
    """Pixels [H, W, ...] uint8 turned as an image file says that its own are to be turned."""
    with open_image(path) as image:
        return np.asarray(_upright(path, Image.fromarray(pixels), image))


def frame_count(path: str | Path) -> int:
    """How many pictures follow each other in a file, as pages or an animation; 1 where nobody can tell.

    A preview or a gain map beside a photo (JPEG with an MPF block, HEIF) is not counted.
    """
    try:
        with open_image(path) as image:
            return getattr(image, "n_frames", 1) if image.format in _FRAMED else 1
    except ImageError:  # whoever decodes the file says so
        return 1


@contextmanager
def open_image(path: str | Path) -> Iterator[Image.Image]:
    """An image file whose pixels are yet to be decoded; what goes wrong within the context becomes one error.

    Raises:
        ImageError: As `load_image`.
    """
    data = read_bytes(path, error=ImageError, what=_WHAT, limit=_MAX_BYTES)
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, for which the limit below is ours, and of odd metadata.
            warnings.simplefilter("ignore")
            Image.init()
            with Image.open(io.BytesIO(data), formats=_formats(path, data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ImageError(_too_large(path, f"{image.width} x {image.height}"))
                yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} {_no_image(data)}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(path, "it")) from error
    except Exception as error:  # decoders meet damaged data with almost any type of exception
        reason = str(error)[:100] or type(error).__name__
        raise ImageError(
            f"{path} is damaged or incomplete ({reason}); copy it again or save it as PNG"
        ) from error


def _no_image(data: bytes) -> str:
    """What to say of a file that is none."""
    if not data:
        return "is empty; copy it again"
    if data.startswith(b"version https://git-lfs"):
        return "is a note of Git LFS in place of the photo; fetch it with: git lfs pull"
    return "is not an image that can be read; use PNG or JPEG"


def _formats(path: str | Path, data: bytes) -> list[str]:
    """Pillow's names of the formats that data may be in; the decoder of HEIF is loaded on first use."""
    if not _is_heif(data):
        return [name for name in _FORMATS if name in Image.OPEN]
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(f"{path} is HEIF; install its decoder with: pip install pillow-heif") from error
    pillow_heif.register_heif_opener()
    return ["HEIF"]


def _is_heif(data: bytes) -> bool:
    """Whether encoded bytes are HEIC or HEIF, by the brands in their first box (ISO/IEC 14496-12, `ftyp`).

    AVIF is the same container with another codec, which Pillow decodes itself.
    """
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), 512)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, end - 3, 4))}
    any_codec = brands & {b"mif1", b"msf1"} and not brands & {b"avif", b"avis"}
    return bool(brands & _HEVC_BRANDS or any_codec)


def _upright(path: str | Path, image: Image.Image, noted: Image.Image) -> Image.Image:
    """An image turned as the EXIF orientation that is noted in one says."""
    if noted.format == "HEIF":  # its own rotation counts and has been applied; EXIF may repeat it
        return image
    try:
        turn = _TURNS.get(noted.getexif().get(_ORIENTATION, 1))
        return image if turn is None else image.transpose(turn)
    except Exception as error:  # a damaged EXIF block does not make the picture unusable
        _log.warning("%s: EXIF data is damaged, its orientation is ignored (%s)", path, error)
        return image


def _too_large(path: str | Path, size: str) -> str:
    return f"{path}: {size} is more than {MAX_PIXELS / 1e6:.0f} megapixels; scale the image down first"


def _to_rgba(image: Image.Image, recolor: Recolor | None = None) -> np.ndarray:
    """RGBA [H, W, 4] uint8 of an image in any Pillow mode, its colours converted where that is asked for."""
    if image.mode == "F" or image.mode.startswith("I"):
        grey = _grey_to_uint8(np.asarray(image), is_float=image.mode == "F")
        return np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    out = np.empty((image.height, image.width, 4), dtype=np.uint8)
    for top in range(0, image.height, _BAND):
        band = image.crop((0, top, image.width, min(top + _BAND, image.height)))
        out[top : top + _BAND] = np.asarray((band if has_alpha else band.convert("RGB")).convert("RGBA"))
        if recolor is not None:
            out[top : top + _BAND, :, :3] = recolor(band)
    return out


def _grey_to_uint8(values: np.ndarray, *, is_float: bool) -> np.ndarray:
    """Deep grey [H, W] as uint8: integers are taken as 16 bit, floats as [0, 1] unless they exceed it."""
    deep = np.nan_to_num(values.astype(np.float64))
    if is_float:
        scale = 255.0 if deep.max(initial=0.0) <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0
    return (deep * scale).round().clip(0, 255).astype(np.uint8)


def premultiplied(rgba: np.ndarray) -> np.ndarray:
    """Straight RGBA [..., 4] uint8 as float32 in [0, 255] with colours weighted by alpha, for resampling."""
    out = rgba.astype(np.float32)
    out[..., :3] *= out[..., 3:] / 255  # in place: photos can be large
    return out


def straight(rgba: np.ndarray) -> np.ndarray:
    """Straight RGBA [..., 4] uint8 of resampled premultiplied values [..., 4] float32."""
    out = np.empty(rgba.shape, dtype=np.uint8)
    weight = np.maximum(rgba[..., 3] / 255, 1e-3)
    for channel in range(3):  # one by one: photos can be large
        # Before clipping: the overshoot of an interpolation is the same in both and cancels.
        out[..., channel] = (rgba[..., channel] / weight).round().clip(0, 255)
    out[..., 3] = rgba[..., 3].round().clip(0, 255)
    return out


def resized(rgba: np.ndarray, width: int, height: int) -> np.ndarray:
    """An image [H, W, 4] uint8 of straight alpha at another size; see `resampled`."""
    if rgba.shape[:2] == (height, width):
        return rgba
    return resampled(lambda top, end: rgba[top:end], rgba.shape[:2], (height, width))


def resampled(
    rows: Callable[[int, int], np.ndarray], shape: tuple[int, int], wanted: tuple[int, int]
) -> np.ndarray:
    """An image [h, w, 4] uint8 of straight alpha from the rows of one of another size.

    Averages over areas where it shrinks, cubic where it grows. Colours are weighted with alpha, so that what
    is hidden does not bleed into the edges.

    Args:
        rows: Gives the rows [end - top, W, 4] uint8 from `top` to before `end`.
        shape: Height H and width W of all of them.
        wanted: Height h and width w of the result; neither smaller in one way and larger in the other.
    """
    import cv2

    (height, width), (new_height, new_width) = shape, wanted
    if new_height > height or new_width > width:
        values = premultiplied(rows(0, height))
        return straight(cv2.resize(values, (new_width, new_height), interpolation=cv2.INTER_CUBIC))
    narrow = np.empty((height, new_width, 4), dtype=np.float32)
    for top in range(0, height, _BAND):
        band = premultiplied(rows(top, min(top + _BAND, height)))
        narrow[top : top + _BAND] = cv2.resize(band, (new_width, len(band)), interpolation=cv2.INTER_AREA)
    return straight(cv2.resize(narrow, (new_width, new_height), interpolation=cv2.INTER_AREA))


def encode_png(image: np.ndarray, *, effort: int = 6) -> bytes:
    """PNG of uint8 [H, W], [H, W, 3] or [H, W, 4]; of 9, effort 3 takes a third of the time of 6."""
    assert image.dtype == np.uint8, image.dtype
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="PNG", compress_level=effort)
    return buffer.getvalue()


def save_png(path: str | Path, image: np.ndarray) -> None:
    """Write uint8 [H, W], [H, W, 3] or [H, W, 4] as PNG, atomically.

    Raises:
        OutputError: The file cannot be written.
    """
    atomic_write(path, encode_png(image))
