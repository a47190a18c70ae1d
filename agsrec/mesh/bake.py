"""The texture of a mesh from photos, and from the scene where no photo looks.

Colours and detail are blended apart, as the bands of Burt and Adelson ("A multiresolution spline with
application to image mosaics", 1983): colours broadly, from all photos that see a place, so that no border
shows; detail from the photo that sees it best, so that nothing shows twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from scipy.spatial import KDTree
from torch import Tensor

from agsrec.mesh.album import sampled, shrunk
from agsrec.mesh.balance import continued
from agsrec.mesh.choice import photo_of_face
from agsrec.mesh.evidence import FRONTAL, gathered
from agsrec.mesh.texels import Texels

if TYPE_CHECKING:
    from agsrec.mesh.album import Album
    from agsrec.mesh.evidence import Evidence
    from agsrec.mesh.shape import Shape
    from agsrec.mesh.textured import TexturedMesh

__all__ = ["bake_texture"]

_ENOUGH = 0.02  # weight from which photos decide alone
_NARROW = (
    2  # power of the share of a photo's triangles around a texel: how narrow the border of its detail is
)
_SPARE = 1e-3  # weight of the other photos' detail, for where the chosen one has none
_NEAREST = 200_000  # texels among which the nearest one is looked for, about
_FINER = 1.25  # pixels per texel from which a picture is made smaller first


@dataclass
class _Sums:
    """Weighted sums over photos at M texels: colours and detail [M, 3], and their weights [M, 1]."""

    colors: Tensor
    detail: Tensor
    weight: Tensor
    chosen: Tensor

    @staticmethod
    def empty(count: int) -> _Sums:
        return _Sums(*(torch.zeros(count, channels) for channels in (3, 3, 1, 1)))

    def mean(self) -> Tensor:
        """Colours with detail [M, 3]."""
        return self.colors / self.weight.clamp(min=1e-12) + self.detail / self.chosen.clamp(min=1e-12)


def bake_texture(mesh: TexturedMesh, shape: Shape, album: Album, scene: Album | None = None) -> TexturedMesh:
    """The mesh with colours from photos.

    Args:
        mesh: The mesh, with a texture of the size wanted.
        shape: Its shape, with the triangles in the same order.
        album: The photos.
        scene: Renders of the scene, for what no photo sees. What none of those sees either takes the colour
            of the nearest texel on the surface.
    """
    texels = Texels.of(mesh, len(mesh.texture))
    evidence = gathered(shape, album)
    sums = _photographed(texels, shape, album, evidence)
    colors, known = sums.mean(), (sums.weight[:, 0] / _ENOUGH).clamp(max=1)
    del sums
    if scene is not None and bool((known < 1).any()):
        which = (known < 1).nonzero()[:, 0]
        rendered, seen = _rendered(texels, which, shape, scene, evidence)
        total = known[which] + (1 - known[which]) * seen
        share = (known[which] / total.clamp(min=1e-12))[:, None]
        colors[which] = share * colors[which] + (1 - share) * rendered
        known[which] = total
    lost = known < 0.5
    if bool(lost.any()) and not bool(lost.all()):
        some = (~lost).nonzero()[:, 0]
        some = some[:: 1 + len(some) // _NEAREST]
        nearest = KDTree(texels.points[some]).query(texels.points[lost])[1]
        colors[lost] = colors[some[torch.from_numpy(nearest)]]
    return replace(mesh, texture=texels.painted(colors.clamp(0, 1)))


def _photographed(texels: Texels, shape: Shape, album: Album, evidence: Evidence) -> _Sums:
    """What photos say of texels."""
    corners = torch.from_numpy(shape.faces).long()
    finest = texels.per_unit(shape)
    shares = _shares(corners, photo_of_face(shape, evidence, finest), evidence)
    sums = _Sums.empty(len(texels))
    for view, sight in enumerate(album.sights):
        picture = _resized(album, view, evidence, finest)
        for chunk in texels.chunks():
            facing = texels.corner_mean(chunk, corners, evidence.facing[:, view])
            front = facing > 0
            pick, facing = chunk[front], facing[front]
            place, trust = sight.places(texels.points[pick])
            seen = trust > 0
            pick, facing, place, trust = (
                pick[seen],
                facing[seen],
                album.warped(view, place[seen]),
                trust[seen],
            )
            share = texels.corner_mean(pick, corners, shares[:, view])
            weight = (facing**FRONTAL * trust)[:, None]
            chosen = (share**_NARROW * trust)[:, None] + _SPARE * weight
            coarse = sampled(sight.coarse, place)
            detail = sampled(picture, place, "bicubic") - coarse
            sums.colors[pick] += weight * coarse * album.gains[view]
            sums.detail[pick] += chosen * detail * album.gains[view]
            sums.weight[pick] += weight
            sums.chosen[pick] += chosen
    return sums


def _resized(album: Album, view: int, evidence: Evidence, finest: float) -> Tensor:
    """Colours [H, W, 3] of a picture, made smaller where texels could not hold its pixels."""
    picture = album.pictures[view].float().cpu()
    front = evidence.facing[:, view] > 0.5
    density = float(evidence.density[front, view].median()) if bool(front.any()) else finest
    if density > _FINER * finest:
        picture = shrunk(picture, round(finest / density * max(picture.shape[:2])))
    return picture[..., :3]


def _shares(corners: Tensor, labels: Tensor, evidence: Evidence) -> Tensor:
    """Share [P, V] of the triangles around each point that take their detail from each photo."""
    counts = torch.zeros_like(evidence.trust)
    for corner in corners.mT:
        counts.index_put_((corner, labels), torch.ones(len(corner)), accumulate=True)
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def _rendered(
    texels: Texels, which: Tensor, shape: Shape, scene: Album, photographed: Evidence
) -> tuple[Tensor, Tensor]:
    """Mean colours [M, 3] of renders at some texels, and how sure they are [M]."""
    corners = torch.from_numpy(shape.faces).long()
    evidence = gathered(shape, scene)
    factors = continued(shape, photographed, evidence)
    colors, total = torch.zeros(len(which), 3), torch.zeros(len(which), 1)
    for view, sight in enumerate(scene.sights):
        place, trust = sight.places(texels.points[which])
        cosine = texels.corner_mean(which, corners, evidence.facing[:, view])
        weight = (cosine**FRONTAL * trust)[:, None]
        colors += weight * sampled(sight.rgb, place)
        total += weight
    factor = torch.stack([texels.corner_mean(which, corners, f) for f in factors.mT], dim=1)
    return factor * colors / total.clamp(min=1e-12), (total[:, 0] / _ENOUGH).clamp(max=1)
