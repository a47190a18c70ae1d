"""Azimuths of all views that agree best with what the network says of every pair."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["AzimuthModes", "agreed_azimuths", "mean_energies", "pair_energies"]

_DEGREES = 360
_FLOOR = 0.02  # share of each distribution that is spread evenly: no pair has a veto
_SWEEPS = 12
_RANDOM_STARTS = 32


@dataclass(frozen=True)
class AzimuthModes:
    """Ways to arrange the views around the object, best first.

    Attributes:
        azimuths: Whole degrees [K, V]; the first view's is 0.
        scores: Mean log-density over pairs [K], of the difference per degree.
    """

    azimuths: Tensor
    scores: Tensor


def pair_energies(probabilities: Tensor) -> Tensor:
    """Log-density [V, V, 360] of azimuth j less azimuth i, per degree, from bins [V, V, K] over the circle.

    The distributions of (i, j) and (j, i) are multiplied, and the densities interpolated between the centres
    of the bins.
    """
    bins = probabilities.shape[-1]
    spread = (1 - _FLOOR) * probabilities + _FLOOR / bins
    position = torch.arange(_DEGREES, device=spread.device) * bins / _DEGREES - 0.5
    low = position.floor().long()
    share = position - low
    log_density = (spread * bins / _DEGREES).log()
    below, above = log_density[..., low % bins], log_density[..., (low + 1) % bins]
    fine = (1 - share) * below + share * above
    opposite = fine.transpose(0, 1).flip(-1).roll(1, -1)
    return 0.5 * (fine + opposite)


def agreed_azimuths(energies: Tensor, *, modes: int, apart_deg: float = 25.0) -> AzimuthModes:
    """The arrangements with the highest sum of energies [V, V, 360], by coordinate ascent on the circle.

    Args:
        energies: From `pair_energies`.
        modes: Most arrangements to return.
        apart_deg: Two arrangements are different ones if some view differs by more than this.
    """
    count = len(energies)
    starts = torch.stack([energies[i].argmax(-1) for i in range(count)])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(_DEGREES, (_RANDOM_STARTS, count), generator=generator).to(energies.device)
    azimuths = _ascended(energies, torch.cat([starts, noise]))
    best = azimuths[mean_energies(energies, azimuths).argmax()]
    azimuths = torch.cat([azimuths, _with_one_view_moved(energies, best, apart_deg)])
    azimuths = (azimuths - azimuths[:, :1]) % _DEGREES
    scores = mean_energies(energies, azimuths)
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        distinct = [_largest_difference(azimuths[index], azimuths[k]) > apart_deg for k in kept]
        if all(distinct) and len(kept) < modes:
            kept.append(index)
    return AzimuthModes(azimuths[kept], scores[kept])


def _ascended(energies: Tensor, azimuths: Tensor) -> Tensor:
    """Arrangements [S, V] after every view in turn went to its best place, until none moves."""
    azimuths = azimuths.clone()
    for _ in range(_SWEEPS):
        before = azimuths.clone()
        for view in range(len(energies)):
            azimuths[:, view] = _profile(energies, azimuths, view).argmax(1)
        if torch.equal(before, azimuths):
            break
    return azimuths


def _profile(energies: Tensor, azimuths: Tensor, view: int) -> Tensor:
    """Sum of energies [S, 360] with one view at every azimuth and the others where they are."""
    candidates = torch.arange(_DEGREES, device=energies.device)
    total = energies.new_zeros(len(azimuths), _DEGREES)
    for other in range(len(energies)):
        if other != view:
            total += energies[other, view][(candidates - azimuths[:, other, None]) % _DEGREES]
    return total


def _with_one_view_moved(energies: Tensor, azimuths: Tensor, apart_deg: float) -> Tensor:
    """The arrangement [V] with each view in turn at its best place far from the present one [V, V]."""
    moved = azimuths.repeat(len(azimuths), 1)
    candidates = torch.arange(_DEGREES, device=energies.device)
    for view in range(len(azimuths)):
        profile = _profile(energies, azimuths[None], view)[0]
        peak = (profile >= profile.roll(1)) & (profile >= profile.roll(-1))
        away = ((candidates - azimuths[view] + 180) % 360 - 180).abs() > apart_deg
        moved[view, view] = torch.where(peak & away, profile, -torch.inf).argmax()
    return moved


def mean_energies(energies: Tensor, azimuths: Tensor) -> Tensor:
    """Mean energy over pairs [S] of arrangements [S, V] in whole degrees."""
    count = len(energies)
    first, second = torch.triu_indices(count, count, 1, device=energies.device)
    difference = (azimuths[:, second] - azimuths[:, first]) % _DEGREES  # [S, P]
    return energies[first, second].expand(len(azimuths), -1, -1).gather(2, difference[..., None]).mean((1, 2))


def _largest_difference(a: Tensor, b: Tensor) -> float:
    """Degrees between two arrangements, after the turn that brings most views together."""
    difference = (a - b) % _DEGREES
    spread = (difference[:, None] - difference + 180) % 360 - 180  # gauge of each view in turn
    return float(spread.abs().amax(1).min())
