"""Which of many photos are posed first: a few that show one object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.pose_init.ace0.shared_points import SharedPoints
from agsrec.pose_init.farthest import farthest_first

__all__ = ["SEEDS", "SeedChoice", "choose_seeds", "thumbnail"]

SEEDS = 8
"""Photos that are posed first: what initialisers are made for."""

_SIDE = 24  # pixels of a thumbnail
_LOOKALIKES, _NEXT = 5, 2  # photos that each is compared with: by thumbnails, and in the order of the series
_LIKE = 10  # points that two photos of one object share at least, going by how they look
_ENOUGH, _PLENTY = 40, 300  # by which two photos can be posed to each other; more than that helps no more


def thumbnail(photo: Tensor) -> Tensor:
    """A small picture [C] of an object [H, W, 4] over grey, by which photos are compared."""
    alpha = photo[..., 3:]
    over = torch.cat([photo[..., :3] * alpha + 0.5 * (1 - alpha), alpha], -1)
    return F.interpolate(over.movedim(-1, 0)[None], (_SIDE, _SIDE), mode="area").flatten().cpu()


@dataclass(frozen=True)
class SeedChoice:
    """Photos to pose first, by their indices, in two ways.

    Attributes:
        overlapping: Each shares enough points with one or two of the others, and looks as little like them as
            that lets it: those are posed well where texture is rich, and the others registered from there.
        apart: They look as little alike as possible: of what has little texture, silhouettes from all around
            say more.
        alike: Photos that shared points connect, of which both are.
    """

    overlapping: list[int]
    apart: list[int]
    alike: int


def choose_seeds(thumbnails: Tensor, points: SharedPoints, count: int = SEEDS) -> SeedChoice:
    """The photos to pose first.

    Photos that share points with others, directly or over others, show one object: the largest such group
    counts, if it is large enough.

    Args:
        thumbnails: Of V photos [V, C].
        points: Those that they share.
        count: How many, or all if there are fewer.
    """
    away = torch.cdist(thumbnails, thumbnails)
    shared = _counts(away, points)
    group = _largest_group(shared)
    if len(group) < min(count, len(away)):
        group = list(range(len(away)))
    inside = away[group][:, group]
    apart = farthest_first(inside, count, first=int(inside.sum(1).argmin()))
    return SeedChoice(_overlapping(group, shared, away, count), [group[k] for k in apart], len(group))


def _overlapping(group: list[int], shared: Tensor, away: Tensor, count: int) -> list[int]:
    """Of a group, the photo that shares most with others, and then always the one least like those before."""
    chosen = [max(group, key=lambda v: float(shared[v].clamp(max=_PLENTY).sum()))]
    while len(chosen) < min(count, len(group)):
        rest = [v for v in group if v not in chosen]
        links = {v: min(int((shared[v, chosen] >= _ENOUGH).sum()), 2) for v in rest}
        linked = [v for v in rest if links[v] == max(links.values())]
        chosen.append(max(linked, key=lambda v: float(away[v, chosen].min())))
    return chosen


def _counts(away: Tensor, points: SharedPoints) -> Tensor:
    """How many points photos share [V, V], of those that are worth comparing."""
    shared = torch.zeros_like(away)
    for i, j in sorted(_worth_comparing(away)):
        shared[i, j] = shared[j, i] = len(points.between(i, j))
    return shared


def _largest_group(shared: Tensor) -> list[int]:
    """The largest set of photos that shared points connect."""
    group = list(range(len(shared)))
    for i, j in (shared >= _LIKE).nonzero().tolist():
        if group[i] != group[j]:
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
