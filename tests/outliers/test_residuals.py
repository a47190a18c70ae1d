from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from agsrec.cameras import Cameras
from agsrec.gaussians import Gaussians
from agsrec.outliers import view_errors
from agsrec.outliers.residuals import structural_error
from agsrec.render import render_scene
from agsrec.views import Views


def scene(scale: float = 1.0) -> tuple[Gaussians, Cameras]:
    """A coloured lump, and two cameras that see it with size `scale`."""
    generator = torch.Generator().manual_seed(0)
    points = 0.3 * torch.randn(60, 3, generator=generator).clamp(-1.5, 1.5)
    colors = torch.rand(60, 3, generator=generator)
    gaussians = Gaussians.from_points(points, colors, torch.full((60,), 0.1), opacity=0.9)
    Ks = Cameras.intrinsics(torch.full((2,), 70.0 * scale), 64, 64)
    return gaussians, Cameras.orbit(-10.0, torch.tensor([0.0, 80.0]), 2.0, Ks=Ks, width=64, height=64)


def photos(gaussians: Gaussians, cameras: Cameras) -> Views:
    with torch.no_grad():
        seen = render_scene(gaussians, cameras, render_mode="RGB")
    rgb = seen.rgb / seen.alpha[..., None].clamp_min(1e-6)
    return Views(torch.cat([rgb, seen.alpha[..., None]], -1).clamp(0, 1), ("a", "b"))


def test_a_perfect_scene_has_no_error() -> None:
    gaussians, cameras = scene()
    errors = view_errors(photos(gaussians, cameras), gaussians, cameras, 64)
    assert errors.shape == (2,) and float(errors.max()) < 0.01


def test_a_wrong_camera_is_seen_in_its_view_alone() -> None:
    gaussians, cameras = scene()
    views = photos(gaussians, cameras)
    swapped = Cameras.cat([cameras[[0]], cameras[[0]]])
    right, wrong = view_errors(views, gaussians, swapped, 64).tolist()
    assert right < 0.01 and wrong > 0.2


def test_the_size_in_the_picture_hardly_counts() -> None:
    errors = []
    for scale in (1.0, 0.6):
        gaussians, cameras = scene(scale)
        swapped = Cameras.cat([cameras[[1]], cameras[[0]]])
        errors.append(view_errors(photos(gaussians, cameras), gaussians, swapped, 64).mean())
    assert float(errors[0]) == pytest.approx(float(errors[1]), rel=0.25)


def test_a_perceptual_model_joins_in_where_pictures_are_large_enough() -> None:
    gaussians, cameras = scene()
    views = photos(gaussians, cameras)

    def seven(a: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.full((len(a), 1, 1, 1), 7.0)

    assert float(view_errors(views, gaussians, cameras, 64, lpips=seven).min()) > 6.9
    assert float(view_errors(views, gaussians, cameras, 32, lpips=seven).max()) < 0.1


def test_structure_sees_blur_and_weights() -> None:
    image = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    blurred = F.avg_pool2d(image.movedim(-1, 1), 5, 1, 2, count_include_pad=False).movedim(1, -1)
    everywhere = torch.ones(1, 32, 32)
    assert float(structural_error(image, image, everywhere)) == pytest.approx(0, abs=1e-5)
    assert float(structural_error(blurred, image, everywhere)) > 0.1
    half = torch.cat([image[:, :16], blurred[:, 16:]], dim=1)
    upper = torch.zeros(1, 32, 32)
    upper[:, :8] = 1
    assert (
        float(structural_error(half, image, upper)) < 1e-3 < float(structural_error(half, image, 1 - upper))
    )
