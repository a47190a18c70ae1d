"""What the search needs of a scene, and how 3D Gaussians offer it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from agsrec.render import fitted_blur, rasterize
from agsrec.render.rasterize import EPS2D

if TYPE_CHECKING:
    from agsrec.gaussians import Gaussians

__all__ = ["GaussianRenderer", "PoseRenderer"]


class PoseRenderer(Protocol):
    """A scene that can be looked at from anywhere.

    Attributes:
        center: Middle of the object [3], world units.
        radius: Of a sphere around it that holds the object, world units.
    """

    center: Tensor
    radius: float

    def __call__(self, viewmats: Tensor, K: Tensor, size: int) -> Tensor:
        """Pictures [C, S, S, 4] from world-to-camera matrices [C, 4, 4] and intrinsics [3, 3] in pixels.

        Premultiplied RGB and opacity. The search takes no gradients of them.
        """
        ...


class GaussianRenderer:
    """3D Gaussians as a scene to search.

    Args:
        gaussians: The scene.
        focal: Focal length of the pictures that it was fitted to, pixels: in others it is drawn as fat as it
            was there, see `agsrec.render.fitted_blur`. Without it, as viewers draw it.
        sh_degree: Highest degree of the colours in use, all by default.
        faint: Gaussians with less opacity than this are left out.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        *,
        focal: float | None = None,
        sh_degree: int | None = None,
        faint: float = 0.02,
    ) -> None:
        self._focal = focal
        gaussians = gaussians.detach()
        self._opacities = gaussians.opacities
        kept = self._opacities > faint
        if kept.any():
            gaussians, self._opacities = gaussians[kept], self._opacities[kept]
        self._gaussians = gaussians
        self._scales = gaussians.scales
        self._degree = gaussians.sh_degree if sh_degree is None else min(sh_degree, gaussians.sh_degree)
        self._sh = gaussians.sh[:, : (self._degree + 1) ** 2].contiguous()
        low, high = (gaussians.means.quantile(q, dim=0) for q in (0.02, 0.98))
        self.center = (low + high) / 2
        self.radius = float((gaussians.means - self.center).norm(dim=-1).quantile(0.98)) * 1.05

    def __call__(self, viewmats: Tensor, K: Tensor, size: int) -> Tensor:
        """See `PoseRenderer`."""
        blur = EPS2D if self._focal is None else fitted_blur(float(K[0, 0]) / self._focal)
        with torch.no_grad():
            rendered = rasterize(
                self._gaussians.means,
                self._gaussians.quats,
                self._scales,
                self._opacities,
                self._sh,
                viewmats,
                K.expand(len(viewmats), 3, 3),
                size,
                size,
                sh_degree=self._degree,
                eps2d=blur,
                render_mode="RGB",
            )
        return torch.cat([rendered.rgb, rendered.alpha[..., None]], dim=-1)
