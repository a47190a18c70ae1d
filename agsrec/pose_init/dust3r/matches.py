"""Reciprocal nearest neighbours between two point sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["masked_matches", "reciprocal_matches"]


def reciprocal_matches(
    first: NDArray[np.floating],  # [M, 3]
    second: NDArray[np.floating],  # [N, 3]
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which points of the second set are the nearest neighbour of their nearest neighbour.

    Returns:
        reciprocal [N], and nearest [N], the index in the first set of each point's nearest neighbour
        (given where the match is not reciprocal too).
    """
    from scipy.spatial import KDTree

    if not len(first) or not len(second):
        return np.zeros(len(second), dtype=bool), np.zeros(len(second), dtype=np.intp)
    to_first = np.asarray(KDTree(first).query(second)[1])
    to_second = np.asarray(KDTree(second).query(first)[1])
    return to_second[to_first] == np.arange(len(second)), to_first


def masked_matches(
    points1: Tensor,  # [H, W, 3]
    mask1: Tensor,  # [H, W]
    points2: Tensor,  # [H, W, 3]
    mask2: Tensor,  # [H, W]
) -> tuple[Tensor, Tensor]:
    """Pixels (x, y) [M, 2] of two images whose points, in one frame, are each other's nearest.

    Pixels outside a mask take no part.
    """
    pixels1 = mask1.nonzero().flip(-1)
    pixels2 = mask2.nonzero().flip(-1)
    reciprocal, nearest = reciprocal_matches(
        points1[mask1.bool()].cpu().numpy(), points2[mask2.bool()].cpu().numpy()
    )
    return pixels1[nearest[reciprocal].tolist()], pixels2[reciprocal.nonzero()[0].tolist()]
