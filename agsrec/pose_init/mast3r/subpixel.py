"""Where between pixels a descriptor is met: the peak of similarities around the most similar pixel."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["peak_offsets"]

_FARTHEST = 0.75  # pixels from the most similar one; beyond, there is no peak to speak of
_ROUGH = 0.1  # of the range of the similarities, that a paraboloid may miss


def peak_offsets(queries: Tensor, field: Tensor, pixels: Tensor, usable: Tensor) -> Tensor:
    """Offsets [K, 2] (x, y) in pixels from the centres of pixels to the peaks of similarity there.

    A paraboloid through the similarities of the nine pixels around, by least squares; zero where one of them
    cannot be used, or where the similarities have no peak.

    Args:
        queries: Unit vectors [K, D].
        field: Unit vectors [H, W, D].
        pixels: Flat index [K] of the most similar pixel of each query.
        usable: Which pixels can be relied on [H, W], booleans.
    """
    height, width = usable.shape
    y, x = pixels // width, pixels % width
    ticks = torch.arange(-1, 2, device=pixels.device)
    dy, dx = (d.flatten() for d in torch.meshgrid(ticks, ticks, indexing="ij"))
    rows, columns = y[:, None] + dy, x[:, None] + dx  # [K, 9]
    whole = (rows.amin(1) >= 0) & (rows.amax(1) < height) & (columns.amin(1) >= 0) & (columns.amax(1) < width)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    whole &= usable[rows, columns].all(1)
    around = torch.where(whole[:, None, None], field[rows, columns], 0.0)
    similar = torch.einsum("kd,knd->kn", queries.double(), around.double())
    X, Y = dx.double(), dy.double()
    terms = torch.stack([torch.ones_like(X), X, Y, X * X, X * Y, Y * Y], 1)  # [9, 6]
    fitted = similar @ torch.linalg.pinv(terms).mT
    _, gx, gy, xx, xy, yy = fitted.unbind(1)
    missed = (fitted @ terms.mT - similar).abs().amax(1)
    smooth = missed <= _ROUGH * (similar.amax(1) - similar.amin(1))  # no edge of a surface runs through
    determinant = 4 * xx * yy - xy * xy
    peaked = whole & smooth & (determinant > 0) & (xx < 0)
    safe = torch.where(peaked, determinant, 1.0)
    offsets = torch.stack([xy * gy - 2 * yy * gx, xy * gx - 2 * xx * gy], 1) / safe[:, None]
    near = peaked & (offsets.abs().amax(1) <= _FARTHEST)
    return torch.where(near[:, None], offsets, 0.0).to(queries)
