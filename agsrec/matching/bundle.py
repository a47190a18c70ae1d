"""Cameras and the points that their views share, adjusted to each other (Triggs et al., "Bundle Adjustment: A
Modern Synthesis", 2000).

SciPy solves it, with a sparse Jacobian, in a few seconds. pycolmap's own adjustment is of no use here: it
knows neither focal lengths in fixed ratios nor weak priors on turns and distances, which views with few
matches need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agsrec.matching.epipolar import Rig, Spread, moved
from agsrec.matching.solving import minimized

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from agsrec.matching.matches import PairMatches

__all__ = ["Bundle", "Tracks", "adjust_bundle", "reprojection_errors", "tracks_of", "triangulated"]

_COUNTS_AS = 30.0  # tracks that two views share count as so many: neighbours err alike
# Spread of points about the object's centre, of the cameras' distance; less pulls focal lengths up.
_REACH = 20.0


@dataclass(frozen=True)
class Tracks:
    """Points of an object and where views see them: one row for each of O sightings of P points.

    Attributes:
        views: Which view [O].
        points: Which point [O]; each is seen by two views at least, and by none twice.
        pixels: Where, in pixels of the view [O, 2].
        middle: Of the views (x, y), pixels.
        size: Longer side of the views in pixels.
    """

    views: Tensor
    points: Tensor
    pixels: Tensor
    middle: Tensor
    size: float

    @property
    def lengths(self) -> Tensor:
        """How many views see each point [P]."""
        return torch.bincount(self.points)

    def __len__(self) -> int:
        return int(self.points.max()) + 1 if len(self.points) else 0


@dataclass(frozen=True)
class Bundle:
    """Cameras and points that fit each other.

    Attributes:
        rig: The cameras.
        points: Of the tracks [P, 3], in the world of the cameras.
    """

    rig: Rig
    points: Tensor


def tracks_of(found: Sequence[PairMatches], width: int, height: int) -> Tracks:
    """Chains of matches; the surest come first, and none joins two features of one view.

    Args:
        found: Matches of pairs of views.
        width: Of the views in pixels.
        height: Of the views in pixels.
    """
    pixels: dict[tuple[int, int], NDArray[np.float32]] = {}
    # Of a feature, the features of its track by view; one dict for all of them.
    track: dict[tuple[int, int], dict[int, int]] = {}
    for k, row in _surest_first(found):
        f = found[k]
        ends = [(f.first, int(f.ids[row, 0])), (f.second, int(f.ids[row, 1]))]
        for end, seen in zip(ends, f.points[row], strict=True):
            pixels.setdefault(end, seen)
            track.setdefault(end, dict([end]))
        one, other = track[ends[0]], track[ends[1]]
        if one is not other and not one.keys() & other.keys():
            one.update(other)
            track.update((feature, one) for feature in other.items())
    chains = {id(t): t for t in track.values() if len(t) > 1}.values()
    rows = [(view, n, *pixels[view, feature]) for n, t in enumerate(chains) for view, feature in t.items()]
    table = torch.tensor(rows, dtype=torch.float64).view(-1, 4)
    middle = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    return Tracks(table[:, 0].long(), table[:, 1].long(), table[:, 2:], middle, float(max(width, height)))


def _surest_first(found: Sequence[PairMatches]) -> list[tuple[int, int]]:
    """Every match by its entry and its row there."""
    listed = [(-float(s), k, row) for k, f in enumerate(found) for row, s in enumerate(f.scores)]
    return [(k, row) for _, k, row in sorted(listed)]


def triangulated(rig: Rig, tracks: Tracks) -> Tensor:
    """The points [P, 3] nearest to the rays that should meet in them, not far from the object's centre."""
    R, centers = rig.rotations.double(), rig.centers.double()
    rays = (tracks.pixels - tracks.middle) / rig.focals.double()[tracks.views, None]
    rays = torch.nn.functional.normalize(torch.cat([rays, torch.ones_like(rays[:, :1])], 1), dim=1)
    rays = (R[tracks.views].mT @ rays[..., None])[..., 0]
    across = torch.eye(3).double() - rays[:, :, None] * rays[:, None, :]
    eyes = -(R.mT @ centers[..., None])[tracks.views]
    normal = torch.zeros(len(tracks), 3, 3).double().index_add_(0, tracks.points, across)
    target = torch.zeros(len(tracks), 3, 1).double().index_add_(0, tracks.points, across @ eyes)
    return torch.linalg.solve(normal + 1e-3 * torch.eye(3), target)[..., 0]


