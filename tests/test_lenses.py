"""Undistorting, against pictures of exact cameras: the ideal one and the distorted one of the same wall."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from agsrec.camera_files import read_colmap, read_transforms_json
from agsrec.errors import CameraError
from agsrec.lenses import Lens, lens_from_dict, undistorted
from tests.lens_models import CAMERAS, HEIGHT, WIDTH, picture, rays_of, seen_at, shifts

# Measured 0.011 and 0.062 at most: OpenCV resamples on a grid of 1/32 pixel, and grey levels are whole.
MEDIAN_PX, MOST_PX = 0.015, 0.1
DETAIL_PX = 5.0


def colmap_lens(folder: Path, model: str, parameters: list[float]) -> Lens | None:
    """The lens that the reader makes of a COLMAP camera."""
    numbers = " ".join(map(repr, parameters))
    (folder / "cameras.txt").write_text(f"1 {model} {WIDTH} {HEIGHT} {numbers}\n")
    (folder / "images.txt").write_text("1 1 0 0 0 0 0 2 1 a.png\n\n")
    return read_colmap(folder).lenses[0]


def photo(model: str, parameters: list[float], size: float) -> np.ndarray:
    """Opaque RGBA [H, W, 4] of the pattern, as the camera takes it."""

    def rays(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y, found = rays_of(model, parameters, u, v)
        assert found.all()
        return x, y

    grey = picture(rays, WIDTH, HEIGHT, size).round().clip(0, 255)
    return np.dstack([grey, grey, grey, np.full_like(grey, 255)]).astype(np.uint8)


def ideal(K: np.ndarray, size: float) -> np.ndarray:
    """The pattern [H, W] as the pinhole camera K takes it."""
    return picture(lambda u, v: ((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]), WIDTH, HEIGHT, size)


@pytest.mark.parametrize("model", CAMERAS)
def test_the_undistorted_picture_is_that_of_the_pinhole_camera(tmp_path: Path, model: str) -> None:
    lens = colmap_lens(tmp_path, model, CAMERAS[model])
    assert lens is not None
    K = lens.pinhole
    size = DETAIL_PX / K[0, 0]
    out = undistorted(photo(model, CAMERAS[model], size), lens)
    shown = out[..., 3] > 0
    assert set(np.unique(out[..., 3])) <= {0, 255} and shown.mean() > 0.7
    off = np.hypot(*shifts(out[..., :1].astype(float), ideal(K, size)[..., None], shown).T)
    assert len(off) > 100 and np.median(off) < MEDIAN_PX and off.max() < MOST_PX
    # Transparent is exactly what the photo does not show, but for the pixels that its edge goes through.
    u, v = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    u, v = seen_at(model, CAMERAS[model], x, y)
    inside = np.minimum(np.minimum(u, WIDTH - u), np.minimum(v, HEIGHT - v))
    assert shown[inside > 0.01].all() and not shown[inside < -0.01].any()


@pytest.mark.parametrize("model", ["SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"])
def test_the_whole_photo_stays_in_the_picture(tmp_path: Path, model: str) -> None:
    lens = colmap_lens(tmp_path, model, CAMERAS[model])
    assert lens is not None
    t = np.linspace(0, 1, 50)
    u = np.concatenate([t, t, 0 * t, 0 * t + 1]) * WIDTH
    v = np.concatenate([0 * t, 0 * t + 1, t, t]) * HEIGHT
    x, y, found = rays_of(model, CAMERAS[model], u, v)
    K = lens.pinhole
    across, down = K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]
    slack = 1.0  # tangential terms are not reckoned with
    assert found.all() and across.min() > -slack and across.max() < WIDTH + slack
    assert down.min() > -slack and down.max() < HEIGHT + slack
    assert K[0, 0] / lens.focal[0] == pytest.approx(K[1, 1] / lens.focal[1]) and K[0, 0] <= lens.focal[0]


def test_golden_pinhole() -> None:
    # k1 = -0.125, focal 100, 160 x 120: the corner (0.8, 0.6) is at r_d = 1 = r - r³ / 8, so r = 1.2360680,
    # the golden ratio's 2 / 1.618; the picture shrinks by as much.
    lens = Lens("perspective", (-0.125, *[0.0] * 7), (100.0, 100.0), (80.0, 60.0), 160, 120)
    scale = 1.618034 / 2
    expected = [[100 * scale, 0, 80], [0, 100 * scale, 60], [0, 0, 1]]
    np.testing.assert_allclose(lens.pinhole, expected, atol=2e-3)
    np.testing.assert_allclose(lens.resized(320, 60).pinhole, np.diag([2, 0.5, 1]) @ lens.pinhole, rtol=1e-12)


def test_formulas_are_those_of_colmap() -> None:
    pycolmap = pytest.importorskip("pycolmap")
    x, y = np.random.default_rng(0).uniform(-0.6, 0.6, (2, 50))
    for model, parameters in CAMERAS.items():
        camera = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=parameters)
        expected = camera.img_from_cam(np.stack([x, y, np.ones_like(x)], axis=1))
        np.testing.assert_allclose(np.stack(seen_at(model, parameters, x, y), 1), expected, atol=1e-9)


def test_alpha_goes_along() -> None:
    """A cut-out stays one: its edge moves with the picture and takes no colour from what is transparent."""
    lens = Lens("perspective", (-0.15, *[0.0] * 7), (150.0, 150.0), (80.0, 60.0), WIDTH, HEIGHT)
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[np.hypot(u - 95, v - 60) < 30] = [200, 40, 90, 255]
    rgba[rgba[..., 3] == 0] = [0, 255, 0, 0]
    out = undistorted(rgba, lens)
    K = lens.pinhole
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    u_d, v_d = seen_at("SIMPLE_RADIAL", [150.0, 80.0, 60.0, -0.15], x, y)
    disc = np.hypot(u_d - 95, v_d - 60)
    assert (out[..., 3][disc < 28] == 255).all() and (out[..., 3][disc > 32] == 0).all()
    assert abs((out[..., 3] / 255).sum() - (disc < 30).sum()) < 15
    assert np.abs(out[out[..., 3] > 20][:, :3].astype(int) - [200, 40, 90]).max() <= 3


def test_a_polynomial_is_not_used_where_it_turns_back() -> None:
    """Beyond r = 0.58 this lens would show the photo's middle once more, in the picture's corners."""
    lens = Lens("perspective", (-1.0, *[0.0] * 7), (100.0, 100.0), (50.0, 50.0), 100, 100)
    out = undistorted(np.full((100, 100, 4), 255, np.uint8), lens)
    v, u = np.mgrid[:100, :100] + 0.5
    r = np.hypot(u - 50, v - 50) / lens.pinhole[0, 0]
    assert not lens.folds and (out[..., 3][r < 0.56] == 255).all() and (out[..., 3][r > 0.59] == 0).all()


def test_a_lens_that_folds_is_refused(tmp_path: Path) -> None:
    for model, parameters in (("SIMPLE_RADIAL", [100.0, 80, 60, -9.0]), ("FISHEYE", [0.1, 0.1, 80, 60])):
        with pytest.raises(CameraError, match=r"cameras\.txt, line 1: distortion (k1 -9|none) at .* no lens"):
            colmap_lens(tmp_path, model, parameters)


def test_stored_and_read_again() -> None:
    lens = Lens("fisheye", (0.1, 0.0, -0.2, 0.3), (100.0, 101.5), (80.0, 60.25), 160, 120)
    stored = json.loads(json.dumps(asdict(lens)))
    assert lens_from_dict(stored) == lens and lens.is_close(replace(lens, focal=(100.00001, 101.5)))
    assert not lens.is_close(replace(lens, focal=(100.1, 101.5)))
    bad = [None, [], {}, stored | {"kind": "round"}, stored | {"kind": "perspective"}, stored | {"width": 0}]
    bad += [stored | {"focal": [1, float("inf")]}, stored | {"focal": [-1, 1]}, stored | {"center": "ab"}]
    bad += [stored | {"coefficients": [1, 2, 3, True]}, stored | {"more": 1}, stored | {"height": 1.5}]
    assert [lens_from_dict(value) for value in bad] == [None] * len(bad)


def test_the_same_lens_from_every_kind_of_file(tmp_path: Path) -> None:
    """COLMAP text and binary and nerfstudio's file say the same of OPENCV and OPENCV_FISHEYE."""
    names = {"OPENCV": ("k1", "k2", "p1", "p2"), "OPENCV_FISHEYE": ("k1", "k2", "k3", "k4")}
    for number, (model, terms) in enumerate(names.items(), 4):
        p = CAMERAS[model]
        text = colmap_lens(tmp_path, model, p)
        binary = tmp_path / f"binary{number}"
        binary.mkdir()
        header = struct.pack("<QiiQQ", 1, 7, number, WIDTH, HEIGHT)
        (binary / "cameras.bin").write_bytes(header + struct.pack("<8d", *p))
        image = struct.pack("<Qi7di", 1, 3, 1, 0, 0, 0, 0, 0, 2, 7) + b"a.png\0" + struct.pack("<Q", 0)
        (binary / "images.bin").write_bytes(image)
        pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2]]
        content = {"camera_model": model, "w": WIDTH, "h": HEIGHT, "frames": []}
        content |= dict(zip(("fl_x", "fl_y", "cx", "cy", *terms), p, strict=True))
        content["frames"] = [{"file_path": "a", "transform_matrix": pose}]
        (tmp_path / "transforms.json").write_text(json.dumps(content))
        assert text is not None
        nerfstudio = read_transforms_json(tmp_path / "transforms.json")
        assert read_colmap(binary).lenses == nerfstudio.lenses == (text,)


def test_the_measure_sees_a_tenth_of_a_pixel() -> None:
    """What the test of the pictures measures with, on a shift that is known."""
    K = np.array([[100.0, 0, 80], [0, 100, 60], [0, 0, 1]])
    moved = K.copy()
    moved[0, 2] += 0.1
    size = DETAIL_PX / 100
    valid = np.ones((HEIGHT, WIDTH), bool)
    found = shifts(ideal(moved, size)[..., None], ideal(K, size)[..., None], valid)
    np.testing.assert_allclose(found, np.tile([0.1, 0.0], (len(found), 1)), atol=2e-3)
