"""Which photos the network sees together, and how what it says of them becomes one scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from agsrec.pose_init.dust3r.pairs import Pairs, pair_graph
from agsrec.pose_init.dust3r.registration import register
from agsrec.pose_init.dust3r.spanning_tree import spanning_tree_start
from agsrec.pose_init.dust3r.trust import pair_trust, trusted_pairs
from agsrec.pose_init.noposplat.splats import SplatMaps

__all__ = ["OPAQUE", "GroupPairs", "JoinedViews", "join_views", "predict_groups", "view_groups"]

OPAQUE = 0.3
"""Opacity from which on Gaussians tell where a view was taken from, as published."""


class _SidesOfPair(NamedTuple):
    """The centres of a pair of views in the first one's frame, and the opacities as confidence."""

    points1: Tensor
    confidence1: Tensor
    points2: Tensor
    confidence2: Tensor


@dataclass(frozen=True)
class GroupPairs:
    """What groups say of pairs of their views: of the first view with each other one.

    Attributes:
        pairs: P ordered pairs of V views; their confidence is the opacity.
        group: The group [P] that each pair is from.
        slot: Place [P] of the pair's second view in the group.
    """

    pairs: Pairs
    group: Tensor
    slot: Tensor


@dataclass(frozen=True)
class JoinedViews:
    """V views in one world, the frame of the first view of the most trusted pair.

    Attributes:
        points: Centres [V, K, 3] of the views' Gaussians in the world.
        opacities: Their opacities [V, K], 0 where there is none.
        pixels: Pixels (x, y) of the centres [V, K, 2], counted from 0 at the first pixel's centre.
        group: The group [V] that each view's Gaussians are from.
        slot: Its place [V] in that group.
        similarity: Scales [V], rotations [V, 3, 3] and translations [V, 3] from the groups' frames to the
            world.
        trust: In what places each view, [V] in [0, 1], beside the most trusted pair.
    """

    points: Tensor
    opacities: Tensor
    pixels: Tensor
    group: Tensor
    slot: Tensor
    similarity: tuple[Tensor, Tensor, Tensor]
    trust: Tensor


def view_groups(num_views: int, size: int) -> Tensor:
    """Groups [B, n] of views, n <= size, of which the first is the frame.

    All views where they are not more than `size`; else every view is the first one of groups that hold all
    others, or of many views some of them (see `pair_graph`), so that groups share views and check each other.
    """
    if num_views <= size:
        return torch.arange(num_views)[None]
    pairs = pair_graph(num_views)
    rows = []
    for first in range(num_views):
        others = pairs[pairs[:, 0] == first, 1].tolist()
        full = others + others[: -len(others) % (size - 1)]
        rows += [[first, *full[k : k + size - 1]] for k in range(0, len(full), size - 1)]
    return torch.tensor(rows)


def predict_groups(
    decode: Callable[[Tensor], SplatMaps], groups: Tensor, masks: Tensor, *, batch: int = 4, stride: int = 1
) -> GroupPairs:
    """Ask the network about all groups, a batch at a time, keeping centres and opacities inside the masks.

    The other parameters would take gigabytes; those that are needed are asked for again.

    Args:
        decode: Gives the Gaussians of groups [B, n], B <= batch.
        groups: All groups [B, n].
        masks: Object masks [V, H, W] in the size of the network's images.
        batch: Groups predicted together.
        stride: Keep every so many-th row and column.
    """
    none = Pairs.empty(masks[:, ::stride, ::stride])
    parts, numbers, slots = [], [], []
    for number, some in zip(torch.arange(len(groups)).split(batch), groups.split(batch), strict=True):
        maps = decode(some)
        sure = maps.opacities
        for slot in range(1, groups.shape[1]):
            sides = _SidesOfPair(maps.means[:, 0], sure[:, 0], maps.means[:, slot], sure[:, slot])
            parts.append(none.gathered(some[:, [0, slot]], sides, stride))
            numbers.append(number)
            slots.append(torch.full_like(number, slot))
    pairs, group, slot = none.joined(parts), torch.cat(numbers), torch.cat(slots)
    first: dict[tuple[int, int], int] = {}
    for row, (i, j) in enumerate(pairs.index.tolist()):
        first.setdefault((i, j), row)  # an odd number of other views brings one of them up again
    kept = torch.tensor(sorted(first.values()))
    return GroupPairs(pairs.select(kept.to(pairs.index.device)), group[kept], slot[kept])


def join_views(predicted: GroupPairs, focals: Tensor) -> JoinedViews:
    """One world for all views: groups are joined by similarities over the views they share.

    Along the spanning tree of the most trusted pairs: a pair that contradicts the others is not used.

    Args:
        predicted: Pairs that connect all views.
        focals: Focal lengths [V] in pixels of the kept grid.
    """
    pairs = predicted.pairs
    trust = pair_trust(pairs)
    kept = trusted_pairs(pairs, trust).nonzero()[:, 0]
    pairs, trust = pairs.select(kept), trust[kept]
    # Steep, because a wrong pair may be as opaque as the right ones.
    scores = (pairs.scores * trust**3).clamp_min(1e-12)
    tree = spanning_tree_start(pairs, scores, min_confidence=OPAQUE, focals=focals.to(scores))
    row, side = _sources(pairs, tree.edges)
    ours = torch.where(side[:, None, None] == 0, pairs.points1[row], pairs.points2[row])
    sure = torch.where(side[:, None] == 0, pairs.confidence1[row], pairs.confidence2[row])
    chosen = kept[row].to(predicted.group.device)
    slot = torch.where(side.to(chosen.device) == 0, 0, predicted.slot[chosen])
    similarity = register(ours, tree.points, sure)
    group = predicted.group[chosen]
    return JoinedViews(tree.points, sure, pairs.pixels, group, slot, similarity, trust[row] / trust.max())


def _sources(pairs: Pairs, edges: Tensor) -> tuple[Tensor, Tensor]:
    """The pair [V] that brought each view into the tree, and which side [V] of it the view is."""
    number = {(i, j): row for row, (i, j) in enumerate(pairs.index.tolist())}
    found: dict[int, tuple[int, int]] = {}
    for i, j in edges.tolist():
        for side, view in enumerate((i, j)):
            found.setdefault(view, (number[i, j], side))
    table = torch.tensor([found[view] for view in range(pairs.num_views)], device=pairs.index.device)
    return table[:, 0], table[:, 1]