def reprojection_errors(bundle: Bundle, tracks: Tracks) -> Tensor:
    """How far each sighting [O] is from where its point should be seen, in pixels."""
    R, centers = bundle.rig.rotations.double()[tracks.views], bundle.rig.centers.double()[tracks.views]
    seen = (R @ bundle.points[tracks.points, :, None])[..., 0] + centers
    return _off(seen, bundle.rig.focals.double()[tracks.views], tracks).norm(dim=1)


def _off(seen: Tensor, focal: Tensor, tracks: Tracks) -> Tensor:
    """Pixels [O, 2] from sightings to where points in their cameras' axes [O, 3] appear.

    Behind a camera they count as if before it.
    """
    depth = seen[:, 2:].abs().clamp_min(1e-3)
    return focal[:, None] * seen[:, :2] / depth - (tracks.pixels - tracks.middle)


def adjust_bundle(rig: Rig, tracks: Tracks, spread: Spread, *, scales: Sequence[float]) -> Bundle:
    """Cameras and points that bring points to where views see them.

    Errors count by Cauchy's loss, over ever smaller distances. Priors are weak: as for `adjust`, and on
    points, whose depth would else be open where rays are nearly parallel.

    Args:
        rig: The start.
        tracks: Points and where views see them, wrongly too.
        spread: How far the start may be off.
        scales: Distances over which errors stop counting in full, of the picture's longer side.
    """
    if not len(tracks):
        return Bundle(rig, torch.zeros(0, 3).double())
    problem = _Problem(rig, tracks, spread)
    tolerances = [scale * tracks.size for scale in scales]
    return problem.bundle(minimized(problem, problem.start(), tolerances, ftol=1e-4, tr_solver="lsmr"))


