"""Masks checked by each other where the cameras are known: what no other view's silhouette supports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.fit.hull import object_sphere

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.views import Views

__all__ = ["unsupported_shares"]

_RESOLUTION = 72  # voxels along an edge
_CELLS = 64  # of the picture, along an edge, on which masks and hull are compared
_DISSENT = 6  # one in so many other views may contradict, since its own mask may be the wrong one


def unsupported_shares(views: Views, cameras: Cameras, *, slack: float = 0.03) -> Tensor:
    """Share [V] of each view's mask that lies outside of what all the others allow.

    A point of space can be the object's where it falls on the masks of the other views, but for one in six
    of them; outside of a picture, a view whose mask reaches the picture's border has no say. A mask is
    supported where such points fall on it: the test by the visual hull of the others (Laurentini 1994).

    Args:
        views: Masks may be soft.
        cameras: Theirs. Errors of theirs are forgiven as far as `slack` goes.
        slack: Width by which the masks of the others are widened, as a share of the picture's width.
    """
    count = len(views)
    if count < 3:
        return torch.zeros(count)
    center, radius = object_sphere(views, cameras)
    ticks = torch.linspace(-1, 1, _RESOLUTION).to(center) * radius
    points = center + torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    solid = (views.masks > 0.5).float()
    reach = max(1, round(slack * views.width))
    wide = F.max_pool2d(solid[:, None], 2 * reach + 1, stride=1, padding=reach)
    pixels, depth = cameras.project(points)
    size = torch.tensor([views.width, views.height]).to(pixels)
    place = pixels / size  # [V, N, 2]
    inside = ((place >= 0) & (place < 1)).all(-1) & (depth > 0)
    hit = F.grid_sample(wide, (2 * place - 1)[:, None], mode="nearest", align_corners=False)[:, 0, 0] > 0.5
    cut_off = torch.cat([solid[:, 0], solid[:, -1], solid[:, :, 0], solid[:, :, -1]], 1).any(1)  # [V]
    against = (inside | ~cut_off[:, None]) & ~hit
    allowed = against.sum(0) - against.int() <= (count - 1) // _DISSENT  # [V, N], by all but the view itself
    cells = F.adaptive_avg_pool2d(solid[:, None], _CELLS)[:, 0].flatten(1) > 0.5
    index = (place * _CELLS).floor().long().clamp(0, _CELLS - 1)
    index = index[..., 1] * _CELLS + index[..., 0]
    cast = torch.zeros_like(cells).scatter_reduce_(1, index, inside & allowed, "amax")
    cast = F.max_pool2d(cast.reshape(count, 1, _CELLS, _CELLS).float(), 3, stride=1, padding=1)
    missing = cells & (cast.flatten(1) < 0.5)
    return missing.sum(1) / cells.sum(1).clamp_min(1)
