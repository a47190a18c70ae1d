"""Photos balanced against each other: factors of their colours that make them agree on the surface."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agsrec.mesh.evidence import gathered

if TYPE_CHECKING:
    from agsrec.mesh.album import Album
    from agsrec.mesh.evidence import Evidence
    from agsrec.mesh.shape import Shape

__all__ = ["balanced", "continued"]

_DARKEST, _BRIGHTEST = 0.03, 0.96  # beyond them, colours say nothing about exposure
_OBLIQUE = 0.35  # cosine below which a photo does not say much about a point
# Of the logarithm: what photos differ by at a point beside their exposures; wide at first, since an exposure
# may be far off.
_SCALES = (3.0, 3.0, 1.5, 1.5, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1)
_FEWEST = 30  # points that two photos must share
_TIE, _ODD = 0.02, 0.2  # of a photo's evidence: pull towards 1; less where a photo is so much off the others
_BOUND = 0.2  # weight of photos from which their colours bind those of renders beside them
_FADE = 0.003  # how soon what they bind is forgotten, as the pull towards 1 of each point
_HOLD = 100.0  # how firmly points that photos show hold to what they show, in ties to a neighbour
_ROUNDS = 300  # of conjugate gradients
_MOST = 1.6  # of the logarithm: about five times as bright


def balanced(shape: Shape, album: Album) -> Album:
    """An album with a gain per photo and channel.

    Least squares of the logarithms over all points of the surface that two photos show, robust against
    highlights and what is misplaced (Geman and McClure's weights), and tied to 1: what most photos agree on
    is what they are balanced to.
    """
    evidence = gathered(shape, replace(album, gains=torch.ones_like(album.gains)))
    useful = (evidence.trust > 0) & (evidence.facing > _OBLIQUE)
    good = useful[..., None] & (evidence.colors > _DARKEST) & (evidence.colors < _BRIGHTEST)
    # A channel that is cut off makes the others of that pixel doubtful too.
    good = good.all(-1)
    logs = evidence.colors.clamp(min=1e-3).log()
    trusted = evidence.facing.minimum(torch.tensor(1.0)) * evidence.trust
    ties = []
    for a, b in combinations(range(len(album)), 2):
        both = good[:, a] & good[:, b]
        if int(both.sum()) >= _FEWEST:
            weight = trusted[both, a] * trusted[both, b]
            ties.append((a, b, (logs[both, b] - logs[both, a]).double(), weight.double()))
    gains = torch.zeros(len(album), 3, dtype=torch.float64)
    for scale in _SCALES:
        gains = _solved(ties, gains, scale)
    return replace(album, gains=gains.clamp(-_MOST, _MOST).exp().float())


def _solved(ties: list[tuple[int, int, Tensor, Tensor]], gains: Tensor, scale: float) -> Tensor:
    """Log gains [V, 3] from the differences that pairs show, by one step of reweighted least squares."""
    count = len(gains)
    matrix = torch.zeros(3, count, count, dtype=torch.float64)
    right = torch.zeros(3, count, dtype=torch.float64)
    for a, b, difference, weight in ties:
        left = gains[a] - gains[b] - difference  # [P, 3], zero where the two agree
        robust = (1 + left.square().sum(-1, keepdim=True) / scale**2).square().reciprocal()
        share = weight[:, None] * robust
        total, push = share.sum(0).expand(3), (share * difference).sum(0)
        matrix[:, a, a] += total
        matrix[:, b, b] += total
        matrix[:, a, b] -= total
        matrix[:, b, a] -= total
        right[:, a] += push
        right[:, b] -= push
    evidence = matrix.diagonal(dim1=1, dim2=2)
    odd = (1 + (gains.mT / _ODD).square()).square().reciprocal()
    tie = _TIE * evidence.mean(1, keepdim=True).clamp(min=1e-6) * odd
    return torch.linalg.solve(matrix + torch.diag_embed(tie), right).mT


def continued(shape: Shape, photographed: Evidence, rendered: Evidence) -> Tensor:
    """Factors [P, 3] of the colours of renders that carry on, where no photo looks, what photos show beside.

    A scene was fitted to photos as they were, and is as bright as the darkest where only that one looked: the
    ratio of the two is continued smoothly from the points that photos show (a membrane, as Pérez et al.,
    "Poisson image editing", 2003).
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import cg

    bound = ((photographed.weights.sum(1) > _BOUND) & (rendered.weights.sum(1) > _BOUND)).double().numpy()
    ratio = (_mean_logs(photographed) - _mean_logs(rendered)).clamp(-_MOST, _MOST).double().numpy()
    a, b = shape.faces[:, [0, 1, 2]].ravel(), shape.faces[:, [1, 2, 0]].ravel()
    count = len(shape.points)
    ties = coo_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), shape=(count, count)).tocsr()
    degrees = np.asarray(ties.sum(axis=1)).ravel()
    # Points that photos show stay close to what they show; the others are means of their neighbours.
    system = diags(degrees * (1 + _FADE) + _HOLD * bound) - ties
    found = [cg(system, _HOLD * bound * ratio[:, k], maxiter=_ROUNDS, rtol=1e-4)[0] for k in range(3)]
    return torch.from_numpy(np.stack(found, axis=1)).float().exp()


def _mean_logs(evidence: Evidence) -> Tensor:
    """Logarithms of the mean colours of points [P, 3]."""
    weights = evidence.weights[..., None]
    mean = (evidence.colors * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return mean.clamp(min=_DARKEST).log()
