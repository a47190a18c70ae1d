"""Cameras of all views adjusted to their matches at once, without points: robust epipolar distances.

The state is small (six numbers a view and the focal length), so that many arrangements can be tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agsrec.lie import so3_exp
from agsrec.matching.rays import centred_rays
from agsrec.matching.solving import minimized
from agsrec.matching.two_view import belief_in

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.matching.matches import PairMatches
    from agsrec.matching.two_view import Hypothesis

__all__ = [
    "CLOSE",
    "ROUGH",
    "Correspondences",
    "EpipolarTerm",
    "Rig",
    "Spread",
    "adjust",
    "consistent_matches",
    "epipolar_distances",
    "moved",
    "supporting_matches",
]

_MOST = 120  # matches of a pair that take part
_COUNTS_AS = 30.0  # what they count as: neighbouring matches err alike
_LIKELY = 0.1  # belief in a pair's matches from which they take part


@dataclass(frozen=True)
class Rig:
    """Cameras around an object.

    Attributes:
        rotations: World to camera [V, 3, 3].
        centers: Object's centre in each camera's axes [V, 3].
        focals: Focal lengths [V] in pixels.
    """

    rotations: Tensor
    centers: Tensor
    focals: Tensor


@dataclass(frozen=True)
class Spread:
    """How far the start may be off: standard deviations.

    Attributes:
        turn: Of rotations, radians.
        center: Of the direction to the object's centre, radians.
        depth: Of the logarithm of its distance.
        focal: Of the logarithm of the focal length; 0 where it is known.
    """

    turn: float
    center: float
    depth: float
    focal: float

    def of_state(self, count: int) -> NDArray[np.float64]:
        """Of the changes of `count` poses as `moved` takes them, and of the logarithm of focal lengths."""
        one = [self.turn] * 3 + [self.center] * 2 + [self.depth]
        return np.array([*(one * count), max(self.focal, 1e-4)])


ROUGH = Spread(turn=0.35, center=0.06, depth=0.12, focal=0.35)
"""Of an arrangement and what apparent sizes tell."""

CLOSE = Spread(turn=0.015, center=0.006, depth=0.015, focal=0.3)
"""Of what a coarse scene ended with."""


@dataclass(frozen=True)
class Correspondences:
    """Matches of all pairs as one list.

    Attributes:
        first: View of the first point [M].
        second: View of the second point [M].
        points: Both, in pixels of the views [M, 2, 2].
        middle: Of the views (x, y), pixels.
        weights: [M]; a pair counts as so many independent matches at most.
        size: Longer side of the views in pixels.
        away: Of the photos' principal points from there, of both views of each match [M, 2, 2].
        grains: Pixels that points are off where those of a cut-out are off one [M].
    """

    first: Tensor
    second: Tensor
    points: Tensor
    middle: Tensor
    weights: Tensor
    size: float
    away: Tensor
    grains: Tensor

    @property
    def pairs(self) -> Tensor:
        """Both views of each match [M, 2]."""
        return torch.stack([self.first, self.second], 1)

    def renumbered(self, index: Sequence[int]) -> Correspondences:
        """The matches among some views, V' of them, which are counted anew: `index[k]` is the old k-th."""
        place = torch.full((1 + max([*index, *self.first.tolist(), *self.second.tolist()]),), -1)
        for new, old in reversed(list(enumerate(index))):  # of views that are the same picture the first
            place[old] = new
        first, second = place[self.first], place[self.second]
        kept = (first >= 0) & (second >= 0)
        return replace(
            self,
            first=first[kept],
            second=second[kept],
            points=self.points[kept],
            weights=self.weights[kept],
            away=self.away[kept],
            grains=self.grains[kept],
        )

    def resized(self, scale: float) -> Correspondences:
        """The matches in pixels of views that are so many times as large."""
        return replace(
            self,
            points=scale * self.points,
            middle=scale * self.middle,
            size=scale * self.size,
            away=scale * self.away,
        )

    def __len__(self) -> int:
        return len(self.first)

    @staticmethod
    def of(found: Sequence[PairMatches], width: int, height: int, most: int = _MOST) -> Correspondences:
        """The best `most` matches of each pair."""
        first, second, points, weights, away, grains = [], [], [], [], [], []
        for f in found:
            best = np.sort(np.argsort(-f.scores, kind="stable")[:most])
            first.append(np.full(len(best), f.first))
            second.append(np.full(len(best), f.second))
            points.append(f.points[best])
            weights.append(np.full(len(best), min(1.0, (_COUNTS_AS / max(len(best), 1)) ** 0.5)))
            away.append(np.broadcast_to(f.away, (len(best), 2, 2)))
            grains.append(np.full(len(best), f.grain))

        def joined(parts: list[NDArray[np.generic]]) -> Tensor:
            return torch.from_numpy(np.concatenate(parts))

        return Correspondences(
            joined(first).long(),
            joined(second).long(),
            joined(points).double(),
            torch.tensor([width / 2, height / 2]).double(),
            joined(weights).double(),
            float(max(width, height)),
            joined(away).double(),
            joined(grains).double(),
        )

    def rays(self, focals: Tensor) -> Tensor:
        """Slopes of the rays [M, 2, 2] for focal lengths [M, 2] of cameras that look through the middles."""
        return centred_rays(self.points - self.middle, self.away, focals)


