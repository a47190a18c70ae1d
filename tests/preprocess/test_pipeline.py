from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agsrec.dataset import load_views
from agsrec.errors import ImageError, OptionError, OutputError
from agsrec.images import encode_png, load_image, save_png
from agsrec.photos import Photo, read_photo
from agsrec.preprocess import Crop, cuts, is_unfinished, pipeline, process, read_crops, read_focals


def cut_out(x0: int = 60, y0: int = 20, width: int = 30, height: int = 40) -> np.ndarray:
    """RGBA [100, 160, 4] of a box with its own alpha."""
    rgba = np.random.default_rng(0).integers(50, 255, (100, 160, 4), dtype=np.uint8)
    rgba[..., 3] = 0
    rgba[y0 : y0 + height, x0 : x0 + width, 3] = 255
    return rgba


def photo() -> np.ndarray:
    """RGB [100, 160, 3] of a striped box before black."""
    rgba = cut_out()
    rgb = np.where(rgba[..., 3:] > 0, rgba[..., :3], 0)
    return rgb.astype(np.uint8)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "my photos"
    save_png(folder / "a.png", cut_out())
    save_png(folder / "b.png", cut_out(0, 0, 20, 10))
    Image.fromarray(photo()).save(folder / "c.JPG", quality=95)
    (folder / "notes.txt").write_text("not a photo")
    return folder


def test_folder(photos: Path) -> None:
    done = []
    result = process(photos, size=64, model="grabcut", progress=lambda i, n: done.append((i, n)))
    assert [f.name for f in result.files] == ["a_rgba.png", "b_rgba.png", "c_rgba.png"]
    assert done == [(1, 3), (2, 3), (3, 3)]
    written = set(tree(photos)) - {"a.png", "b.png", "c.JPG", "notes.txt"}
    images = {file for name in "abc" for file in (f"processed/{name}_rgba.png", f"source/{name}.png")}
    assert written == images | {"processed/crops.json", "processed/.agsrec.lock"}
    views = load_views(photos)
    assert views.names == ("a", "b", "c") and views.images.shape == (3, 50, 50, 4)


def test_results_have_the_photos_own_pixels_up_to_a_size(photos: Path) -> None:
    result = process(photos, size=40, model="grabcut")
    assert {name: (crop.side, crop.size) for name, crop in result.crops.items()} == {
        "a": (50, 40),
        "b": (25, 25),
        "c": (50, 40),
    }
    for file in result.files:
        size = result.crops[file.name[0]].size
        assert load_image(file)[0].shape == (size, size, 4)
        assert load_image(photos / "source" / f"{file.name[0]}.png")[0].shape == (size, size, 4)


@pytest.mark.parametrize("size", [2048, 20])
def test_object_is_centered_and_scaled(photos: Path, size: int) -> None:
    result = process(photos, size=size, model="grabcut", border_ratio=0.2)
    for file in result.files:
        rows, columns = np.nonzero(load_image(file)[0][..., 3] >= 128)
        ends = np.array([[columns.min(), columns.max() + 1], [rows.min(), rows.max() + 1]])
        side = result.crops[file.name[0]].size
        assert abs(np.ptp(ends, axis=1).max() - 0.8 * side) <= 1
        assert np.abs(ends.mean(axis=1) - 0.5 * side).max() <= 1


