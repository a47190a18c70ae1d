"""Which photo each triangle takes its detail from.

Neighbours take it from the same one unless it pays to change: the labelling of least energy of a Markov
random field over the triangles (Lempitsky and Ivanov, "Seamless mosaicing of image-based texture maps",
2007), with resolution and agreement of the photos as Waechter et al. ("Let there be color!", 2014) have it,
by min-sum belief propagation.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from agsrec.mesh.evidence import Evidence
    from agsrec.mesh.shape import Shape

__all__ = ["photo_of_face", "sharpness"]

_UNSEEN = 12.0  # cost of a photo that does not show a triangle
_TILES = 20_000  # parts of the surface that costs are for, so that they do not depend on the triangles
_CHANGE = 1.0  # cost of another photo along the edge of such a part, in powers of e of resolution
_STEPS, _DAMPING = 60, 0.5
_FRONTAL = 0.6  # cosine from which a photo's sharpness is compared
_FAINT = 0.004  # detail that may be noise
_FEWEST = 30  # points that two photos must share
_TIE = 0.1  # pull towards equal sharpness, as a share of a photo's points


def sharpness(evidence: Evidence) -> Tensor:
    """How sharp each photo is [V], 1 for the sharpest: the detail it shows of what others show too.

    Least squares of the logarithms of the medians by which two photos differ.
    """
    count = evidence.trust.shape[1]
    useful = (evidence.trust > 0.5) & (evidence.facing > _FRONTAL)
    logs = (evidence.detail + _FAINT).log().double()
    matrix, right = torch.zeros(count, count).double(), torch.zeros(count).double()
    for a, b in combinations(range(count), 2):
        both = useful[:, a] & useful[:, b]
        points = int(both.sum())
        if points >= _FEWEST:
            push = points * (logs[both, a] - logs[both, b]).median()
            matrix[[a, b], [a, b]] += points
            matrix[[a, b], [b, a]] -= points
            right[a] += push
            right[b] -= push
    tie = _TIE * matrix.diagonal().mean().clamp(min=1.0)
    found = torch.linalg.solve(matrix + tie * torch.eye(count).double(), right).float()
    return (found - found.max()).exp()


def photo_of_face(shape: Shape, evidence: Evidence, finest: float) -> Tensor:
    """The photo [F] that each triangle takes its detail from.

    Args:
        shape: The surface.
        evidence: At its points.
        finest: Texels per unit of length: a photo that resolves more is not better.
    """
    corners = torch.from_numpy(shape.faces).long()
    resolved = evidence.resolution * sharpness(evidence)
    resolution = resolved[corners].amin(1).clamp(max=finest)  # all corners must be seen
    share = resolution / resolution.amax(1, keepdim=True).clamp(min=1e-12)
    cost = -share.clamp(min=1e-9).log().clamp(min=-_UNSEEN) + evidence.doubt[corners].mean(1)
    cost = torch.where(share > 0, cost, _UNSEEN)
    pairs, lengths = (torch.from_numpy(a) for a in shape.neighbours())
    areas = torch.from_numpy(shape.areas()).float()
    unit = areas.sum() / _TILES
    detail = (evidence.detail * evidence.weights).sum(1) / evidence.weights.sum(1).clamp(min=1e-6)
    busy = detail[corners].mean(1)
    # Changes are cheaper where there is nothing to cut through.
    there = busy[pairs].mean(1) / busy.mean().clamp(min=1e-6)
    change = _CHANGE * (0.5 + 0.5 * there.clamp(max=3)) * lengths.float() / unit.sqrt()
    return _labelled(cost * (areas / unit)[:, None], pairs, change)


def _labelled(cost: Tensor, pairs: Tensor, change: Tensor) -> Tensor:
    """Labels [F] of about the least sum of costs [F, L], and of the costs [E] of pairs [E, 2] that differ."""
    source = torch.cat([pairs[:, 0], pairs[:, 1]])
    target = torch.cat([pairs[:, 1], pairs[:, 0]])
    back = torch.arange(len(source)).roll(len(pairs))
    most = torch.cat([change, change])[:, None]
    messages = torch.zeros(len(source), cost.shape[1])
    for _ in range(_STEPS):
        belief = cost.index_add(0, target, messages)
        without = belief[source] - messages[back]
        least = without.amin(1, keepdim=True)
        messages = _DAMPING * messages + (1 - _DAMPING) * (without - least).clamp(max=most)
    return cost.index_add(0, target, messages).argmin(1)
