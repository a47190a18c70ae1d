"""Which of many photos are posed first: a few that show one object from sides far apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.pose_init.ace0.bundling import likeness
from agsrec.pose_init.ace0.features import Seen
from agsrec.pose_init.farthest import farthest_first

__all__ = ["SEEDS", "choose_seeds", "thumbnail"]

SEEDS = 8
"""Photos that are posed first: what initialisers are made for."""

_SIDE = 24  # pixels of a thumbnail
_LOOKALIKES, _NEXT = 5, 2  # photos that each is compared with: by thumbnails, and in the order of the series
_LIKE = 10  # pixels that two photos of one object share at least, going by how they look


def thumbnail(photo: Tensor) -> Tensor:
    """A small picture [C] of an object [H, W, 4] over grey, by which photos are compared."""
    alpha = photo[..., 3:]
    over = torch.cat([photo[..., :3] * alpha + 0.5 * (1 - alpha), alpha], -1)
    return F.interpolate(over.movedim(-1, 0)[None], (_SIDE, _SIDE), mode="area").flatten().cpu()


def choose_seeds(thumbnails: Tensor, seen: Sequence[Seen], count: int = SEEDS) -> list[int]:
    """The photos to pose first, in their order.

    Photos that share points with others, directly or over others, show one object: the largest such group
    counts, if it is large enough. Of it, the photo most like all others, and then always the one that looks
    least like those chosen before.

    Args:
        thumbnails: Of V photos [V, C].
        seen: What is seen in each.
        count: How many, or all if there are fewer.
    """
    away = torch.cdist(thumbnails, thumbnails)
    group = _largest_group(away, seen)
    if len(group) < min(count, len(seen)):
        group = list(range(len(seen)))
    inside = away[group][:, group]
    first = int(inside.sum(1).argmin())
    return [group[k] for k in farthest_first(inside, count, first=first)]


def _largest_group(away: Tensor, seen: Sequence[Seen]) -> list[int]:
    """The largest set of photos that shared points connect."""
    group = list(range(len(seen)))
    for i, j in sorted(_worth_comparing(away)):
        if group[i] != group[j] and likeness(seen[i], seen[j]) >= _LIKE:
            old, new = max(group[i], group[j]), min(group[i], group[j])
            group = [new if g == old else g for g in group]
    sizes = {g: group.count(g) for g in sorted(set(group))}
    largest = max(sizes, key=sizes.__getitem__)
    return [v for v, g in enumerate(group) if g == largest]


def _worth_comparing(away: Tensor) -> set[tuple[int, int]]:
    """Pairs of photos that look alike, or follow each other, the lower index first."""
    count = len(away)
    pairs = {(v, v + step) for v in range(count) for step in range(1, _NEXT + 1) if v + step < count}
    for v, row in enumerate(away):
        near = [int(w) for w in row.argsort(stable=True)[: _LOOKALIKES + 1] if int(w) != v]
        pairs |= {(min(v, w), max(v, w)) for w in near}
    return pairs
