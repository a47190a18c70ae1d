"""Camera pose errors, free of the choice of world frame.

Estimated cameras live in a world of their own. Pairwise errors never leave the camera frames; everything
else first aligns the estimated world to the true one with a similarity `x_true = s R x_estimated + t`.
All computations run in float64 on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.errors import CameraError, ShapeError

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = [
    "PoseAccuracy",
    "RotationSummary",
    "Similarity",
    "align_cameras",
    "camera_center_accuracy",
    "pairwise_rotation_errors",
    "pose_accuracy",
    "rotation_angles",
    "rotation_errors_after_alignment",
    "summarize_rotations",
    "umeyama",
]

_ROBUST_STEPS = 50
# Residuals below this (radians, or fractions of the scene scale) are rounding.
_RESIDUAL_FLOOR = 1e-9


@dataclass(frozen=True)
class Similarity:
    """The map `x' = scale * rotation @ x + translation`.

    Attributes:
        scale: Positive factor.
        rotation: Proper rotation [3, 3], float64.
        translation: Offset [3], float64.
    """

    scale: float
    rotation: Tensor  # [3, 3]
    translation: Tensor  # [3]

    def points(self, points: Tensor) -> Tensor:
        """Mapped points [..., 3], in the dtype and on the device of the input."""
        return self.scale * points @ self.rotation.to(points).mT + self.translation.to(points)

    def cameras(self, cameras: Cameras) -> Cameras:
        """The cameras carried along: they see the mapped world as they saw the old one."""
        like = cameras.viewmats
        return cameras.transformed(self.scale, self.rotation.to(like), self.translation.to(like))

    def inverse(self) -> Similarity:
        """The map back."""
        back = self.rotation.mT
        return Similarity(1 / self.scale, back, -(back @ self.translation) / self.scale)


@dataclass(frozen=True)
class RotationSummary:
    """A set of rotation errors in brief; all NaN for an empty set.

    Attributes:
        median_deg: Median error, degrees.
        within_5: Share of errors of at most 5 degrees, in [0, 1].
        within_15: Share of errors of at most 15 degrees.
        within_30: Share of errors of at most 30 degrees.
    """

    median_deg: float
    within_5: float
    within_15: float
    within_30: float


@dataclass(frozen=True)
class PoseAccuracy:
    """All pose errors of one set of cameras.

    Attributes:
        pairs: Relative rotation errors over all view pairs.
        views: Absolute rotation errors after a robust alignment.
        view_errors_deg: Those errors [V], degrees.
        center_accuracy: Share of camera centres within 10 % of the scene scale.
    """

    pairs: RotationSummary
    views: RotationSummary
    view_errors_deg: Tensor  # [V]
    center_accuracy: float


def rotation_angles(rotations: Tensor) -> Tensor:
    """Angles [...] in degrees, 0 to 180, of rotations [..., 3, 3]; accurate at both ends.

    An arc cosine of the trace loses half of the digits near 0 and 180 degrees; the arc tangent of sine and
    cosine loses none.
    """
    skew = rotations - rotations.mT
    sine2 = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], dim=-1).norm(dim=-1)
    cosine2 = rotations.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    return torch.atan2(sine2, cosine2).rad2deg()


def pairwise_rotation_errors(estimated: Cameras, truth: Cameras) -> Tensor:
    """Relative rotation errors [V (V - 1) / 2] in degrees, over view pairs (i, j), i < j, row by row.

    The error of a pair is the angle between the estimated and the true rotation from camera i to camera j.
    """
    _check_pair(estimated, truth)
    i, j = torch.triu_indices(len(truth), len(truth), offset=1).unbind(0)
    r_est, r_true = _rotations(estimated), _rotations(truth)
    relative_est = r_est[j] @ r_est[i].mT
    relative_true = r_true[j] @ r_true[i].mT
    return rotation_angles(relative_est @ relative_true.mT)


def summarize_rotations(errors_deg: Tensor) -> RotationSummary:
    """Median and shares within 5, 15 and 30 degrees of errors [M]."""
    if errors_deg.numel() == 0:
        return RotationSummary(*[float("nan")] * 4)
    shares = [float((errors_deg <= limit).double().mean()) for limit in (5, 15, 30)]
    return RotationSummary(float(errors_deg.double().quantile(0.5)), *shares)


def rotation_errors_after_alignment(estimated: Cameras, truth: Cameras) -> Tensor:
    """Absolute rotation error [V] of each view in degrees after `align_cameras`."""
    rotation = align_cameras(estimated, truth).rotation
    return rotation_angles(_rotations(estimated) @ rotation.mT @ _rotations(truth).mT)


def camera_center_accuracy(estimated: Cameras, truth: Cameras, threshold: float = 0.1) -> float:
    """Share of camera centres within `threshold` of the scene scale after the best similarity.

    As in RelPose++ and CO3D: the scene scale is the largest distance of a true centre from the true centres'
    centroid, the similarity is the least-squares one over the centres alone. Two centres always match, so
    that the value says nothing below three views. NaN where all true centres coincide.
    """
    _check_pair(estimated, truth)
    c_est, c_true = _centers(estimated), _centers(truth)
    scene_scale = (c_true - c_true.mean(0)).norm(dim=-1).max()
    if scene_scale <= _RESIDUAL_FLOOR:
        return float("nan")
    distances = (umeyama(c_est, c_true).points(c_est) - c_true).norm(dim=-1)
    return float((distances <= threshold * scene_scale).double().mean())


def pose_accuracy(estimated: Cameras, truth: Cameras) -> PoseAccuracy:
    """All pose errors of estimated cameras against the true ones, both turned as by `Cameras.centred`."""
    estimated, truth = estimated.centred(), truth.centred()
    view_errors = rotation_errors_after_alignment(estimated, truth)
    return PoseAccuracy(
        pairs=summarize_rotations(pairwise_rotation_errors(estimated, truth)),
        views=summarize_rotations(view_errors),
        view_errors_deg=view_errors,
        center_accuracy=camera_center_accuracy(estimated, truth),
    )


# -------------------------------------------------------------------- alignment


def align_cameras(estimated: Cameras, truth: Cameras) -> Similarity:
    """The similarity from the estimated world to the true one that most cameras agree on.

    Rotation: robust mean of the views' own estimates, so that a badly posed view neither drags the others nor
    hides its own error (plain mean for two views, where there is no majority). Scale and offset: robust least
    squares over the camera centres, given that rotation. Where the centres do not
    determine a scale (one view, coincident centres) it is 1.
    """
    _check_pair(estimated, truth)
    votes = _rotations(truth).mT @ _rotations(estimated)  # [V, 3, 3] world-to-world, one per view
    rotation = _robust_mean_rotation(votes)
    # Views with a wrong rotation have, in general, a wrong centre too: they start with little weight.
    prior = _cauchy_weights(rotation_angles(votes @ rotation.mT).deg2rad())
    return _fit_scale_and_offset(_centers(estimated), _centers(truth), rotation, prior)


def umeyama(source: Tensor, target: Tensor) -> Similarity:
    """Least-squares similarity from points [N, 3] to points [N, 3] (Umeyama 1991, eq. 40-43).

    Where the source points coincide the scale is 1.
    """
    if source.shape != target.shape or source.ndim != 2 or len(source) == 0 or source.shape[1] != 3:
        raise ShapeError(f"points must be two equal [N, 3], not {[*source.shape]} and {[*target.shape]}")
    x, y = source.double(), target.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    rotation, singular = _nearest_rotation(y.mT @ x)
    variance = x.square().sum()
    degenerate = variance <= _RESIDUAL_FLOOR**2 or singular.sum() <= _RESIDUAL_FLOOR**2
    scale = 1.0 if degenerate else float(singular.sum() / variance)
    return Similarity(scale, rotation, mean_y - scale * rotation @ mean_x)


def _nearest_rotation(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation [3, 3] nearest to a matrix, and the signed singular values [3]."""
    u, singular, vh = torch.linalg.svd(matrix)
    signs = torch.ones_like(singular)
    signs[2] = torch.linalg.det(u @ vh).sign()
    return u * signs @ vh, singular * signs


