"""Estimated cameras into the usual world: centred on the object, upright, at the usual mean distance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras, optical_axis_intersection
from agsrec.metrics.poses import Similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agsrec.pose_init.estimate import PoseEstimate

__all__ = ["normalize_estimate", "normalize_with_up", "with_focals"]

# Below this much spread (of unit vectors, per camera) in its second direction, the cameras' x axes lie on a
# line and not in a plane: what is perpendicular to all of them is then a matter of noise.
_MIN_SPREAD = 0.1


def normalize_with_up(cameras: Cameras) -> tuple[Cameras, Similarity]:
    """Centred, upright and scaled cameras, and the map from the old world to the new one.

    Follows the public SparseAGS normalisation (see `Cameras.normalized`) where the cameras' x axes determine
    an up direction. Two views, and views from nearly one side, do not: of the directions left, theirs
    is the nearest to the mean of the cameras' own up.

    Raises:
        CameraError: The cameras all look in one direction, so that there is no object to centre on.
    """
    wide = cameras.to(dtype=torch.float64)
    right = wide.rotations[:, 0] - wide.rotations[:, 0].mean(0)
    _, spread, basis = torch.linalg.svd(right, full_matrices=True)
    if len(cameras) > 2 and spread[1] >= _MIN_SPREAD * len(cameras) ** 0.5:
        normal = wide.normalized()
    else:
        normal = _centred_about(wide, _mean_up(wide, basis[0] if spread[0] > 1e-6 else None))
    return normal.to(dtype=cameras.viewmats.dtype), _between(wide, normal)


def _mean_up(cameras: Cameras, across: Tensor | None) -> Tensor:
    """Mean up direction [3] of the cameras, made perpendicular to `across` [3]."""
    up = -cameras.rotations[:, 1].mean(0)  # camera y points down
    if across is not None:
        up = up - (up @ across) * across
    return up / up.norm().clamp_min(1e-12)


def _centred_about(cameras: Cameras, up: Tensor) -> Cameras:
    """Cameras whose optical axes meet at the origin, with `up` [3] as +y and the usual mean distance."""
    center = optical_axis_intersection(cameras)
    scale = CAMERA_DISTANCE / (cameras.centers - center).norm(dim=-1).mean()
    backward = -cameras.rotations[0, 2]
    backward = backward - (backward @ up) * up
    backward = backward / backward.norm().clamp_min(1e-12)
    rotation = torch.stack([torch.linalg.cross(up, backward), up, backward])
    return cameras.transformed(scale, rotation, -scale * rotation @ center)


def _between(before: Cameras, after: Cameras) -> Similarity:
    """The exact map from one world to another of the same cameras."""
    rotation = after.rotations[0].mT @ before.rotations[0]
    old, new = before.centers, after.centers
    spans = [(c - c.mean(0)).norm() for c in (old, new)]
    scale = float(spans[1] / spans[0].clamp_min(1e-12))
    return Similarity(scale, rotation, new.mean(0) - scale * rotation @ old.mean(0))


def normalize_estimate(estimate: PoseEstimate) -> PoseEstimate:
    """The estimate in the usual world: its cameras and points, and each alternative by its own cameras."""
    if len(estimate.cameras) < 2:
        return estimate
    cameras, carried = normalize_with_up(estimate.cameras)
    points = estimate.points
    if points is not None:
        points = replace(points, points=carried.points(points.points))
    others = tuple(replace(a, cameras=normalize_with_up(a.cameras)[0]) for a in estimate.alternatives)
    return replace(estimate, cameras=cameras, points=points, alternatives=others)


def with_focals(cameras: Cameras, focals: Sequence[float]) -> Cameras:
    """Cameras with known focal lengths [V] in pixels, moved so that the object keeps its size in pictures.

    A longer lens sees the same from farther away, up to perspective: the distance to the origin grows in
    proportion. The mean distance stays what it was.
    """
    wanted = torch.tensor(list(focals)).to(cameras.Ks)
    ratio = wanted / cameras.focal_lengths.mean(-1)
    if (ratio - 1).abs().max() < 1e-6:
        return cameras
    viewmats, Ks = cameras.viewmats.clone(), cameras.Ks.clone()
    distance = cameras.centers.norm(dim=-1)
    moved = ratio * distance
    moved = moved * (distance.mean() / moved.mean())
    viewmats[:, :3, 3] *= (moved / distance.clamp_min(1e-12))[:, None]
    Ks[:, 0, 0], Ks[:, 1, 1] = wanted, wanted
    return replace(cameras, viewmats=viewmats, Ks=Ks)