def epipolar_distances(rig: Rig, found: Correspondences) -> Tensor:
    """Signed Sampson distances [M] in grains of the matches (Hartley and Zisserman, 11.4.3)."""
    R, t = rig.rotations.double(), rig.centers.double()
    i, j = found.first, found.second
    focals = rig.focals.double()[found.pairs]
    return focals.mean(1) / found.grains * _distances(R[i], t[i], R[j], t[j], found.rays(focals))


class EpipolarTerm:
    """What matches have against cameras, as a term of a fit's loss.

    The weighted mean of Geman and McClure's robust error, over distances that shrink as the fit goes on:
    first it pulls, at last it only keeps what has come together. Matches of another side pull in vain.

    Args:
        found: Matches, wrong ones too.
        weight: Of the term.
        tolerance: Distance of half an error at the start and at the end, of the picture's longer side.
        until: Share of the fit after which it falls silent.
    """

    def __init__(
        self,
        found: Correspondences,
        *,
        weight: float,
        tolerance: tuple[float, float] = (0.04, 0.01),
        until: float = 1.0,
    ) -> None:
        self._found = found
        self._weight, self._tolerance, self._until = weight, tolerance, until
        share = found.weights.square()
        self._share = (share / share.sum()).float()
        self._points, self._away, self._grains = (t.float() for t in (found.points, found.away, found.grains))

    def __call__(self, cameras: Cameras, progress: float) -> Tensor:
        """The loss of cameras when a share `progress` of the fit is done."""
        if progress >= self._until:
            return cameras.viewmats.new_zeros(())
        focal, middle = cameras.focal_lengths, cameras.principal_points
        pairs = self._found.pairs.to(focal.device)
        i, j = pairs.unbind(1)
        offsets = self._points.to(focal) - middle[pairs]
        rays = centred_rays(offsets, self._away.to(focal), focal[pairs].mean(-1))
        R, t = cameras.rotations, cameras.viewmats[:, :3, 3]
        unit = focal[pairs].mean((1, 2)) / self._grains.to(focal)
        errors = unit * _distances(R[i], t[i], R[j], t[j], rays)
        first, last = self._tolerance
        tolerance = self._found.size * first * (last / first) ** (progress / self._until)
        squared = (errors / tolerance).square()
        return self._weight * (self._share.to(focal) * squared / (1 + squared)).sum()


def _distances(Ri: Tensor, ci: Tensor, Rj: Tensor, cj: Tensor, rays: Tensor) -> Tensor:
    """Sampson distances [M] over the focal length.

    Args:
        Ri: Rotations of the first cameras [M, 3, 3].
        ci: A common point in their axes [M, 3].
        Rj: Rotations of the second cameras.
        cj: The point in theirs.
        rays: Where the matches are, from the principal points, over the focal length [M, 2, 2].
    """
    a, b = torch.cat([rays, torch.ones_like(rays[..., :1])], -1).unbind(1)
    R = Rj @ Ri.mT
    t = cj - (R @ ci[..., None])[..., 0]
    t = t / t.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    line_b = torch.linalg.cross(t, (R @ a[..., None])[..., 0])  # of a, in the second picture
    line_a = (R.mT @ torch.linalg.cross(b, t)[..., None])[..., 0]
    off = (b * line_b).sum(-1)
    slope = line_b[:, :2].square().sum(-1) + line_a[:, :2].square().sum(-1)
    return off / slope.clamp_min(1e-12).sqrt()


