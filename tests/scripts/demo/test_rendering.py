"""The model renderer: images, masks, depths and points that agree; light that casts shadows."""

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from scripts.demo import meshes, sdf
from scripts.demo.lighting import irradiance, shadow_maps, studio
from scripts.demo.rendering import Model, Part, RenderedViews, build_model, linear_to_srgb, render_model
from scripts.demo.textures import checks, mix, solid


def two_part_model() -> Model:
    ball = meshes.polygonise(sdf.sphere(0.5), [-0.6] * 3, [0.6] * 3, 0.04)
    slab = meshes.place(meshes.box([0.8, 0.1, 0.4], 0.02), meshes.translation(0.3, -0.5, 0.0))
    return build_model(
        [
            Part(ball, lambda p: mix("#2040ff", "#ffffff", checks(p[:, 0], p[:, 1], 0.2))),
            Part(slab, lambda p: solid("#d04020", len(p))),
        ]
    )


def ring(size: int, count: int = 3) -> Cameras:
    Ks = Cameras.intrinsics(torch.full((count,), 1.3 * size), size, size)
    azimuth = torch.arange(count) * 360.0 / count
    return Cameras.orbit(torch.full((count,), -25.0), azimuth, 1.85, Ks=Ks, width=size, height=size)


@pytest.fixture(scope="module")
def rendered() -> tuple[Model, Cameras, RenderedViews]:
    model, cameras = two_part_model(), ring(64)
    return model, cameras, render_model(model, cameras, supersampling=3)


def test_model_fits_its_sphere() -> None:
    model = two_part_model()
    assert np.linalg.norm(model.mesh.vertices, axis=1).max() == pytest.approx(0.57)


def test_points_reproject_to_their_pixels_at_their_depths(
    rendered: tuple[Model, Cameras, RenderedViews],
) -> None:
    _, cameras, views = rendered
    for v in range(len(cameras)):
        rows, columns = np.nonzero(views.masks[v])
        uv, z = cameras[v].project(torch.from_numpy(views.points[v][rows, columns]))
        np.testing.assert_allclose(uv[0].numpy(), np.stack([columns, rows], 1) + 0.5, atol=2e-3)
        np.testing.assert_allclose(z[0].numpy(), views.depths[v][rows, columns], atol=1e-5)


def test_alpha_covers_all_projected_vertices_and_nothing_else(
    rendered: tuple[Model, Cameras, RenderedViews],
) -> None:
    model, cameras, views = rendered
    uv, _ = cameras.project(torch.from_numpy(model.mesh.vertices).float())
    near = [np.pad(a > 0, 1) for a in views.images[..., 3]]
    for v, pixels in enumerate(uv.numpy()):
        column, row = np.floor(pixels).astype(int).T + 1
        grown = near[v][row, column] | near[v][row + 1, column] | near[v][row - 1, column]
        grown |= near[v][row, column + 1] | near[v][row, column - 1]
        assert grown.all()
    assert (views.images[..., 3][views.masks] > 0).all()
    assert (views.images[..., 3] == 1).sum() <= views.masks.sum() <= (views.images[..., 3] > 0).sum()


def test_images_are_straight_alpha_with_zero_rgb_outside(
    rendered: tuple[Model, Cameras, RenderedViews],
) -> None:
    images = rendered[2].images
    assert images.dtype == np.float32 and images.min() >= 0.0 and images.max() <= 1.0
    assert (images[images[..., 3] == 0] == 0).all()
    edge = (images[..., 3] > 0) & (images[..., 3] < 0.4)
    assert images[edge][:, :3].max(axis=1).min() > 0.1  # colour is not darkened by low coverage


def test_rendering_is_deterministic(rendered: tuple[Model, Cameras, RenderedViews]) -> None:
    model, cameras, views = rendered
    again = render_model(model, cameras, supersampling=3)
    np.testing.assert_array_equal(views.images, again.images)


def test_supersampling_only_refines(rendered: tuple[Model, Cameras, RenderedViews]) -> None:
    model, cameras, views = rendered
    coarse = render_model(model, cameras, supersampling=1)
    np.testing.assert_array_equal(coarse.masks, coarse.images[..., 3] == 1)
    assert np.abs(coarse.images[..., 3] - views.images[..., 3]).mean() < 0.03


def test_light_is_blocked_by_a_roof() -> None:
    floor = meshes.box([0.4, 0.02, 0.4], 0.005)
    roof = meshes.place(floor, meshes.translation(0.0, 0.15, 0.0))
    up = np.array([[0.0, 1.0, 0.0]])
    point = np.array([[0.0, 0.02, 0.0]])
    light = studio()
    alone = irradiance(point, up, light, shadow_maps(floor.vertices, floor.faces, light))
    both = meshes.join([floor, roof])
    below = irradiance(point, up, light, shadow_maps(both.vertices, both.faces, light))
    expected = (np.clip(light.directions @ up[0], 0, None)[:, None] * light.radiance).sum(axis=0)
    np.testing.assert_allclose(alone[0], expected, rtol=0.02)
    assert below.max() < 0.4 * alone.min()


def test_transfer_curve_is_monotone_and_keeps_mid_tones() -> None:
    x = np.linspace(0.0, 4.0, 500)
    y = linear_to_srgb(x)
    assert (np.diff(y) > 0).all() and y[0] == 0.0 and y[-1] <= 1.0
    assert linear_to_srgb(np.array([0.2158605]))[0] == pytest.approx(128 / 255, abs=1e-6)
