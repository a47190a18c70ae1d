"""Descriptors of two images that are each other's nearest neighbours, all of them or those seeds lead to."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["fast_mutual_neighbours", "mutual_neighbours"]

_BLOCK = 2**26  # similarities at a time: 256 MiB in float32


def mutual_neighbours(first: Tensor, second: Tensor) -> Tensor:
    """All pairs of descriptors that are each other's nearest, by a full search both ways.

    Args:
        first: Unit vectors [M, D].
        second: Unit vectors [N, D].

    Returns:
        Their indices [K, 2], in order of the first.
    """
    if not len(first) or not len(second):
        return torch.zeros(0, 2, dtype=torch.long, device=first.device)
    there, back = _nearest(first, second), _nearest(second, first)
    index = torch.arange(len(first), device=first.device)
    mutual = back[there] == index
    return torch.stack([index[mutual], there[mutual]], 1)


def fast_mutual_neighbours(first: Tensor, second: Tensor, seeds: Tensor) -> Tensor:
    """Those of the pairs of `mutual_neighbours` that seeds lead to (Leroy et al. 2024, section 3.3).

    From a seed to its nearest neighbour in the second image, from there to the nearest in the first, and on
    until a step back ends where it came from. Similarity rises on the way, so that every trail ends; trails
    that meet go on as one.

    Args:
        first: Unit vectors [M, D].
        second: Unit vectors [N, D].
        seeds: Indices [S] of some of the first.

    Returns:
        Their indices [K, 2], K <= S, in order of the first; none twice.
    """
    found = [torch.zeros(0, 2, dtype=torch.long, device=first.device)]
    visited = torch.zeros(len(first), dtype=torch.bool, device=first.device)
    here = seeds.unique() if len(second) else seeds[:0]
    while len(here):
        visited[here] = True
        there = _nearest(first[here], second)
        back = _nearest(second[there], first)
        returned = back == here
        found.append(torch.stack([here[returned], there[returned]], 1))
        here = back[~returned].unique()
        here = here[~visited[here]]
    pairs = torch.cat(found)
    return pairs[pairs[:, 0].argsort()]


def _nearest(queries: Tensor, targets: Tensor) -> Tensor:
    """Index [Q] of the most similar of the targets [N, D], N > 0, for each query [Q, D], blockwise."""
    rows = max(1, _BLOCK // len(targets))
    return torch.cat([(some @ targets.mT).argmax(1) for some in queries.split(rows)])
