"""Random objects, their cameras and their fast renderer."""

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter

from agsrec.cameras import Cameras
from agsrec.render.zbuffer import rasterize_mesh
from agsrec.synthetic import make_scene, random_cameras, random_gains, random_object, render_views
from agsrec.synthetic.paint_kernels import FAMILIES, PAINT_WIDTH, paint_at

SEEDS = range(12)


def views_of(seed: int, count: int = 4, size: int = 48):
    obj = random_object(seed)
    cameras = random_cameras(obj.vertices, count, size, np.random.default_rng(seed))
    return obj, cameras, render_views(obj, cameras)


def test_equal_seeds_give_equal_objects_and_views() -> None:
    a, cameras, first = views_of(5)
    b, _, second = views_of(5)
    for name in ("vertices", "faces", "normals", "coords", "part_ids", "paints", "lights"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(first.images, second.images)
    one_thread = render_views(a, cameras, num_threads=1)
    np.testing.assert_array_equal(first.images, one_thread.images)
    assert not np.array_equal(random_object(6).paints, a.paints)


@pytest.mark.parametrize("seed", SEEDS)
def test_objects_are_sound(seed: int) -> None:
    obj = random_object(seed)
    assert np.linalg.norm(obj.vertices, axis=1).max() == pytest.approx(0.57)
    np.testing.assert_allclose(np.linalg.norm(obj.normals, axis=1), 1.0, atol=1e-6)
    a, b, c = (obj.vertices[obj.faces[:, i]] for i in range(3))
    areas = np.cross(b - a, c - a)
    agreement = (areas * obj.normals[obj.faces].mean(axis=1)).sum(axis=1)
    solid = np.linalg.norm(areas, axis=1) > 1e-9
    assert (agreement[solid] > 0).mean() > 0.97  # bumps and sharp limbs may fold a few
    assert obj.part_ids.max() < len(obj.paints) and 2 <= len(obj.paints) <= 9


def test_half_the_objects_are_mirror_symmetric_and_parts_stay_within_sixteen() -> None:
    def is_mirrored(seed: int) -> bool:
        counts = np.bincount(random_object(seed).part_ids)
        return counts.max() > counts[counts > 0].min()

    parts = [
        len(random_object(seed).faces) / np.bincount(random_object(seed).part_ids).min() for seed in range(60)
    ]
    assert max(parts) <= 16
    assert 10 < sum(is_mirrored(seed) for seed in range(60)) < 40


def test_mirrored_part_is_the_reflection_of_its_original() -> None:
    """Undo the final turn by finding the mirror plane from the pair's centres."""
    seed = next(s for s in range(50) if np.ptp(np.bincount(random_object(s).part_ids)) > 0)
    obj = random_object(seed)
    counts = np.bincount(obj.part_ids)
    pair = np.flatnonzero(counts == counts.max())[0]
    faces = obj.faces[obj.part_ids == pair]
    half = len(faces) // 2
    first, copy = (np.unique(f) for f in (faces[:half], faces[half:]))
    a, b = obj.vertices[first], obj.vertices[copy]
    offset = a.mean(axis=0) - b.mean(axis=0)
    normal = offset / np.linalg.norm(offset)
    middle = 0.5 * (a.mean(axis=0) + b.mean(axis=0))
    np.testing.assert_allclose(a - 2.0 * ((a - middle) @ normal)[:, None] * normal, b, atol=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_points_reproject_to_pixel_centres_and_masks_agree_with_the_mesh(seed: int) -> None:
    obj, cameras, views = views_of(seed)
    np.testing.assert_array_equal(views.masks, views.images[..., 3] > 0)
    exact = rasterize_mesh(obj.vertices, obj.faces, cameras.viewmats.numpy(), cameras.Ks.numpy(), 48, 48)
    assert (views.images[..., 3] == 1)[~exact.mask].mean() < 0.02
    for v in range(len(cameras)):
        rows, columns = np.nonzero(views.masks[v])
        uv, z = cameras[v].project(torch.from_numpy(views.points[v][rows, columns]).double())
        np.testing.assert_allclose(uv[0].numpy(), np.stack([columns, rows], 1) + 0.5, atol=1e-3)
        np.testing.assert_allclose(z[0].numpy(), views.depths[v][rows, columns], atol=1e-5)
    both = exact.mask & views.masks
    assert np.median(np.abs(exact.depths - views.depths)[both]) < 1e-3


def test_all_visible_points_of_one_view_have_alpha_in_the_others_unless_out_of_the_picture() -> None:
    _, cameras, views = views_of(3)
    points = torch.from_numpy(views.points[0][views.images[0, ..., 3] == 1]).double()
    uv, _ = cameras.project(points)
    for v in range(len(cameras)):
        column, row = np.floor(uv[v].numpy()).astype(int).T
        inside = (column >= 0) & (column < 48) & (row >= 0) & (row < 48)
        near = maximum_filter(
            views.images[v, ..., 3], size=3
        )  # a grazed pixel may have no sample on the object
        assert (near[row[inside], column[inside]] > 0).mean() > 0.995


def test_sparing_leaves_shapes_as_they_are_and_colours_nearly() -> None:
    obj, cameras, whole = views_of(2)
    spared = render_views(obj, cameras, sparing=True)
    np.testing.assert_array_equal(whole.images[..., 3], spared.images[..., 3])
    np.testing.assert_array_equal(whole.depths, spared.depths)
    difference = np.abs(whole.images - spared.images)[whole.masks]
    assert 0 < difference.mean() < 0.02


def test_gains_change_the_light_only() -> None:
    obj, cameras, plain = views_of(2)
    gains = np.array([[0.5, 1.0, 1.0]] * len(cameras))
    dimmed = render_views(obj, cameras, gains=gains)
    np.testing.assert_array_equal(plain.images[..., 1:], dimmed.images[..., 1:])
    assert (dimmed.images[..., 0] <= plain.images[..., 0]).all()
    drawn = random_gains(500, np.random.default_rng(0))
    assert np.log(drawn).mean() == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("family", range(len(FAMILIES)))
def test_paint_families_are_finite_and_within_their_colours(family: int) -> None:
    paint = np.zeros((1, PAINT_WIDTH))
    paint[0, 0], paint[0, 1:10], paint[0, 10:12] = family, np.linspace(0.1, 0.9, 9), (6.0, 0.5)
    paint[0, 12:15] = 0.6, 0.0, 0.8
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (400, 3))
    colors = np.array([paint_at(paint, 0, *p) for p in points])
    assert colors.min() >= 0.1 - 1e-9 and colors.max() <= 0.9 + 1e-9
    assert (colors.std() > 0.02) or FAMILIES[family] == "flat"


def test_random_cameras_cover_the_promised_range_and_keep_the_object_in_the_picture() -> None:
    obj = random_object(1)
    sets = [random_cameras(obj.vertices, 6, 64, np.random.default_rng(s)) for s in range(60)]
    elevation = torch.cat([-c.spherical()[0] for c in sets])  # above the horizon
    assert (
        elevation.min() >= -15.01
        and elevation.max() <= 70.01
        and elevation.max() > 60 > -10 > elevation.min()
    )
    for cameras in sets:
        uv, z = cameras.project(torch.from_numpy(obj.vertices))
        assert z.min() > 0
        assert uv.min() >= 0 and uv.max() <= 64
        assert ((uv.amax(1) - uv.amin(1)).amax(1) > 0.75 * 64).all()


def test_make_scene() -> None:
    images, cameras, points = make_scene(0, 5, 32)
    assert images.shape == (5, 32, 32, 4) and images.dtype == torch.float32
    assert isinstance(cameras, Cameras) and len(cameras) == 5 and cameras.width == 32
    assert points.shape[1] == 3 and len(points) > 300
    assert torch.equal(images, make_scene(0, 5, 32)[0])
    assert cameras.centers.norm(dim=-1).mean() == pytest.approx(1.85, abs=1e-4)
