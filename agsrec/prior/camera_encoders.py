"""How a novel-view model is told where the new camera stands: one small encoder per published model.

An encoder maps target and conditioning cameras to one vector per pair. Camera matrices are OpenGL
camera-to-world inside the vectors, as published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.errors import CheckpointError

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = [
    "CAMERA_ENCODERS",
    "CameraEncoder",
    "encode_spherical",
    "encode_zero123_6dof",
    "encode_zeronvs",
    "encoder_for_width",
]

CameraEncoder = Callable[["Cameras", "Cameras"], Tensor]
"""(target [N], condition [N]) to one vector per pair [N, D]."""


def encode_zero123_6dof(target: Cameras, condition: Cameras) -> Tensor:  # [N, 18]
    """Condition-to-target transform, row by row, then log ratios of the focal lengths (SparseAGS).

    Focal lengths count relative to the image width, so that both sides may differ in resolution.
    """
    relative = torch.linalg.inv(target.to_opengl()) @ condition.to_opengl()  # [N, 4, 4]
    focal = target.focal_lengths / target.width / (condition.focal_lengths / condition.width)  # [N, 2]
    return torch.cat([relative.flatten(1), focal.log()], dim=1)


def encode_spherical(target: Cameras, condition: Cameras) -> Tensor:  # [N, 4]
    """Differences of polar angle, azimuth (sine, cosine) and distance (Zero-1-to-3, 4-DoF).

    The polar angle is measured from the up axis, in radians. Focal lengths and roll go unsaid.
    """
    (elevation_t, azimuth_t, radius_t), (elevation_c, azimuth_c, radius_c) = (
        target.spherical(),
        condition.spherical(),
    )
    polar = (elevation_t - elevation_c).deg2rad()
    azimuth = (azimuth_t - azimuth_c).deg2rad()
    return torch.stack([polar, azimuth.sin(), azimuth.cos(), radius_t - radius_c], dim=1)


def encode_zeronvs(target: Cameras, condition: Cameras, scale: float = 1.0) -> Tensor:  # [N, 19]
    """Target-to-condition transform with squashed translation, then the field of view (ZeroNVS, 7-DoF).

    Args:
        target: N cameras to render.
        condition: The cameras of the pictures shown.
        scale: Scene scale in world units, at least 0.01; ZeroNVS takes the 20 % quantile of the depth.
    """
    relative = torch.linalg.inv(condition.to_opengl()) @ target.to_opengl()
    relative = relative.clone()
    translation = relative[:, :3, 3] / max(scale, 0.01)
    relative[:, :3, 3] = 5 * (translation / 10).tanh()
    fov = 2 * (0.5 * target.height / target.focal_lengths[:, 1]).atan()
    return torch.cat([relative.flatten(1), torch.stack([fov, fov.sin(), fov.cos()], dim=1)], dim=1)


CAMERA_ENCODERS: dict[str, tuple[int, CameraEncoder]] = {
    "zero123-6dof": (18, encode_zero123_6dof),
    "zero123": (4, encode_spherical),
    "zeronvs": (19, encode_zeronvs),
}
"""Length of the vector and the function, by name."""


def encoder_for_width(width: int) -> tuple[str, CameraEncoder]:
    """Name and encoder of a camera projection with `width` camera inputs.

    Raises:
        CheckpointError: No published model has that many.
    """
    for name, (size, encoder) in CAMERA_ENCODERS.items():
        if size == width:
            return name, encoder
    known = ", ".join(f"{size} ({name})" for name, (size, _) in CAMERA_ENCODERS.items())
    raise CheckpointError(f"the camera projection takes {width} camera numbers; known are {known}")
