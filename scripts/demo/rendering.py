"""Models made of textured parts, and their supersampled renderer with deferred texturing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agsrec.cameras import Cameras
from agsrec.render.zbuffer import Fragments, interpolate, rasterize_mesh
from agsrec.synthetic import RenderedViews
from scripts.demo.lighting import Lighting, ShadowMaps, irradiance, shadow_maps, studio
from scripts.demo.meshes import Mesh, join

Array = NDArray[np.float64]
Texture = Callable[[Array], Array]
"""Texture coordinates [M, 3] -> linear RGB albedo [M, 3]."""

__all__ = ["Model", "Part", "Texture", "build_model", "linear_to_srgb", "render_model"]


@dataclass(frozen=True)
class Part:
    """A piece of surface and what is painted on it."""

    mesh: Mesh
    texture: Texture


@dataclass(frozen=True)
class Model:
    """A whole object in the world frame, ready to render."""

    mesh: Mesh
    part_ids: NDArray[np.int32]
    """[F], index into `textures` per face."""
    textures: tuple[Texture, ...]


def build_model(parts: Sequence[Part], *, radius: float = 0.57) -> Model:
    """Join parts, centre them at the origin and scale them into a sphere of `radius` (world units)."""
    mesh = join([p.mesh for p in parts])
    center = 0.5 * (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0))
    vertices = mesh.vertices - center
    vertices *= radius / np.linalg.norm(vertices, axis=1).max()
    part_ids = np.repeat(np.arange(len(parts), dtype=np.int32), [len(p.mesh.faces) for p in parts])
    return Model(
        Mesh(vertices, mesh.faces, mesh.normals, mesh.coords), part_ids, tuple(p.texture for p in parts)
    )


def linear_to_srgb(linear: NDArray[np.floating]) -> Array:
    """sRGB transfer curve; values above 0.8 roll off smoothly instead of clipping."""
    x = np.asarray(linear, dtype=np.float64)
    knee = 0.8
    x = np.where(x > knee, knee + (1.0 - knee) * -np.expm1(-(x - knee) / (1.0 - knee)), np.maximum(x, 0.0))
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(np.maximum(x, 1e-8), 1.0 / 2.4) - 0.055)


def render_model(
    model: Model, cameras: Cameras, *, supersampling: int = 4, lighting: Lighting | None = None
) -> RenderedViews:
    """Render every camera with supersampling x supersampling texture samples per pixel."""
    light = studio() if lighting is None else lighting
    maps = shadow_maps(model.mesh.vertices, model.mesh.faces, light)
    viewmats = cameras.viewmats.double().numpy()
    Ks = cameras.Ks.double().numpy()
    images = [
        _render_image(model, viewmats[v], Ks[v], cameras.width, cameras.height, supersampling, light, maps)
        for v in range(len(cameras))
    ]
    centers = rasterize_mesh(
        model.mesh.vertices, model.mesh.faces, viewmats, Ks, cameras.width, cameras.height
    )
    points = np.zeros((*centers.face_ids.shape, 3), dtype=np.float32)
    points[centers.mask] = interpolate(centers, model.mesh.faces, model.mesh.vertices)
    return RenderedViews(
        np.stack(images), np.where(centers.mask, centers.depths, 0.0).astype(np.float32), points
    )


def _render_image(
    model: Model,
    viewmat: Array,  # [4, 4]
    K: Array,  # [3, 3]
    width: int,
    height: int,
    samples: int,
    lighting: Lighting,
    maps: ShadowMaps,
) -> NDArray[np.float32]:  # [H, W, 4]
    fine_K = K * np.array([[samples], [samples], [1.0]])
    fragments = rasterize_mesh(
        model.mesh.vertices, model.mesh.faces, viewmat[None], fine_K[None], samples * width, samples * height
    )
    radiance = np.zeros((samples * height, samples * width, 3))
    radiance[fragments.mask[0]] = _shade(model, fragments, viewmat, lighting, maps)
    blocks = (height, samples, width, samples)
    covered = fragments.mask[0].reshape(blocks).sum(axis=(1, 3))  # [H, W]
    total = radiance.reshape(*blocks, 3).sum(axis=(1, 3))
    rgb = linear_to_srgb(total / np.maximum(covered, 1)[..., None]) * (covered > 0)[..., None]
    return np.concatenate([rgb, covered[..., None] / samples**2], axis=-1).astype(np.float32)


def _shade(model: Model, fragments: Fragments, viewmat: Array, lighting: Lighting, maps: ShadowMaps) -> Array:
    """Linear RGB [M, 3] of the covered samples."""
    mesh = model.mesh
    points = interpolate(fragments, mesh.faces, mesh.vertices)
    normals = interpolate(fragments, mesh.faces, mesh.normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    eye = -viewmat[:3, :3].T @ viewmat[:3, 3]
    inward = ((eye - points) * normals).sum(axis=1) < 0  # a thin sheet seen from behind is lit from behind
    normals[inward] *= -1.0
    coords = interpolate(fragments, mesh.faces, mesh.coords)
    parts = model.part_ids[fragments.face_ids[fragments.mask]]
    albedo = np.empty_like(coords)
    for part in np.unique(parts):
        rows = parts == part
        albedo[rows] = model.textures[part](coords[rows])
    return albedo * irradiance(points, normals, lighting, maps)
