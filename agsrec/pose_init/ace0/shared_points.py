"""The points that pairs of photos share, by their features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from agsrec.matching import PairMatches, mutual_nearest
from agsrec.pose_init.ace0.features import Seen

__all__ = ["SharedPoints", "shared_points"]

_RATIO = 0.9  # of the distances to the best and the next feature


class SharedPoints:
    """The points that V photos share, pair by pair; each pair is compared once.

    Args:
        seen: What is seen in each photo.

    Attributes:
        seen: The same.
    """

    def __init__(self, seen: Sequence[Seen]) -> None:
        self.seen = seen
        self._pairs: dict[tuple[int, int], PairMatches] = {}

    def between(self, i: int, j: int) -> PairMatches:
        """What two photos share, the lower index first."""
        pair = min(i, j), max(i, j)
        if pair not in self._pairs:
            self._pairs[pair] = shared_points(self.seen[pair[0]], self.seen[pair[1]], *pair)
        return self._pairs[pair]


@torch.no_grad()
def shared_points(a: Seen, b: Seen, first: int = 0, second: int = 1) -> PairMatches:
    """The pixels of two photos whose features are each other's nearest, by far."""
    ids, scores = mutual_nearest(F.normalize(a.features, dim=1), F.normalize(b.features, dim=1), _RATIO)
    points = torch.stack([a.pixels[ids[:, 0]], b.pixels[ids[:, 1]]], 1)
    return PairMatches(
        first, second, points.cpu().float().numpy(), ids.cpu().numpy(), scores.cpu().float().numpy()
    )
