"""Pinhole cameras, and the only place where camera conventions are converted.

=================  =======================  =========================  ==============================
convention         stored as                camera axes                notes
=================  =======================  =========================  ==============================
agsrec, gsplat     `viewmats` world-to-cam  x right, y down, z forward  pixel centres at +0.5
OpenCV, COLMAP     world-to-cam             x right, y down, z forward  COLMAP: pixel centres at +0.5
OpenGL, nerfstudio `c2w` camera-to-world    x right, y up, z backward   pixel centres at +0.5
PyTorch3D          `R`, `T`, row vectors    x left, y up, z forward     `x_cam = x_world @ R + T`
=================  =======================  =========================  ==============================

World: right-handed, +y up, object near the origin. Elevation and azimuth follow the public SparseAGS
definition: elevation -90 deg is above the object (+y), +90 deg below; azimuth 0 deg is +z, 90 deg is +x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.errors import CameraError, ShapeError, require
from agsrec.lie import so3_exp

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CAMERA_DISTANCE",
    "OBJECT_FILL",
    "Z_UP_TO_Y_UP",
    "Cameras",
    "optical_axis_intersection",
    "turns_to_the_middle",
]

CAMERA_DISTANCE = 1.85
"""Mean distance of normalised cameras from the object, world units (public SparseAGS convention)."""

OBJECT_FILL = 1 / 1.2
"""Share of a working picture that the longer side of the object's box takes (public SparseAGS convention)."""

Z_UP_TO_Y_UP = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
"""Rotation from a world with +z up to ours with +y up: (x, y, z) becomes (x, z, -y)."""

# Camera axes of each convention in terms of ours; all three are their own inverse.
_FLIP_OPENGL = (1.0, -1.0, -1.0)
_FLIP_PYTORCH3D = (-1.0, -1.0, 1.0)


