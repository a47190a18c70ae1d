"""Poses of an alignment, chosen anew and adjusted by matches.

An alignment of point maps knows where every view stands, to some degrees; matches know how views are turned
against each other to a fraction of one, where they are right. So the alignment votes as the embedded network
does in the initialiser `auto`: the arrangement that matches and alignment support together competes with the
alignment alone, and cameras and points are adjusted to the matches that agree with the better one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.matching import (
    CLOSE,
    ROUGH,
    Agreement,
    Correspondences,
    Hypothesis,
    PairMatches,
    Rig,
    Spread,
    Votes,
    adjust,
    adjust_bundle,
    belief_in,
    consistent_matches,
    largest_turn,
    pair_hypotheses,
    supporting_matches,
    tracks_of,
)
from agsrec.matching.rays import centred_rays
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.nview.angles import angles_from_rotations, rotations_from_angles

__all__ = ["arranged"]

_VOTES = 0.5  # what a nat of the alignment counts beside one of the matches
_VOTE_DEG = 12.0  # its error, where it is right
_DOUBT = (0.1, 0.9)  # that it is right nowhere near, at the least and at the most
_MOST_VIEWS = 12  # of a joint choice; of more, the pairs of an alignment check each other enough
_TREES = 8  # random starts of the joint choice
_SAME_DEG = 5.0  # arrangements that differ less are one
_OFF = (0.005, 0.03)  # radians that an alignment is off, at the least and at the most
_CENTER, _FOCAL = 0.4, 3.0  # the same of directions to the object's centre and log-focals, times that
_ADJUST = (0.015, 0.005)  # scales of the picture's longer side, as for `auto`
_POLISH = (0.012, (0.005,))  # how near matches are, and scales
_BUNDLE = (0.006, (0.003,))  # the same, once there are points
_CONSISTENT = 0.012  # distance of matches that agree with a pose, of the picture's longer side
_PER_PAIR = 120  # matches of a pair that cameras and points are adjusted to, the surest


@dataclass(frozen=True)
class _Centred:
    """Cameras turned in place to look through the middles of their views, and matches as they see them.

    Attributes:
        cameras: The cameras as they are.
        turns: From their axes to the turned ones [V, 3, 3].
        rig: The turned ones.
        found: Matches in their pictures.
    """

    cameras: Cameras
    turns: Tensor
    rig: Rig
    found: list[PairMatches]

    @staticmethod
    def of(cameras: Cameras, found: Sequence[PairMatches]) -> _Centred:
        """Of cameras with any principal points."""
        exact = cameras.to(dtype=torch.float64)
        straight = exact.centred()
        middle = straight.principal_points[0]
        away = exact.principal_points - middle
        rig = Rig(straight.rotations, straight.viewmats[:, :3, 3], straight.focal_lengths.mean(1))

        def turned(f: PairMatches) -> PairMatches:
            pair = [f.first, f.second]
            offsets = torch.from_numpy(f.points).double() - middle
            lengths = rig.focals[pair]
            rays = centred_rays(offsets, away[pair].expand_as(offsets), lengths.expand(len(f), 2))
            return replace(f, points=(middle + lengths[:, None] * rays).numpy().astype(np.float32))

        return _Centred(cameras, straight.rotations @ exact.rotations.mT, rig, [turned(f) for f in found])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the views."""
        return self.cameras.width, self.cameras.height

    def restored(self, rig: Rig) -> Cameras:
        """The cameras with their own principal points, of turned ones that have moved."""
        old = self.cameras
        viewmats, Ks = old.viewmats.clone(), old.Ks.clone()
        viewmats[:, :3, :3] = (self.turns.mT @ rig.rotations.double()).to(viewmats)
        viewmats[:, :3, 3] = (self.turns.mT @ rig.centers.double()[..., None])[..., 0].to(viewmats)
        Ks[:, 0, 0] = Ks[:, 1, 1] = rig.focals.to(Ks)
        return replace(old, viewmats=viewmats, Ks=Ks)


def arranged(
    estimate: PoseEstimate, found: Sequence[PairMatches], *, error: float, focal_known: bool
) -> PoseEstimate:
    """The estimate after matches had their say; as it was where they tie no two views.

    Views without matches keep the places that the alignment gave them.

    Args:
        estimate: Of an alignment, upright, the object near the origin.
        found: Matches of its cameras, by their indices, in pixels of the views.
        error: Of the aligned points, of the object's radius: what cameras may be off about it, in radians.
        focal_known: Whether focal lengths stay.
    """
    before = estimate.cameras
    confidence = estimate.confidence[estimate.placed]
    off = min(max(error, _OFF[0]), _OFF[1])
    spread = Spread(turn=off, center=_CENTER * off, depth=off, focal=_FOCAL * off)
    ways = [_adjusted(before, found, _free(spread, focal_known))]
    other = _chosen(before, confidence, found, focal_known) if len(before) <= _MOST_VIEWS else None
    if other is not None and largest_turn(other.rotations.double(), before.rotations.double()) > _SAME_DEG:
        ways.append(_adjusted(other, found, _free(CLOSE, focal_known)))
    cameras = max(ways, key=lambda way: sum(len(f) for f in _agreeing(way, found)))
    agreeing = _agreeing(cameras, found)
    if not agreeing:
        return estimate
    everyone = torch.zeros_like(estimate.confidence)
    everyone[estimate.placed] = _confidence(confidence, agreeing, found)
    points = None if estimate.points is None else estimate.points.moved(before, cameras)
    matches = Correspondences.of(agreeing, cameras.width, cameras.height)
    return replace(estimate, cameras=cameras, confidence=everyone, points=points, matches=matches)


