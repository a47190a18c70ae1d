"""A few of many photos or cameras that lie far apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = ["farthest_cameras", "farthest_first"]


def farthest_first(distances: Tensor, most: int, *, first: int = 0) -> list[int]:
    """So many indices, in their order: one, and then always the one farthest from all before.

    Args:
        distances: Between all [V, V].
        most: How many, or all if there are fewer.
        first: Where to start.
    """
    chosen = [first]
    while len(chosen) < min(most, len(distances)):
        nearest = distances[:, chosen].amin(1)
        nearest[chosen] = -torch.inf
        chosen.append(int(nearest.argmax()))
    return sorted(chosen)


def farthest_cameras(cameras: Cameras, most: int) -> list[int]:
    """So many of the cameras, by the directions from which they see the origin; the first is among them."""
    directions = F.normalize(cameras.centers.double().cpu(), dim=1)
    return farthest_first(1 - directions @ directions.mT, most)
