"""Pictures to match: the object in each photo, as large as the photo has it, up to a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from agsrec.views import Views

__all__ = ["Picture", "object_pictures"]

LONGER_SIDE = 512
"""Pixels of the longer side of what is matched: DISK was trained with about as many."""

_MARGIN = 0.04  # of the object's longer side, so that its outline is in the picture
_MULTIPLE = 16  # what DISK's pyramid needs sides to be
_SHADE = 128  # behind the object
_EDGE = 3  # pixels along the outline: what is seen there changes with the viewpoint


@dataclass(frozen=True)
class Picture:
    """A part of a view, brought to the size at which it is matched.

    Attributes:
        rgb: [H, W, 3] uint8, grey where no object is.
        inside: [H, W] bool, where features may lie.
        scale: Pixels of this picture per pixel of the view.
        corner: Upper left corner (x, y) in the view.
    """

    rgb: NDArray[np.uint8]
    inside: NDArray[np.bool_]
    scale: float
    corner: tuple[float, float]

    def to_view(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points [N, 2] of this picture in pixels of the view."""
        return points / self.scale + np.asarray(self.corner, dtype=np.float32)


def object_pictures(views: Views, longer_side: int = LONGER_SIDE) -> list[Picture]:
    """The object of each of V views, over grey."""
    rgba = views.images.new_empty(len(views), views.height, views.width, 4)
    rgba[..., :3] = views.composited(torch.full((3,), _SHADE / 255).to(views.images))
    rgba[..., 3] = views.masks
    pixels = (rgba.cpu().numpy() * 255).round().astype(np.uint8)
    return [_picture(p[..., :3], p[..., 3] >= 128, longer_side) for p in pixels]


def _picture(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], longer_side: int) -> Picture:
    import cv2

    height, width = mask.shape
    ys, xs = np.nonzero(mask)
    margin = round(_MARGIN * max(np.ptp(xs), np.ptp(ys), 1))
    left, top = max(0, int(xs.min()) - margin), max(0, int(ys.min()) - margin)
    right, bottom = min(width, int(xs.max()) + 1 + margin), min(height, int(ys.max()) + 1 + margin)
    scale = longer_side / max(right - left, bottom - top)
    size = (round(scale * (right - left)), round(scale * (bottom - top)))
    way = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    drawn = cv2.resize(rgb[top:bottom, left:right], size, interpolation=way)
    solid = cv2.resize(mask[top:bottom, left:right].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    inside = cv2.erode(solid, np.ones((3, 3), np.uint8), iterations=_EDGE)
    below, beside = -size[1] % _MULTIPLE, -size[0] % _MULTIPLE
    padded = cv2.copyMakeBorder(drawn, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=(_SHADE,) * 3)
    inside = cv2.copyMakeBorder(inside, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=0)
    return Picture(np.asarray(padded, dtype=np.uint8), inside.astype(bool), scale, (float(left), float(top)))
