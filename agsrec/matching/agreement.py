"""One arrangement of all views from many answers per pair: robust rotation averaging with independent votes.

Every pair of views has several hypotheses from matches, most of them wrong, some of them confidently:
opposite sides of a symmetric object match as if they were one. A network's distributions over azimuth
differences are another witness, which fails on other objects. Arrangements that many of them support at once
are sought from many starts, each view in turn moving to the best of the places that the others give it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from agsrec.lie import so3_exp, so3_log
from agsrec.matching.two_view import Hypothesis

__all__ = ["Agreement", "Arrangement", "Votes", "largest_turn", "turns_apart"]

_SPREAD_DEG = 6.0  # of a right hypothesis
_DOUBT = 0.01  # density far from every hypothesis, over that at one that is certain
_TILT_DEG = 14.0  # spread of the network's elevations and rolls
_TILT_MOST = 3.0  # nats that a tilt can cost
_BEHIND = 0.25  # belief in a match's twin from the other side, over that in the match
_HALF_TURN = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))  # about the vertical
_STANDING = 5.0  # what a pair counts that is known by what stands still: it can have no twin
_STEP_DEG = 10  # of the azimuths at which views are tried by the network alone
_SWEEPS = 10
_POLISH = 6


@dataclass(frozen=True)
class Votes:
    """What is known of V views without matches.

    Attributes:
        tilts: Rotation of each camera as if its azimuth were zero [V, 3, 3], world to camera, +y up.
        energies: Log-density of the azimuth of view j less that of view i, per degree [V, V, 360].
        weight: How much a nat of these counts beside a nat of the matches.
    """

    tilts: Tensor
    energies: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Arrangement:
    """Rotations of all views.

    Attributes:
        rotations: World to camera [V, 3, 3], +y up.
        score: Mean over pairs of what the votes and matches say, in nats; higher is better.
    """

    rotations: Tensor
    score: float


@dataclass(frozen=True)
class _Edges:
    """Hypotheses of all ordered pairs, padded: rotations [V, V, H, 3, 3] and beliefs [V, V, H].

    What a pair says counts `weights` [V, V] times.
    """

    rotations: Tensor
    beliefs: Tensor
    weights: Tensor


class Agreement:
    """All that is said of how views are turned against each other, and the arrangements that suit it.

    Args:
        hypotheses: From matches, any number per pair.
        votes: From a network, for all pairs.
    """

    def __init__(self, hypotheses: Sequence[Hypothesis], votes: Votes) -> None:
        self._votes = votes
        self._edges = _edges(hypotheses, votes, len(votes.tilts))

    def of_matches(self, rotations: Tensor) -> float:
        """What matches alone say of rotations [V, 3, 3]: the mean over pairs, in nats."""
        pairs = list(combinations(range(len(rotations)), 2))
        turns = ((rotations[j] @ rotations[i].mT).float() for i, j in pairs)
        said = [_pair_energy(turn, self._edges, i, j) for turn, (i, j) in zip(turns, pairs, strict=True)]
        return float(torch.stack(said).mean())

    def arrangements(
        self, starts: Sequence[Tensor] = (), *, trees: int = 32, modes: int = 3, apart_deg: float = 20.0
    ) -> list[Arrangement]:
        """The arrangements with most support, best first, no two alike.

        Args:
            starts: Rotations [V, 3, 3] to start from, beside those that are made here.
            trees: How many random starts along matches to make.
            modes: Most arrangements to return.
            apart_deg: Arrangements are different if some view is turned by more than this.
        """
        edges, votes, count = self._edges, self._votes, len(self._votes.tilts)
        begun = torch.stack([*starts, *_trees(edges, votes, trees), *_upright_starts(votes, count)])
        ascended = _ascended(begun, edges, votes)
        both = torch.cat([ascended, _polished(ascended, edges)])
        scores = _energy(both, edges, votes)
        kept: list[Arrangement] = []
        for index in scores.argsort(descending=True, stable=True).tolist():
            one = Arrangement(both[index], float(scores[index]))
            if all(largest_turn(one.rotations, k.rotations) > apart_deg for k in kept):
                kept.append(one)
            if len(kept) == modes:
                break
        return kept


def largest_turn(a: Tensor, b: Tensor) -> float:
    """Degrees by which some view differs, after the turn of the world that leaves least of it."""
    return float(_turns(a, b).amax(1).min())


def turns_apart(a: Tensor, b: Tensor) -> Tensor:
    """Degrees by which each view differs [V], after the turn of the world that brings most views together.

    Args:
        a: World to camera [V, 3, 3].
        b: The same views, arranged otherwise.
    """
    turns = _turns(a, b)
    return turns[turns.median(1).values.argmin()]


def _turns(a: Tensor, b: Tensor) -> Tensor:
    """Degrees by which views differ once the world is turned so that one of them agrees [V (that one), V]."""
    turns = a.mT @ b
    cosine = (torch.einsum("vij,wij->vw", turns, turns) - 1) / 2
    return cosine.clamp(-1, 1).acos().rad2deg()


def _edges(hypotheses: Sequence[Hypothesis], votes: Votes, count: int) -> _Edges:
    """Each pair's hypotheses in both directions, and what each would be if its matches were a twin's."""
    listed: list[list[list[tuple[Tensor, float]]]] = [[[] for _ in range(count)] for _ in range(count)]
    known = torch.zeros(count, count)  # how surely by what stands still
    for h in (h for h in hypotheses if h.found.whole):
        known[h.found.first, h.found.second] = max(float(known[h.found.first, h.found.second]), h.belief)
    for h in hypotheses:
        i, j = h.found.first, h.found.second
        rotation = torch.from_numpy(h.rotation).float()
        turns = [(rotation, h.belief)]
        if not h.found.whole:
            up = votes.tilts[i]  # the world's axes in the first camera, but for its azimuth
            left = (1 - float(known[i, j])) * h.belief
            turns = [(rotation, left), (rotation @ up @ _HALF_TURN @ up.mT, _BEHIND * left)]
        for turn, belief in turns:
            listed[i][j].append((turn, belief))
            listed[j][i].append((turn.mT, belief))
    most = max((len(cell) for row in listed for cell in row), default=0)
    rotations = torch.eye(3).repeat(count, count, max(1, most), 1, 1)
    beliefs = torch.zeros(count, count, max(1, most))
    for i, row in enumerate(listed):
        for j, cell in enumerate(row):
            total = max(1.0, sum(b for _, b in cell))
            for k, (turn, belief) in enumerate(cell):
                rotations[i, j, k], beliefs[i, j, k] = turn, belief / total
    return _Edges(rotations, beliefs, 1 + (_STANDING - 1) * (known + known.mT))


def _azimuths(rotations: Tensor) -> Tensor:
    """Azimuths [...] in degrees of world-to-camera rotations [..., 3, 3]."""
    backward = -rotations[..., 2, :]
    return torch.atan2(backward[..., 0], backward[..., 2]).rad2deg()


def _pair_energy(relative: Tensor, edges: _Edges, i: int, j: int) -> Tensor:
    """Nats [...] for turns [..., 3, 3] from camera i to camera j."""
    wanted, belief = edges.rotations[i, j], edges.beliefs[i, j]  # [H, 3, 3], [H]
    cosine = (torch.einsum("...ab,hab->...h", relative, wanted) - 1) / 2
    squared = 2 * (1 - cosine).clamp_min(0)  # of the angle, nearly
    density = (belief * torch.exp(-0.5 * squared / math.radians(_SPREAD_DEG) ** 2)).sum(-1)
    return edges.weights[i, j] * ((_DOUBT + density).log() - math.log(_DOUBT))


def _azimuth_energy(difference: Tensor, votes: Votes, i: int, j: int) -> Tensor:
    bins = difference.round().long() % 360
    return votes.weight * (votes.energies[i, j][bins] + math.log(360.0))


def _tilt_energy(rotations: Tensor, votes: Votes, view: int) -> Tensor:
    """Nats [...] for how the camera is tilted, at most so much."""
    azimuth = _azimuths(rotations).deg2rad()
    zero = torch.zeros_like(azimuth)
    turned = rotations @ so3_exp(torch.stack([zero, azimuth, zero], -1))
    cosine = ((turned * votes.tilts[view]).sum((-1, -2)) - 1) / 2
    squared = 2 * (1 - cosine).clamp_min(0) / math.radians(_TILT_DEG) ** 2
    return -_TILT_MOST * (1 - torch.exp(-0.5 * squared / _TILT_MOST))


def _energy(rotations: Tensor, edges: _Edges, votes: Votes) -> Tensor:
    """Mean over pairs [S] for arrangements [S, V, 3, 3]."""
    count = rotations.shape[1]
    azimuth = _azimuths(rotations)
    total = torch.zeros(len(rotations))
    for i in range(count):
        total += _tilt_energy(rotations[:, i], votes, i)
        for j in range(i + 1, count):
            total += _pair_energy(rotations[:, j] @ rotations[:, i].mT, edges, i, j)
            total += _azimuth_energy(azimuth[:, j] - azimuth[:, i], votes, i, j)
    return total / (0.5 * count * (count - 1))


def _trees(edges: _Edges, votes: Votes, number: int) -> list[Tensor]:
    """Arrangements along random spanning trees of hypotheses, likely ones more often."""
    count = len(votes.tilts)
    generator = torch.Generator().manual_seed(0)
    likely = edges.beliefs.amax(-1)
    out = []
    for k in range(number):
        temperature = 0.0 if k == 0 else 0.5
        rotations = torch.zeros(count, 3, 3)
        root = k % count
        rotations[root], placed = votes.tilts[root], [root]
        while len(placed) < count:
            rest = [v for v in range(count) if v not in placed]
            weight = likely[placed][:, rest]
            noise = -(-torch.rand(weight.shape, generator=generator).clamp_min(1e-9).log()).log()
            choice = int(((weight + 1e-4).log() + temperature * noise).argmax())
            i, j = placed[choice // len(rest)], rest[choice % len(rest)]
            belief = edges.beliefs[i, j]
            if float(belief.sum()) > 0.05:
                noise = -(-torch.rand(belief.shape, generator=generator).clamp_min(1e-9).log()).log()
                h = int(((belief + 1e-9).log() + temperature * noise).argmax())
                rotations[j] = edges.rotations[i, j, h] @ rotations[i]
            else:
                guess = votes.energies[i, j].argmax() + _azimuths(rotations[i])
                rotations[j] = _at_azimuth(votes.tilts[j], guess[None])[0]
            placed.append(j)
        out.append(rotations)
    return out


def _at_azimuth(tilt: Tensor, degrees: Tensor) -> Tensor:
    """Rotations [N, 3, 3] of a camera with that tilt [3, 3] at azimuths [N]."""
    zero = torch.zeros_like(degrees)
    return tilt @ so3_exp(torch.stack([zero, -degrees.deg2rad(), zero], -1))


def _upright_starts(votes: Votes, count: int) -> list[Tensor]:
    """Arrangements in which every view stands where one of them would have it by the votes alone."""
    out = []
    for i in range(count):
        degrees = votes.energies[i].argmax(-1).float()
        degrees[i] = 0.0
        out.append(torch.stack([_at_azimuth(votes.tilts[v], degrees[v : v + 1])[0] for v in range(count)]))
    return out


def _ascended(rotations: Tensor, edges: _Edges, votes: Votes) -> Tensor:
    """Arrangements [S, V, 3, 3] after every view in turn went to its best place, until none moves."""
    rotations = rotations.clone()
    count = rotations.shape[1]
    circle = torch.arange(0, 360, _STEP_DEG).float()
    for _ in range(_SWEEPS):
        before = rotations.clone()
        for view in range(count):
            around = _at_azimuth(votes.tilts[view], circle).expand(len(rotations), -1, -1, -1)
            places = [around, rotations[:, view : view + 1]]
            for other in range(count):
                if other != view and float(edges.beliefs[other, view].sum()) > 0:
                    known = edges.beliefs[other, view] > 0
                    places.append(edges.rotations[other, view][known] @ rotations[:, other : other + 1])
            candidates = torch.cat(places, 1)  # [S, C, 3, 3]
            total = _tilt_energy(candidates, votes, view)
            azimuth = _azimuths(candidates)
            for other in range(count):
                if other != view:
                    total = total + _pair_energy(
                        candidates @ rotations[:, other, None].mT, edges, other, view
                    )
                    apart = azimuth - _azimuths(rotations[:, other])[:, None]
                    total = total + _azimuth_energy(apart, votes, other, view)
            best = total.argmax(1)
            rotations[:, view] = candidates[torch.arange(len(rotations)), best]
        if torch.equal(before, rotations):
            break
    return rotations


def _polished(rotations: Tensor, edges: _Edges) -> Tensor:
    """Arrangements in which views stand at the mean of where the hypotheses near them would have them."""
    rotations = rotations.clone()
    count = rotations.shape[1]
    narrow = 2 * math.radians(_SPREAD_DEG) ** 2
    for _ in range(_POLISH):
        for view in range(count):
            total, weight = torch.zeros(len(rotations), 3), torch.full((len(rotations), 1), 0.05)
            for other in range(count):
                if other == view:
                    continue
                placed = edges.rotations[other, view] @ rotations[:, other, None]  # [S, H, 3, 3]
                off = so3_log(placed @ rotations[:, view, None].mT)
                share = edges.beliefs[other, view] * torch.exp(-off.square().sum(-1) / narrow)
                total = total + (share[..., None] * off).sum(1)
                weight = weight + share.sum(1, keepdim=True)
            rotations[:, view] = so3_exp(total / weight) @ rotations[:, view]
    return rotations