class _Problem:
    """Residuals and their derivatives, for SciPy.

    The state is a change of each pose [6 V], the logarithm of the change of focal lengths, and points [3 P].
    """

    def __init__(self, rig: Rig, tracks: Tracks, spread: Spread) -> None:
        self._rig, self._tracks = rig, tracks
        self._rotations, self._centers = rig.rotations.double(), rig.centers.double()
        self._focals = rig.focals.double()[tracks.views]
        count = len(rig.rotations)
        self._cameras = 6 * count + 1
        reach = _REACH * float(self._centers.norm(dim=1).mean())
        self._strength = 1 / np.append(spread.of_state(count), np.full(3 * len(tracks), reach))
        self._weights = _weights(tracks, count)
        self.tolerance = 1.0

    def start(self) -> NDArray[np.float64]:
        """The state of the given cameras."""
        points = triangulated(self._rig, self._tracks).numpy().ravel()
        return np.concatenate([np.zeros(self._cameras), points])

    def residuals(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Robust errors [2 O] and priors [6 V + 1 + 3 P]."""
        pose, log_focal, points = self._split(x)
        R, centers = moved(self._rotations, self._centers, pose)
        errors = self._robust(self._seen(R, centers, points), log_focal)
        return np.concatenate([errors.numpy().ravel(), self._strength * x])

    def jacobian(self, x: NDArray[np.float64]) -> csr_matrix:
        """Derivatives of the residuals: each depends on one pose, one point and the focal length."""
        from scipy.sparse import coo_matrix, csr_matrix, diags, vstack

        local = self._derivatives(x).numpy()
        views, points = self._tracks.views.numpy(), self._tracks.points.numpy()
        columns = np.stack(
            [*(6 * views + k for k in range(6)), np.full_like(views, self._cameras - 1)]
            + [self._cameras + 3 * points + k for k in range(3)]
        )
        columns = np.broadcast_to(columns[..., None], local.shape)
        rows = np.broadcast_to(np.arange(2 * len(views)).reshape(-1, 2), local.shape)
        seen = coo_matrix((local.ravel(), (rows.ravel(), columns.ravel())), (2 * len(views), len(x)))
        return csr_matrix(vstack([seen, diags(self._strength)]))

    def bundle(self, x: NDArray[np.float64]) -> Bundle:
        """The cameras and points of a state."""
        pose, log_focal, points = self._split(x)
        rotations, centers = moved(self._rotations, self._centers, pose)
        return Bundle(Rig(rotations, centers, self._rig.focals.double() * log_focal.exp()), points)

    def _split(self, x: NDArray[np.float64]) -> tuple[Tensor, Tensor, Tensor]:
        """Changes of poses [V, 6], logarithm of that of focal lengths, points [P, 3]."""
        state = torch.from_numpy(x)
        pose, log_focal = state[: self._cameras - 1].view(-1, 6), state[self._cameras - 1]
        return pose, log_focal, state[self._cameras :].view(-1, 3)

    def _seen(self, R: Tensor, centers: Tensor, points: Tensor) -> Tensor:
        """The point of each sighting in its camera's axes [O, 3]."""
        views = self._tracks.views
        return (R[views] @ points[self._tracks.points, :, None])[..., 0] + centers[views]

    def _derivatives(self, x: NDArray[np.float64]) -> Tensor:
        """Of the errors [10, O, 2], by the pose's six changes, the focal length and the point."""
        pose, log_focal, points = self._split(x)
        R, centers = moved(self._rotations, self._centers, pose)
        seen = self._seen(R, centers, points)

        def of_poses(way: Tensor) -> tuple[Tensor, Tensor]:
            place = partial(moved, self._rotations, self._centers)
            return torch.func.jvp(place, (pose,), (way.expand_as(pose),))[1]

        def of_errors(way: Tensor) -> Tensor:
            ways = (way[:3].expand_as(seen), way[3])
            return torch.func.jvp(self._robust, (seen, log_focal), ways)[1]

        vmap = torch.func.vmap
        turns, shifts = vmap(of_poses)(torch.eye(6).double())  # [6, V, 3, 3], [6, V, 3]
        by_seen = vmap(of_errors)(torch.eye(4).double())  # [4, O, 2]
        moves = vmap(self._seen, (0, 0, None))(turns, shifts, points)  # [6, O, 3]
        by_pose = torch.einsum("koc,coe->koe", moves, by_seen[:3])
        by_point = torch.einsum("oca,coe->aoe", R[self._tracks.views], by_seen[:3])
        return torch.cat([by_pose, by_seen[3:], by_point])

    def _robust(self, seen: Tensor, log_focal: Tensor) -> Tensor:
        """Errors [O, 2] of points in their cameras' axes; the squares of their lengths are Cauchy's loss."""
        off = _off(seen, self._focals * log_focal.exp(), self._tracks) / self.tolerance
        squared = off.square().sum(1, keepdim=True)
        flat = squared < 1e-8
        safe = torch.where(flat, 1.0, squared)
        return self._weights[:, None] * torch.where(flat, 1.0, (torch.log1p(safe) / safe).sqrt()) * off


def _weights(tracks: Tracks, count: int) -> Tensor:
    """Of each sighting [O]; the more tracks two of V views share, the less each counts."""
    sees = torch.zeros(len(tracks), count).double()
    sees[tracks.points, tracks.views] = 1.0
    shared = sees.mT @ sees
    share = (_COUNTS_AS / shared.clamp_min(1.0)).clamp_max(1.0)
    share.fill_diagonal_(0.0)
    lengths = tracks.lengths.double()
    mean = torch.einsum("pv,vw,pw->p", sees, share, sees) / (lengths * (lengths - 1))
    return mean.sqrt()[tracks.points]
