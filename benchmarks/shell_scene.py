"""The scene of the rasterizer benchmarks: an object-centred shell of Gaussians, and cameras around it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec import Cameras, Render, rasterize

__all__ = ["MEDIAN_RADIUS", "ShellScene", "random_cameras", "shell_scene"]

MEDIAN_RADIUS = {2_000: 10.0, 5_000: 6.5, 10_000: 4.7, 25_000: 3.3}
"""Median 3-sigma radius in pixels of a 256 image, by number of Gaussians: that of fitted scenes."""
_FALL = 0.4  # power of the number with which it falls on, of other numbers

_DISTANCE = 1.85
_FOCAL = 1.5  # image widths
_INNER, _OUTER = 0.37, 0.47


@dataclass(frozen=True)
class ShellScene:
    """Arguments of a rasterize call; every tensor but the intrinsics wants a gradient."""

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4]
    scales: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    colors: Tensor  # [N, 3]

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The Gaussians, in the order of `rasterize`."""
        return self.means, self.quats, self.scales, self.opacities, self.colors

    def render(self, cameras: Cameras, **options: object) -> Render:
        """Rasterize from cameras."""
        size = (cameras.width, cameras.height)
        return rasterize(*self.tensors(), cameras.viewmats, cameras.Ks, *size, **options)  # pyright: ignore

    def to(self, device: torch.device | str, *, requires_grad: bool = False) -> ShellScene:
        """A detached copy on a device."""
        moved = (t.detach().to(device).clone().requires_grad_(requires_grad) for t in self.tensors())
        return ShellScene(*moved)


def random_cameras(count: int, size: int, generator: torch.Generator) -> Cameras:
    """Cameras spread over the sphere up to 60 degrees from the horizon, facing the origin."""
    Ks = Cameras.intrinsics(torch.full((count,), _FOCAL * size), size, size)
    azimuth = 360 * torch.rand(count, generator=generator)
    elevation = 120 * torch.rand(count, generator=generator) - 60
    return Cameras.orbit(elevation, azimuth, _DISTANCE, Ks=Ks, width=size, height=size)


def shell_scene(count: int, generator: torch.Generator) -> ShellScene:
    """Points uniform in a spherical shell, anisotropic, sized for the median radius stated above."""
    direction = F.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    radius = (_INNER**3 + (_OUTER**3 - _INNER**3) * torch.rand(count, 1, generator=generator)) ** (1 / 3)
    shape = torch.exp(0.4 * torch.randn(count, 3, generator=generator))
    scene = ShellScene(
        means=direction * radius,
        quats=F.normalize(torch.randn(count, 4, generator=generator), dim=-1),
        scales=shape,
        opacities=0.3 + 0.65 * torch.rand(count, generator=generator),
        colors=torch.rand(count, 3, generator=generator),
    )
    cameras = random_cameras(8, 256, generator)
    nearest = min(MEDIAN_RADIUS, key=lambda known: abs(math.log(known / count)))
    wanted = MEDIAN_RADIUS[nearest] * (nearest / count) ** _FALL
    low, high = math.log(1e-4), math.log(0.2)
    for _ in range(20):  # bisection of the size that gives the wanted median
        middle = (low + high) / 2
        sized = ShellScene(*scene.tensors()[:2], shape * math.exp(middle), *scene.tensors()[3:])
        if median_radius(sized, cameras) < wanted:
            low = middle
        else:
            high = middle
    return ShellScene(*scene.tensors()[:2], shape * math.exp(high), *scene.tensors()[3:])


def median_radius(scene: ShellScene, cameras: Cameras) -> float:
    """Median over Gaussians and cameras of three standard deviations along the longer axis, in pixels."""
    w, x, y, z = F.normalize(scene.quats, dim=-1).unbind(-1)
    rotation = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        dim=-2,
    )  # [N, 3, 3]
    half = rotation * scene.scales[:, None]
    points = scene.means @ cameras.rotations.mT + cameras.viewmats[:, None, :3, 3]  # [V, N, 3]
    focal, depth = cameras.Ks[0, 0, 0], points[..., 2]
    jacobian = torch.zeros(*points.shape[:2], 2, 3)
    jacobian[..., 0, 0] = jacobian[..., 1, 1] = focal / depth
    jacobian[..., 0, 2] = -focal * points[..., 0] / depth**2
    jacobian[..., 1, 2] = -focal * points[..., 1] / depth**2
    spread = jacobian @ (cameras.rotations[:, None] @ half)  # [V, N, 2, 3]
    a = spread[..., 0, :].square().sum(-1) + 0.3
    c = spread[..., 1, :].square().sum(-1) + 0.3
    b = (spread[..., 0, :] * spread[..., 1, :]).sum(-1)
    largest = (a + c) / 2 + (((a - c) / 2) ** 2 + b * b).sqrt()
    return float((3 * largest.sqrt()).median())
