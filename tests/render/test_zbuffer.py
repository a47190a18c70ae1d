"""The z-buffer against analytic triangles, planes and spheres."""

import numpy as np
import pytest
import trimesh

from agsrec.render.zbuffer import interpolate, rasterize_mesh

PIXELS = np.eye(3)[None]  # K with which a point (x, y, 1) lies at pixel coordinates (x, y)
IDENTITY = np.eye(4)[None]


def pinhole(focal: float, size: int) -> np.ndarray:
    return np.array([[[focal, 0.0, 0.5 * size], [0.0, focal, 0.5 * size], [0.0, 0.0, 1.0]]])


def pixel_rays(K: np.ndarray, size: int) -> np.ndarray:
    """Directions [size, size, 3] with z = 1 through the pixel centres."""
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    return np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)


def random_soup(seed: int, count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-0.6, 0.6, (count, 1, 3)) + np.array([0.0, 0.0, 3.0])
    corners = centers + rng.uniform(-0.5, 0.5, (count, 3, 3))
    return corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def test_triangle_has_known_pixels_and_barycentrics() -> None:
    corners = np.array([[0.0, 0.0, 1.0], [8.0, 0.0, 1.0], [0.0, 8.0, 1.0]])
    fragments = rasterize_mesh(corners, [[0, 1, 2]], IDENTITY, PIXELS, 8, 8)
    x, y = np.meshgrid(np.arange(8) + 0.5, np.arange(8) + 0.5)
    np.testing.assert_array_equal(fragments.mask[0], x + y <= 8.0)  # the centre decides, not the corner
    np.testing.assert_allclose(fragments.barycentrics[0, 3, 2], [1 - 6 / 8, 2.5 / 8, 3.5 / 8], atol=1e-7)
    np.testing.assert_allclose(fragments.depths[0][fragments.mask[0]], 1.0)
    assert np.isinf(fragments.depths[0][~fragments.mask[0]]).all()
    assert (fragments.barycentrics[0][~fragments.mask[0]] == 0).all()


def test_depth_is_the_ray_plane_intersection_and_points_reproject_to_pixel_centres() -> None:
    vertices, faces = random_soup(0)
    size, K = 48, pinhole(60.0, 48)
    fragments = rasterize_mesh(vertices, faces, IDENTITY, K, size, size)
    covered = fragments.mask[0]
    assert covered.sum() > 500
    rays = pixel_rays(K[0], size)[covered]  # [M, 3]
    a, b, c = (vertices[faces[fragments.face_ids[0][covered], i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    expected = (normals * a).sum(1) / (normals * rays).sum(1)
    np.testing.assert_allclose(fragments.depths[0][covered], expected, rtol=2e-6)
    np.testing.assert_allclose(interpolate(fragments, faces, vertices), rays * expected[:, None], atol=3e-6)


def test_nearest_face_wins_whatever_the_order() -> None:
    vertices, faces = random_soup(1)
    K = pinhole(60.0, 40)
    forward = rasterize_mesh(vertices, faces, IDENTITY, K, 40, 40)
    backward = rasterize_mesh(vertices, faces[::-1], IDENTITY, K, 40, 40)
    np.testing.assert_array_equal(forward.depths, backward.depths)
    single = [rasterize_mesh(vertices, f[None], IDENTITY, K, 40, 40).depths for f in faces]
    np.testing.assert_array_equal(forward.depths, np.min(single, axis=0))


def test_sphere_silhouette_and_depth() -> None:
    size, radius, distance = 96, 0.5, 2.0
    mesh = trimesh.creation.icosphere(subdivisions=5, radius=radius)
    K, viewmat = pinhole(150.0, size), np.eye(4)[None].copy()
    viewmat[0, 2, 3] = distance
    fragments = rasterize_mesh(mesh.vertices, mesh.faces, viewmat, K, size, size, cull_backfaces=True)
    rays = pixel_rays(K[0], size)
    norm2 = (rays**2).sum(-1)
    discriminant = distance**2 - norm2 * (distance**2 - radius**2)
    clear = np.abs(np.sqrt(np.clip(distance**2 / norm2, 0, None)) ** 2 - (distance**2 - radius**2)) > 5e-3
    np.testing.assert_array_equal(fragments.mask[0][clear], (discriminant > 0)[clear])
    inside = (discriminant > 0.02) & fragments.mask[0]
    expected = (distance - np.sqrt(np.clip(discriminant, 0, None))) / norm2
    assert np.abs(fragments.depths[0] - expected)[inside].max() < 2e-3  # facets lie inside the sphere


def test_shared_edges_leave_no_cracks() -> None:
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 15), np.linspace(-1, 1, 15)), -1)
    grid[1:-1, 1:-1] += rng.uniform(-0.04, 0.04, (13, 13, 2))
    vertices = np.concatenate([grid.reshape(-1, 2), rng.uniform(2.0, 2.1, (225, 1))], axis=1)
    i = (np.arange(14)[:, None] * 15 + np.arange(14)).ravel()
    faces = np.concatenate([np.stack([i, i + 1, i + 16], 1), np.stack([i, i + 16, i + 15], 1)])
    fragments = rasterize_mesh(vertices, faces, IDENTITY, pinhole(97.0, 64), 64, 64)
    assert fragments.mask.all()


