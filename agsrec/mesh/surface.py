"""The surface of a scene of Gaussians as a closed triangle mesh.

Depth maps of the scene from all around are fused into a truncated signed distance field (Curless and Levoy,
"A volumetric method for building complex models from range images", 1996), and its level is the one whose
silhouettes agree best with the photos' masks. A density field of the Gaussians themselves would have two
sides: they are a thin shell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional as F

from agsrec.cameras import Cameras
from agsrec.errors import SceneError
from agsrec.mesh.fusion import fused_distances
from agsrec.mesh.normals import corner_normals
from agsrec.mesh.repair import taken_apart
from agsrec.mesh.textured import mesh_fragments
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = ["Surface", "around", "extract_surface", "silhouette_iou"]

Array = NDArray[np.float64]

_VIEWS, _SIZE = 72, 160  # depth maps and their edge in pixels
_FIELD_DEG = 40.0
_SOLID = 0.3  # opacity of a Gaussian that counts as part of the object
_STRAYS = 0.002  # share of the Gaussians beyond the grid on each side
_COVERED = 0.5  # alpha from which a pixel has a depth
_TRUNCATION = 4.0  # voxels
_FIRST_LEVEL, _LEVEL_STEPS, _LAST_LEVEL = 0.25, (0.25, 0.125, 0.0625), 0.9  # of the truncation
_ABOUT = 0.003  # of intersection over union: less is no difference
_FLOATER = 0.05  # share of the largest part's area below which a part is dropped
_CARE, _TRIES = (3, 5, 7, 10), 6  # of the simplification, in turn: with a lower one it may stop early
_BLUR = 0.7  # voxels: closes pinholes that would become handles


@dataclass(frozen=True)
class Surface:
    """Triangles, anticlockwise seen from outside.

    Attributes:
        vertices: World positions [N, 3].
        faces: Corner indices [F, 3].
        iou: Agreement of its silhouettes with the photos' masks, mean over views.
    """

    vertices: Array
    faces: NDArray[np.int32]
    iou: float


@dataclass(frozen=True)
class _Grid:
    """Voxels: centre of the first one [3] and edge, in world units, and numbers along x, y, z."""

    origin: Tensor
    voxel: float
    shape: tuple[int, int, int]


def extract_surface(
    gaussians: Gaussians, views: Views, cameras: Cameras, *, grid: int = 128, faces: int = 20_000
) -> Surface:
    """A mesh of what is solid in a scene, with the photos' silhouettes.

    Args:
        gaussians: The scene.
        views: V photos.
        cameras: Their cameras.
        grid: Voxels along the object's longest side.
        faces: Triangles at most.

    Raises:
        SceneError: The scene is empty, not finite, or has no surface.
    """
    points = _solid_points(gaussians)
    where = _grid_around(points, grid)
    distances = _distances(gaussians, where, around(points, _VIEWS, _SIZE))
    vertices, triangles = _best_level(distances, where, views, cameras)
    vertices, triangles = _simplified(vertices, triangles, faces)
    return Surface(vertices, triangles, silhouette_iou(vertices, triangles, views, cameras))


def _best_level(
    distances: NDArray[np.float32], grid: _Grid, views: Views, cameras: Cameras
) -> tuple[Array, NDArray[np.int32]]:
    """Vertices and faces of the level of the field whose silhouettes agree best with the masks.

    A quarter of the truncation is a voxel, and about a pixel: the last of the halving steps is finer. Of
    levels that agree about as well the outermost is taken: from between the photos, whose silhouettes no
    mask holds out, scenes come out a little thin.
    """
    found: dict[float, tuple[float, Array, NDArray[np.int32]]] = {}

    def agreement(level: float) -> float:
        if level not in found:
            surface = _polygons(distances, grid, level) if abs(level) <= _LAST_LEVEL else None
            if surface is None:
                found[level] = (-1.0, np.empty((0, 3)), np.empty((0, 3), dtype=np.int32))
            else:
                surface = _without_floaters(*surface)
                found[level] = (silhouette_iou(*surface, views, cameras), *surface)
        return found[level][0]

    best = center = _FIRST_LEVEL
    for step in _LEVEL_STEPS:
        while True:
            best = max((center, center - step, center + step), key=agreement)
            if best == center:
                break
            center = best
    while agreement(best + _LEVEL_STEPS[-1]) > agreement(center) - _ABOUT:
        best += _LEVEL_STEPS[-1]
    if agreement(best) < 0:
        raise SceneError("the scene has no surface to make a mesh of; its splat is all there is")
    return found[best][1:]


def silhouette_iou(vertices: Array, faces: NDArray[np.int32], views: Views, cameras: Cameras) -> float:
    """Intersection over union of a mesh's silhouettes and the masks, mean over views."""
    seen = mesh_fragments(vertices, faces, cameras).mask
    masks = (views.masks > 0.5).cpu().numpy()
    both, either = (seen & masks).sum((1, 2)), (seen | masks).sum((1, 2))
    return float((both / np.maximum(either, 1)).mean())


def around(points: Tensor, count: int, size: int) -> Cameras:
    """Cameras evenly all around points [M, 3] that show all of them, pictures of `size` pixels."""
    low, high = points.amin(0), points.amax(0)
    center = (low + high) / 2
    radius = float((points - center).norm(dim=-1).max())
    index = torch.arange(count, dtype=torch.float32)
    elevation = (1 - 2 * (index + 0.5) / count).asin().rad2deg()
    azimuth = 360.0 * (index * 0.6180339887498949 % 1)  # golden section: no two in line
    distance = 1.05 * radius / np.sin(np.deg2rad(0.5 * _FIELD_DEG))
    focal = 0.5 * size / np.tan(np.deg2rad(0.5 * _FIELD_DEG))
    Ks = Cameras.intrinsics(torch.full((count,), float(focal)), size, size)
    cameras = Cameras.orbit(elevation, azimuth, distance, Ks=Ks, width=size, height=size)
    return cameras.transformed(1.0, torch.eye(3), center.cpu()).to(points.device)


