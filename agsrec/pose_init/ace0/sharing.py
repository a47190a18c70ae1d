"""Photos registered by the points that they share with registered ones.

Where texture is rich, features match from photo to photo long before a head has learnt to tell them: what two
registered photos share has a place in the world, and a third one that shows it a pose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from agsrec.matching import Bundle, PairMatches, Rig, Tracks, reprojection_errors, triangulated
from agsrec.pose_init.ace0.bundling import neighbours, off_middle, rig_of
from agsrec.pose_init.ace0.registered import Registered
from agsrec.pose_init.ace0.shared_points import SharedPoints
from agsrec.pose_init.resection import resected

__all__ = ["Sharing"]

_NEAR = 0.01  # error of a point in the photos that locate it, of the picture's longer side
_APART_DEG = 3.0  # between their rays at least: what is seen from one side has no depth
_TOLERANCE = 0.015  # error of a point that agrees with a pose, likewise
_FEWEST, _SHARE = 30, 0.5  # points that have to agree, and their share of those that have a place
_TRIES = 1000


@dataclass(frozen=True)
class _Matched:
    """Matches of a photo with points that have a place.

    Attributes:
        points: In the world [M, 3].
        pixels: Where the photo shows them [M, 2].
    """

    points: Tensor
    pixels: Tensor


class Sharing:
    """Registers photos by the points that they share.

    Args:
        shared: The points that V photos share.
        size: Width and height of the photos in pixels.
    """

    def __init__(self, shared: SharedPoints, size: tuple[int, int]) -> None:
        self._shared, self._size, self._side = shared, size, float(max(size))

    def register(self, found: Registered) -> Registered:
        """Pose the photos that have no pose and share enough with some that have one, once."""
        places = self._places(found)
        viewmats, placed = found.viewmats.clone(), found.placed.clone()
        agreeing = found.agreeing.clone()
        for v in (~found.placed).nonzero()[:, 0].tolist():
            matched = self._matched(v, places)
            solved = resected(
                matched.points.double().numpy(),
                matched.pixels.double().numpy(),
                found.Ks[v].double().numpy(),
                _TOLERANCE * self._side,
                steps=_TRIES,
            )
            if solved.viewmat is not None and _enough(solved.agreeing, solved.matches):
                viewmats[v], placed[v] = solved.viewmat, True
                agreeing[v] = solved.agreeing / len(self._shared.seen[v])
        return replace(found, viewmats=viewmats, placed=placed, agreeing=agreeing)

    def holding(self, found: Registered) -> Tensor:
        """Which photos [V] have poses that agree with enough points that they share with others."""
        located = [int(place.isfinite().all(1).sum()) for place in self._places(found).values()]
        holding = torch.zeros(len(found.placed), dtype=torch.bool, device="cpu")
        holding[found.placed] = torch.tensor([count >= _FEWEST for count in located], device="cpu")
        return holding

    def _places(self, found: Registered) -> dict[int, Tensor]:
        """Where the pixels of registered photos are in the world [N_v, 3], NaN where nobody knows."""
        rows = found.placed.nonzero()[:, 0].tolist()
        rig, away = rig_of(found, rows), torch.from_numpy(off_middle(found, rows, self._size)).double()
        sums = [torch.zeros(len(self._shared.seen[v]), 4, dtype=torch.float64, device="cpu") for v in rows]
        for i, j in neighbours(rig):
            pair = self._shared.between(rows[i], rows[j])
            if not len(pair):
                continue
            points, good = self._located(pair, rig, away, (i, j))
            once = torch.cat([points, torch.ones_like(points[:, :1])], 1)[good]
            for camera, ids in zip((i, j), torch.from_numpy(pair.ids).long().T, strict=True):
                sums[camera].index_add_(0, ids[good], once)
        return {v: (s[:, :3] / s[:, 3:]).float() for v, s in zip(rows, sums, strict=True)}

    def _located(
        self, pair: PairMatches, rig: Rig, away: Tensor, cameras: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Where the M points that a pair shares are in the world [M, 3], and whether rays meet there [M]."""
        ends, number = list(cameras), torch.arange(len(pair), device="cpu")
        pixels = torch.from_numpy(pair.points).double() - away[ends]
        middle = torch.tensor(self._size, dtype=torch.float64, device="cpu") / 2
        views = torch.tensor(ends, device="cpu").repeat_interleave(len(pair))
        tracks = Tracks(views, number.repeat(2), pixels.transpose(0, 1).reshape(-1, 2), middle, self._side)
        points = triangulated(rig, tracks)
        off = reprojection_errors(Bundle(rig, points), tracks).view(2, -1).amax(0)
        eyes = -(rig.rotations.mT @ rig.centers[..., None])[ends, :, 0]
        rays = torch.nn.functional.normalize(points[:, None] - eyes, dim=-1)
        apart = torch.rad2deg(rays.prod(1).sum(-1).clamp(-1, 1).arccos())
        return points, (off < _NEAR * self._side) & (apart > _APART_DEG)

    def _matched(self, v: int, places: dict[int, Tensor]) -> _Matched:
        """The points that a photo shares with registered ones and that have a place."""
        points, pixels = [torch.zeros(0, 3, device="cpu")], [torch.zeros(0, 2, device="cpu")]
        for other, place in places.items():
            pair = self._shared.between(v, other)
            own, its = (0, 1) if v < other else (1, 0)
            where = place[torch.from_numpy(pair.ids[:, its]).long()]
            known = where.isfinite().all(1)
            points.append(where[known])
            pixels.append(torch.from_numpy(pair.points[:, own]).float()[known])
        return _Matched(torch.cat(points), torch.cat(pixels))


def _enough(agreeing: int, matches: int) -> bool:
    return agreeing >= _FEWEST and agreeing >= _SHARE * matches