def moved(rotations: Tensor, centers: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    """Poses [N, 3, 3], [N, 3] after changes [N, 6]: a turn, and of the centre its direction and log-depth."""
    depth = centers[:, 2:] * change[:, 5:].exp()
    lateral = centers[:, :2] / centers[:, 2:] + change[:, 3:5]
    return so3_exp(change[:, :3]) @ rotations, torch.cat([lateral * depth, depth], -1)


def adjust(rig: Rig, found: Correspondences, spread: Spread, *, scales: Sequence[float]) -> Rig:
    """Cameras that bring matches to their epipolar lines.

    Errors count by Cauchy's loss, over ever smaller distances. Weak priors keep the object in the middle of
    the pictures, cameras as far as apparent sizes say, and all of it near the start where matches are few.

    Args:
        rig: The start.
        found: Matches, wrong ones too.
        spread: How far the start may be off.
        scales: Distances over which errors stop counting in full, of the picture's longer side.
    """
    problem = _Problem(rig, found, spread)
    start = np.zeros(6 * len(rig.rotations) + 1)
    return problem.rig(minimized(problem, start, [scale * found.size for scale in scales], ftol=1e-5))


class _Problem:
    """Residuals and their derivatives, for SciPy. The state is a change of each pose [6 V], and log-focal."""

    def __init__(self, rig: Rig, found: Correspondences, spread: Spread) -> None:
        self._start = rig
        self._found = found
        self._rotations, self._centers = rig.rotations.double(), rig.centers.double()
        self._focals = rig.focals.double()[found.pairs]  # [M, 2]
        self._strength = 1 / spread.of_state(len(rig.rotations))
        self.tolerance = 1.0

    def residuals(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Robust errors [M] and priors [6 V + 1]."""
        with torch.no_grad():
            errors = self._robust(*self._local(x))
        return np.concatenate([errors.numpy(), self._strength * x])

    def jacobian(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of the residuals: each error depends on two poses and the focal length."""
        state = self._local(x)

        def derivative(direction: Tensor) -> Tensor:
            i, j, f = direction[:6], direction[6:12], direction[12]
            tangents = (i.expand_as(state[0]), j.expand_as(state[1]), f)
            return torch.func.jvp(self._robust, state, tangents)[1]

        local = torch.func.vmap(derivative)(torch.eye(13, dtype=torch.float64)).numpy()  # [13, M]
        rows = np.arange(local.shape[1])
        out = np.zeros((len(rows) + len(x), len(x)))
        for k in range(6):
            out[rows, 6 * self._found.first.numpy() + k] = local[k]
            out[rows, 6 * self._found.second.numpy() + k] = local[6 + k]
        out[rows, -1] = local[12]
        out[len(rows) :] = np.diag(self._strength)
        return out

    def rig(self, x: NDArray[np.float64]) -> Rig:
        """The cameras of a state."""
        change = torch.from_numpy(x[:-1]).view(-1, 6)
        rotations, centers = moved(self._rotations, self._centers, change)
        return Rig(rotations, centers, self._start.focals.double() * float(np.exp(x[-1])))

    def _local(self, x: NDArray[np.float64]) -> tuple[Tensor, Tensor, Tensor]:
        """Changes of both poses of each match [M, 6], and of the logarithm of the focal length."""
        change = torch.from_numpy(x[:-1]).view(-1, 6)
        return change[self._found.first], change[self._found.second], torch.tensor(x[-1])

    def _robust(self, first: Tensor, second: Tensor, log_focal: Tensor) -> Tensor:
        """Errors [M] whose squares are Cauchy's loss."""
        i, j = self._found.first, self._found.second
        poses_i = moved(self._rotations[i], self._centers[i], first)
        poses_j = moved(self._rotations[j], self._centers[j], second)
        focals = self._focals * log_focal.exp()
        unit = focals.mean(1) / (self._found.grains * self.tolerance)
        errors = unit * _distances(*poses_i, *poses_j, self._found.rays(focals))
        squared = errors.square()
        flat = squared < 1e-8
        safe = torch.where(flat, 1.0, squared)
        robust = torch.where(flat, errors, errors.sign() * torch.log1p(safe).sqrt())
        return self._found.weights * robust


def supporting_matches(
    hypotheses: Sequence[Hypothesis], rotations: Tensor, within_deg: float = 12.0
) -> list[PairMatches]:
    """Of every pair and kind of features, the matches of the best hypothesis that agrees with an arrangement.

    Args:
        hypotheses: Of all pairs.
        rotations: World to camera [V, 3, 3].
        within_deg: How far a hypothesis may be from it.
    """
    least = math.cos(math.radians(within_deg))
    best: dict[tuple[int, int, int], Hypothesis] = {}
    for h in hypotheses:
        i, j = h.found.first, h.found.second
        relative = (rotations[j] @ rotations[i].mT).double()
        cosine = 0.5 * (float((relative * torch.from_numpy(h.rotation)).sum()) - 1)
        key = (i, j, id(h.found))
        if cosine > least and h.belief > _LIKELY and (key not in best or h.support > best[key].support):
            best[key] = h
    return [h.found.only(h.agreeing) for h in best.values()]


def consistent_matches(
    found: Sequence[PairMatches], rig: Rig, size: tuple[int, int], near: float
) -> list[PairMatches]:
    """Of every pair, the matches near their epipolar lines, where they are more than chance.

    Args:
        found: Matches of all pairs.
        rig: The cameras.
        size: Width and height of the views in pixels.
        near: How near, of the picture's longer side.
    """
    out = []
    for f in found:
        listed = Correspondences.of([f], *size, most=len(f))
        agreeing = epipolar_distances(rig, listed).abs() < near * listed.size
        if belief_in(f, int(agreeing.sum())) > _LIKELY:
            out.append(f.only(agreeing.numpy()))
    return out
