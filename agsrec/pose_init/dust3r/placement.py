"""From pair predictions to a set of placed views: what is usable, the start, the alignment."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agsrec.pose_init.dust3r.alignment import Alignment, AlignOptions, Unknowns, align
from agsrec.pose_init.dust3r.pairs import Pairs
from agsrec.pose_init.dust3r.spanning_tree import spanning_tree_start
from agsrec.pose_init.dust3r.trust import components, pair_trust, trusted_pairs

__all__ = ["Placement", "place_views"]

_MIN_MEAN_CONFIDENCE = 1.1  # in both images: the network's floor is 1, at which it knows nothing
_ERROR_TOLERANCE = 0.2  # of the object's radius


@dataclass(frozen=True)
class Placement:
    """Views that could be placed together.

    Attributes:
        views: Their indices [P].
        alignment: Their cameras and points.
        valid: Which of the points lie inside the masks [P, K].
        point_confidence: Highest confidence of any pair at each point [P, K].
        confidence: Of each view's camera, [P] in [0, 1].
    """

    views: Tensor
    alignment: Alignment
    valid: Tensor
    point_confidence: Tensor
    confidence: Tensor


def place_views(
    pairs: Pairs, options: AlignOptions | None = None, *, focals: Tensor | None = None
) -> Placement | None:
    """Place as many views as the usable pairs connect, or none if no two can be.

    Args:
        pairs: Predictions for V views.
        options: Of the alignment.
        focals: Known focal lengths [V] in pixels.
    """
    options = options or AlignOptions()
    views = torch.arange(pairs.num_views, device=pairs.index.device)
    pairs = pairs.select(_confident(pairs))
    if not len(pairs):
        return None
    pairs, views = _largest_group(pairs, views)
    trust = pair_trust(pairs)
    kept = trusted_pairs(pairs, trust)
    view_trust = _view_means(pairs, trust)
    # Steep, because a wrong pair may be many times as confident as the right ones.
    pairs, influence = pairs.select(kept), trust[kept] ** 3
    start = spanning_tree_start(
        pairs,
        pairs.scores * influence.clamp_min(1e-6),
        focals=None if focals is None else focals.to(pairs.points1)[views],
        shared_focal=options.shared_focal,
        estimate_centers=options.optimize_pp,
    )
    found = start.placed.nonzero()[:, 0]
    joint = torch.isin(pairs.index, found).all(-1)
    pairs, influence = pairs.restricted(found), influence[joint]
    if not len(pairs):
        return None
    alignment = align(pairs, Unknowns.from_start(pairs, start.of(found), options), options, trust=influence)
    confidence = _confidence(pairs, alignment) * view_trust[found]
    return Placement(views[found], alignment, pairs.valid, pairs.view_confidence, confidence)


def _confident(pairs: Pairs) -> Tensor:  # [P]
    sure = torch.ones(len(pairs), dtype=torch.bool, device=pairs.index.device)
    for side, confidence in enumerate((pairs.confidence1, pairs.confidence2)):
        count = pairs.valid[pairs.index[:, side]].sum(-1)
        sure &= (confidence.sum(-1) > _MIN_MEAN_CONFIDENCE * count) & (count >= 4)
    return sure


def _largest_group(pairs: Pairs, views: Tensor) -> tuple[Pairs, Tensor]:
    """The connected views that are the most, or of several such groups the one with the highest scores."""
    group = components(pairs.index, pairs.num_views)
    sizes = group.bincount()
    strength = torch.zeros_like(sizes, dtype=torch.float32)
    strength.index_add_(0, group[pairs.index[:, 0]], pairs.scores)
    best = max(range(len(sizes)), key=lambda g: (int(sizes[g]), float(strength[g])))
    members = (group == best).nonzero()[:, 0]
    return pairs.restricted(members), views[members]


def _view_means(pairs: Pairs, values: Tensor) -> Tensor:
    """Mean [V] over the pairs that a view is in."""
    ends = pairs.index.T.flatten()
    total = values.new_zeros(pairs.num_views).index_add_(0, ends, torch.cat([values, values]))
    return total / ends.bincount(minlength=pairs.num_views).clamp_min(1)


def _confidence(pairs: Pairs, alignment: Alignment) -> Tensor:  # [V]
    """How sure the network is of a view, times how well its pairs fit together."""
    count = pairs.valid.sum(-1).clamp_min(1)
    mean = (pairs.view_confidence.sum(-1) / count).clamp_min(1.0)
    surface = alignment.points[pairs.valid]
    radius = (surface - surface.mean(0)).norm(dim=-1).mean().clamp_min(1e-12)
    return (1 - 1 / mean) * (-alignment.errors / (_ERROR_TOLERANCE * radius)).exp()