def _cauchy_weights(residuals: Tensor) -> Tensor:
    """Weights [V] of residuals [V]: near 1 for the better half, falling with the square beyond."""
    unit = 2 * residuals.median().clamp_min(_RESIDUAL_FLOOR)
    return 1 / (1 + (residuals / unit).square())


def _robust_mean_rotation(rotations: Tensor) -> Tensor:
    """Rotation [3, 3] that most of the rotations [V, 3, 3] agree on: re-weighted chordal means.

    Starts at the medoid, which is a good view wherever most views are good.
    """
    if len(rotations) < 3:
        return _nearest_rotation(rotations.sum(0))[0]
    angles = rotation_angles(rotations[:, None] @ rotations[None].mT)
    mean = rotations[angles.sum(1).argmin()]
    for _ in range(_ROBUST_STEPS):
        weights = _cauchy_weights((rotations - mean).flatten(1).norm(dim=1))
        mean = _nearest_rotation((weights[:, None, None] * rotations).sum(0))[0]
    return mean


def _fit_scale_and_offset(source: Tensor, target: Tensor, rotation: Tensor, prior: Tensor) -> Similarity:
    """Similarity with a given rotation over points [N, 3]: re-weighted least squares, prior weights [N]."""
    x = source @ rotation.mT
    unit = (target - target.mean(0)).norm(dim=-1).max().clamp_min(_RESIDUAL_FLOOR)
    scale, offset = _weighted_scale_and_offset(x, target, prior)
    if len(source) > 2:
        for _ in range(_ROBUST_STEPS):
            weights = _cauchy_weights((scale * x + offset - target).norm(dim=-1) / unit)
            scale, offset = _weighted_scale_and_offset(x, target, prior * weights)
    return Similarity(scale, rotation, offset)


