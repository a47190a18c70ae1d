"""Image metrics: known values, masks, and the optional perceptual distance."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from agsrec.errors import ShapeError
from agsrec.metrics import images


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("offset", "expected"), [(0.1, 20.0), (0.01, 40.0), (0.5, 6.0206)])
def test_psnr_of_a_constant_offset(offset: float, expected: float) -> None:
    image = torch.full((2, 16, 16, 3), 0.25)
    assert images.psnr(image, image + offset).tolist() == pytest.approx([expected] * 2, abs=1e-4)


def test_equal_images() -> None:
    image = noise(2, 24, 20, 3)
    assert images.psnr(image, image).tolist() == pytest.approx([images.MAX_PSNR] * 2)
    assert images.ssim(image, image).tolist() == pytest.approx([1.0, 1.0])


def test_values_outside_the_range_are_clamped() -> None:
    white = torch.ones(1, 16, 16, 3)
    assert images.psnr(1.5 * white, white).item() == pytest.approx(images.MAX_PSNR)


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    # With no variance only (2ab + c1) / (a^2 + b^2 + c1), c1 = 0.01^2, is left.
    a, b = torch.full((1, 16, 16, 3), 0.4), torch.full((1, 16, 16, 3), 0.8)
    expected = (2 * 0.4 * 0.8 + 1e-4) / (0.4**2 + 0.8**2 + 1e-4)
    assert images.ssim(a, b).item() == pytest.approx(expected, abs=1e-6)


def test_batch_equals_loop() -> None:
    a, b = noise(3, 20, 20, 3), noise(3, 20, 20, 3).flip(0)
    for metric in (images.psnr, images.ssim):
        assert metric(a, b).tolist() == [metric(a[[i]], b[[i]]).item() for i in range(3)]


def test_object_psnr_ignores_the_background() -> None:
    truth = torch.ones(2, 16, 16, 3)
    image = truth.clone()
    image[:, :8] = 0.9
    masks = torch.zeros(2, 16, 16)
    masks[0, :8] = 1
    values = images.psnr(image, truth, masks)
    assert values[0].item() == pytest.approx(20, abs=1e-4)
    assert values[1].isnan()
    quality = images.image_quality(image, truth, masks=masks)
    assert quality.means()["object_psnr"] == pytest.approx(20, abs=1e-4)
    assert set(quality.means()) == {"psnr", "ssim", "object_psnr"}


def test_perceptual_distance_takes_any_model() -> None:
    def model(a: Tensor, b: Tensor) -> Tensor:
        assert a.shape[1] == 3 and min(a.shape[-2:]) >= 64 and a.min() >= -1
        return (a - b).abs().mean().reshape(1, 1, 1, 1)

    black, white = torch.zeros(2, 16, 20, 3), torch.ones(2, 16, 20, 3)
    assert images.image_quality(black, white, lpips=model).means()["lpips"] == pytest.approx(2.0)


def test_perceptual_distance_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    assert images.load_lpips() is None


def test_named_errors() -> None:
    image = noise(1, 16, 16, 3)
    with pytest.raises(ShapeError, match="non-empty"):
        images.psnr(image[:0], image[:0])
    with pytest.raises(ShapeError, match="differ in shape"):
        images.psnr(image, image[:, :8])
    with pytest.raises(ShapeError, match="11 pixels"):
        images.ssim(image[:, :8], image[:, :8])
    with pytest.raises(ShapeError, match="masks must be"):
        images.psnr(image, image, torch.ones(1, 8, 8))
