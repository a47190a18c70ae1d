"""Square crops around an object, and the intrinsics that go with them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from agsrec.images import resampled
from agsrec.preprocess.matting import fit_within

__all__ = ["Crop", "carry_intrinsics", "crop_rgba", "object_box", "square_crop"]

_SOLID = 128  # alpha from which a pixel counts as part of the object
_SPECK = 0.002  # of the area of the largest part, below which others are dust
_SPECK_SIZE = 512  # longest side in pixels on which parts are told apart


@dataclass(frozen=True)
class Crop:
    """A square piece of a photo, resampled to `size` x `size` pixels.

    Attributes:
        width: Width of the photo in pixels, after its EXIF orientation has been applied.
        height: Its height in pixels.
        x0: Left edge of the square in pixels of the photo; may lie outside.
        y0: Top edge.
        side: Side of the square in pixels of the photo.
        size: Side of the result in pixels.
    """

    width: int
    height: int
    x0: int
    y0: int
    side: int
    size: int

    @property
    def scale(self) -> float:
        """Pixels of the result per pixel of the photo."""
        return self.size / self.side


def object_box(alpha: np.ndarray) -> tuple[int, int, int, int] | None:
    """Box (x0, y0, x1, y1), ends excluded, of the object in alpha [H, W] uint8; None if there is none.

    Specks that hang on nothing, as cutting tools leave them, do not count.
    """
    solid = _without_specks(alpha >= _SOLID)
    columns, rows = np.flatnonzero(solid.any(0)), np.flatnonzero(solid.any(1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _without_specks(solid: np.ndarray) -> np.ndarray:
    """A mask [H, W] bool without parts that are far smaller than its largest."""
    height, width = solid.shape
    small = fit_within(solid.view(np.uint8) * np.uint8(255), _SPECK_SIZE)
    count, parts = cv2.connectedComponents((small > 0).view(np.uint8))
    if count <= 2:
        return solid
    areas = np.bincount(parts.ravel(), weights=small.ravel())  # that of what is around them is 0
    specks = (areas < _SPECK * areas.max())[parts] & (parts > 0)
    if not specks.any():
        return solid
    return solid & (cv2.resize(specks.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) == 0)


def square_crop(
    width: int, height: int, size: int, *, box: tuple[int, int, int, int] | None, border_ratio: float
) -> Crop:
    """The square around an object's box, whose longest side then takes `1 - border_ratio` of it.

    Without a box, the whole photo in the middle of a square. Its pixels are the photo's own, as long as they
    are not more than `size` wide: nothing is enlarged.
    """
    x0, y0, x1, y1 = box or (0, 0, width, height)
    longest = max(x1 - x0, y1 - y0)
    side = max(1, round(longest / (1 - border_ratio))) if box else longest
    # The object is as wide as it is: integer division keeps it within half a pixel of the centre.
    return Crop(width, height, (x0 + x1 - side) // 2, (y0 + y1 - side) // 2, side, min(side, size))


def crop_rgba(rgba: np.ndarray, crop: Crop, *, extend: bool, alpha: np.ndarray | None = None) -> np.ndarray:
    """The crop [size, size, 4] of a photo [H, W, 4] uint8.

    Colours are weighted with alpha, so that what is hidden does not bleed into the edges. What lies outside
    the photo is transparent, or with `extend` continues its border.

    Args:
        rgba: The photo.
        crop: Piece to take.
        extend: Continue the photo's border.
        alpha: Alpha [H, W] uint8 to take instead of the photo's own.
    """
    height, width = rgba.shape[:2]
    x0, x1 = crop.x0, crop.x0 + crop.side
    columns = slice(max(x0, 0), max(x1, 0))
    beside = max(-x0, 0), max(x1 - width, 0)
    kind = cv2.BORDER_REPLICATE if extend else cv2.BORDER_CONSTANT

    def rows(top: int, end: int) -> np.ndarray:
        """Rows of the square; of a large photo only few are copied at once."""
        ys = np.arange(crop.y0 + top, crop.y0 + end)
        nearest = ys.clip(0, height - 1)
        band = rgba[nearest, columns]
        if alpha is not None:
            band[..., 3] = alpha[nearest, columns]
        if not extend:
            band[ys != nearest] = 0
        return cv2.copyMakeBorder(band, 0, 0, *beside, kind)

    if crop.side == crop.size:
        return rows(0, crop.side)
    return resampled(rows, (crop.side, crop.side), (crop.size, crop.size))


def carry_intrinsics(K: Tensor, crop: Crop) -> Tensor:
    """Intrinsics [..., 3, 3] of the crop from those of the photo, both in their own pixels.

    Pixel centres are at +0.5, so that the scale applies to the edges of pixels and needs no shift.
    """
    shift = K.new_tensor([[0.0, 0.0, crop.x0], [0.0, 0.0, crop.y0], [0.0, 0.0, 0.0]])
    return K.new_tensor([crop.scale, crop.scale, 1.0])[:, None] * (K - shift)