def _weighted_scale_and_offset(x: Tensor, y: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """Least-squares `s`, `t` of `y = s x + t` over weighted points [N, 3]; `s` is always positive."""
    w = (weights / weights.sum())[:, None]
    mean_x, mean_y = (w * x).sum(0), (w * y).sum(0)
    dx, dy = x - mean_x, y - mean_y
    var_x, var_y = (w * dx.square()).sum(), (w * dy.square()).sum()
    if min(var_x, var_y) <= _RESIDUAL_FLOOR**2:
        return 1.0, mean_y - mean_x
    covariance = (w * dx * dy).sum()
    # Centres that contradict the rotation can ask for a mirrored world: then only the spread is compared.
    scale = float(covariance / var_x if covariance > 0 else (var_y / var_x).sqrt())
    return scale, mean_y - scale * mean_x


def _rotations(cameras: Cameras) -> Tensor:
    return cameras.rotations.detach().cpu().double()


def _centers(cameras: Cameras) -> Tensor:
    # In double from the start: the float32 product would cost digits that the matrices hold.
    viewmats = cameras.viewmats.detach().cpu().double()
    return -(viewmats[:, :3, :3].mT @ viewmats[:, :3, 3:])[..., 0]


def _check_pair(estimated: Cameras, truth: Cameras) -> None:
    if len(estimated) != len(truth) or len(truth) == 0:
        raise ShapeError(f"cannot compare {len(estimated)} estimated with {len(truth)} true cameras")
    for name, cameras in (("estimated", estimated), ("true", truth)):
        bad = (~cameras.viewmats.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
        if bad:
            raise CameraError(f"{name} camera {bad[0]} is not finite; no pose error can be computed")
