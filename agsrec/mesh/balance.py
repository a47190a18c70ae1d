"""Photos balanced against each other: factors of their colours that make them agree on the surface."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.mesh.evidence import gathered

if TYPE_CHECKING:
    from agsrec.mesh.album import Album
    from agsrec.mesh.shape import Shape

__all__ = ["balanced"]

_DARKEST, _BRIGHTEST = 0.03, 0.96  # beyond them, colours say nothing about exposure
_OBLIQUE = 0.35  # cosine below which a photo does not say much about a point
_SCALE = 0.1  # of the logarithm: what photos differ by at a point beside their exposures
_STEPS = 15
_FEWEST = 30  # points that two photos must share
_TIE = 0.02  # of a photo's evidence: pull towards 1
_MOST = 0.9  # of the logarithm: about two and a half times as bright


def balanced(shape: Shape, album: Album) -> Album:
    """An album with a gain per photo and channel.

    Least squares of the logarithms over all points of the surface that two photos show, robust against
    highlights and what is misplaced (Geman and McClure's weights), and tied to 1.
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
    for _ in range(_STEPS):
        gains = _solved(ties, gains)
    return replace(album, gains=gains.clamp(-_MOST, _MOST).exp().float())


def _solved(ties: list[tuple[int, int, Tensor, Tensor]], gains: Tensor) -> Tensor:
    """One step of reweighted least squares: log gains [V, 3] from the differences that pairs of photos show."""
    count = len(gains)
    matrix = torch.zeros(3, count, count, dtype=torch.float64)
    right = torch.zeros(3, count, dtype=torch.float64)
    for a, b, difference, weight in ties:
        left = gains[a] - gains[b] - difference  # [P, 3], zero where the two agree
        robust = (1 + left.square().sum(-1, keepdim=True) / _SCALE**2).square().reciprocal()
        share = weight[:, None] * robust
        total, push = share.sum(0).expand(3), (share * difference).sum(0)
        matrix[:, a, a] += total
        matrix[:, b, b] += total
        matrix[:, a, b] -= total
        matrix[:, b, a] -= total
        right[:, a] += push
        right[:, b] -= push
    evidence = matrix.diagonal(dim1=1, dim2=2)
    tie = _TIE * evidence.mean(1, keepdim=True).clamp(min=1e-6)
    return torch.linalg.solve(matrix + torch.diag_embed(tie.expand(3, count)), right).mT
