"""Photos cropped to the object, as novel-view models are trained on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = ["Framing", "object_framing"]


@dataclass(frozen=True)
class Framing:
    """A square crop per photo.

    Attributes:
        corners: Upper left corners [V, 2] (x, y) in pixels; may lie outside the photo.
        sides: Sides [V] in pixels.
        size: Side of the cropped photos in pixels.
    """

    corners: Tensor  # [V, 2]
    sides: Tensor  # [V]
    size: int

    def views(self, views: Views) -> Views:
        """The cropped photos; transparent beyond the edges."""
        alpha = views.images[..., 3:]
        premultiplied = torch.cat([views.images[..., :3] * alpha, alpha], dim=-1).permute(0, 3, 1, 2)
        steps = (torch.arange(self.size, device=alpha.device) + 0.5) / self.size
        x = self.corners[:, 0, None] + steps * self.sides[:, None]  # [V, S] pixels
        y = self.corners[:, 1, None] + steps * self.sides[:, None]
        x, y = 2 * x / views.width - 1, 2 * y / views.height - 1
        shape = (len(views), self.size, self.size)
        grid = torch.stack([x[:, None].expand(shape), y[:, :, None].expand(shape)], dim=-1)
        cropped = F.grid_sample(premultiplied, grid, align_corners=False).permute(0, 2, 3, 1)
        rgb = cropped[..., :3] / cropped[..., 3:].clamp_min(1e-6)
        return Views(torch.cat([rgb.clamp(0, 1), cropped[..., 3:]], dim=-1), views.names)

    def cameras(self, cameras: Cameras) -> Cameras:
        """The cameras of the cropped photos."""
        zoom = self.size / self.sides  # [V]
        Ks = cameras.Ks.clone()
        Ks[:, :2, 2] -= self.corners.to(Ks)
        Ks[:, :2] *= zoom.to(Ks)[:, None, None]
        return replace(cameras, Ks=Ks, width=self.size, height=self.size)


def object_framing(views: Views, fill: float) -> Framing:
    """Crops in which the mask's box is centred and its longer side takes the share `fill`.

    A photo with an empty mask is framed whole.
    """
    corners, sides = [], []
    for mask in views.masks > 0.5:
        rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
        if len(rows) == 0:
            left, top, right, bottom, share = 0, 0, views.width, views.height, 1.0
        else:
            left, top, share = int(columns[0]), int(rows[0]), fill
            right, bottom = int(columns[-1]) + 1, int(rows[-1]) + 1
        side = max(right - left, bottom - top) / share
        corners.append(((left + right - side) / 2, (top + bottom - side) / 2))
        sides.append(side)
    device = views.images.device
    return Framing(torch.tensor(corners, device=device), torch.tensor(sides, device=device), views.width)
