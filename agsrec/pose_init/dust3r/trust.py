"""How far each pair agrees with the others, so that a wrong one cannot mislead the start or the alignment.

Not part of the published method, whose spanning tree believes the most confident pairs without a check.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from agsrec.pose_init.dust3r.pairs import Pairs
from agsrec.pose_init.dust3r.registration import apply_similarity, register

__all__ = ["components", "pair_trust", "trusted_pairs"]

_SAMPLES = 400  # points per image that are compared
_SHAPE_TOLERANCE = 0.3  # of the object's radius: by so much do usable point maps differ
_LOOP_TOLERANCE_DEG = 20.0
_ROUNDS = 3
_FLOOR = 0.02  # of the support: also a pair that contradicts all others may be the only one to hold a view
_WEAK = 0.2  # of the highest trust: pairs below are not needed if the others hold the views together


def pair_trust(pairs: Pairs) -> Tensor:
    """Trust [P] in [0, 1]: the pair's shapes agree with other pairs', and its rotation closes loops.

    The reference shape of a view is the one point map in its own frame that is nearest to all the others of
    the same view. Rotations of the pairs come from registering the reference shapes; the support of a pair is
    the share of its triangles, weighted by the trust in their other two sides, that close.
    """
    sample = _samples(pairs.valid)  # [V, S]
    first, second = pairs.index.unbind(-1)
    points1, conf1 = _gather(pairs.points1, pairs.confidence1, sample[first])
    points2, conf2 = _gather(pairs.points2, pairs.confidence2, sample[second])
    reference = _reference_pairs(pairs.index, points1, conf1, pairs.num_views)  # [V]
    shape1, shape2 = points1[reference[first]], points1[reference[second]]
    known1, known2 = conf1[reference[first]] * conf1, conf1[reference[second]] * conf2
    to_own = register(shape1, points1, known1)
    to_first = register(shape2, points2, known2)
    error1 = _relative_error(apply_similarity(to_own, shape1), points1, known1)
    error2 = _relative_error(apply_similarity(to_first, shape2), points2, known2)
    quality = (-((error1**2 + error2**2) / (2 * _SHAPE_TOLERANCE**2))).exp().clamp_min(1e-3)
    # A view that is never first has no shape of its own, and so nothing to check its pairs by.
    unknown = (reference[pairs.index] < 0).any(-1)
    quality = torch.where(unknown, 0.5, quality)
    rotations = to_own[1].mT @ to_first[1]
    return quality * _loop_support(pairs.index, rotations, quality, pairs.num_views)


def trusted_pairs(pairs: Pairs, trust: Tensor) -> Tensor:
    """Booleans [P] of the pairs to keep: weak ones only where views would come apart without them."""
    strong = trust >= _WEAK * trust.max() if len(trust) else trust > 0
    whole, without = (components(index, pairs.num_views) for index in (pairs.index, pairs.index[strong]))
    return strong if whole.max() == without.max() else torch.ones_like(strong)


def components(index: Tensor, num_views: int) -> Tensor:
    """Number [V] of the connected component of every view, from 0, in order of their first views."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, cols = index.cpu().numpy().T
    graph = coo_array((np.ones(len(rows)), (rows, cols)), shape=(num_views, num_views))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long().to(index.device)


def _samples(valid: Tensor) -> Tensor:
    """Indices [V, S] of points spread over the valid ones of each view."""
    share = (torch.arange(_SAMPLES, device=valid.device) + 0.5) / _SAMPLES
    return (share * valid.sum(-1, keepdim=True)).long().clamp_max(valid.shape[1] - 1)


def _gather(points: Tensor, confidence: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
    return torch.take_along_dim(points, sample[..., None], 1), torch.take_along_dim(confidence, sample, 1)


def _reference_pairs(index: Tensor, points: Tensor, confidence: Tensor, num_views: int) -> Tensor:
    """Pair [V] whose map of its first view is the medoid of that view's maps; -1 where there is none."""
    size = (points.norm(dim=-1) * confidence).sum(-1) / confidence.sum(-1).clamp_min(1e-12)
    unit = points / size.clamp_min(1e-12)[:, None, None]
    chosen = torch.full((num_views,), -1, dtype=torch.long, device=index.device)
    for view in range(num_views):
        own = (index[:, 0] == view).nonzero()[:, 0]
        if len(own):
            both = (confidence[own, None] * confidence[None, own]).sqrt()
            apart = (unit[own, None] - unit[None, own]).norm(dim=-1)
            distances = (apart * both).sum(-1) / both.sum(-1).clamp_min(1e-12)
            distances = torch.where(both.sum(-1) > 0, distances, math.inf)
            chosen[view] = own[distances.median(-1).values.argmin()]
    return chosen


def _relative_error(found: Tensor, points: Tensor, weights: Tensor) -> Tensor:  # [P]
    """Mean distance of two point sets as a share of the second one's radius."""
    w = weights / weights.sum(-1, keepdim=True).clamp_min(1e-12)
    center = (w[..., None] * points).sum(1, keepdim=True)
    radius = (w * (points - center).norm(dim=-1)).sum(-1)
    error = (w * (found - points).norm(dim=-1)).sum(-1) / radius.clamp_min(1e-12)
    return torch.where(weights.sum(-1) > 0, error, math.inf)


def _loop_support(index: Tensor, rotations: Tensor, quality: Tensor, num_views: int) -> Tensor:  # [P]
    """Share of each pair's loops that close and whose other sides are trusted; 1 where there are no loops.

    Of all its loops, not of the trusted ones alone: among many wrong pairs, two agree by accident, and would
    make each other the only ones to be trusted.
    """
    first, second = index.unbind(-1)
    dense = torch.zeros(num_views, num_views, 3, 3, device=index.device, dtype=rotations.dtype)
    dense[first, second] = rotations
    cosine = 1 + 2 * math.cos(math.radians(_LOOP_TOLERANCE_DEG))  # trace of a rotation by the tolerance
    closes = []
    for i in range(num_views):
        around = torch.einsum("kab,kjbc->jkac", dense[i], dense)  # i to k to j
        # Through itself a pair is checked by its opposite.
        around[:, i] = dense[:, i].mT
        closes.append(torch.einsum("jkab,jab->jk", around, dense[i]) > cosine)
    closed = torch.stack(closes).to(rotations.dtype)  # [i, j, k]
    whole = _loop_weights(index, quality, num_views).sum(-1)
    support = torch.ones_like(quality)
    for _ in range(_ROUNDS):
        sides = _loop_weights(index, quality * support, num_views)
        share = torch.where(whole > 1e-6, (sides * closed).sum(-1) / whole.clamp_min(1e-6), 1.0)
        support = _FLOOR + (1 - _FLOOR) * share[first, second]
        # Each round would take from all what the wrong ones do not give.
        support = support / support.max()
    return support


def _loop_weights(index: Tensor, trust: Tensor, num_views: int) -> Tensor:  # [V, V, V]
    """Weight [i, j, k] of the loop that checks the pair (i, j) by way of k."""
    dense = torch.zeros(num_views, num_views, device=index.device, dtype=trust.dtype)
    dense[index[:, 0], index[:, 1]] = trust
    weights = dense[:, None, :] * dense.mT[None]  # i to k times k to j
    views = torch.arange(num_views, device=index.device)
    weights[views, :, views] = dense.mT  # the opposite pair j to i
    return weights
