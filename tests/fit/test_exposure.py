"""Photos of one object that differ in brightness."""

from __future__ import annotations

import torch

from agsrec.config import ExposureConfig
from agsrec.fit import FitResult, fit
from agsrec.fit.exposure import exposed
from agsrec.metrics.evaluation import input_quality
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
    generator = torch.Generator().manual_seed(0)
    alpha, object_, background = (
        torch.rand(*s, generator=generator) for s in ((1, 4, 4), (1, 4, 4, 3), (1, 3))
    )
    behind = background[:, None, None] * (1 - alpha)[..., None]
    factors = torch.tensor([[0.5, 1.0, 2.0]])
    shown = exposed(object_ * alpha[..., None] + behind, alpha, background, factors)
    torch.testing.assert_close(shown, object_ * alpha[..., None] * factors + behind)
