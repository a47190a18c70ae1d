from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from agsrec.images import load_image
from agsrec.preprocess.grabcut import grabcut_alpha


def overlap(alpha: np.ndarray, mask: np.ndarray) -> float:
    """Intersection over union of alpha [H, W] uint8 with a mask [H, W] bool."""
    cut = alpha > 127
    return (cut & mask).sum() / (cut | mask).sum()


def disc_photo(
    color: tuple[int, int, int], height: int = 120, width: int = 160
) -> tuple[np.ndarray, np.ndarray]:
    """A two-coloured disc before a noisy backdrop of one colour, and its mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    mask = np.hypot(x - 85, y - 60) < 38
    rgb = np.empty((height, width, 3))
    rgb[:] = color
    rgb[mask & (x < 90)] = (200, 60, 40)
    rgb[mask & (x >= 90)] = (40, 90, 190)
    return (rgb + rng.normal(0, 2, rgb.shape)).clip(0, 255).astype(np.uint8), mask


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (30, 160, 60)])
def test_plain_backdrops(color: tuple[int, int, int]) -> None:
    rgb, mask = disc_photo(color)
    assert overlap(grabcut_alpha(rgb), mask) > 0.97


def test_soft_shadow_belongs_to_the_backdrop() -> None:
    rgb, mask = disc_photo((225, 220, 210))
    y, x = np.mgrid[:120, :160]
    shade = 1 - 0.4 * np.exp(-(((x - 85) / 40) ** 2) - ((y - 98) / 8) ** 2)
    shaded = np.where(mask[..., None], rgb, rgb * shade[..., None]).astype(np.uint8)
    assert overlap(grabcut_alpha(shaded), mask) > 0.95


def test_textured_background() -> None:
    rgb, mask = disc_photo((0, 0, 0))
    planks = (
        120 + 40 * np.sin(np.mgrid[:120, :160][1] / 3.0) + np.random.default_rng(1).normal(0, 8, (120, 160))
    )
    photo = np.where(mask[..., None], rgb, planks[..., None] * np.array([1.0, 0.9, 0.75])).clip(0, 255)
    assert overlap(grabcut_alpha(photo.astype(np.uint8)), mask) > 0.93


def test_hole_stays_and_crack_goes() -> None:
    rgb, mask = disc_photo((0, 0, 0))
    y, x = np.mgrid[:120, :160]
    hole = np.hypot(x - 85, y - 60) < 15
    crack = (np.abs(y - 40) < 1.5) & (np.abs(x - 85) < 20)
    rgb[hole | crack] = 0
    alpha = grabcut_alpha(rgb)
    assert alpha[60, 85] == 0 and alpha[40, 85] == 255
    assert overlap(alpha, mask & ~hole) > 0.95


def test_alpha_is_soft_at_the_edge_only() -> None:
    rgb, _ = disc_photo((255, 255, 255))
    alpha = grabcut_alpha(cv2.GaussianBlur(rgb, (0, 0), 1.0))
    soft = (alpha > 0) & (alpha < 255)
    assert 0.005 < soft.mean() < 0.1
    assert alpha[60, 85] == 255 and alpha[0, 0] == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4), (1, 200), (40, 3)])
def test_tiny_photos(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    assert grabcut_alpha(rgb).shape == shape


def test_nothing_in_a_blank_photo() -> None:
    assert not grabcut_alpha(np.full((60, 80, 3), 128, dtype=np.uint8)).any()


def test_same_photo_same_cut() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grabcut_alpha(rgb), grabcut_alpha(rgb))


@pytest.mark.parametrize(
    ("photo", "floor"), [("jordan/002", 0.96), ("jordan/003", 0.96), ("jordan/006", 0.9), ("toy/002", 0.96)]
)
def test_real_photos(shared_dir: Path, photo: str, floor: float) -> None:
    name, view = photo.split("/")
    folder = shared_dir / "data" / "photos" / name
    rgba, _ = load_image(folder / "source" / f"{view}.png")
    reference, _ = load_image(folder / "processed" / f"{view}_rgba.png")
    assert overlap(grabcut_alpha(rgba[..., :3]), reference[..., 3] > 127) > floor
