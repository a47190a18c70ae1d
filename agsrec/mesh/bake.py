"""The texture of a mesh from photos, and from the scene where no photo looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn import functional as F

from agsrec.mesh.textured import TexturedMesh, mesh_fragments
from agsrec.render.zbuffer import rasterize_mesh

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = ["Pictures", "bake_texture"]

_SHARPNESS = 6  # power of the cosine between view and normal: the most frontal photo nearly alone
_HIDDEN = 0.015  # of the object's size: a point so much behind the surface is not seen
_TRUSTED = 0.9  # alpha of the mask so drawn in, from which a pixel counts
_ERODED = 2  # pixels at the edge of a mask that are not trusted
_ENOUGH = 0.02  # weight from which pictures decide alone


@dataclass(frozen=True)
class Pictures:
    """V pictures of the object.

    Attributes:
        rgb: Straight colours [V, H, W, 3].
        alpha: Masks [V, H, W].
        cameras: Their cameras.
    """

    rgb: Tensor
    alpha: Tensor
    cameras: Cameras


@dataclass(frozen=True)
class _Texels:
    """The M texels that belong to the surface.

    Attributes:
        rows, columns: Where they are in the texture [M].
        points: World positions [M, 3].
        normals: Unit normals [M, 3].
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    points: NDArray[np.float64]
    normals: NDArray[np.float64]


def bake_texture(mesh: TexturedMesh, sources: list[Pictures]) -> TexturedMesh:
    """The mesh with colours from pictures.

    Each texel takes the weighted mean of the pictures that see it, frontal ones far before slanted ones. What
    the first source does not see is taken from the next; what none sees, from the nearest texel on the
    surface.
    """
    size = len(mesh.texture)
    texels = _texels(mesh, size)
    colors, missing = np.zeros((len(texels.rows), 3)), np.ones(len(texels.rows))
    for source in sources:
        seen, weight = _seen_colors(mesh, texels, source)
        share = missing * np.minimum(1.0, weight / _ENOUGH)
        colors += share[:, None] * seen
        missing -= share
    known = missing < 0.5
    if known.any():
        colors[known] /= (1 - missing[known])[:, None]
        nearest = KDTree(texels.points[known]).query(texels.points[~known])[1]
        colors[~known] = colors[known][nearest]
    texture = np.zeros((size, size, 3), dtype=np.float32)
    texture[texels.rows, texels.columns] = colors
    covered = np.zeros((size, size), dtype=bool)
    covered[texels.rows, texels.columns] = True
    # Between the charts every texel takes the colour of the nearest one: sampling reaches over the edge.
    row, column = np.asarray(distance_transform_edt(~covered, return_distances=False, return_indices=True))
    return TexturedMesh(mesh.vertices, mesh.faces, mesh.uvs, texture[row, column].clip(0, 1))


def _texels(mesh: TexturedMesh, size: int) -> _Texels:
    """What lies under the centre of each texel: the mesh drawn flat, at its texture coordinates."""
    flat = np.stack([mesh.uvs[:, 0] * size, (1 - mesh.uvs[:, 1]) * size, np.ones(len(mesh.uvs))], axis=-1)
    fragments = rasterize_mesh(flat, mesh.faces, np.eye(4)[None], np.eye(3)[None], size, size)
    rows, columns = fragments.mask[0].nonzero()
    corners = mesh.faces[fragments.face_ids[0, rows, columns]]
    share = fragments.barycentrics[0, rows, columns].astype(np.float64)
    points = np.einsum("mk,mkc->mc", share, mesh.vertices[corners])
    a, b, c = (mesh.vertices[corners[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-20)
    return _Texels(rows, columns, points, normals)


def _seen_colors(
    mesh: TexturedMesh, texels: _Texels, source: Pictures
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean colour [M, 3] of the pictures at each texel, and the sum of their weights [M]."""
    points, normals = (torch.from_numpy(a).float() for a in (texels.points, texels.normals))
    hidden = _HIDDEN * float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    solid = -F.max_pool2d(-source.alpha[:, None], 2 * _ERODED + 1, stride=1, padding=_ERODED)
    total, colors = torch.zeros(len(points)), torch.zeros(len(points), 3)
    for view in range(len(source.cameras)):  # one by one: a texture has many texels
        camera = source.cameras[[view]].to("cpu", torch.float32)
        depths = mesh_fragments(mesh.vertices, mesh.faces, camera).depths
        surface = torch.from_numpy(np.where(np.isfinite(depths), depths, 0.0))[:, None]
        pixels, z = camera.project(points)
        place = (2 * pixels / torch.tensor([camera.width, camera.height]) - 1)[:, None]
        ahead = F.grid_sample(surface, place, mode="nearest", align_corners=False)[0, 0, 0]
        trusted = F.grid_sample(solid[[view]], place, align_corners=False)[0, 0, 0] > _TRUSTED
        facing = (F.normalize(camera.centers - points, dim=-1) * normals).sum(-1).clamp(min=0)
        weight = facing**_SHARPNESS * ((ahead > 0) & (z[0] < ahead + hidden) & trusted)
        seen = F.grid_sample(source.rgb[[view]].movedim(-1, 1), place, align_corners=False)[0, :, 0]
        total += weight
        colors += weight[:, None] * seen.mT
    mean = colors / total.clamp(min=1e-12)[:, None]
    return mean.double().numpy(), total.double().numpy()
