"""Photos with names of all kinds go through, or are refused with a remedy. Rows of docs/compatibility.md."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pytest
import torch

from agsrec.camera_files import read_cameras_json, read_transforms_json, write_cameras_json
from agsrec.camera_files.parsing import find_photo
from agsrec.cameras import Cameras
from agsrec.cli import main
from agsrec.dataset import load_scene
from agsrec.errors import ImageError, OutputError
from agsrec.files import atomic_write
from agsrec.images import encode_png, save_png
from agsrec.preprocess import process
from tests.compatibility.test_photo_files import cut_out

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café Ö") for form in ("NFC", "NFD"))

NAMES = (
    *("a b", "q'uo\"te", "h#sh", "per%20cent", "<b>&amp;", "${HOME}", "-dash", "dots..", "mug 😀", "a:b"),
    "family 👨‍👩‍👧",  # held together by characters that do not print
    "Screenshot at 9.41.00\u202fAM",  # as macOS writes the time
    COMPOSED,
    DECOMPOSED,
)


def test_names_go_from_photos_to_a_scene(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for k, name in enumerate(NAMES):
        (folder / f"{k}").mkdir(parents=True)
        ending = "PNG" if k % 2 else "png"
        (folder / f"{k}" / f"{name}.{ending}").write_bytes(encode_png(cut_out()))
        done = process(folder / f"{k}", size=32)
        wanted = unicodedata.normalize("NFC", name)
        assert list(done.crops) == [wanted] and done.files[0].name == f"{wanted}_rgba.png"
        Ks = Cameras.intrinsics(torch.tensor([40.0]), 32, 32)
        camera = Cameras.orbit(0.0, 0.0, 2.0, Ks=Ks, width=32, height=32)
        write_cameras_json(folder / f"{k}" / "cameras.json", camera, [wanted])
        assert load_scene(folder, f"{k}").views.names == (wanted,)


@pytest.mark.skipif(os.name != "posix", reason="other systems do not have such names")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (b"two\nlines.png", "cannot be printed; rename"),
        (b"bell\x07.png", "cannot be printed; rename"),
        (b"latin\xe9.png", "cannot be printed; rename"),  # not UTF-8
        (b"x" * 251 + b".png", "too long to be a part of others; rename"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: bytes, message: str) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(encode_png(cut_out()))
    with pytest.raises(ImageError, match=message):
        process(tmp_path)
    assert not (tmp_path / "processed").exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.png", "a.webp"), ("a.png", "a.PNG"), (f"{COMPOSED}.png", f"{DECOMPOSED}.png")],
)
def test_two_photos_of_one_name(tmp_path: Path, first: str, second: str) -> None:
    for file in (first, second):
        (tmp_path / file).write_bytes(encode_png(cut_out()))
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("one file on this system")
    with pytest.raises(ImageError, match=r"would both become .*_rgba\.png; rename one of them"):
        process(tmp_path)


def test_names_that_differ_by_case(tmp_path: Path) -> None:
    for file in ("a.png", "A.png"):
        (tmp_path / file).write_bytes(encode_png(cut_out()))
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("one file on this system")
    assert set(process(tmp_path, size=32).crops) == {"a", "A"}


def test_a_photo_that_looks_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_png("-a.png", cut_out())
    with pytest.raises(SystemExit) as stop:
        main(["process", "-a.png"])
    assert stop.value.code == 2
    main(["process", "./-a.png", "--size", "32"])
    assert Path("processed/-a_rgba.png").is_file()


def test_a_result_whose_name_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="shorter name"):
        atomic_write(tmp_path / ("x" * 300), b"")


@pytest.mark.parametrize("listed", [COMPOSED, DECOMPOSED, COMPOSED.upper()])
@pytest.mark.parametrize("stored", [COMPOSED, DECOMPOSED])
def test_lists_from_another_system(tmp_path: Path, listed: str, stored: str) -> None:
    save_png(tmp_path / "images" / f"{stored}.png", cut_out())
    found = find_photo(tmp_path, f"images\\{listed}.PNG")
    assert found is not None and found.samefile(tmp_path / "images" / f"{stored}.png")
    assert find_photo(tmp_path, "images/other.png") is None
    pose = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]
    frame = {"file_path": f"images/{listed}.png", "transform_matrix": pose}
    text = json.dumps({"camera_angle_x": 1.0, "frames": [frame]}, ensure_ascii=False)
    (tmp_path / "transforms.json").write_text(text, encoding="utf-8")
    assert read_transforms_json(tmp_path / "transforms.json").cameras.width == 80


def test_a_decomposed_name_in_cameras_json(tmp_path: Path, cameras: Cameras) -> None:
    write_cameras_json(tmp_path / "cameras.json", cameras[[0]], [DECOMPOSED])
    assert read_cameras_json(tmp_path / "cameras.json", 200, 100).names == (COMPOSED,)