def _solid_points(gaussians: Gaussians) -> Tensor:
    """Centres [M, 3] of what is solid, without the outermost strays."""
    finite = gaussians.means.isfinite().all(-1) & gaussians.log_scales.isfinite().all(-1)
    means = gaussians.means[finite & (gaussians.opacities > _SOLID)]
    if len(means) < 4:
        raise SceneError("the scene is empty or not finite: there is nothing to make a mesh of")
    low, high = means.quantile(_STRAYS, dim=0), means.quantile(1 - _STRAYS, dim=0)
    return means.clamp(low, high)


def _grid_around(points: Tensor, resolution: int) -> _Grid:
    low, high = points.amin(0), points.amax(0)
    voxel = float((high - low).max()) / resolution
    if not voxel > 0:
        raise SceneError("all Gaussians are in one place: there is no surface to make a mesh of")
    margin = 2 * _TRUNCATION * voxel
    x, y, z = ((high - low + 2 * margin) / voxel).ceil().int().tolist()
    return _Grid(low - margin, voxel, (x, y, z))


@torch.no_grad()
def _distances(gaussians: Gaussians, grid: _Grid, cameras: Cameras) -> NDArray[np.float32]:
    """Signed distances [X, Y, Z] in units of the truncation, positive outside."""
    rendered = render_scene(gaussians, cameras, render_mode="RGB+ED")
    assert rendered.depth is not None
    depth = torch.where(rendered.alpha > _COVERED, rendered.depth, torch.inf)
    truncation = _TRUNCATION * grid.voxel
    viewmats, Ks = (t.double().cpu().numpy() for t in (cameras.viewmats, cameras.Ks))
    distances = fused_distances(
        depth.float().cpu().numpy(),
        _at_edges(depth, truncation).cpu().numpy(),
        viewmats,
        Ks,
        grid.origin.double().cpu().numpy(),
        grid.voxel,
        grid.shape,
        truncation,
    )
    return np.asarray(gaussian_filter(distances, _BLUR), dtype=np.float32)


def _at_edges(depth: Tensor, jump: float) -> Tensor:
    """Pixels [V, H, W] where one surface ends before another: their depth is a mixture of the two."""
    finite = torch.where(depth.isfinite(), depth, 0.0)[:, None]
    known = depth.isfinite()[:, None]
    far = F.max_pool2d(finite, 3, stride=1, padding=1)
    near = -F.max_pool2d(torch.where(known, -finite, -torch.inf), 3, stride=1, padding=1)
    return known[:, 0] & ((far - near)[:, 0] > jump)


def _polygons(
    distances: NDArray[np.float32], grid: _Grid, level: float
) -> tuple[Array, NDArray[np.int32]] | None:
    """Vertices and faces of a level of the field, in the world; None where it is never crossed."""
    from skimage.measure import marching_cubes

    closed = np.pad(distances, 1, constant_values=1.0)
    try:
        corners, faces, _, _ = marching_cubes(closed, level, gradient_direction="descent")
    except (ValueError, RuntimeError):  # no such value, or no cell with a corner on either side
        return None
    origin = grid.origin.cpu().double().numpy()
    return origin + grid.voxel * (corners.astype(np.float64) - 1.0), faces.astype(np.int32)


def _without_floaters(vertices: Array, faces: NDArray[np.int32]) -> tuple[Array, NDArray[np.int32]]:
    """The parts of a mesh that are neither crumbs nor cavities."""
    count = len(vertices)
    ends = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    edges = coo_matrix((np.ones(faces.size, dtype=np.int8), ends), shape=(count, count))
    parts, of_points = connected_components(edges, directed=False)
    part = of_points[faces[:, 0]]  # of each triangle
    normals = corner_normals(vertices, faces)
    areas = np.bincount(part, np.linalg.norm(normals, axis=1), parts)
    volumes = np.bincount(part, (normals * vertices[faces[:, 0]]).sum(axis=1), parts)  # by Gauss
    outer = volumes > 0 if (volumes > 0).any() else np.ones(parts, dtype=bool)
    kept = outer & (areas >= _FLOATER * areas[outer].max())
    used, corners = np.unique(faces[kept[part]], return_inverse=True)
    return vertices[used], corners.reshape(-1, 3).astype(np.int32)


def _simplified(vertices: Array, faces: NDArray[np.int32], most: int) -> tuple[Array, NDArray[np.int32]]:
    """The mesh without the steps of the grid, closed, and with at most so many triangles if it can be."""
    import fast_simplification
    import trimesh

    mesh = trimesh.Trimesh(vertices, faces, process=False)
    trimesh.smoothing.filter_taubin(mesh, iterations=10)
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int32)
    if len(faces) <= most:
        return vertices, faces
    fewer = vertices, faces
    for care in _CARE:
        target = most
        for _ in range(_TRIES):
            found = fast_simplification.simplify(vertices, faces, target_count=target, agg=care)
            fewer = taken_apart(found[0].astype(np.float64), found[1].astype(np.int32))
            if len(fewer[1]) <= most:
                return fewer
            if len(found[1]) > target:
                break  # stopped early
            target -= len(fewer[1]) - most
    return fewer
