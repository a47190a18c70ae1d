from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.errors import CameraError, SceneError
from agsrec.fit.hull import gaussians_from_hull, object_sphere, visual_hull
from agsrec.views import Views

RADIUS = 0.4
CENTER = (0.1, -0.05, 0.08)


def around(count: int, width: int = 96, height: int = 64, focal: float = 75.0) -> Cameras:
    index = torch.arange(count)
    Ks = Cameras.intrinsics(torch.full((count,), focal), width, height)
    elevation = torch.tensor([-50.0, 0.0, 35.0])[index % 3]
    return Cameras.orbit(elevation, index * 137.5, 1.9, Ks=Ks, width=width, height=height)


def sphere_views(cameras: Cameras, center: tuple[float, float, float] = CENTER) -> Views:
    """Exact silhouettes of a sphere; red where the surface faces +x, blue elsewhere."""
    v, u = torch.meshgrid(torch.arange(cameras.height), torch.arange(cameras.width), indexing="ij")
    rays = torch.stack([u + 0.5, v + 0.5, torch.ones_like(u)], -1) @ torch.linalg.inv(cameras.Ks)[:, None].mT
    rays = torch.nn.functional.normalize(rays @ cameras.rotations[:, None], dim=-1)  # [V, H, W, 3] world
    offset = cameras.centers - torch.tensor(center)
    along = (rays * offset[:, None, None]).sum(-1)
    root = along.square() - offset.square().sum(-1)[:, None, None] + RADIUS**2
    inside = root > 0
    hit = cameras.centers[:, None, None] + rays * (-along - root.clamp_min(0).sqrt())[..., None]
    red = (hit[..., 0] > center[0]).float()
    images = torch.stack([red, torch.zeros_like(red), 1 - red, inside.float()], dim=-1)
    return Views(images, tuple(f"{i}" for i in range(len(cameras))))


def test_sphere_is_found() -> None:
    cameras = around(6)
    center, radius = object_sphere(sphere_views(cameras), cameras)
    torch.testing.assert_close(center, torch.tensor(CENTER), atol=0.01, rtol=0)
    assert radius == pytest.approx(RADIUS, rel=0.08)


def test_hull_of_a_sphere() -> None:
    cameras = around(16, 160, 128, 240.0)
    hull = visual_hull(sphere_views(cameras), cameras, resolution=48, blur=0.01)
    volume = float(hull.occupied.sum()) * hull.voxel**3
    # The silhouettes are matched on a coarse grid of cells, which takes about half a cell off the surface.
    assert 0.85 < volume / (4 / 3 * math.pi * RADIUS**3) < 1.02
    x = (hull.occupied.nonzero() + 0.5) * hull.voxel - hull.extent + hull.center
    torch.testing.assert_close(x.mean(0), torch.tensor(CENTER), atol=0.01, rtol=0)
    assert float((x - torch.tensor(CENTER)).norm(dim=-1).max()) < 1.15 * RADIUS


@pytest.mark.parametrize("degrees", [10.0, 25.0])
def test_rough_cameras_keep_the_volume(degrees: float) -> None:
    cameras = around(8)
    moved = cameras.perturbed(degrees, torch.Generator().manual_seed(0))
    hull = visual_hull(sphere_views(cameras), moved, resolution=32, blur=0.05)
    volume = float(hull.occupied.sum()) * hull.voxel**3
    assert volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.3)


def test_two_views_suffice() -> None:
    cameras = around(2)
    assert visual_hull(sphere_views(cameras), cameras, resolution=24).occupied.any()


def test_parallel_rays_fall_back_to_the_optical_axes() -> None:
    """Masks in opposite corners can make the rays parallel, although the cameras turn."""
    cameras = around(2)
    half_fov = math.atan(40 / 75)
    turned = Cameras.orbit(
        0.0,
        torch.tensor([0.0, 2 * math.degrees(half_fov)]),
        1.9,
        Ks=cameras.Ks,
        width=96,
        height=64,
    )
    images = torch.zeros(2, 64, 96, 4)
    images[0, 31:33, 87:89, 3] = 1  # 40 pixels right of the middle
    images[1, 31:33, 7:9, 3] = 1  # 40 pixels left of it
    rays = object_sphere(Views(images, ("a", "b")), turned)
    other = images.flip(2)
    crossing = object_sphere(Views(other, ("a", "b")), turned)
    assert all(torch.isfinite(center).all() and radius > 0 for center, radius in (rays, crossing))


def test_cameras_that_look_in_one_direction() -> None:
    cameras = around(1)[[0, 0, 0]]
    with pytest.raises(CameraError, match="one direction"):
        object_sphere(sphere_views(cameras), cameras)