@dataclass(frozen=True)
class Cameras:
    """A batch of V pinhole cameras that share one image size.

    Attributes:
        viewmats: World-to-camera transforms [V, 4, 4], OpenCV axes.
        Ks: Intrinsic matrices [V, 3, 3] in pixels, zero skew.
        width: Image width in pixels.
        height: Image height in pixels.
    """

    viewmats: Tensor  # [V, 4, 4]
    Ks: Tensor  # [V, 3, 3]
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.viewmats.ndim != 3 or self.viewmats.shape[1:] != (4, 4):
            raise ShapeError(f"viewmats must be [V, 4, 4], not {tuple(self.viewmats.shape)}")
        if self.Ks.shape != (len(self.viewmats), 3, 3):
            raise ShapeError(f"Ks must be [{len(self.viewmats)}, 3, 3], not {tuple(self.Ks.shape)}")
        if self.width < 1 or self.height < 1:
            raise ShapeError(f"image size must be positive, not {self.width}x{self.height}")

    def __len__(self) -> int:
        return len(self.viewmats)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Cameras:
        """The selected cameras, always as a batch."""
        if isinstance(index, int):
            index = [index]
        if not isinstance(index, slice | Tensor):
            index = torch.as_tensor(list(index), dtype=torch.long, device=self.viewmats.device)
        return replace(self, viewmats=self.viewmats[index], Ks=self.Ks[index])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Cameras:
        """The same cameras on another device or in another dtype."""
        return replace(self, viewmats=self.viewmats.to(device, dtype), Ks=self.Ks.to(device, dtype))

    @staticmethod
    def cat(batches: Sequence[Cameras]) -> Cameras:
        """Several batches with equal image sizes as one."""
        sizes = {(c.width, c.height) for c in batches}
        if len(sizes) != 1:
            raise ShapeError(f"cameras to join must share one image size, not {sorted(sizes)}")
        viewmats = torch.cat([c.viewmats for c in batches])
        return replace(batches[0], viewmats=viewmats, Ks=torch.cat([c.Ks for c in batches]))

    # ---------------------------------------------------------------- quantities

    @property
    def rotations(self) -> Tensor:
        """World-to-camera rotations [V, 3, 3]."""
        return self.viewmats[:, :3, :3]

    @property
    def centers(self) -> Tensor:
        """Camera centres in the world [V, 3]."""
        return -(self.rotations.mT @ self.viewmats[:, :3, 3:])[..., 0]

    @property
    def c2w(self) -> Tensor:
        """Camera-to-world transforms [V, 4, 4], OpenCV axes."""
        out = torch.eye(4, dtype=self.viewmats.dtype, device=self.viewmats.device).repeat(len(self), 1, 1)
        out[:, :3, :3] = self.rotations.mT
        out[:, :3, 3] = self.centers
        return out

    @property
    def focal_lengths(self) -> Tensor:
        """Focal lengths [V, 2] (fx, fy) in pixels."""
        return torch.stack([self.Ks[:, 0, 0], self.Ks[:, 1, 1]], dim=-1)

    @property
    def principal_points(self) -> Tensor:
        """Principal points [V, 2] (cx, cy) in pixels."""
        return self.Ks[:, :2, 2]

    def spherical(self) -> tuple[Tensor, Tensor, Tensor]:
        """Elevation [V] and azimuth [V] in degrees, and radius [V], of the camera centres."""
        centers = self.centers
        radius = centers.norm(dim=-1)
        elevation = -torch.asin((centers[:, 1] / radius.clamp_min(1e-12)).clamp(-1, 1))
        azimuth = torch.atan2(centers[:, 0], centers[:, 2])
        return elevation.rad2deg(), azimuth.rad2deg(), radius

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [V, N, 2] and camera-space depths [V, N] of world points [N, 3]."""
        p = points @ self.rotations.mT + self.viewmats[:, None, :3, 3]
        uv = p[..., :2] / p[..., 2:] * self.focal_lengths[:, None] + self.principal_points[:, None]
        return uv, p[..., 2]

    # ---------------------------------------------------------------- constructors

    @staticmethod
    def intrinsics(
        focal: Tensor | float, width: int, height: int, principal_point: Tensor | None = None
    ) -> Tensor:
        """Intrinsic matrices [V, 3, 3] from focal lengths ([V], [V, 2] or a number) in pixels.

        The principal point [V, 2] defaults to the image centre.
        """
        f = torch.as_tensor(focal)
        f = f.reshape(-1, 1).expand(-1, 2) if f.ndim < 2 else f
        if not f.is_floating_point():
            f = f.to(torch.get_default_dtype())
        Ks = torch.zeros(len(f), 3, 3, dtype=f.dtype, device=f.device)
        Ks[:, 0, 0], Ks[:, 1, 1], Ks[:, 2, 2] = f[:, 0], f[:, 1], 1.0
        center = torch.tensor([width / 2, height / 2], dtype=f.dtype, device=f.device)
        Ks[:, :2, 2] = center if principal_point is None else principal_point
        return Ks

    @staticmethod
    def orbit(
        elevation_deg: Tensor | float,
        azimuth_deg: Tensor | float,
        radius: Tensor | float,
        *,
        Ks: Tensor,
        width: int,
        height: int,
    ) -> Cameras:
        """Cameras around the origin that look at it, upright; arguments [V] or numbers broadcast over Ks."""
        like = {"dtype": Ks.dtype, "device": Ks.device}
        angles = [torch.as_tensor(a, **like).deg2rad() for a in (elevation_deg, azimuth_deg)]
        elevation, azimuth = (a.expand(len(Ks)) for a in angles)
        radius = torch.as_tensor(radius, **like).expand(len(Ks))
        sin_e, cos_e, sin_a, cos_a = elevation.sin(), elevation.cos(), azimuth.sin(), azimuth.cos()
        zero = torch.zeros_like(sin_e)
        right = torch.stack([cos_a, zero, -sin_a], -1)
        backward = torch.stack([cos_e * sin_a, -sin_e, cos_e * cos_a], -1)
        up = torch.linalg.cross(backward, right)
        c2w = torch.zeros(len(Ks), 4, 4, **like)
        c2w[:, :3, :3] = torch.stack([right, up, backward], dim=-1)
        c2w[:, :3, 3] = backward * radius[:, None]
        c2w[:, 3, 3] = 1.0
        return Cameras.from_opengl(c2w, Ks, width, height)

    # ---------------------------------------------------------------- conversions

    @staticmethod
    def from_opengl(c2w: Tensor, Ks: Tensor, width: int, height: int) -> Cameras:
        """From OpenGL / nerfstudio camera-to-world matrices [V, 4, 4]."""
        flip = torch.tensor(_FLIP_OPENGL, dtype=c2w.dtype, device=c2w.device)
        rotation = flip[:, None] * c2w[:, :3, :3].mT
        translation = -(rotation @ c2w[:, :3, 3:])
        return Cameras(_assemble(rotation, translation[..., 0]), Ks, width, height)

    def to_opengl(self) -> Tensor:
        """OpenGL / nerfstudio camera-to-world matrices [V, 4, 4]."""
        c2w = self.c2w
        flip = torch.tensor(_FLIP_OPENGL, dtype=c2w.dtype, device=c2w.device)
        return torch.cat([torch.cat([c2w[:, :3, :3] * flip, c2w[:, :3, 3:]], -1), c2w[:, 3:]], dim=1)

    @staticmethod
    def from_pytorch3d_params(R: Tensor, T: Tensor, Ks: Tensor, width: int, height: int) -> Cameras:
        """From PyTorch3D extrinsics R [V, 3, 3] and T [V, 3] (row vectors) and pixel intrinsics."""
        flip = torch.tensor(_FLIP_PYTORCH3D, dtype=R.dtype, device=R.device)
        return Cameras(_assemble(flip[:, None] * R.mT, flip * T), Ks, width, height)

    def to_pytorch3d_params(self) -> tuple[Tensor, Tensor]:
        """PyTorch3D extrinsics R [V, 3, 3] and T [V, 3] (row vectors)."""
        flip = torch.tensor(_FLIP_PYTORCH3D, dtype=self.viewmats.dtype, device=self.viewmats.device)
        return self.rotations.mT * flip, self.viewmats[:, :3, 3] * flip

    def to_pytorch3d(self) -> Any:
        """The same cameras as `pytorch3d.renderer.PerspectiveCameras` in screen space.

        Raises:
            MissingExtraError: PyTorch3D is not installed (it is not on PyPI; build it from its repository).
        """
        renderer = require("pytorch3d.renderer", "pytorch3d")
        R, T = self.to_pytorch3d_params()
        size = torch.tensor([[self.height, self.width]], device=R.device).expand(len(self), 2)
        return renderer.PerspectiveCameras(
            R=R,
            T=T,
            focal_length=self.focal_lengths,
            principal_point=self.principal_points,
            image_size=size,
            in_ndc=False,
            device=R.device,
        )

    # ---------------------------------------------------------------- new cameras from these

    def resized(self, width: int, height: int) -> Cameras:
        """The same cameras for images resampled to another size."""
        scale = torch.tensor([width / self.width, height / self.height, 1.0]).to(self.Ks)
        return replace(self, Ks=scale[:, None] * self.Ks, width=width, height=height)

    def transformed(self, scale: Tensor | float, rotation: Tensor, translation: Tensor) -> Cameras:
        """Cameras in the world `x' = scale * rotation @ x + translation`; images do not change."""
        R = self.rotations @ rotation.mT
        centers = scale * self.centers @ rotation.mT + translation
        return replace(self, viewmats=_assemble(R, -(R @ centers[..., None])[..., 0]))

    def centred(self) -> Cameras:
        """Cameras turned in place, without roll, until they look through the middles of their pictures.

        Pictures change by a homography alone. A cut-out does not tell where its photo's principal point was:
        of two cameras that both show it, this is what can be compared.
        """
        away = self.principal_points - torch.tensor([0.5 * self.width, 0.5 * self.height]).to(self.Ks)
        turned = turns_to_the_middle(away, self.focal_lengths) @ self.viewmats[:, :3]
        viewmats = torch.cat([turned, self.viewmats[:, 3:]], 1)
        Ks = Cameras.intrinsics(self.focal_lengths, self.width, self.height)
        return replace(self, viewmats=viewmats, Ks=Ks)

    def normalized(self, distance: float = CAMERA_DISTANCE) -> Cameras:
        """Centred, upright and scaled: axes meet at the origin, +y is up, mean distance is `distance`.

        The up axis is the direction to which all cameras' x axes are most nearly perpendicular, on the side
        of the first camera's up. Follows the public SparseAGS normalisation; the azimuth's zero is free.
        """
        center = optical_axis_intersection(self)
        scale = distance / (self.centers - center).norm(dim=-1).mean()
        right = self.rotations[:, 0]
        basis = torch.linalg.svd(right - right.mean(0), full_matrices=True).Vh
        up = basis[2]
        up = -up if (up @ self.rotations[0, 1]) > 0 else up  # camera y points down
        first = basis[0]
        rotation = torch.stack([first, up, torch.linalg.cross(first, up)])
        return self.transformed(scale, rotation, -scale * rotation @ center)

    def perturbed(self, rms_deg: float, generator: torch.Generator) -> Cameras:
        """Cameras whose rotations about the origin are off by random angles of `rms_deg` r.m.s.

        Each camera turns rigidly about the object, so that the object stays in the picture: the kind of
        error a pose estimator makes. The r.m.s. of the relative rotation angles is exactly `rms_deg`.
        """
        if rms_deg == 0:
            return self
        omega = torch.randn(len(self), 3, generator=generator, dtype=torch.float64)
        omega *= math.radians(rms_deg) / omega.square().sum(-1).mean().sqrt()
        turn = _assemble(so3_exp(omega), torch.zeros(len(self), 3, dtype=torch.float64))
        return replace(self, viewmats=self.viewmats @ turn.to(self.viewmats))


def _assemble(rotation: Tensor, translation: Tensor) -> Tensor:
    """Rigid 4x4 matrices [V, 4, 4] from rotations [V, 3, 3] and translations [V, 3]."""
    out = torch.zeros(len(rotation), 4, 4, dtype=rotation.dtype, device=rotation.device)
    out[:, :3, :3], out[:, :3, 3], out[:, 3, 3] = rotation, translation, 1.0
    return out


def turns_to_the_middle(away: Tensor, focals: Tensor) -> Tensor:
    """Rotations [V, 3, 3] without roll that bring the rays through the middles to the optical axes.

    Args:
        away: Principal points from the middles of the pictures [V, 2], pixels.
        focals: Focal lengths [V, 2], pixels.
    """
    through = F.normalize(torch.cat([-away / focals, torch.ones_like(away[:, :1])], 1), dim=1)
    forward = torch.tensor([0.0, 0.0, 1.0]).to(through).expand_as(through)
    between = through + forward
    # Two reflections.
    halved = torch.eye(3).to(through) - between[:, :, None] * between[:, None] / between[:, 2, None, None]
    return halved + 2 * forward[:, :, None] * through[:, None]


def optical_axis_intersection(cameras: Cameras) -> Tensor:
    """Point [3] nearest to the rays through all principal points, in least squares.

    Raises:
        CameraError: The rays are (nearly) parallel, so that no such point is determined.
    """
    axes = cameras.rotations[:, 2].double()
    projector = torch.eye(3).to(axes) - axes[:, :, None] * axes[:, None, :]
    normal = projector.sum(0)
    if torch.linalg.eigvalsh(normal)[0] < 1e-6 * len(cameras):
        raise CameraError("the cameras all look in one direction: no common object to look at")
    rhs = (projector @ cameras.centers.double()[..., None]).sum(0)
    return torch.linalg.solve(normal, rhs)[:, 0].to(cameras.viewmats)