def with_exif(path: Path, focal_35mm: int) -> None:
    """Write the photo as a camera would that knows its lens."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = focal_35mm
    Image.fromarray(photo()).save(path, quality=95, exif=exif)


def test_focal_lengths_of_the_photos_are_kept(photos: Path) -> None:
    with_exif(photos / "d.jpg", 50)
    with_exif(photos / "e.jpg", 0)
    result = process(photos, size=64, model="grabcut")
    # 50 mm on a frame whose diagonal is 43.267 mm; the photo's diagonal is hypot(160, 100) pixels.
    assert result.focals == pytest.approx({"d": 218.05}, abs=0.01)
    file = photos / "processed" / "crops.json"
    assert read_focals(file) == result.focals
    assert set(read_crops(file)) == set("abcde")
    process(photos / "a.png", size=64)
    assert read_focals(file) == result.focals, "what was known of the others stays"
    (photos / "d.jpg").unlink()
    Image.fromarray(photo()).save(photos / "d.JPG")
    process(photos / "d.JPG", size=64, model="grabcut")
    assert read_focals(file) == {}


@pytest.mark.parametrize("value", ["long", -1.0, True, [1.0]])
def test_unusable_focal_lengths_are_named(photos: Path, value: Any) -> None:
    file = photos / "processed" / "crops.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"a": {"focal_length": value}}))
    with pytest.raises(ImageError, match="'a' has an unusable focal length"):
        read_focals(file)


def test_crops_say_where_the_pixels_came_from(photos: Path) -> None:
    result = process(photos, size=64, model="grabcut")
    crops = read_crops(photos / "processed" / "crops.json")
    assert crops == result.crops
    assert crops["a"] == Crop(160, 100, 50, 15, 50, 50)  # box 30 x 40 at (60, 20): side 40 / 0.8
    process(photos / "a.png", size=32)
    stored = json.loads((photos / "processed" / "crops.json").read_text())
    assert stored["a"]["scale"] == 32 / 50 and stored["c"]["scale"] == 1


def test_existing_alpha_is_kept_and_source_keeps_the_background(photos: Path) -> None:
    process(photos, model="grabcut")
    cut, _ = load_image(photos / "processed" / "a_rgba.png")
    expected = cut_out()[15:65, 50:100]
    expected[expected[..., 3] == 0] = 0
    np.testing.assert_array_equal(cut, expected)
    source, _ = load_image(photos / "source" / "a.png")
    np.testing.assert_array_equal(source, cut_out()[15:65, 50:100])
    assert Image.open(photos / "source" / "c.png").mode == "RGB"


def test_single_photo_writes_beside_itself_and_crops_add_up(photos: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        result = process(photos / name, size=32)
        assert list(result.crops) == [name[0]]
    assert set(read_crops(photos / "processed" / "crops.json")) == {"a", "b"}
    assert (photos / "source" / "b.png").is_file()


def test_running_again_changes_nothing(photos: Path) -> None:
    process(photos, size=48, model="grabcut")
    first = tree(photos)
    process(photos, size=48, model="grabcut")
    assert tree(photos) == first


def test_results_do_not_depend_on_the_folders_name(photos: Path, tmp_path: Path) -> None:
    process(photos, size=48, model="grabcut")
    for name in ("processed", "source", "x_rgba.png"):
        other = tmp_path / "elsewhere" / name
        other.mkdir(parents=True)
        for file in ("a.png", "b.png", "c.JPG"):
            shutil.copy(photos / file, other / file)
        process(other, size=48, model="grabcut")
        assert tree(other / "processed") == tree(photos / "processed")


def test_own_results_and_hidden_files_are_no_input(photos: Path) -> None:
    save_png(photos / "old_rgba.png", cut_out())
    save_png(photos / ".hidden.png", cut_out())
    assert len(process(photos, size=48, model="grabcut").files) == 3


def test_source_folder_is_input_and_left_alone(photos: Path, tmp_path: Path) -> None:
    scene = tmp_path / "scene"
    shutil.copytree(photos, scene / "source")
    before = tree(scene / "source")
    assert len(process(scene, size=48, model="grabcut").files) == 3
    assert tree(scene / "source") == before
    assert sorted(p.name for p in scene.iterdir()) == ["processed", "source"]


def test_without_recentering_the_whole_photo_is_fitted(photos: Path) -> None:
    result = process(photos / "a.png", size=80, recenter=False)
    assert result.crops["a"] == Crop(160, 100, 0, -30, 160, 80)
    alpha = load_image(result.files[0])[0][..., 3]
    assert alpha[(20 + 30) // 2 : (60 + 30) // 2, 30:45].min() == 255 and (alpha > 0).sum() == 20 * 15


def test_exif_orientation_is_applied_before_cropping(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(cut_out()).save(tmp_path / "a.png", exif=exif)
    crop = process(tmp_path / "a.png", size=32).crops["a"]
    assert (crop.width, crop.height) == (100, 160)


def test_the_model_is_made_once_and_only_when_needed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(model: str) -> object:
        made.append(model)
        return lambda rgb: (rgb.max(-1) > 0).astype(np.uint8) * 255

    monkeypatch.setattr(cuts, "make_remover", make)
    process(photos / "a.png", size=32)
    assert made == []
    save_png(photos / "d.png", photo())
    process(photos, size=32)
    assert made == ["auto"]


# ---------------------------------------------------------------- what can go wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 15}, "size must be between 16 and 4096"),
        ({"size": 4097}, "size must be"),
        ({"border_ratio": -0.1}, "border_ratio must be"),
        ({"border_ratio": 0.9}, "border_ratio must be"),
        ({"border_ratio": float("nan")}, "border_ratio must be"),
        ({"model": "nope"}, "unknown background model 'nope'"),
        ({"model": ""}, "unknown background model"),
    ],
)
def test_bad_options_write_nothing(photos: Path, options: dict[str, Any], message: str) -> None:
    before = tree(photos)
    with pytest.raises(OptionError, match=message):
        process(photos, **options)
    assert tree(photos) == before


def test_nothing_to_process(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not exist"):
        process(tmp_path / "missing")
    with pytest.raises(OptionError, match="has no photos"):
        process(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ImageError, match=r"a\.txt is not an image"):
        process(tmp_path / "a.txt")


def test_name_clash(photos: Path) -> None:
    save_png(photos / "c.png", cut_out())
    with pytest.raises(ImageError, match=r"would both become c_rgba\.png; rename one"):
        process(photos)


@pytest.mark.parametrize("empty", [cut_out(0, 0, 0, 0), np.full((60, 80, 3), 128, dtype=np.uint8)])
def test_photo_without_an_object_is_skipped(photos: Path, empty: np.ndarray) -> None:
    save_png(photos / "z.png", cut_out())
    process(photos, model="grabcut", size=32)
    save_png(photos / "z.png", empty)
    result = process(photos, model="grabcut", size=32)
    assert result.skipped == {"z": "no object found in it"}
    assert result.remarks()[0] == "Photo z is skipped: no object found in it"
    assert [f.name for f in result.files] == ["a_rgba.png", "b_rgba.png", "c_rgba.png"]
    # Nothing of the earlier run speaks of it any more.
    assert set(read_crops(photos / "processed" / "crops.json")) == {"a", "b", "c"}
    assert not (photos / "processed" / "z_rgba.png").exists() and not (photos / "source" / "z.png").exists()
    assert (photos / "z.png").exists()
    assert load_views(photos).names == ("a", "b", "c")


def test_photo_that_is_all_object_is_skipped(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "make_remover", lambda model: lambda rgb: np.full(rgb.shape[:2], 255, np.uint8))
    result = process(photos, size=32)
    assert result.skipped == {"c": "the whole photo was taken for the object"}


def test_no_photo_with_an_object(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_png(tmp_path / name, cut_out(0, 0, 0, 0))
        with pytest.raises(ImageError, match=rf"{name}: no object found in it; cut it out by hand"):
            process(tmp_path / name, size=32)
    before = tree(tmp_path)
    with pytest.raises(ImageError, match=r"no photo can be used \(.*a\.png: no object.*b\.png: no object"):
        process(tmp_path, size=32)
    assert tree(tmp_path) == before


def test_embedded_model_cuts_a_folder_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agsrec.preprocess.remover._model_file_present", lambda model: False)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:180, :240]
    body = (np.hypot(x - 120, y - 95) < 50) | (np.hypot(x - 150, y - 45) < 25)
    for name in "abc":
        rgb = np.kron(rng.integers(70, 190, (12, 16, 3)), np.ones((15, 15, 1)))
        rgb[body] = (225, 60, 40)
        Image.fromarray(rgb.astype(np.uint8)).save(tmp_path / f"{name}.jpg", quality=95)
    done: list[tuple[int, int]] = []
    result = process(tmp_path, size=120, recenter=False, progress=lambda i, n: done.append((i, n)))
    assert done == [(1, 3), (2, 3), (3, 3)] and not result.skipped and not result.doubtful
    truth = np.pad(body, ((30, 30), (0, 0)))[::2, ::2]
    for file in result.files:
        cut = load_image(file)[0][..., 3] > 127
        assert (cut & truth).sum() / (cut | truth).sum() > 0.92


def test_of_many_photos_few_are_in_memory(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(photos / "processed", ignore_errors=True)
    for k in range(2):
        save_png(photos / f"many{k}.png", np.roll(photo(), 2 * k, 1))
    usual = tmp_path / "usual"
    shutil.copytree(photos, usual)
    process(usual, model="u2netp")
    read: list[str] = []

    def noted(file: Path, *rest: Any) -> Any:
        read.append(file.name)
        return read_photo(file, *rest)

    monkeypatch.setattr("agsrec.preprocess.cuts.read_photo", noted)
    monkeypatch.setattr("agsrec.preprocess.cuts._KEPT", 1)
    process(photos, model="u2netp")
    assert tree(photos / "processed") == tree(usual / "processed")
    assert read.count("many1.png") == 3  # as it comes, and for both looks


def test_broken_photo_writes_nothing(photos: Path) -> None:
    (photos / "z.jpg").write_bytes(b"\xff\xd8\xff\xe0broken")
    with pytest.raises(ImageError, match=r"z\.jpg"):
        process(photos, model="grabcut", size=32)
    assert not (photos / "processed").exists()


def test_an_interrupted_run_says_so(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written one by one, so that memory does not grow with their number."""
    process(photos, model="grabcut")
    assert not is_unfinished(photos)
    pictures = pipeline._pictures

    def stopped(photo: Photo, *options: Any) -> Any:
        if photo.rgba[0, 0, 3] == 255:
            raise KeyboardInterrupt  # at b.png, whose object is in the corner
        return pictures(photo, *options)

    monkeypatch.setattr(pipeline, "_pictures", stopped)
    with pytest.raises(KeyboardInterrupt):
        process(photos, size=20, model="grabcut")
    assert is_unfinished(photos)
    assert len(load_image(photos / "processed" / "a_rgba.png")[0]) == 20
    monkeypatch.undo()
    process(photos, size=20, model="grabcut")
    assert not is_unfinished(photos)


