"""A ball and a card with textures, and photos of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import trimesh

from agsrec.cameras import Cameras
from agsrec.mesh.album import Album, opened
from agsrec.mesh.shape import Shape
from agsrec.mesh.texels import Texels
from agsrec.mesh.textured import TexturedMesh, render_mesh
from agsrec.mesh.unwrap import unwrapped

BALL_RADIUS = 0.4
CARD_EXTENTS = 0.8, 0.8, 0.2


def cut_open(solid: trimesh.Trimesh, size: int) -> tuple[TexturedMesh, Shape]:
    """A solid with an empty texture, and its shape."""
    vertices, faces = np.asarray(solid.vertices, dtype=np.float64), np.asarray(solid.faces, dtype=np.int32)
    blank = np.zeros((size, size, 3), dtype=np.float32)
    source, corners, uvs = unwrapped(vertices, faces, size)
    return TexturedMesh(vertices[source], corners, uvs, blank), Shape.of(vertices, faces)


def ball(size: int) -> tuple[TexturedMesh, Shape]:
    return cut_open(trimesh.creation.icosphere(subdivisions=3, radius=BALL_RADIUS), size)


def card(size: int) -> tuple[TexturedMesh, Shape]:
    return cut_open(trimesh.creation.box(CARD_EXTENTS).subdivide().subdivide().subdivide(), size)


def checker(points: np.ndarray) -> np.ndarray:
    odd = (np.floor(points / 0.15).sum(axis=-1) % 2).astype(np.float32)
    return np.stack([odd, 0.2 + 0.5 * odd, 1 - odd], axis=-1)


def speckled(points: np.ndarray) -> np.ndarray:
    """Soft blots, no two places alike."""
    waves = np.random.default_rng(5).normal(size=(3, 24)) * 60
    value = 0.5 + 0.07 * np.sin(points @ waves + np.arange(24)).sum(axis=-1)
    return np.repeat(value.clip(0.05, 0.95)[:, None], 3, axis=1).astype(np.float32)


def painted(mesh: TexturedMesh, paint: Callable[[np.ndarray], np.ndarray] = checker) -> TexturedMesh:
    """The mesh with a texture that is exact at every texel."""
    texels = Texels.of(mesh, len(mesh.texture))
    colors = torch.from_numpy(paint(texels.points.numpy().astype(np.float64)))
    return replace(mesh, texture=texels.painted(colors))


def facing(azimuths: list[float], size: int) -> Cameras:
    """Cameras at the height of the object, from so many degrees to the right of its front."""
    focal = torch.full((len(azimuths),), 1.4 * size)
    Ks = Cameras.intrinsics(focal, size, size)
    turns = torch.tensor(azimuths)
    return Cameras.orbit(torch.zeros(len(turns)), turns, 1.8, Ks=Ks, width=size, height=size)


def photographed(mesh: TexturedMesh, cameras: Cameras) -> torch.Tensor:
    """Photos [V, H, W, 4]."""
    rgba = render_mesh(mesh, cameras)
    return torch.cat([rgba[..., :3] / rgba[..., 3:].clamp(min=1e-3), rgba[..., 3:]], dim=-1).clamp(0, 1)


def album_of(mesh: TexturedMesh, shape: Shape, cameras: Cameras) -> Album:
    return opened(shape, photographed(mesh, cameras), cameras)
