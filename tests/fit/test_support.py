from __future__ import annotations

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.fit.support import unsupported_shares
from agsrec.views import Views

SIZE = 96


def ring(count: int) -> Cameras:
    azimuths = torch.arange(count) * (360.0 / count)
    Ks = Cameras.intrinsics(torch.full((count,), 110.0), SIZE, SIZE)
    return Cameras.orbit(-15.0, azimuths, 1.85, Ks=Ks, width=SIZE, height=SIZE)


def ball_views(cameras: Cameras, radius: float = 0.4) -> Views:
    """Silhouettes of a ball at the origin."""
    ticks = torch.arange(SIZE) + 0.5 - SIZE / 2
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    rays = torch.nn.functional.normalize(torch.stack([x / 110, y / 110, torch.ones_like(x)], -1), dim=-1)
    masks = rays[..., 2] > (1 - (radius / 1.85) ** 2) ** 0.5
    images = torch.ones(len(cameras), SIZE, SIZE, 4)
    images[..., 3] = masks.float()
    return Views(images, tuple(str(k) for k in range(len(cameras))))


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_true_masks_are_supported(noise: float) -> None:
    cameras = ring(8)
    seen = cameras.perturbed(noise, torch.Generator().manual_seed(0)) if noise else cameras
    assert unsupported_shares(ball_views(cameras), seen).max() < 0.02


@pytest.mark.parametrize("count", [4, 8])
def test_what_came_along_in_one_photo_is_found(count: int) -> None:
    cameras = ring(count)
    views = ball_views(cameras, radius=0.25)
    images = views.images.clone()
    images[1, 36:60, 74:94, 3] = 1  # beside the ball
    added = (images[1, ..., 3] - views.images[1, ..., 3]).sum() / images[1, ..., 3].sum()
    shares = unsupported_shares(Views(images, views.names), cameras)
    assert 0.5 * added < shares[1] <= added + 0.05
    assert torch.cat([shares[:1], shares[2:]]).max() < 0.02


def test_object_cut_by_the_border_is_no_evidence() -> None:
    cameras = ring(8)
    views = ball_views(cameras, radius=0.8)  # reaches over all borders but for the corners
    assert unsupported_shares(views, cameras).max() < 0.05


def test_two_views_say_nothing_about_each_other() -> None:
    cameras = ring(2)
    assert unsupported_shares(ball_views(cameras), cameras).tolist() == [0, 0]


def test_an_empty_mask_is_no_reason_to_fail() -> None:
    cameras = ring(4)
    views = ball_views(cameras)
    images = views.images.clone()
    images[2, ..., 3] = 0
    assert unsupported_shares(Views(images, views.names), cameras).isfinite().all()