MEASURED = """
import sys
from agsrec.preprocess import process
crop = process(sys.argv[1]).crops["v"]
# Not ru_maxrss: a process begins with that of the one that started it.
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(crop.side, crop.size, peak)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc/self/status")
def test_a_photo_of_48_megapixels_takes_less_than_a_gibibyte(tmp_path: Path) -> None:
    rgba = np.zeros((6000, 8000, 4), np.uint8)
    rgba[:] = (200, 90, 30, 0)
    rgba[200:5600, 300:7000, 3] = 255  # the square around it is larger than the photo
    (tmp_path / "v.png").write_bytes(encode_png(rgba, effort=1))
    del rgba
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    side, size, peak_kib = map(int, printed.split())
    assert (side, size) == (8375, 2048)
    assert peak_kib < 2**20


def test_unwritable_output(photos: Path) -> None:
    (photos / "processed").write_text("a file in the way")
    with pytest.raises(OutputError, match="cannot write"):
        process(photos, model="grabcut", size=32)


def test_damaged_crops_are_written_anew(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / "processed").mkdir()
    (photos / "processed" / "crops.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        process(photos / "a.png", size=32)
    assert "written anew" in caplog.text
    assert set(read_crops(photos / "processed" / "crops.json")) == {"a"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "width", "height", "x0", "y0", "side", "size"]), inner, max_size=7
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(content=json_values)
def test_fuzz_crops(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz_crops.json"
    good = {"width": 5, "height": 5, "x0": 0, "y0": 0, "side": 5, "size": 16}
    for value in (content, {"a": content}, {"a": good | content if isinstance(content, dict) else content}):
        path.write_text(json.dumps(value))
        try:
            assert all(crop.scale > 0 for crop in read_crops(path).values())
        except ImageError as error:
            assert str(path) in str(error)