def test_triangle_through_the_camera_plane_is_cut_at_the_near_distance() -> None:
    floor = np.array([[-50.0, 1.0, -20.0], [50.0, 1.0, -20.0], [0.0, 1.0, 80.0]])
    K = pinhole(40.0, 32)
    fragments = rasterize_mesh(floor, [[0, 1, 2]], IDENTITY, K, 32, 32, near=0.5)
    rays = pixel_rays(K[0], 32)
    assert not fragments.mask[0, :16].any()
    assert fragments.mask[0, 20:].all()
    np.testing.assert_allclose(fragments.depths[0, 20:], 1.0 / rays[20:, :, 1], rtol=1e-6)
    assert not rasterize_mesh(floor, [[0, 1, 2]], IDENTITY, K, 32, 32, near=200.0).mask.any()


def test_culling_keeps_a_closed_mesh_and_drops_faces_seen_from_inside() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
    viewmat = np.eye(4)[None].copy()
    viewmat[0, 2, 3] = 2.0
    K = pinhole(50.0, 32)
    both = rasterize_mesh(mesh.vertices, mesh.faces, viewmat, K, 32, 32)
    culled = rasterize_mesh(mesh.vertices, mesh.faces, viewmat, K, 32, 32, cull_backfaces=True)
    np.testing.assert_array_equal(both.face_ids, culled.face_ids)
    inverted = rasterize_mesh(mesh.vertices, mesh.faces[:, ::-1], viewmat, K, 32, 32, cull_backfaces=True)
    assert (inverted.depths >= both.depths).all()
    assert inverted.depths[0, 16, 16] == pytest.approx(2.5, abs=0.03)


def test_batch_equals_loop_for_any_number_of_threads() -> None:
    vertices, faces = random_soup(4)
    viewmats = np.tile(np.eye(4), (5, 1, 1))
    viewmats[:, 0, 3] = np.linspace(-0.5, 0.5, 5)
    Ks = np.repeat(pinhole(50.0, 32), 5, axis=0)
    batch = rasterize_mesh(vertices, faces, viewmats, Ks, 32, 24, num_threads=3)
    for v in range(5):
        one = rasterize_mesh(vertices, faces, viewmats[v : v + 1], Ks[v : v + 1], 32, 24, num_threads=1)
        np.testing.assert_array_equal(batch.face_ids[v], one.face_ids[0])
        np.testing.assert_array_equal(batch.barycentrics[v], one.barycentrics[0])


def test_degenerate_input() -> None:
    nothing = rasterize_mesh(np.zeros((0, 3)), np.zeros((0, 3)), IDENTITY, PIXELS, 4, 3)
    assert nothing.face_ids.shape == (1, 3, 4) and not nothing.mask.any()
    line = rasterize_mesh([[0, 0, 1], [1, 1, 1], [2, 2, 1]], [[0, 1, 2]], IDENTITY, PIXELS, 4, 4)
    assert not line.mask.any()
    with pytest.raises(AssertionError, match="out of range"):
        rasterize_mesh(np.zeros((2, 3)), [[0, 1, 2]], IDENTITY, PIXELS, 4, 4)
