"""A triangle mesh with a texture, and pictures of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from agsrec.limits import usual_threads
from agsrec.render.zbuffer import Fragments, rasterize_mesh

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = ["TexturedMesh", "looked_up", "mesh_fragments", "render_mesh", "texture_places"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles, anticlockwise seen from outside, +y up.

    Attributes:
        vertices: World positions [N, 3]; a vertex on a seam of the texture is there once for each side.
        faces: Corner indices [F, 3].
        uvs: Texture coordinates [N, 2] in [0, 1], from the lower left corner.
        texture: RGB [T, T, 3] in [0, 1], first row on top.
    """

    vertices: Array
    faces: NDArray[np.int32]
    uvs: Array
    texture: NDArray[np.float32]


def mesh_fragments(
    vertices: Array, faces: NDArray[np.int32], cameras: Cameras, *, supersampling: int = 1
) -> Fragments:
    """What each pixel of V cameras sees of a closed mesh, in pictures that many times as wide and high."""
    size = cameras.width * supersampling, cameras.height * supersampling
    large = cameras.resized(*size)
    viewmats, Ks = (t.detach().double().cpu().numpy() for t in (large.viewmats, large.Ks))
    return rasterize_mesh(vertices, faces, viewmats, Ks, *size, cull_backfaces=True)


def texture_places(mesh: TexturedMesh, fragments: Fragments) -> Tensor:
    """Where in the texture each pixel looks [V, H, W, 2], as `torch.nn.functional.grid_sample` wants it.

    Pixels beside the mesh look at a corner.
    """
    seen = fragments.mask
    places = np.full((*seen.shape, 2), -1.0, dtype=np.float32)
    corners = mesh.faces[fragments.face_ids[seen]]
    uv = np.einsum("mk,mkc->mc", fragments.barycentrics[seen], mesh.uvs[corners])
    places[seen] = np.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], axis=-1)
    return torch.from_numpy(places)


def looked_up(texture: Tensor, places: Tensor, seen: Tensor, supersampling: int) -> Tensor:
    """Pictures [V, H, W, 4], RGB times alpha, of a texture [3, T, T], averaged over the finer pixels.

    Args:
        texture: Colours, in the autograd graph or not.
        places: From `texture_places` [V, sH, sW, 2].
        seen: Whether the mesh is there [V, sH, sW].
        supersampling: s.
    """
    count, height, width = seen.shape
    flat = places.reshape(1, count * height, width, 2)
    rgb = F.grid_sample(texture[None], flat, padding_mode="border", align_corners=False)
    rgb = rgb[0].view(3, count, height, width).movedim(0, 1)
    alpha = seen[:, None].to(rgb)
    rgba = F.avg_pool2d(torch.cat([rgb * alpha, alpha], dim=1), supersampling)
    return rgba.movedim(1, -1)


def render_mesh(mesh: TexturedMesh, cameras: Cameras, *, supersampling: int = 2) -> Tensor:
    """Pictures [V, H, W, 4] of a mesh, RGB times alpha, unlit: the photos' light is in the texture."""
    texture = torch.from_numpy(mesh.texture).movedim(-1, 0)

    def picture(view: int) -> Tensor:
        fragments = mesh_fragments(mesh.vertices, mesh.faces, cameras[[view]], supersampling=supersampling)
        places, seen = texture_places(mesh, fragments), torch.from_numpy(fragments.mask)
        return looked_up(_shrunk_for(texture, places, seen), places, seen, supersampling)

    with ThreadPoolExecutor(usual_threads()) as pool:
        return torch.cat(list(pool.map(picture, range(len(cameras)))))


def _shrunk_for(texture: Tensor, places: Tensor, seen: Tensor) -> Tensor:
    """The texture [3, T, T], halved until pixels are less than two texels apart: no detail aliases."""
    both = seen[:, :, 1:] & seen[:, :, :-1]
    if not bool(both.any()):
        return texture
    step = (places[:, :, 1:] - places[:, :, :-1])[both].norm(dim=-1).median()
    while float(step) * texture.shape[-1] / 2 >= 2 and texture.shape[-1] % 2 == 0:
        texture = F.avg_pool2d(texture, 2)
    return texture
