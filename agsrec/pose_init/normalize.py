"""Estimated cameras into the usual world: centred on the object, upright, at the usual mean distance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras, optical_axis_intersection
from agsrec.errors import CameraError
from agsrec.metrics.poses import Similarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agsrec.pose_init.estimate import PoseEstimate

__all__ = ["normalize_estimate", "normalize_with_up", "with_focals"]

# Below this much spread (of unit vectors, per camera) in its second direction, the cameras' x axes lie on a
# line and not in a plane: what is perpendicular to all of them is then a matter of noise.
_MIN_SPREAD = 0.1


def normalize_with_up(cameras: Cameras, center: Tensor | None = None) -> tuple[Cameras, Similarity]:
    """Centred, upright and scaled cameras, and the map from the old world to the new one.

    Follows the public SparseAGS normalisation (see `Cameras.normalized`) where the cameras' x axes determine
    an up direction. Two views, and views from nearly one side, do not: of the directions left, theirs
    is the nearest to the mean of the cameras' own up.

    Args:
        cameras: At least two.
        center: Where the object is [3], for cameras that all look in one direction and so do not show it.

    Raises:
        CameraError: The cameras all look in one direction, and there is no `center`.
    """
    wide = cameras.to(dtype=torch.float64)
    right = wide.rotations[:, 0] - wide.rotations[:, 0].mean(0)
    _, spread, basis = torch.linalg.svd(right, full_matrices=True)
    determined = len(cameras) > 2 and bool(spread[1] >= _MIN_SPREAD * len(cameras) ** 0.5)
    try:
        center = optical_axis_intersection(wide)
    except CameraError:
        if center is None:
            raise
        center, determined = center.to(wide.viewmats), False
    if determined:
        rotation = wide.normalized().rotations[0].mT @ wide.rotations[0]
    else:
        rotation = _upright(wide, _mean_up(wide, basis[0] if spread[0] > 1e-6 else None))
    scale = float(CAMERA_DISTANCE / (wide.centers - center).norm(dim=-1).mean())
    carried = Similarity(scale, rotation, -scale * rotation @ center)
    return carried.cameras(wide).to(dtype=cameras.viewmats.dtype), carried


def _mean_up(cameras: Cameras, across: Tensor | None) -> Tensor:
    """Mean up direction [3] of the cameras, made perpendicular to `across` [3]."""
    up = -cameras.rotations[:, 1].mean(0)  # camera y points down
    if across is not None:
        up = up - (up @ across) * across
    return up / up.norm().clamp_min(1e-12)


def _upright(cameras: Cameras, up: Tensor) -> Tensor:
    """Rotation [3, 3] that brings `up` [3] to +y and the first camera to azimuth zero."""
    backward = -cameras.rotations[0, 2]
    backward = backward - (backward @ up) * up
    backward = backward / backward.norm().clamp_min(1e-12)
    return torch.stack([torch.linalg.cross(up, backward), up, backward])


def normalize_estimate(estimate: PoseEstimate) -> PoseEstimate:
    """The estimate in the usual world: its cameras and points, and each alternative by its own cameras.

    The middle of the points is the centre where the cameras show none.
    """
    if len(estimate.cameras) < 2:
        return estimate
    points = estimate.points
    middle = None if points is None or not len(points.points) else points.points.median(0).values
    cameras, carried = normalize_with_up(estimate.cameras, middle)
    if points is not None:
        points = replace(points, points=carried.points(points.points))
    others = tuple(replace(a, cameras=normalize_with_up(a.cameras)[0]) for a in estimate.alternatives)
    metres = estimate.metres_per_unit
    metres = None if metres is None else metres / carried.scale
    return replace(estimate, cameras=cameras, points=points, alternatives=others, metres_per_unit=metres)


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
