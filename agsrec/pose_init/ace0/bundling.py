"""Registered photos adjusted to each other: a head is good to a few pixels, points they share to less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from agsrec.matching import (
    Correspondences,
    PairMatches,
    Rig,
    Spread,
    Tracks,
    adjust_bundle,
    consistent_matches,
    tracks_of,
)
from agsrec.pose_init.ace0.registered import Registered
from agsrec.pose_init.ace0.shared_points import SharedPoints

__all__ = [
    "agreeing_pairs",
    "bundled",
    "longest_tracks",
    "neighbours",
    "rig_of",
]

_NEAREST = 4  # photos that each is matched with
_APART_DEG = 55.0  # photos farther apart share too little
_TRACKS_EACH = 120  # of every photo, those that most photos see; more take minutes and tell little
_ROUNDS = ((0.03, (0.015,)), (0.012, (0.005,)), (0.006, (0.002,)))  # how near matches must be, and scales
_SPREAD = Spread(turn=0.1, center=0.02, depth=0.05, focal=0.1)  # of what the head says


def bundled(
    shared: SharedPoints, found: Registered, *, size: tuple[int, int], focal_known: bool
) -> Registered:
    """The photos with their cameras adjusted to the points that neighbours share.

    Args:
        shared: The points that V photos share.
        found: Their poses.
        size: Width and height of the photos in pixels.
        focal_known: Whether focal lengths stay.
    """
    rows = found.placed.nonzero()[:, 0].tolist()
    if len(rows) < 2:
        return found
    rig = rig_of(found, rows)
    pairs = _shared(shared, found, rows, size)
    spread = replace(_SPREAD, focal=0.0) if focal_known else _SPREAD
    for near, scales in _ROUNDS:
        agreeing = consistent_matches(pairs, rig, size, near)
        tracks = longest_tracks(tracks_of(agreeing, *size))
        rig = adjust_bundle(rig, tracks, spread, scales=scales).rig
    viewmats, Ks = found.viewmats.clone(), found.Ks.clone()
    viewmats[rows, :3, :3], viewmats[rows, :3, 3] = rig.rotations.float(), rig.centers.float()
    Ks[rows, 0, 0] = Ks[rows, 1, 1] = rig.focals.float()
    return replace(found, viewmats=viewmats, Ks=Ks)


def agreeing_pairs(shared: SharedPoints, found: Registered, size: tuple[int, int]) -> Correspondences | None:
    """The points that registered photos share and that agree with their cameras, by the cameras' indices."""
    rows = found.placed.nonzero()[:, 0].tolist()
    agreeing = consistent_matches(
        _shared(shared, found, rows, size), rig_of(found, rows), size, _ROUNDS[-1][0]
    )
    if not agreeing:
        return None
    away = off_middle(found, rows, size)
    back = [replace(f, points=f.points + away[[f.first, f.second]]) for f in agreeing]
    return Correspondences.of(back, *size)


def rig_of(found: Registered, rows: Sequence[int]) -> Rig:
    """The cameras of some photos, as if their principal points were in the middles."""
    viewmats = found.viewmats[rows]
    return Rig(viewmats[:, :3, :3], viewmats[:, :3, 3], found.Ks[rows, 0, 0])


def off_middle(found: Registered, rows: Sequence[int], size: tuple[int, int]) -> NDArray[np.float32]:
    """Principal points of some photos from their middles [R, 2], pixels."""
    return found.Ks[rows, :2, 2].float().numpy() - 0.5 * np.asarray(size, np.float32)


def _shared(
    shared: SharedPoints, found: Registered, rows: Sequence[int], size: tuple[int, int]
) -> list[PairMatches]:
    """Points that neighbours share, in pixels of pictures that have their principal points in the middle."""
    away = off_middle(found, rows, size)
    pairs = [
        replace(shared.between(rows[i], rows[j]), first=i, second=j)
        for i, j in neighbours(rig_of(found, rows))
    ]
    return [replace(p, points=p.points - away[[p.first, p.second]]) for p in pairs if len(p)]


def neighbours(rig: Rig) -> list[tuple[int, int]]:
    """The pairs of cameras that see the object from nearly the same side, the lower index first."""
    centers = -(rig.rotations.mT @ rig.centers[..., None])[..., 0]
    directions = F.normalize(centers.double(), dim=1)
    away = torch.rad2deg((directions @ directions.mT).clamp(-1, 1).arccos())
    away.fill_diagonal_(torch.inf)
    pairs = set()
    for i, row in enumerate(away):
        near = row.argsort()[:_NEAREST].tolist()
        pairs |= {(min(i, j), max(i, j)) for j in near if float(row[j]) < _APART_DEG}
    return sorted(pairs)


def longest_tracks(tracks: Tracks, each: int = _TRACKS_EACH) -> Tracks:
    """The tracks that most views see, so many of every view, counted anew.

    The longest of all would leave views out that few others see with them.
    """
    lengths, chosen = tracks.lengths, torch.zeros(len(tracks), dtype=torch.bool, device=tracks.points.device)
    for view in tracks.views.unique():
        own = tracks.points[tracks.views == view]
        chosen[own[lengths[own].argsort(descending=True, stable=True)[:each]]] = True
    number = chosen.cumsum(0) - 1
    inside = chosen[tracks.points]
    return replace(
        tracks,
        views=tracks.views[inside],
        points=number[tracks.points[inside]],
        pixels=tracks.pixels[inside],
    )
