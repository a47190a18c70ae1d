"""Cut-outs as the network wants them: the object nearly filling a small square."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from agsrec.views import Views

__all__ = ["Crops", "network_crops"]

_FILL = 0.87  # of the square, by the object's longer side; the middle of what training shows
_SOLID = 0.5  # alpha


@dataclass(frozen=True)
class Crops:
    """Square crops of V views, and where they lie.

    Attributes:
        images: RGB times alpha, and alpha [V, 4, S, S].
        corners: Left and top edge of the squares in pixels of the views [V, 2].
        scales: Pixels of the view per pixel of the crop [V].
    """

    images: Tensor
    corners: Tensor
    scales: Tensor

    def to_views(self, pixels: Tensor) -> Tensor:
        """Positions in the crops [V, ..., 2] as positions in the views, both with pixel centres at +0.5."""
        shape = (-1, *[1] * (pixels.ndim - 2), 1)
        return self.corners.view(*shape[:-1], 2) + self.scales.view(shape) * pixels


def network_crops(views: Views, size: int) -> Crops:
    """Crop every view around its object and resample it to `size` pixels; masks must not be empty."""
    images, corners, scales = [], [], []
    for rgba in views.images:
        solid = rgba[..., 3] >= _SOLID
        rows, columns = solid.any(1).nonzero().flatten(), solid.any(0).nonzero().flatten()
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        side = max(1, round(max(bottom - top, right - left) / _FILL))
        x, y = (left + right - side) // 2, (top + bottom - side) // 2
        premultiplied = torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], -1).permute(2, 0, 1)
        height, width = solid.shape
        margins = (max(-x, 0), max(x + side - width, 0), max(-y, 0), max(y + side - height, 0))
        padded = F.pad(premultiplied, margins)
        square = padded[:, max(y, 0) :, max(x, 0) :][:, :side, :side]
        resized = F.interpolate(square[None], size=(size, size), mode="bilinear", antialias=True)
        images.append(resized[0].clamp(0, 1))
        corners.append((float(x), float(y)))
        scales.append(side / size)
    device = views.images.device
    return Crops(
        torch.stack(images), torch.tensor(corners, device=device), torch.tensor(scales, device=device)
    )
