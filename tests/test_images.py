from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agsrec import images
from agsrec.errors import AgsrecError, ImageError, OutputError
from agsrec.images import encode_png, load_image, save_png


def gradient(height: int = 6, width: int = 8) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.dstack([x * 30, y * 40, np.full_like(x, 90)]).astype(np.uint8)


def save(tmp_path: Path, image: Image.Image, name: str = "a.png", **options: object) -> Path:
    image.save(tmp_path / name, **options)  # pyright: ignore[reportArgumentType]
    return tmp_path / name


def test_rgb_is_opaque(tmp_path: Path) -> None:
    rgba, has_alpha = load_image(save(tmp_path, Image.fromarray(gradient())))
    assert not has_alpha and rgba.dtype == np.uint8 and rgba.shape == (6, 8, 4)
    np.testing.assert_array_equal(rgba[..., :3], gradient())
    assert (rgba[..., 3] == 255).all()


def test_rgba_round_trip(tmp_path: Path) -> None:
    original = np.dstack([gradient(), np.arange(48, dtype=np.uint8).reshape(6, 8)])
    save_png(tmp_path / "a.png", original)
    rgba, has_alpha = load_image(tmp_path / "a.png")
    assert has_alpha
    np.testing.assert_array_equal(rgba, original)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV"])
def test_opaque_modes(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(gradient())
    try:
        image = image.convert(mode)
    except ValueError:
        pytest.skip(f"this Pillow does not make {mode}")
    suffix = "tif" if mode in ("CMYK", "YCbCr", "LAB", "HSV") else "png"
    try:
        path = save(tmp_path, image, f"a.{suffix}")
    except OSError:
        pytest.skip(f"this Pillow does not write {mode}")
    try:
        rgba, has_alpha = load_image(path)
    except ImageError as error:
        assert mode in ("LAB", "YCbCr"), error  # which some versions of Pillow write but cannot read
        return
    assert rgba.shape == (6, 8, 4) and not has_alpha


def test_cmyk_colors(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(gradient()).convert("CMYK"), "a.jpg", quality=95)
    assert np.abs(load_image(path)[0][..., :3].astype(int) - gradient()).max() < 24


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit(tmp_path: Path, name: str) -> None:
    deep = (np.arange(48, dtype=np.uint16) * 1300).reshape(6, 8)
    rgba, _ = load_image(save(tmp_path, Image.fromarray(deep), name))
    np.testing.assert_array_equal(rgba[..., 0], np.round(deep / 257.0))
    np.testing.assert_array_equal(rgba[..., 0], rgba[..., 2])


def test_float(tmp_path: Path) -> None:
    values = np.array([[0.0, 0.5], [1.0, np.nan]], dtype=np.float32)
    rgba, _ = load_image(save(tmp_path, Image.fromarray(values), "a.tif"))
    assert rgba[..., 1].tolist() == [[0, 128], [255, 0]]
    rgba, _ = load_image(save(tmp_path, Image.fromarray(values * 300), "b.tif"))
    assert rgba[..., 1].tolist() == [[0, 150], [255, 0]]


def test_transparency_of_palette_grey_and_color_key(tmp_path: Path) -> None:
    palette = Image.fromarray(gradient()).convert("P")
    index = int(np.asarray(palette)[0, 0])
    rgba, has_alpha = load_image(save(tmp_path, palette, transparency=index))
    assert has_alpha and rgba[0, 0, 3] == 0
    grey_alpha = Image.merge("LA", [Image.new("L", (4, 4), 200), Image.new("L", (4, 4), 100)])
    rgba, has_alpha = load_image(save(tmp_path, grey_alpha))
    assert has_alpha and rgba[0, 0].tolist() == [200, 200, 200, 100]
    rgba, has_alpha = load_image(save(tmp_path, Image.fromarray(gradient()), transparency=(0, 0, 90)))
    assert has_alpha and (rgba[..., 3] == 0).sum() == 1


def test_fully_opaque_alpha_does_not_count(tmp_path: Path) -> None:
    assert not load_image(save(tmp_path, Image.new("RGBA", (4, 4), (1, 2, 3, 255))))[1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    image = Image.fromarray(gradient())
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, image, f"a.{suffix}", exif=exif)
    upright = {  # what a viewer shows, from the EXIF standard
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90,
    }[orientation](gradient())
    np.testing.assert_array_equal(load_image(path)[0][..., :3], upright)


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(gradient()), "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert load_image(path)[0].shape == (6, 8, 4)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    path = save(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(path)[0][0, 0].tolist() == [255, 0, 0, 255]


# ---------------------------------------------------------------- unusable files


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png_of_size(width: int, height: int) -> bytes:
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    chunks = [
        png_chunk(b"IHDR", header),
        png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)),
        png_chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("side", [10_001, 12_000, 60_000, 2**31 - 1])
def test_bomb_is_refused_unopened(tmp_path: Path, side: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    (tmp_path / "bomb.png").write_bytes(png_of_size(side, side))
    with pytest.raises(ImageError, match=r"bomb.png.*megapixels; scale"):
        load_image(tmp_path / "bomb.png")
    assert Image.MAX_IMAGE_PIXELS == limit


def test_our_limit_holds_without_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(png_of_size(20_000, 20_000))
    with pytest.raises(ImageError, match="megapixels"):
        load_image(tmp_path / "bomb.png")


def test_large_images_load_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    path = save(tmp_path, Image.fromarray(gradient()))
    assert load_image(path)[0].shape == (6, 8, 4)


def test_not_an_image(tmp_path: Path) -> None:
    for name, data in (("a.png", b""), ("b.png", b"hello"), ("c.png", b"\x89PNG\r\n\x1a\n")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=name):
            load_image(tmp_path / name)


def test_postscript_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(ImageError, match="not an image"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.bmp"])
def test_truncated(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=name):
        load_image(path)


def test_missing_folder_and_zero_size(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        load_image(tmp_path / "a.png")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    (tmp_path / "zero.png").write_bytes(png_of_size(0, 5))
    with pytest.raises(ImageError, match=r"zero\.png"):
        load_image(tmp_path / "zero.png")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_unreadable(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(gradient()))
    path.chmod(0)
    with pytest.raises(ImageError, match="permissions"):
        load_image(path)


def test_save_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_png(tmp_path / "file" / "a.png", gradient())


# ---------------------------------------------------------------- fuzzing


def encoded(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(gradient()).save(buffer, format=name)
    return buffer.getvalue()


VALID = {name: encoded(name) for name in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP")}


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(VALID)), data=st.data())
def test_fuzz_mutated_files(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    content = bytearray(VALID[name])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzz_image"
    path.write_bytes(
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    try:
        rgba, _ = load_image(path)
    except AgsrecError as error:
        assert isinstance(error, ImageError) and str(path) in str(error)
    else:
        assert rgba.ndim == 3 and rgba.shape[2] == 4 and rgba.size <= 4 * images.MAX_PIXELS


def test_encoding_is_repeatable() -> None:
    assert encode_png(gradient()) == encode_png(gradient().copy())
