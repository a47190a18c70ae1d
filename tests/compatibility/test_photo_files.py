"""Photos as programs save them: colour spaces, depths, pages, damage. Rows of docs/compatibility.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from agsrec.errors import ImageError, OptionError
from agsrec.images import frame_count, load_image, save_png
from agsrec.preprocess import process
from tests.compatibility.icc import ADOBE_GAMMA, ADOBE_RGB, DISPLAY_P3, matrix_profile

pillow_heif.register_heif_opener()


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """RGB [H, W, 3] with all kinds of colours, smooth enough for JPEG."""
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 255 // width, y * 255 // height, 255 - x * 128 // width]).astype(np.uint8)


def cut_out(height: int = 60, width: int = 80) -> np.ndarray:
    """RGBA [H, W, 4] of a box with its own alpha."""
    rgba = np.random.default_rng(0).integers(50, 255, (height, width, 4), dtype=np.uint8)
    rgba[..., 3] = 0
    rgba[15:45, 20:60, 3] = 255
    return rgba


def in_srgb(rgb: np.ndarray, primaries: Any, gamma: float) -> np.ndarray:
    """What colours [..., 3] in [0, 255] of another space are in sRGB, by the definition of both."""
    to_xyz, srgb = np.array(primaries).T, np.array(SRGB_D50).T
    linear = np.linalg.solve(srgb, to_xyz) @ ((rgb.reshape(-1, 3) / 255.0) ** gamma).T
    linear = linear.T.clip(0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * curved).reshape(rgb.shape)


SRGB_D50 = [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)]


# -------------------------------------------------------------------- colour spaces


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.avif", "a.heic"])
def test_display_p3_becomes_srgb(tmp_path: Path, name: str) -> None:
    rgb = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    quality: dict[str, Any] = {} if name == "a.png" else {"quality": 95}
    profile = matrix_profile(DISPLAY_P3, 2.2)
    Image.fromarray(rgb).save(tmp_path / name, icc_profile=profile, **quality)
    wanted = in_srgb(rgb[8, 8].astype(float), DISPLAY_P3, 2.2)
    found = load_image(tmp_path / name)[0][8, 8, :3]
    assert np.abs(wanted - rgb[8, 8]).max() > 15  # they would be seen paler than they are
    assert np.abs(found - wanted).max() < (2 if name == "a.png" else 7)


def test_a_profile_leaves_alpha_and_palettes_alone(tmp_path: Path) -> None:
    profile = matrix_profile(DISPLAY_P3, 2.2)
    rgba = np.dstack([picture(), np.arange(768, dtype=np.uint16).reshape(24, 32) // 3]).astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png", icc_profile=profile)
    found, has_alpha = load_image(tmp_path / "a.png")
    assert has_alpha and np.array_equal(found[..., 3], rgba[..., 3])
    assert np.abs(found[..., :3] - in_srgb(rgba[..., :3].astype(float), DISPLAY_P3, 2.2)).max() < 2
    Image.fromarray(picture()).quantize(16).save(tmp_path / "b.png", icc_profile=profile)
    Image.fromarray(picture()).quantize(16).save(tmp_path / "c.png")
    plain = load_image(tmp_path / "c.png")[0][..., :3].astype(float)
    assert np.abs(load_image(tmp_path / "b.png")[0][..., :3] - in_srgb(plain, DISPLAY_P3, 2.2)).max() < 2


def test_adobe_rgb_with_a_profile_and_with_a_mark_alone(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 65535, 0xA005: {1: "R03"}}  # uncalibrated, and which it is
    Image.fromarray(rgb).save(tmp_path / "marked.png", exif=exif)
    profile = matrix_profile(ADOBE_RGB, ADOBE_GAMMA)
    Image.fromarray(rgb).save(tmp_path / "profile.png", icc_profile=profile)
    wanted = in_srgb(rgb.astype(float), ADOBE_RGB, ADOBE_GAMMA)
    for name in ("marked", "profile"):
        assert np.abs(load_image(tmp_path / f"{name}.png")[0][..., :3] - wanted).max() < 2, name


@pytest.mark.parametrize(
    ("mode", "profile"), [("RGB", b"no profile"), ("CMYK", matrix_profile(DISPLAY_P3, 2.2))]
)
def test_a_profile_that_cannot_be_used_is_said_and_ignored(
    tmp_path: Path, mode: str, profile: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(picture()).convert(mode).save(tmp_path / "a.tif", icc_profile=profile)
    assert np.abs(load_image(tmp_path / "a.tif")[0][..., :3].astype(int) - picture()).max() < 3
    assert "a.tif: its colour profile is not used" in caplog.text


def test_ycck_jpeg(tmp_path: Path) -> None:
    """CMYK of which the first three are stored as YCbCr, as Photoshop saves it."""
    inks = 255 - picture()
    ycc = np.asarray(Image.fromarray(inks).convert("YCbCr"))
    # Pillow inverts what it writes, as Adobe does.
    planes = [Image.fromarray(np.ascontiguousarray(255 - ycc[..., k])) for k in range(3)]
    black = Image.new("L", (32, 24), 0)
    Image.merge("CMYK", [*planes, black]).save(tmp_path / "a.jpg", quality=95, subsampling=0)
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    mark = data.find(b"Adobe")
    assert mark > 0 and data[mark + 11] == 0
    data[mark + 11] = 2  # transform: YCCK
    (tmp_path / "a.jpg").write_bytes(data)
    assert np.abs(load_image(tmp_path / "a.jpg")[0][..., :3].astype(int) - picture()).mean() < 3


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bits_per_channel(tmp_path: Path, name: str, alpha: bool) -> None:
    deep = picture()[..., ::-1].astype(np.uint16) * 257
    if alpha:
        deep = np.dstack([deep, np.full((24, 32), 20_000, np.uint16)])
    cv2.imwrite(str(tmp_path / name), deep)
    rgba, has_alpha = load_image(tmp_path / name)
    assert has_alpha == alpha and np.abs(rgba[..., :3].astype(int) - picture()).max() <= 1
    assert rgba[0, 0, 3] == (78 if alpha else 255)


def test_one_bit(tmp_path: Path) -> None:
    bits = np.indices((6, 8)).sum(0) % 2 == 1
    Image.fromarray(bits).save(tmp_path / "a.png")
    rgba, has_alpha = load_image(tmp_path / "a.png")
    assert not has_alpha and np.array_equal(rgba[..., 0] == 255, bits) and set(np.unique(rgba)) == {0, 255}


def test_associated_alpha_of_tiff_becomes_straight(tmp_path: Path) -> None:
    """In PNG and WebP alpha is straight by definition: nothing tells a file that breaks that."""
    halved = np.dstack([picture() // 2, np.full((24, 32), 127, np.uint8)])
    options: Any = {"photometric": "rgb", "extrasamples": ["assocalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", halved, **options)
    rgba, has_alpha = load_image(tmp_path / "a.tif")
    assert has_alpha and (rgba[..., 3] == 127).all()
    assert np.abs(rgba[..., :3].astype(int) - picture()).max() <= 3
    Image.fromarray(halved).save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png")[0], halved)


# -------------------------------------------------------------------- several pictures in a file


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif", "avif"])
def test_several_pictures_in_a_file_are_said(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(cut_out()), Image.new("RGBA", (80, 60), "blue"), Image.new("RGBA", (80, 60))]
    timing: dict[str, Any] = {} if suffix == "tif" else {"duration": 100}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **timing)
    done = process(tmp_path, size=32)
    assert done.frames == {"a": 3} and done.crops["a"].side == 50
    assert done.remarks()[0].startswith("The file of a holds 3 pictures, of which the first is used")


def test_a_gain_map_is_no_second_picture(tmp_path: Path) -> None:
    gain = Image.new("L", (16, 12), 90)
    main = Image.fromarray(picture())
    main.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[gain], quality=95)
    assert np.abs(load_image(tmp_path / "a.jpg")[0][..., :3].astype(int) - picture()).mean() < 3
    assert frame_count(tmp_path / "a.jpg") == 1 == frame_count(tmp_path / "gone.jpg")


# -------------------------------------------------------------------- no photos


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"a\.png is empty; copy it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid 0\n",
            r"a\.png is a note of Git LFS .* pull",
        ),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", r"a\.png is not an image .*; use PNG or JPEG"),
        (b"\0\0\0\x18ftypcrx " + b"\0" * 60, r"a\.png is not an image"),  # Canon's raw format
        (b"\0\0\0\x20ftypisom" + b"\0" * 60, r"a\.png is not an image"),  # video
        (b"\xff\x0a" + b"x" * 40, r"a\.png is not an image"),  # JPEG XL
    ],
)
def test_files_that_are_no_photos(tmp_path: Path, data: bytes, message: str) -> None:
    save_png(tmp_path / "fine.png", cut_out())
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=message):
        process(tmp_path)
    assert not (tmp_path / "processed").exists()


@pytest.mark.skipif(os.name != "posix", reason="other systems have no pipes among files")
def test_links_and_pipes(tmp_path: Path) -> None:
    save_png(tmp_path / "elsewhere" / "a.png", cut_out())
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "good.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    assert len(process(folder, size=32).files) == 1
    (folder / "dangling.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(ImageError, match=r"dangling\.png is a link to a file that is not there"):
        process(folder)
    with pytest.raises(OptionError, match="a link to nothing; give a photo"):
        process(folder / "dangling.png")
    (folder / "dangling.png").unlink()
    (folder / "loop.png").symlink_to(folder / "loop.png")
    with pytest.raises(ImageError, match=r"loop\.png' cannot be read: Too many levels"):
        process(folder)
    (folder / "loop.png").unlink()
    os.mkfifo(folder / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png is a device or pipe"):
        process(folder)


@pytest.mark.parametrize("shape", [(1, 1), (8, 1200), (1200, 8)])
def test_odd_shapes_with_alpha(tmp_path: Path, shape: tuple[int, int]) -> None:
    rgba = np.full((*shape, 4), 255, np.uint8)
    rgba[..., 3][:, shape[1] // 2 + 1 :] = 0
    save_png(tmp_path / "a.png", rgba)
    if shape == (1, 1):
        with pytest.raises(ImageError, match=r"a\.png: no object found in it"):
            process(tmp_path, model="grabcut")
        return
    done = process(tmp_path, size=64)
    assert load_image(done.files[0])[0].shape == (64, 64, 4)


def test_photos_in_sub_folders(tmp_path: Path) -> None:
    for camera in ("left", "right"):
        save_png(tmp_path / "images" / camera / "a.png", cut_out())
    with pytest.raises(OptionError, match=r"only in its folders left, right; give one of them"):
        process(tmp_path)
    assert len(process(tmp_path / "images" / "left", size=32).files) == 1
