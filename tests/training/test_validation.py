"""Figures on unseen objects: the same for the log and the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agsrec.metrics.images import psnr, ssim
from agsrec.training.validation import (
    ANGLES_DEG,
    novel_views,
    over_white,
    quality_by_angle,
    unseen_objects,
    unseen_photo_sets,
    validate_novel_views,
    write_grid,
)
from tests.tiny_prior import tiny_zero123


def test_unseen_objects() -> None:
    images, cameras = unseen_objects(2, 32)
    assert images.shape == (2, len(ANGLES_DEG), 32, 32, 4) and len(cameras) == len(ANGLES_DEG)
    assert 0 <= float(images.min()) and float(images.max()) <= 1
    assert torch.equal(over_white(images)[:, :, 0, 0], torch.ones(2, len(ANGLES_DEG), 3))
    elevation, azimuth, _ = cameras.spherical()
    assert torch.allclose(elevation, torch.tensor(-20.0), atol=1e-3)
    turned = (azimuth - azimuth[0]) % 360
    assert torch.allclose(turned, torch.tensor(ANGLES_DEG), atol=1e-2)
    assert torch.equal(unseen_objects(3, 32)[0][:2], images)  # more objects, the first the same


def test_the_view_asked_for_is_the_farthest() -> None:
    cut_outs, cameras = unseen_photo_sets(3, 16)
    assert cut_outs.shape == (3, 4, 16, 16, 4)
    for chosen in cameras:
        directions = torch.nn.functional.normalize(chosen.centers, dim=-1)
        nearest = (directions[:3] @ directions[3]).max().acos().rad2deg()
        assert nearest > 40


def test_quality_by_angle() -> None:
    truth = over_white(unseen_objects(2, 32)[0])
    copy = truth[:, :1].expand_as(truth)
    report = quality_by_angle(copy, truth)
    assert set(report) == {f"{k}_{a}" for k in ("psnr", "ssim") for a in (30, 60, 90, 180)}
    assert report["psnr_60"] == pytest.approx(float(psnr(truth[:, 0], truth[:, 2]).mean()), abs=1e-3)
    assert report["ssim_180"] == pytest.approx(float(ssim(truth[:, 0], truth[:, 4]).mean()), abs=1e-4)
    assert report["psnr_30"] > report["psnr_180"]
    assert quality_by_angle(truth, truth)["ssim_90"] == 1


def test_the_log_says_what_the_benchmark_measures(tmp_path: Path) -> None:
    model = tiny_zero123()
    logged = validate_novel_views(model, tmp_path, 12, count=2)
    cut_outs, cameras = unseen_objects(2, 32)
    truth, sampled = over_white(cut_outs), novel_views(model, cut_outs, cameras)
    assert logged == quality_by_angle(sampled, truth)
    assert torch.equal(sampled[:, 0], truth[:, 0])
    # The first objects of a larger set get the same noise.
    assert torch.allclose(novel_views(model, cut_outs[:1], cameras), sampled[:1], atol=1e-3)
    pixels = np.asarray(Image.open(tmp_path / "validation" / "novel-views-000012.png"))
    assert pixels.shape == (4 * 32, 5 * 32, 3)
    for row, images in enumerate((truth[0], sampled[0], truth[1], sampled[1])):
        tile = pixels[32 * row : 32 * row + 32, 2 * 32 : 3 * 32] / 255
        assert np.abs(tile - images[2].numpy()).max() < 0.51 / 255


def test_grid_keeps_to_the_range(tmp_path: Path) -> None:
    images = torch.tensor([-1.0, 0.0, 1.0, 2.0])[None, :, None, None, None].expand(1, 4, 2, 3, 3)
    write_grid(tmp_path / "grid.png", images)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape == (2, 12, 3)
    assert pixels[0, ::3, 0].tolist() == [0, 0, 255, 255]