def test_camera_that_looks_away() -> None:
    cameras = around(6)
    views = sphere_views(cameras)
    turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))  # half a turn about the camera's own y axis
    viewmats = cameras.viewmats.clone()
    viewmats[2] = turn @ viewmats[2]
    with pytest.raises(CameraError, match="looks away from the object"):
        object_sphere(views, replace(cameras, viewmats=viewmats))


def test_silhouettes_without_common_volume() -> None:
    """Small objects each somewhere else: nothing is inside more than one silhouette."""
    cameras = around(40)
    places = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    images = torch.zeros(40, 64, 96, 4)
    for i, place in enumerate(0.3 * places):
        pixel, _ = cameras[i].project(place[None])
        u, v = pixel[0, 0].round().long().tolist()
        images[i, max(0, v - 1) : v + 1, max(0, u - 1) : u + 1, 3] = 1
    with pytest.raises(SceneError, match="no common volume: the cameras do not fit the pictures"):
        visual_hull(Views(images, tuple(map(str, range(40)))), cameras, resolution=24, blur=0.0)


def test_gaussians_lie_on_the_surface_in_the_photos_colours() -> None:
    cameras = around(12)
    views = sphere_views(cameras)
    hull = visual_hull(views, cameras, resolution=40, blur=0.01)
    gaussians = gaussians_from_hull(hull, views, cameras, 500, torch.Generator().manual_seed(0))
    assert len(gaussians) == 500 and gaussians.sh_degree == 0
    outward = gaussians.means - torch.tensor(CENTER)
    assert float((outward.norm(dim=-1) / RADIUS - 1).abs().mean()) < 0.12
    red, _, blue = gaussians.base_colors.unbind(-1)
    assert bool((red > blue)[outward[:, 0] > 0.15].all() and (red < blue)[outward[:, 0] < -0.15].all())
    again = gaussians_from_hull(hull, views, cameras, 500, torch.Generator().manual_seed(0))
    other = gaussians_from_hull(hull, views, cameras, 500, torch.Generator().manual_seed(1))
    assert torch.equal(gaussians.means, again.means) and not torch.equal(gaussians.means, other.means)


# ---------------------------------------------------------------- a single view


def bar_view(cameras: Cameras) -> Views:
    """A horizontal bar, 60 x 16 pixels, in the middle of the picture."""
    images = torch.zeros(1, cameras.height, cameras.width, 4)
    top, left = cameras.height // 2 - 8, cameras.width // 2 - 30
    images[:, top : top + 16, left : left + 60] = 1.0
    return Views(images, ("bar",))


def test_one_silhouette_of_a_sphere_becomes_a_ball() -> None:
    cameras = around(1, 160, 128, 240.0)
    views = sphere_views(cameras, (0.0, 0.0, 0.0))
    center, radius = object_sphere(views, cameras)
    torch.testing.assert_close(center, torch.zeros(3), atol=0.01, rtol=0)
    hull = visual_hull(views, cameras, resolution=48, blur=0.01)
    volume = float(hull.occupied.sum()) * hull.voxel**3
    # Without an end in depth it would be a cylinder as long as wide, half as large again, or longer.
    assert 0.85 < volume / (4 / 3 * math.pi * radius**3) < 1.1
    x = (hull.occupied.nonzero() + 0.5) * hull.voxel - hull.extent + hull.center
    depth = x @ cameras.rotations[0, 2]
    assert float(depth.max()) == pytest.approx(radius, rel=0.1)
    assert float(depth.min()) == pytest.approx(-radius, rel=0.1)


def test_one_silhouette_of_a_bar_becomes_as_thick_as_it_is_high() -> None:
    cameras = around(1, 128, 96, 150.0)
    hull = visual_hull(bar_view(cameras), cameras, resolution=64, blur=0.002)
    x = (hull.occupied.nonzero() + 0.5) * hull.voxel - hull.extent + hull.center
    spread = (x @ cameras.rotations[0].mT).amax(0) - (x @ cameras.rotations[0].mT).amin(0)
    width, height, thickness = spread.tolist()
    assert width / height == pytest.approx(60 / 16, rel=0.2)
    assert thickness / height == pytest.approx(1.0, rel=0.25)


def test_one_view_off_the_axis_is_centred_on_its_ray() -> None:
    cameras = around(1)
    views = sphere_views(cameras)
    center, radius = object_sphere(views, cameras)
    pixels, depth = cameras.project(torch.stack([center, torch.tensor(CENTER)]))
    torch.testing.assert_close(pixels[0, 0], pixels[0, 1], atol=1.0, rtol=0)
    # As near to the origin as the ray comes: at a right angle to it.
    ray = center - cameras.centers[0]
    assert abs(float(center @ ray)) < 1e-4 and float(depth[0, 0]) == pytest.approx(1.9, abs=0.1)
    assert radius == pytest.approx(RADIUS, rel=0.15)
