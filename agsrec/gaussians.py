"""3D Gaussians: the scene representation."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.errors import ShapeError
from agsrec.harmonics import turned_harmonics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SH_C0", "Gaussians"]

SH_C0 = 0.28209479177387814
"""Value of the constant spherical harmonic: colour = 0.5 + SH_C0 * coefficient."""


@dataclass(frozen=True)
class Gaussians:
    """N anisotropic Gaussians with view-dependent colour (Kerbl et al. 2023), as stored parameters.

    Attributes:
        means: Centres [N, 3], world units.
        quats: Rotations [N, 4], wxyz, not necessarily normalised.
        log_scales: Natural logarithms [N, 3] of the standard deviations.
        opacity_logits: Logits [N] of the opacities.
        sh: Spherical harmonics coefficients [N, K, 3], K = (degree + 1)^2.
    """

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4]
    log_scales: Tensor  # [N, 3]
    opacity_logits: Tensor  # [N]
    sh: Tensor  # [N, K, 3]

    def __post_init__(self) -> None:
        n = len(self.means)
        expected = {"means": (n, 3), "quats": (n, 4), "log_scales": (n, 3), "opacity_logits": (n,)}
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ShapeError(f"{name} must be {list(shape)}, not {list(getattr(self, name).shape)}")
        if self.sh.ndim != 3 or len(self.sh) != n or self.sh.shape[1] not in (1, 4, 9, 16):
            raise ShapeError(f"sh must be [{n}, 1 | 4 | 9 | 16, 3], not {list(self.sh.shape)}")

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: Tensor) -> Gaussians:
        """The selected Gaussians (index or boolean tensor)."""
        return self.map(lambda t: t[index])

    def map(self, fn: Callable[[Tensor], Tensor]) -> Gaussians:
        """Apply a function to every parameter tensor."""
        return Gaussians(**{f.name: fn(getattr(self, f.name)) for f in fields(self)})

    def to(self, device: torch.device | str) -> Gaussians:
        """The same Gaussians on another device."""
        return self.map(lambda t: t.to(device))

    def detach(self) -> Gaussians:
        """The same values, outside any autograd graph."""
        return self.map(Tensor.detach)

    @property
    def scales(self) -> Tensor:
        """Standard deviations [N, 3], world units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """Opacities [N] in (0, 1)."""
        return self.opacity_logits.sigmoid()

    @property
    def sh_degree(self) -> int:
        """Highest spherical harmonics degree stored."""
        return {1: 0, 4: 1, 9: 2, 16: 3}[self.sh.shape[1]]

    @property
    def base_colors(self) -> Tensor:
        """View-independent part of the colour [N, 3]."""
        return 0.5 + SH_C0 * self.sh[:, 0]

    def with_sh_degree(self, degree: int) -> Gaussians:
        """The same Gaussians with coefficients padded with zeros, or cut, to a degree of 0 to 3."""
        bands = (degree + 1) ** 2
        missing = max(0, bands - self.sh.shape[1])
        return replace(self, sh=torch.nn.functional.pad(self.sh[:, :bands], (0, 0, 0, missing)))

    def transformed(self, scale: float, rotation: Tensor, translation: Tensor) -> Gaussians:
        """The scene in the world `x' = scale * rotation @ x + translation`, view-dependent colours included.

        Cameras that moved along (`Cameras.transformed`) see the same pictures.
        """
        from scipy.spatial.transform import Rotation

        R = rotation.to(self.means)
        turn, quats = (t.detach().double().cpu().numpy() for t in (rotation, self.quats))
        turned = Rotation.from_matrix(turn) * Rotation.from_quat(quats, scalar_first=True)
        return replace(
            self,
            means=scale * self.means @ R.mT + translation.to(self.means),
            quats=torch.from_numpy(turned.as_quat(scalar_first=True)).to(self.quats),
            log_scales=self.log_scales + math.log(scale),
            sh=turned_harmonics(self.sh, rotation),
        )

    @staticmethod
    def cat(parts: Sequence[Gaussians]) -> Gaussians:
        """Several scenes in one world, of one spherical harmonics degree, as one."""
        names = [f.name for f in fields(Gaussians)]
        return Gaussians(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    @staticmethod
    def from_points(points: Tensor, colors: Tensor, scales: Tensor, opacity: float = 0.5) -> Gaussians:
        """Isotropic Gaussians at points [N, 3] with colours [N, 3] in [0, 1] and sizes [N]."""
        quats = torch.zeros(len(points), 4, dtype=points.dtype, device=points.device)
        quats[:, 0] = 1.0
        logit = torch.logit(torch.tensor(opacity, dtype=points.dtype, device=points.device))
        return Gaussians(
            means=points,
            quats=quats,
            log_scales=scales.log()[:, None].repeat(1, 3),
            opacity_logits=logit.repeat(len(points)),
            sh=((colors - 0.5) / SH_C0)[:, None],
        )
