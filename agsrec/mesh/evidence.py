"""What the photos show of each point of the surface, and which of them should paint it.

Each triangle takes its detail from one photo, neighbours from the same one unless it pays to change: the
labelling of least energy of a Markov random field over the triangles (Lempitsky and Ivanov, "Seamless
mosaicing of image-based texture maps", 2007; with resolution and agreement of the photos as Waechter et al.,
"Let there be color!", 2014), by min-sum belief propagation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.mesh.album import sampled

if TYPE_CHECKING:
    from agsrec.mesh.album import Album
    from agsrec.mesh.shape import Shape

__all__ = ["FRONTAL", "Evidence", "gathered", "photo_of_face", "photographed_pixels"]

FRONTAL = 6
"""Power of the cosine with which a photo counts for colours: the most frontal one nearly alone."""
_DEVIATION = 0.1  # of a photo's colour from the others', from which it is doubted
_DOUBT = 3.0  # most that doubt divides a photo's share by, as a power of e
_UNSEEN = 12.0  # cost of a photo that does not show a triangle
_TILES = 20_000  # parts of the surface that costs are for, so that they do not depend on the triangles
_CHANGE = 1.0  # cost of another photo along the edge of such a part, in powers of e of resolution
_STEPS, _DAMPING = 60, 0.5


@dataclass(frozen=True)
class Evidence:
    """P points of the surface in V photos.

    Attributes:
        facing: Cosines between normals and the ways to the cameras [P, V], 0 from behind.
        trust: How much each photo is to be trusted there [P, V], 0 where it does not show the point.
        colors: What the photos show without detail [P, V, 3], balanced.
        detail: How much detail they show [P, V].
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
        detail.append(sampled(fine, place)[:, 0].sqrt())
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


def photo_of_face(shape: Shape, evidence: Evidence, finest: float) -> Tensor:
    """The photo [F] that each triangle takes its detail from.

    Args:
        shape: The surface.
        evidence: At its points.
        finest: Texels per unit of length: a photo that resolves more is not better.
    """
    corners = torch.from_numpy(shape.faces).long()
    resolution = evidence.resolution[corners].amin(1).clamp(max=finest)  # all corners must be seen
    share = resolution / resolution.amax(1, keepdim=True).clamp(min=1e-12)
    cost = -share.clamp(min=1e-9).log().clamp(min=-_UNSEEN) + evidence.doubt[corners].mean(1)
    cost = torch.where(share > 0, cost, _UNSEEN)
    pairs, lengths = (torch.from_numpy(a) for a in shape.neighbours())
    areas = torch.from_numpy(shape.areas()).float()
    unit = areas.sum() / _TILES
    detail = (evidence.detail * evidence.weights).sum(1) / evidence.weights.sum(1).clamp(min=1e-6)
    busy = detail[corners].mean(1)
    # Changes are cheaper where there is nothing to cut through.
    there = busy[pairs].mean(1) / busy.mean().clamp(min=1e-6)
    change = _CHANGE * (0.5 + 0.5 * there.clamp(max=3)) * lengths.float() / unit.sqrt()
    return _labelled(cost * (areas / unit)[:, None], pairs, change)


def _labelled(cost: Tensor, pairs: Tensor, change: Tensor) -> Tensor:
    """Labels [F] of about the least sum of costs [F, L], and of the costs [E] of pairs [E, 2] that differ."""
    source = torch.cat([pairs[:, 0], pairs[:, 1]])
    target = torch.cat([pairs[:, 1], pairs[:, 0]])
    back = torch.arange(len(source)).roll(len(pairs))
    most = torch.cat([change, change])[:, None]
    messages = torch.zeros(len(source), cost.shape[1])
    for _ in range(_STEPS):
        belief = cost.index_add(0, target, messages)
        without = belief[source] - messages[back]
        least = without.amin(1, keepdim=True)
        messages = _DAMPING * messages + (1 - _DAMPING) * (without - least).clamp(max=most)
    return cost.index_add(0, target, messages).argmin(1)
