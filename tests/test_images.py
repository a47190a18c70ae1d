from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agsrec import images
from agsrec.errors import AgsrecError, ImageError, OutputError
from agsrec.images import encode_png, image_dimensions, load_image, save_png
from agsrec.preprocess.exif import exif_focal


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


def test_as_stored_and_size_from_the_header(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path, Image.fromarray(gradient()), exif=exif)
    np.testing.assert_array_equal(load_image(path, upright=False)[0][..., :3], gradient())
    assert load_image(path)[0].shape == (8, 6, 4) and image_dimensions(path) == (8, 6)


# ---------------------------------------------------------------- HEIF


def heif(path: Path, *, rotated: int | None = None, noted: int | None = None, **options: object) -> Path:
    """A HEIF photo: `rotated` in the picture itself and in EXIF as phones do, or `noted` in EXIF alone."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 26
    if rotated or noted:
        exif[0x0112] = rotated or noted
    # The encoder makes a rotation of the picture out of EXIF data given as bytes, and none otherwise.
    given = exif if noted else exif.tobytes()
    image = Image.fromarray(gradient(48, 64) // np.array([8, 8, 1], dtype=np.uint8))
    with path.open("wb") as file:
        image.save(file, "HEIF", quality=95, exif=given, **options)
    assert (b"irot" in path.read_bytes() or b"imir" in path.read_bytes()) == (rotated not in (None, 1))
    return path


def upright_gradient(orientation: int) -> np.ndarray:
    picture = (gradient(48, 64) // np.array([8, 8, 1], dtype=np.uint8)).astype(int)
    return {1: picture, 2: picture[:, ::-1], 3: picture[::-1, ::-1], 6: np.rot90(picture, -1)}[orientation]


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.hif", "a.jpg"])
def test_heif_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    rgba, has_alpha = load_image(heif(tmp_path / name))
    assert not has_alpha and rgba.shape == (48, 64, 4)
    assert np.abs(rgba[..., :3].astype(int) - upright_gradient(1)).mean() < 3
    assert name == "a.jpg" or Path(name).suffix.lower() in images.IMAGE_SUFFIXES


@pytest.mark.parametrize("orientation", [1, 2, 3, 6])
def test_heif_is_turned_exactly_once(tmp_path: Path, orientation: int) -> None:
    expected = upright_gradient(orientation)
    for upright in (True, False):  # what is in the picture itself is no matter of choice
        rgba, _ = load_image(heif(tmp_path / "a.heic", rotated=orientation), upright=upright)
        assert rgba.shape[:2] == expected.shape[:2]
        assert np.abs(rgba[..., :3].astype(int) - expected).mean() < 3
    rgba, _ = load_image(heif(tmp_path / "b.heic", noted=orientation))
    assert np.abs(rgba[..., :3].astype(int) - upright_gradient(1)).mean() < 3


def test_heif_focal_length(tmp_path: Path) -> None:
    path = heif(tmp_path / "a.heic", rotated=6)
    assert exif_focal(path, 48, 64) == pytest.approx(26 * 80 / 43.2666, rel=1e-5)


def test_heif_limits_and_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = heif(tmp_path / "a.heic")
    monkeypatch.setattr(images, "MAX_PIXELS", 3071)
    with pytest.raises(ImageError, match=r"a\.heic: 64 x 48 is more than"):
        load_image(path)
    monkeypatch.undo()
    whole = path.read_bytes()
    for size in (20, 100, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:size])
        with pytest.raises(ImageError, match=r"a\.heic is (damaged|not an image)"):
            load_image(path)


def test_heif_decoder_is_loaded_when_needed(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    heif(tmp_path / "a.heic")
    program = (
        "import sys; from agsrec.images import load_image; load_image(sys.argv[1]); "
        "assert 'pillow_heif' not in sys.modules; load_image(sys.argv[2]); "
        "assert 'pillow_heif' in sys.modules; sys.modules['pillow_heif'] = None; load_image(sys.argv[2])"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.png"), str(tmp_path / "a.heic")]
    root = Path(images.__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 1 and "ImageError" in done.stderr and "pip install pillow-heif" in done.stderr


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


pillow_heif.register_heif_opener()
VALID = {name: encoded(name) for name in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "HEIF")}


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
