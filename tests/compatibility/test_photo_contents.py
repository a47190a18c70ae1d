"""What alpha and pictures show: holes, specks, inverted masks. Rows of docs/compatibility.md."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from agsrec.errors import ImageError
from agsrec.images import load_image, save_png
from agsrec.preprocess import process
from agsrec.preprocess.recenter import object_box


def mug(turn: float, height: int = 180, width: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """A mug before a wall, RGB [H, W, 3] uint8, and its alpha [H, W] uint8, open where the handle is."""
    fine = 4
    mask = np.zeros((fine * height, fine * width), np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return int(fine * (width / 2 + x)), int(fine * (height / 2 + y))

    side = np.cos(turn)
    for radii, value in (((27, 30), 255), ((16, 18), 0)):
        axes = (int(fine * radii[0] * abs(side)), fine * radii[1])
        cv2.ellipse(mask, at(38 * side, 0), axes, 0, 0, 360, value, -1)
    cv2.rectangle(mask, at(-36, -50), at(36, 50), 255, -1)
    alpha = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
    rgb = np.empty((height, width, 3), np.float32)
    rgb[:] = (190, 40, 40)
    across = (np.arange(width) - width / 2) / 36
    rgb *= (0.6 + 0.4 * np.sqrt((1 - across**2).clip(0, 1)))[None, :, None]
    noise = np.random.default_rng(round(10 * abs(turn))).normal(size=(height // 8, width // 8, 3))
    wall = np.array((170, 175, 160)) + 8 * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    cover = alpha[..., None] / 255
    return (cover * rgb + (1 - cover) * wall).clip(0, 255).astype(np.uint8), alpha


def test_a_handle_stays_open(tmp_path: Path) -> None:
    for k, turn in enumerate((0.0, 0.4, -0.4)):
        save_png(tmp_path / f"{k}.png", mug(turn)[0])
    done = process(tmp_path, model="u2netp")
    crop, true = done.crops["0"], mug(0.0)[1]
    cut = load_image(done.files[0])[0][..., 3]
    seen = true[crop.y0 : crop.y0 + crop.side, crop.x0 : crop.x0 + crop.side]
    both, either = ((cut > 127) & (seen > 127)).sum(), ((cut > 127) | (seen > 127)).sum()
    assert crop.size == crop.side and both / either > 0.97
    hole = cut[90 - crop.y0, 120 + 45 - crop.x0]
    assert hole < 30 and cut[90 - crop.y0, 120 - crop.x0] > 225


@pytest.mark.parametrize("soft", [False, True])
def test_alpha_of_ones_own_keeps_its_holes(tmp_path: Path, soft: bool) -> None:
    rgb, alpha = mug(0.0)
    alpha = alpha if soft else np.where(alpha > 127, 255, 0).astype(np.uint8)
    save_png(tmp_path / "a.png", np.dstack([rgb, alpha]))
    done = process(tmp_path)
    crop = done.crops["a"]
    cut = load_image(done.files[0])[0][..., 3]
    inside = alpha[crop.y0 : crop.y0 + crop.side, crop.x0 : crop.x0 + crop.side]
    assert np.array_equal(cut, inside) and done.remarks() == []


def test_specks_do_not_move_the_object(tmp_path: Path) -> None:
    rgb, alpha = mug(0.0)
    save_png(tmp_path / "clean.png", np.dstack([rgb, alpha]))
    dusty = alpha.copy()
    for y, x in ((2, 3), (170, 230), (9, 200)):
        dusty[y : y + 2, x : x + 2] = 255
    save_png(tmp_path / "dusty.png", np.dstack([rgb, dusty]))
    crops = process(tmp_path, size=64).crops
    assert crops["clean"] == crops["dusty"]


def test_parts_that_are_no_specks_count() -> None:
    alpha = np.zeros((900, 1200), np.uint8)
    alpha[100:400, 100:400] = 255
    alpha[600:620, 900:930] = 255
    assert object_box(alpha) == (100, 100, 930, 620)
    alpha[850:855, 1190:1195] = 255  # dust, told from parts at half the size
    assert object_box(alpha) == (100, 100, 930, 620)


def test_inverted_alpha_is_said(tmp_path: Path) -> None:
    rgb, alpha = mug(0.0)
    save_png(tmp_path / "a.png", np.dstack([rgb, 255 - alpha]))
    with pytest.raises(ImageError, match=r"a\.png: its transparency is where the object should be"):
        process(tmp_path)
    save_png(tmp_path / "b.png", np.dstack([rgb, alpha]))
    done = process(tmp_path, size=64)
    assert list(done.crops) == ["b"] and "Photo a is skipped: its transparency is" in done.remarks()[0]


def test_alpha_that_says_nothing(tmp_path: Path) -> None:
    """Opaque all over, or nearly so: the background is there to be removed, as in any photo."""
    rgb, alpha = mug(0.0)
    noise = np.random.default_rng(0).integers(250, 256, alpha.shape).astype(np.uint8)
    for name, own in (("opaque", np.full_like(alpha, 255)), ("nearly", noise)):
        save_png(tmp_path / f"{name}.png", np.dstack([rgb, own]))
        read, cut_out = load_image(tmp_path / f"{name}.png")
        assert not cut_out and (read[..., 3] == 255).all()
    crop = process(tmp_path / "nearly.png", model="grabcut", size=64).crops["nearly"]
    assert crop.side < 180


def test_transparency_in_the_corners_alone_is_doubtful(tmp_path: Path) -> None:
    rgb, alpha = mug(0.0)
    corners = np.full_like(alpha, 255)
    corners[:6, :6] = corners[-6:, -6:] = 0
    save_png(tmp_path / "a.png", np.dstack([rgb, corners]))
    assert "hardly anything of the photo is transparent" in process(tmp_path, size=64).remarks()[0]


def test_a_soft_shadow_in_the_alpha_is_kept_and_does_not_count(tmp_path: Path) -> None:
    rgb, alpha = mug(0.0)
    shadow = (0.4 * cv2.GaussianBlur(np.roll(alpha, (20, 30), (0, 1)), (0, 0), 8)).astype(np.uint8)
    save_png(tmp_path / "with.png", np.dstack([rgb, np.maximum(alpha, shadow)]))
    save_png(tmp_path / "without.png", np.dstack([rgb, alpha]))
    done = process(tmp_path)
    assert done.crops["with"] == done.crops["without"]
    with_it, without = (load_image(f)[0][..., 3].astype(int) for f in done.files)
    assert 20 < (with_it - without).max() <= 102


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("orientation", [1, 5, 6, 7, 8])
def test_masks_of_programs_that_ignore_the_orientation(
    tmp_path: Path, orientation: int, upright: bool
) -> None:
    rgb, alpha = mug(0.0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "masks").mkdir()
    Image.fromarray(rgb).save(tmp_path / "a.jpg", exif=exif, quality=95)
    if upright:
        Image.fromarray(np.dstack([rgb, alpha])).save(tmp_path / "turned.png", exif=exif)
        alpha = load_image(tmp_path / "turned.png")[0][..., 3]
        (tmp_path / "turned.png").unlink()
    save_png(tmp_path / "masks" / "a.png", alpha)
    cut = load_image(process(tmp_path).files[0])[0]
    solid = cut[..., 3] > 200
    assert solid.sum() == pytest.approx((alpha > 200).sum())
    red = cut[..., 0].astype(int) - cut[..., 1]
    assert red[solid].min() > 40  # the mug under its own mask


def test_portrait_beside_landscape(tmp_path: Path) -> None:
    for name, turns in (("across", 0), ("up", 1)):
        rgb, alpha = mug(0.0)
        save_png(tmp_path / f"{name}.png", np.rot90(np.dstack([rgb, alpha]), turns))
    crops = process(tmp_path, size=64).crops
    assert (crops["across"].width, crops["up"].width) == (240, 180)
    assert crops["across"].side == crops["up"].side
