"""Figures: size, content and corner cases; what they look like is judged by eye."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from agsrec.errors import ShapeError
from agsrec.figures import panels
from agsrec.figures.cameras import cameras_figure
from agsrec.figures.canvas import shortened
from agsrec.figures.panels import comparison_figure, curves_figure, glimpses_figure
from agsrec.prior.sds import Glimpse
from tests.export.made_up import discs, ring


def ink(image: np.ndarray) -> float:
    """Share of pixels that are not white."""
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return float((image < 250).any(-1).mean())


def contains(image: np.ndarray, tile: np.ndarray) -> bool:
    """Whether a picture holds a tile, pixel by pixel."""
    h, w = tile.shape[:2]
    for y, x in np.argwhere((image == tile[h // 2, w // 2]).all(-1)):
        top, left = y - h // 2, x - w // 2
        if top >= 0 and left >= 0 and np.array_equal(image[top : top + h, left : left + w], tile):
            return True
    return False


@pytest.mark.parametrize("count", [1, 2, 8, 9, 12])
def test_comparison_has_a_sane_size(count: int) -> None:
    photos = discs(count, 32)
    image = comparison_figure([f"view-{i}" for i in range(count)], photos, photos.flip(0))
    assert 300 < image.shape[0] < 3000 and 300 < image.shape[1] < 3000
    assert 0.05 < ink(image) < 0.8


def test_comparison_shows_the_pixels() -> None:
    photos, renders = discs(3, 256), torch.rand(3, 256, 256, 3, generator=torch.Generator().manual_seed(0))
    image = comparison_figure(["a", "b", "c"], photos, renders)
    for tile in (photos[1], renders[2]):
        assert contains(image, (tile * 255).round().byte().numpy())


def test_moments_of_a_prior_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    usual = panels.draw_text

    def noting(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
        written.append(text)
        usual(figure, x, y, text, **style)

    monkeypatch.setattr(panels, "draw_text", noting)
    picture = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    glimpses_figure([Glimpse(k / 8, 900 - 100 * k, picture, picture, picture) for k in range(8)])
    assert {"12 % done", "88 % done", "noise 90 %"} <= set(written)
    assert not any("…" in text for text in written)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (600, 500)])
def test_comparison_takes_any_image_size(height: int, width: int) -> None:
    photos = torch.ones(2, height, width, 3)
    image = comparison_figure(["a", "b"], photos, 0 * photos)
    assert max(image.shape) < 2000


def test_equal_images_leave_the_error_row_white() -> None:
    photos = torch.full((1, 64, 64, 3), 0.5)
    same, other = (comparison_figure(["a"], photos, x) for x in (photos, photos + 0.2))
    assert ink(other) - ink(same) > 0.05


def test_names_are_drawn_as_they_are() -> None:
    photos = discs(2, 64)
    image = comparison_figure(["$x^2$ \\frac", "two\nlines and far too long for one tile"], photos, photos)
    assert ink(image) > 0.01


def test_shortened_names_keep_their_end() -> None:
    assert shortened("IMG_20240101_0042", 8) == "…01_0042"
    assert shortened("a\nb", 8) == "a b"


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_cameras(count: int) -> None:
    truth = ring(count)
    final = truth.perturbed(2, torch.Generator().manual_seed(0))
    image = cameras_figure(truth, final, names=[f"${i}" for i in range(count)], thumbnails=discs(count, 16))
    assert image.shape[1] == 1520 and 500 < image.shape[0] < 1200
    assert 0.01 < ink(image) < 0.5


def test_cameras_do_not_depend_on_the_worlds() -> None:
    truth = ring(5)
    initial = truth.perturbed(10, torch.Generator().manual_seed(0))
    turn = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=torch.float64)
    moved = initial.transformed(3.0, turn, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    first, second = (cameras_figure(cameras, truth, truth).astype(int) for cameras in (initial, moved))
    assert np.abs(first - second).mean() < 0.01


def test_photos_appear_on_the_image_planes() -> None:
    truth = ring(4)
    red = torch.zeros(4, 8, 8, 3)
    red[..., 0] = 1

    def redness(image: np.ndarray) -> int:
        return int(((image[..., 0] > 150) & (image[..., 1] < 60)).sum())

    assert redness(cameras_figure(truth, truth, thumbnails=red)) > 2000
    assert redness(cameras_figure(truth, truth)) < 50


def test_cameras_alone_show_their_photos_upright() -> None:
    cameras = ring(4)
    photos = torch.zeros(4, 8, 8, 3)
    photos[2, ..., 0] = 1
    picture = cameras_figure(None, cameras, names=list("abcd"), thumbnails=photos)
    from_above = picture[:, picture.shape[1] // 2 :]
    red = (from_above[..., 0] > 200) & (from_above[..., 1] < 60) & (from_above[..., 2] < 60)
    rows, columns = np.nonzero(red)
    # The camera at the far side: its photo lies beyond it, an upright square, largest of what is red.
    assert red.sum() > 3000
    height, width = np.ptp(rows[rows < np.median(rows)]), np.ptp(columns)
    assert 50 < width < 150 and height > 0
    orange = (abs(picture.astype(int) - [232, 135, 30]).sum(-1) < 30).sum()
    assert orange == 0, "there are no initial cameras"


def test_curves() -> None:
    history = [{"iteration": i, "loss": 1 / (i + 1), "psnr": 20 + i} for i in range(20)]
    two = curves_figure(history)
    three = curves_figure([entry | {"pose_change_deg": [0.1, 0.2 * i]} for i, entry in enumerate(history)])
    assert three.shape[1] == two.shape[1] * 3 // 2
    assert 0.01 < ink(two) < 0.5


@pytest.mark.parametrize("loss", [0.0, -1.0, float("nan")])
def test_curves_of_one_entry_and_odd_losses(loss: float) -> None:
    assert ink(curves_figure([{"iteration": 0, "loss": loss}])) > 0.005


def test_global_settings_stay_as_they_were() -> None:
    before = dict(matplotlib.rcParams)
    comparison_figure(["a"], discs(1), discs(1))
    cameras_figure(ring(2), ring(2))
    curves_figure([{"iteration": 0, "loss": 1.0}])
    assert dict(matplotlib.rcParams) == before


def test_named_errors() -> None:
    photos = discs(2)
    with pytest.raises(ShapeError, match="1 names"):
        comparison_figure(["a"], photos, photos)
    with pytest.raises(ShapeError, match="as many names"):
        cameras_figure(ring(2), ring(2), names=["a"])
    with pytest.raises(ShapeError, match="no loss"):
        curves_figure([])
