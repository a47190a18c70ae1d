"""Surfaces moved onto photos: outlines, colours, and what must not move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from torch.nn import functional as F

from agsrec.cameras import Cameras
from agsrec.mesh.fitting import fitted_to_photos
from agsrec.mesh.normals import corner_normals
from agsrec.mesh.outline import Contour
from agsrec.mesh.sheet import Eye
from agsrec.mesh.surface import around
from agsrec.mesh.textured import mesh_fragments
from agsrec.views import Views
from tests.mesh.painting import BALL_RADIUS, ball, facing, painted, photographed, speckled

SIZE = 128


def covered(solid: trimesh.Trimesh, cameras: Cameras) -> torch.Tensor:
    """Masks [V, H, W] of a solid with soft edges."""
    finer = mesh_fragments(*arrays(solid), cameras, supersampling=4).mask
    return F.avg_pool2d(torch.from_numpy(finer).float()[:, None], 4)[:, 0]


def grey(solid: trimesh.Trimesh, cameras: Cameras) -> Views:
    """Photos of a solid that say nothing but where it is."""
    masks = covered(solid, cameras)
    images = torch.cat([torch.full((*masks.shape, 3), 0.5), masks[..., None]], dim=-1)
    return Views(images, tuple(str(k) for k in range(len(masks))))


def arrays(solid: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(solid.vertices, dtype=np.float64), np.asarray(solid.faces, dtype=np.int32)


def sphere(radius: float) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=4, radius=radius)


def torus(thickness: float) -> trimesh.Trimesh:
    return trimesh.creation.torus(0.3, thickness, major_sections=72, minor_sections=32)


def all_around(count: int) -> Cameras:
    corners = torch.tensor([[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]])
    return around(corners, count, SIZE)


def turned_over(before: np.ndarray, after: np.ndarray, faces: np.ndarray) -> int:
    return int(((corner_normals(before, faces) * corner_normals(after, faces)).sum(axis=1) <= 0).sum())


@pytest.mark.parametrize("factor", [0.95, 1.05])
def test_a_sphere_of_the_wrong_size_gets_the_masks_outline(factor: float) -> None:
    truth, cameras = sphere(0.4), all_around(8)
    vertices, faces = arrays(sphere(0.4 * factor))
    views = grey(truth, cameras)
    after = fitted_to_photos(vertices, faces, views, cameras)
    contours = [Contour.of(mask.numpy()) for mask in views.masks]

    def off(points: np.ndarray) -> float:
        """Mean distance in pixels between outline and mask, from points nearest to the outline."""
        found = []
        for eye, contour in zip(Eye.all_of(cameras), contours, strict=True):
            places, _ = eye.project(points)
            distance = np.linalg.norm(places - SIZE / 2, axis=1)
            outermost = places[distance > np.quantile(distance, 0.98)]
            found.append(np.abs(contour.at(outermost)[0]).mean())
        return float(np.mean(found))

    assert off(after) < 0.3 < 1.2 < off(vertices)
    assert turned_over(vertices, after, faces) == 0


def test_a_handle_that_is_too_fat_gets_thinner_and_stays_open() -> None:
    truth, cameras = torus(0.1), all_around(8)
    vertices, faces = arrays(torus(0.115))
    after = fitted_to_photos(vertices, faces, grey(truth, cameras), cameras)
    wanted = covered(truth, cameras)

    def wrong(points: np.ndarray) -> float:
        return float((covered(trimesh.Trimesh(points, faces, process=False), cameras) - wanted).abs().sum())

    assert wrong(after) < 0.2 * wrong(vertices)
    mesh = trimesh.Trimesh(after, faces, process=False)
    assert mesh.is_watertight and mesh.euler_number == 0
    assert mesh.volume == pytest.approx(truth.volume, rel=0.06)
    assert turned_over(vertices, after, faces) == 0


def test_what_no_photo_sees_hardly_moves() -> None:
    cameras = facing([-20.0, 20.0], SIZE)
    vertices, faces = arrays(sphere(0.38))
    after = fitted_to_photos(vertices, faces, grey(sphere(0.4), cameras), cameras)
    moved = np.linalg.norm(after - vertices, axis=1)
    behind, limb = vertices[:, 2] < -0.3, np.abs(vertices[:, 2]) < 0.05
    assert moved[behind].max() < 0.002 < 0.01 < np.median(moved[limb])


def test_a_dent_that_the_outlines_do_not_show_is_filled_by_the_colours() -> None:
    mesh, _ = ball(512)
    cameras = facing([-30.0, -10.0, 10.0, 30.0], SIZE)
    images = photographed(painted(mesh, speckled), cameras)
    views = Views(images, tuple(str(k) for k in range(len(images))))
    vertices, faces = arrays(sphere(BALL_RADIUS))
    dent = np.exp(-((vertices[:, 0] / 0.12) ** 2) - (vertices[:, 1] / 0.12) ** 2) * (vertices[:, 2] > 0)
    dented = vertices * (1 - 0.05 * dent[:, None])
    after = fitted_to_photos(dented, faces, views, cameras)
    there = dent > 0.3
    before, now = (np.abs(np.linalg.norm(p, axis=1) - BALL_RADIUS)[there].mean() for p in (dented, after))
    assert now < 0.4 * before
    plain = Views(torch.cat([torch.full_like(images[..., :3], 0.5), images[..., 3:]], -1), views.names)
    unseen = fitted_to_photos(dented, faces, plain, cameras)
    left = np.abs(np.linalg.norm(unseen, axis=1) - BALL_RADIUS)[there].mean()
    assert left > 0.7 * before, "no outline shows it"


def test_exposures_do_not_dent_the_surface() -> None:
    mesh, _ = ball(512)
    cameras = facing([-30.0, -10.0, 10.0, 30.0], SIZE)
    images = photographed(painted(mesh, speckled), cameras)
    darker = torch.tensor([1.0, 0.7, 1.0, 0.8])[:, None].expand(-1, 3)
    names = tuple(str(k) for k in range(len(images)))
    dark = Views(torch.cat([images[..., :3] * darker[:, None, None], images[..., 3:]], -1), names)
    vertices, faces = arrays(sphere(BALL_RADIUS))
    same = fitted_to_photos(vertices, faces, Views(images, names), cameras)
    balanced = fitted_to_photos(vertices, faces, dark, cameras, 1 / darker)
    np.testing.assert_allclose(balanced, same, atol=1e-4)


def test_the_edge_of_a_mask_is_found_between_pixels() -> None:
    y, x = np.mgrid[:64, :64] + 0.5
    radius = np.hypot(x - 32.3, y - 31.6)
    contour = Contour.of((20.4 - radius + 0.5).clip(0, 1).astype(np.float32))
    places = np.array([[32.3 + 15, 31.6], [32.3, 31.6 - 20.4], [32.3 - 25, 31.6]])
    distances, outwards = contour.at(places)
    np.testing.assert_allclose(distances, [5.4, 0.0, -4.6], atol=0.12)
    np.testing.assert_allclose(outwards, [[1, 0], [0, -1], [-1, 0]], atol=0.05)


def test_a_photo_that_shows_nothing_says_nothing() -> None:
    cameras = all_around(3)
    views = grey(sphere(0.4), cameras)
    empty = Views(views.images.clone(), views.names)
    empty.images[0] = 0
    vertices, faces = arrays(sphere(0.39))
    after = fitted_to_photos(vertices, faces, empty, cameras)
    two = fitted_to_photos(vertices, faces, views[[1, 2]], cameras[[1, 2]])
    np.testing.assert_allclose(after, two, atol=1e-4)
