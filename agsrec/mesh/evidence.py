"""What the photos show of each point of the surface, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.mesh.album import sampled

if TYPE_CHECKING:
    from agsrec.mesh.album import Album
    from agsrec.mesh.shape import Shape

__all__ = ["FRONTAL", "Evidence", "gathered", "photographed_pixels"]

FRONTAL = 6
"""Power of the cosine with which a photo counts for colours: the most frontal one nearly alone."""
_DEVIATION = 0.1  # of a photo's colour from the others', from which it is doubted
_DOUBT = 3.0  # most that doubt divides a photo's share by, as a power of e


@dataclass(frozen=True)
class Evidence:
    """P points of the surface in V photos.

    Attributes:
        facing: Cosines between normals and the ways to the cameras [P, V], 0 from behind.
        trust: How much each photo is to be trusted there [P, V], 0 where it does not show the point.
        colors: What the photos show without detail [P, V, 3], balanced.
        detail: How much detail they show [P, V], balanced.
        doubt: How much a photo's colour contradicts the others' [P, V], from 0.
        density: Pixels per unit of length of a surface that faces the camera [P, V].
    """

    facing: Tensor
    trust: Tensor
    colors: Tensor
    detail: Tensor
    doubt: Tensor
    density: Tensor

    @property
    def weights(self) -> Tensor:
        """How much each photo counts for the colour of each point [P, V]."""
        return self.facing**FRONTAL * self.trust

    @property
    def resolution(self) -> Tensor:
        """Pixels per unit of length of the surface, the way it is foreshortened [P, V]; 0 where unseen."""
        return self.density * self.facing * (self.trust > 0)


def gathered(shape: Shape, album: Album) -> Evidence:
    """What the photos of an album show of the points of a shape."""
    points, normals = (torch.from_numpy(a).float() for a in (shape.points, shape.normals))
    facing, trust, colors, detail, density = [], [], [], [], []
    for view, sight in enumerate(album.sights):
        place, trusted = sight.places(points)
        place = album.warped(view, place)
        fine = (sight.rgb - sight.coarse).square().mean(-1, keepdim=True)
        facing.append(sight.facing(points, normals))
        trust.append(trusted)
        colors.append(sampled(sight.coarse, place) * album.gains[view])
        detail.append(sampled(fine, place)[:, 0].sqrt() * album.gains[view].mean())
        density.append(album.densities(view, points))
    seen, cosines, shown = torch.stack(trust, 1), torch.stack(facing, 1), torch.stack(colors, 1)
    return Evidence(
        cosines,
        seen,
        shown,
        torch.stack(detail, 1),
        _doubt(shown, cosines**2 * seen),
        torch.stack(density, 1),
    )


def _doubt(colors: Tensor, weights: Tensor) -> Tensor:
    """By how much colours [P, V, 3] are off their weighted median over the photos [P, V]."""
    ordered, order = colors.sort(dim=1)
    share = weights[..., None].expand_as(colors).gather(1, order)
    reached = share.cumsum(1) >= 0.5 * share.sum(1, keepdim=True).clamp(min=1e-12)
    middle = ordered.gather(1, reached.float().argmax(1, keepdim=True))
    off = (colors - middle).abs().mean(-1) / _DEVIATION
    return (0.5 * off.square()).clamp(max=_DOUBT)


def photographed_pixels(shape: Shape, evidence: Evidence) -> float:
    """Pixels of the best photo of each triangle, all over the surface; unseen parts count like the others."""
    best = evidence.resolution.amax(1)[torch.from_numpy(shape.faces).long()].mean(1)
    area = torch.from_numpy(shape.areas()).float()
    seen = best > 0
    share = float(area[seen].sum() / area.sum())
    return float((area * best.square()).sum()) / share if share > 0 else 0.0
