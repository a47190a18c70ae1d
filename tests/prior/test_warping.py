"""Photos drawn from other cameras, on the hull of their masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.errors import CameraError
from agsrec.metrics.images import psnr
from agsrec.prior.warping import PhotoHull
from agsrec.synthetic import random_object, render_views
from agsrec.views import Views

SIZE = 48


def around(*azimuths: float, size: int = SIZE, elevation: float = -20.0) -> Cameras:
    turns = torch.tensor(azimuths)
    Ks = Cameras.intrinsics(torch.full_like(turns, 1.37 * size), size, size)
    tilts = torch.full_like(turns, elevation)
    return Cameras.orbit(tilts, turns, CAMERA_DISTANCE, Ks=Ks, width=size, height=size)


def photographed(cameras: Cameras, seed: int = 3) -> Views:
    images = torch.from_numpy(render_views(random_object(seed), cameras).images)
    return Views(images, tuple(map(str, range(len(cameras)))))


def white(views: Views) -> Tensor:
    return views.composited(torch.ones(3))


def ball(cameras: Cameras, radius: float = 0.5) -> Views:
    """A ball at the origin: red towards +z, blue towards -z."""
    v, u = torch.meshgrid(*(torch.arange(cameras.height) + 0.5,) * 2, indexing="ij")
    rays = (torch.stack([u, v], -1) - cameras.principal_points[:, None, None]) / cameras.focal_lengths[
        :, None, None
    ]
    rays = torch.nn.functional.normalize(torch.nn.functional.pad(rays, (0, 1), value=1.0), dim=-1)
    rays = rays @ cameras.rotations[:, None]
    eye = cameras.centers[:, None, None].expand_as(rays)
    along = -(rays * eye).sum(-1)
    gap = radius**2 - eye.square().sum(-1) + along**2
    z = eye[..., 2] + (along - gap.clamp_min(0).sqrt()) * rays[..., 2]
    front = (z > 0).float()
    rgb = torch.stack([front, torch.zeros_like(z), 1 - front], -1)
    return Views(torch.cat([rgb, (gap > 0).float()[..., None]], -1), tuple(map(str, range(len(cameras)))))


def test_photos_come_back_from_their_own_cameras() -> None:
    cameras = around(0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)
    photos = photographed(cameras)
    drawn = PhotoHull.of(photos, cameras).seen_from(cameras)
    assert drawn.shape == (8, SIZE, SIZE, 3)
    assert float(psnr(drawn, white(photos)).min()) > 19  # the rims are soft


def test_a_new_view_is_better_than_any_photo() -> None:
    cameras, wanted = around(0.0, 60.0, 120.0, 200.0, 280.0), around(30.0, 160.0, 240.0)
    photos, truth = photographed(cameras), white(photographed(wanted))
    drawn = PhotoHull.of(photos, cameras).seen_from(wanted)
    copies = torch.stack([psnr(white(photos), t.expand(5, -1, -1, -1)).max() for t in truth])
    assert (psnr(drawn, truth) > copies + 1).all()


def test_the_nearest_photo_that_sees_a_point_gives_its_colour() -> None:
    cameras = around(0.0, 175.0, elevation=0.0)  # exactly opposed ones have no common point
    hull = PhotoHull.of(ball(cameras), cameras)
    front, aslant, behind = hull.seen_from(around(10.0, 150.0, 180.0, elevation=0.0))
    middle = slice(SIZE // 2 - 4, SIZE // 2 + 4), slice(SIZE // 2 - 4, SIZE // 2 + 4)
    red, blue = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    for picture, color in ((front, red), (aslant, blue), (behind, blue)):
        assert (picture[middle] - color).abs().mean() < 0.05


def test_what_a_photo_does_not_see_it_does_not_paint() -> None:
    """Between two photos a ball's flanks are each seen by the nearer one alone, its middle by both."""
    cameras = around(0.0, 120.0, 240.0, elevation=0.0)
    photos = ball(cameras)
    painted = torch.cat(
        [torch.eye(3)[:, None, None].expand_as(photos.images[..., :3]), photos.images[..., 3:]], -1
    )
    view = PhotoHull.of(Views(painted, photos.names), cameras).seen_from(around(60.0, elevation=0.0))[0]
    row = view[SIZE // 2]
    flanks = sorted((row[SIZE // 2 - 13].tolist(), row[SIZE // 2 + 13].tolist()))
    assert flanks[0][1] > 0.65 and flanks[1][0] > 0.65
    assert row[SIZE // 2].tolist() == pytest.approx([0.5, 0.5, 0.0], abs=0.15)


def test_one_photo_is_taken_to_be_as_thick_as_wide() -> None:
    cameras = around(0.0, elevation=0.0)
    drawn = PhotoHull.of(ball(cameras), cameras).seen_from(around(0.0, 90.0, elevation=0.0))
    areas = (drawn.amin(-1) < 0.5).flatten(1).sum(1).float()
    assert areas[1] == pytest.approx(float(areas[0]), rel=0.25)


def test_pictures_of_another_size_and_world() -> None:
    cameras = around(0.0, 90.0, 180.0, 270.0)
    photos = photographed(cameras)
    shift = torch.tensor([3.0, -1.0, 2.0])
    moved = cameras.transformed(5.0, torch.eye(3), shift)
    wanted = around(45.0, size=96)
    plain = PhotoHull.of(photos, cameras).seen_from(wanted)
    there = PhotoHull.of(photos, moved).seen_from(wanted.transformed(5.0, torch.eye(3), shift))
    assert plain.shape == (1, 96, 96, 3)
    assert float(psnr(there, plain).min()) > 30


def test_a_camera_that_looks_away() -> None:
    cameras = around(0.0, 90.0)
    turned = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    away = Cameras(torch.stack([cameras.viewmats[0], turned @ cameras.viewmats[1]]), cameras.Ks, SIZE, SIZE)
    with pytest.raises(CameraError, match="looks away"):
        PhotoHull.of(ball(cameras), away)
