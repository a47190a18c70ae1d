"""Photos of one object that differ in brightness."""

from __future__ import annotations

import pytest
import torch

from agsrec.config import ExposureConfig
from agsrec.fit import FitResult, fit
from agsrec.fit.photometric import photometric_loss, photometric_loss_torch
from agsrec.metrics.evaluation import input_quality, rendered_on_white
from agsrec.views import Views
from tests.tiny import tiny_config, tiny_scene

FACTORS = torch.tensor([[1.0] * 3, [0.7] * 3, [1.0, 1.1, 0.9], [1.0] * 3, [0.85] * 3, [1.0] * 3])


def photographed(factors: torch.Tensor) -> Views:
    """The tiny scene, each photo exposed on its own; dark enough that nothing is clipped."""
    views, _ = tiny_scene()
    images = views.images.clone()
    images[..., :3] *= 0.8 * factors[:, None, None]
    return Views(images, views.names)


def fitted(views: Views, *, optimize: bool) -> FitResult:
    _, truth = tiny_scene()
    config = tiny_config(150, exposure=ExposureConfig(optimize=optimize, rate=2e-2, keep=0.01))
    return fit(views, truth, config)


def test_exposures_are_found() -> None:
    result = fitted(photographed(FACTORS), optimize=True)
    assert result.exposures is not None
    wanted = FACTORS / FACTORS.log().mean(0).exp()
    torch.testing.assert_close(result.exposures, wanted, rtol=0.07, atol=0)
    torch.testing.assert_close(result.exposures.log().mean(0), torch.zeros(3), rtol=0, atol=1e-5)


def test_scene_and_photos_agree_better_with_them() -> None:
    views = photographed(FACTORS)
    psnr = {}
    for optimize in (False, True):
        result = fitted(views, optimize=optimize)
        quality = input_quality(result.gaussians, result.cameras, views, result.fitted_size, result.exposures)
        psnr[optimize] = quality.means()["psnr"]
        assert (result.exposures is not None) == optimize
    assert psnr[True] > psnr[False] + 1


def test_equal_photos_keep_their_brightness() -> None:
    result = fitted(photographed(torch.ones(6, 3)), optimize=True)
    assert result.exposures is not None
    assert float((result.exposures - 1).abs().max()) < 0.03


def test_the_background_is_not_exposed() -> None:
    result = fitted(photographed(FACTORS), optimize=True)
    shown = rendered_on_white(result.gaussians, result.cameras, exposures=0.5 * torch.ones(6, 3))
    plain = rendered_on_white(result.gaussians, result.cameras)
    torch.testing.assert_close(shown[:, 0, 0], torch.ones(6, 3), rtol=0, atol=1e-5)
    inside = photographed(FACTORS).images[..., 3] > 0.99
    assert float((shown[inside] / plain[inside]).median()) == pytest.approx(0.5, abs=0.02)


def test_exposures_get_the_gradient_of_what_they_brighten() -> None:
    generator = torch.Generator().manual_seed(0)
    rendered, wanted = torch.rand(2, 2, 9, 8, 3, generator=generator)
    gains = torch.tensor([[0.8, 1.0, 1.3], [1.1, 0.9, 1.0]], requires_grad=True)
    fused = photometric_loss(rendered, wanted, ssim_weight=0.4, gains=gains)
    (got,) = torch.autograd.grad(fused, gains)
    exact = photometric_loss_torch(rendered.double(), wanted.double(), ssim_weight=0.4, gains=gains.double())
    (want,) = torch.autograd.grad(exact, gains)
    torch.testing.assert_close(fused, exact.float(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)
