"""A few of many cameras that lie far apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = ["farthest_cameras"]


def farthest_cameras(cameras: Cameras, most: int) -> list[int]:
    """So many of the cameras, or all if there are fewer, by the directions from which they see the origin.

    The first is among them, and then always the one farthest from all before; in increasing order.
    """
    directions = F.normalize(cameras.centers.double().cpu(), dim=1)
    distances = 1 - directions @ directions.mT
    chosen = [0]
    while len(chosen) < min(most, len(distances)):
        nearest = distances[:, chosen].amin(1)
        nearest[chosen] = -torch.inf
        chosen.append(int(nearest.argmax()))
    return sorted(chosen)