def _chosen(
    cameras: Cameras, confidence: Tensor, found: Sequence[PairMatches], focal_known: bool
) -> Cameras | None:
    """The arrangement that matches and alignment support together, if there are believable matches."""
    centred = _Centred.of(cameras, found)
    rig = centred.rig
    hypotheses = [h for f in centred.found for h in _hypotheses(f, rig, centred.size)]
    if not hypotheses:
        return None
    agreement = Agreement(hypotheses, _votes(rig.rotations, confidence))
    best = agreement.arrangements([rig.rotations.float()], trees=_TREES, modes=1)[0]
    support = supporting_matches(hypotheses, best.rotations)
    if not support:
        return None
    start = replace(rig, rotations=best.rotations)
    spread = _free(ROUGH, focal_known)
    moved = adjust(start, Correspondences.of(support, *centred.size), spread, scales=_ADJUST)
    return centred.restored(moved)


def _hypotheses(f: PairMatches, rig: Rig, size: tuple[int, int]) -> list[Hypothesis]:
    pair = [f.first, f.second]
    distances = rig.centers[pair].norm(dim=1)
    return pair_hypotheses(f, rig.focals[pair].numpy(), size, distances.numpy())


def _votes(rotations: Tensor, confidence: Tensor) -> Votes:
    """What an alignment says of V views: near its azimuths, if it is as sure of both views of a pair."""
    elevation, azimuth, roll = (angle.float() for angle in angles_from_rotations(rotations))
    tilts = rotations_from_angles(elevation, torch.zeros_like(azimuth), roll)
    degrees = torch.arange(360.0)
    off = (degrees - (azimuth[None, :] - azimuth[:, None])[..., None] + 180) % 360 - 180
    near = torch.exp(-0.5 * (off / _VOTE_DEG) ** 2) / (_VOTE_DEG * math.sqrt(2 * math.pi))
    doubt = (1 - torch.minimum(confidence[:, None], confidence[None, :])).clamp(*_DOUBT)[..., None].cpu()
    return Votes(tilts, ((1 - doubt) * near + doubt / 360).log(), _VOTES)


def _adjusted(cameras: Cameras, found: Sequence[PairMatches], spread: Spread) -> Cameras:
    """Cameras adjusted to the matches that agree with them, at last together with points.

    What is off by little is all but open to matches of a small object: turns about it, distance and focal
    length make up for each other. So the start is asked once, and not anew in many steps.
    """
    near, scales = _POLISH
    centred = _Centred.of(cameras, found)
    support = consistent_matches(centred.found, centred.rig, centred.size, near)
    if not support:
        return cameras
    listed = Correspondences.of(support, *centred.size)
    cameras = centred.restored(adjust(centred.rig, listed, spread, scales=scales))
    near, scales = _BUNDLE
    centred = _Centred.of(cameras, found)
    support = consistent_matches(centred.found, centred.rig, centred.size, near)
    grain = max((f.grain for f in support), default=1.0)
    tracks = tracks_of([_surest(f) for f in support], *centred.size)
    bundle = adjust_bundle(centred.rig, tracks, spread, scales=[grain * scale for scale in scales])
    return centred.restored(bundle.rig)


def _free(spread: Spread, focal_known: bool) -> Spread:
    """The same, but that known focal lengths stay."""
    return replace(spread, focal=0.0) if focal_known else spread


def _surest(f: PairMatches) -> PairMatches:
    """The matches that cameras and points are adjusted to."""
    return f.only(np.isin(np.arange(len(f)), np.argsort(-f.scores, kind="stable")[:_PER_PAIR]))


def _agreeing(cameras: Cameras, found: Sequence[PairMatches]) -> list[PairMatches]:
    """Of every pair, the matches that agree with cameras, where they are more than chance."""
    centred = _Centred.of(cameras, found)
    kept = consistent_matches(centred.found, centred.rig, centred.size, _CONSISTENT)
    whole = {(f.first, f.second): f for f in found}

    def as_found(k: PairMatches) -> PairMatches:
        f = whole[k.first, k.second]
        return f.only(np.isin(f.ids[:, 0], k.ids[:, 0]))

    return [as_found(k) for k in kept]


def _confidence(confidence: Tensor, agreeing: Sequence[PairMatches], found: Sequence[PairMatches]) -> Tensor:
    """How likely each view's pose is to be right [V]: as by the alignment, and more where matches agree."""
    wrong = 1 - confidence
    count = {(f.first, f.second): len(f) for f in agreeing}
    for f in found:
        wrong[[f.first, f.second]] *= 1 - belief_in(f, count.get((f.first, f.second), 0))
    return 1 - wrong
