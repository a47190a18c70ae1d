from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agsrec.cameras import Cameras
from agsrec.images import premultiplied, straight
from agsrec.preprocess.recenter import Crop, carry_intrinsics, crop_rgba, object_box, square_crop


def test_object_box() -> None:
    alpha = np.zeros((10, 20), dtype=np.uint8)
    assert object_box(alpha) is None
    alpha[2:5, 3:10] = 255
    alpha[9, 19] = 100  # half transparent dust does not count
    assert object_box(alpha) == (3, 2, 10, 5)


@given(
    x0=st.integers(0, 200),
    y0=st.integers(0, 200),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    ratio=st.floats(0, 0.89),
    size=st.integers(16, 600),
)
def test_crop_centers_the_object(x0: int, y0: int, width: int, height: int, ratio: float, size: int) -> None:
    crop = square_crop(500, 500, size, box=(x0, y0, x0 + width, y0 + height), border_ratio=ratio)
    assert abs(crop.x0 + crop.side / 2 - (x0 + width / 2)) <= 0.5
    assert abs(crop.y0 + crop.side / 2 - (y0 + height / 2)) <= 0.5
    assert crop.size == min(crop.side, size), "nothing is enlarged"
    longest = max(width, height) * crop.scale
    assert longest <= size + 1e-9
    # The side is whole pixels of the photo, hence half a pixel of it off at most.
    assert abs(crop.side - max(width, height) / (1 - ratio)) <= 0.5


def test_crop_of_the_whole_photo() -> None:
    assert square_crop(40, 20, 80, box=None, border_ratio=0.2) == Crop(40, 20, 0, -10, 40, 40)
    assert square_crop(20, 41, 30, box=None, border_ratio=0.2) == Crop(20, 41, -11, 0, 41, 30)


def photo(height: int = 30, width: int = 50) -> np.ndarray:
    rgba = np.random.default_rng(0).integers(0, 255, (height, width, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    return rgba


def test_crop_inside_at_full_size_copies_pixels() -> None:
    cut = crop_rgba(photo(), Crop(50, 30, 10, 5, 20, 20), extend=False)
    np.testing.assert_array_equal(cut, photo()[5:25, 10:30])


def test_crop_outside_is_transparent_or_extended() -> None:
    crop = Crop(50, 30, -5, -5, 60, 60)
    cut = crop_rgba(photo(), crop, extend=False)
    np.testing.assert_array_equal(cut[5:35, 5:55], photo())
    assert cut[..., 3].sum() == 255 * 30 * 50
    extended = crop_rgba(photo(), crop, extend=True)
    assert (extended[..., 3] == 255).all()
    np.testing.assert_array_equal(extended[0, 0], photo()[0, 0])
    np.testing.assert_array_equal(extended[5:35, -3], photo()[:, -1])
    np.testing.assert_array_equal(extended[-1, -1], photo()[-1, -1])


@pytest.mark.parametrize("extend", [False, True])
@pytest.mark.parametrize("size", [17, 30, 60])
def test_a_large_photo_is_shrunk_in_bands_as_if_at_once(
    monkeypatch: pytest.MonkeyPatch, size: int, extend: bool
) -> None:
    alpha = np.random.default_rng(1).integers(0, 255, (30, 50), dtype=np.uint8)
    crop = Crop(50, 30, -5, -5, 60, size)
    before = photo()
    whole = crop_rgba(before, crop, extend=extend, alpha=alpha)
    square = crop_rgba(np.dstack([photo()[..., :3], alpha]), Crop(50, 30, -5, -5, 60, 60), extend=extend)
    once = straight(cv2.resize(premultiplied(square), (size, size), interpolation=cv2.INTER_AREA))
    monkeypatch.setattr("agsrec.images._BAND", 7)
    banded = crop_rgba(before, crop, extend=extend, alpha=alpha)
    np.testing.assert_array_equal(banded, whole)
    solid = once[..., 3] > 8  # below, colours of a pixel are a matter of rounding
    assert np.abs(banded.astype(int) - once)[solid].max() <= 1
    np.testing.assert_array_equal(before, photo())  # which stays as it is


@pytest.mark.parametrize("size", [13, 100])
def test_hidden_colors_do_not_bleed(size: int) -> None:
    rgba = np.zeros((40, 40, 4), dtype=np.uint8)
    rgba[..., 0] = 255  # hidden red
    rgba[10:30, 10:30] = (0, 200, 0, 255)
    cut = crop_rgba(rgba, Crop(40, 40, 3, 3, 33, size), extend=False)
    seen = cut[..., 3] > 8
    assert (cut[seen][:, 0] <= 1).all() and (np.abs(cut[seen][:, 1].astype(int) - 200) <= 8).all()


def test_intrinsics_by_hand() -> None:
    # A square of side 200 from (100, 50) shrunk to 100: focal halves, the centre moves before it halves.
    K = torch.tensor([[400.0, 0, 220], [0, 410, 130], [0, 0, 1]])
    expected = torch.tensor([[200.0, 0, 60], [0, 205, 40], [0, 0, 1]])
    torch.testing.assert_close(carry_intrinsics(K, Crop(640, 480, 100, 50, 200, 100)), expected)


def test_intrinsics_follow_the_pixels() -> None:
    """A spot projected with carried intrinsics lies where the crop of its photo shows it."""
    K = torch.tensor([[120.0, 0, 60], [0, 120, 45], [0, 0, 1]])
    viewmat = torch.eye(4)
    viewmat[2, 3] = 2.0
    point = torch.tensor([[0.3, -0.2, 0.0]])
    u, v = Cameras(viewmat[None], K[None], 120, 90).project(point)[0][0, 0].tolist()
    y, x = np.mgrid[:90, :120] + 0.5
    spot = 250 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 18)
    rgba = np.dstack([spot, spot, spot, np.full_like(spot, 255)]).astype(np.uint8)
    crops = [Crop(120, 90, 50, 10, 60, 240), Crop(120, 90, -10, -20, 140, 70)]
    crops += [Crop(120, 90, 50, 10, 60, 60), Crop(120, 90, -10, -20, 140, 140)]  # at full scale
    for crop in crops:
        cut = crop_rgba(rgba, crop, extend=True)[..., 0].astype(float)
        rows, columns = np.mgrid[: crop.size, : crop.size] + 0.5
        seen = np.array([(cut * columns).sum(), (cut * rows).sum()]) / cut.sum()
        carried = Cameras(viewmat[None], carry_intrinsics(K, crop)[None], crop.size, crop.size)
        assert np.abs(seen - carried.project(point)[0][0, 0].numpy()).max() < 0.05 * max(1, crop.scale)
        if crop.scale == 1:
            torch.testing.assert_close(
                carry_intrinsics(K, crop), K - torch.tensor([[0, 0, crop.x0], [0, 0, crop.y0], [0, 0, 0]])
            )
    batch = carry_intrinsics(K.expand(2, 5, 3, 3), Crop(120, 90, 50, 10, 60, 240))
    assert batch.shape == (2, 5, 3, 3)
