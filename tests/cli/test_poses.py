"""`agsrec poses`, with an initialiser that knows the answer."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agsrec.camera_files import read_cameras_json, write_cameras_json
from agsrec.cameras import Cameras
from agsrec.cli import main
from agsrec.errors import CheckpointError
from agsrec.images import save_png
from agsrec.matching import Correspondences, Oddity, PairMatches
from agsrec.pose_init import Alternative
from agsrec.pose_init.initialize import Task
from tests.cli.helpers import refused
from tests.pose_init.fakes import install, knowing
from tests.tiny import NAMES, rough, tiny_scene, write_scene

TRUE = tiny_scene(8)[1][[0, 1, 2, 4, 5, 6]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "blob"
    write_scene(folder)
    (folder / "cameras.json").unlink()
    return folder


@pytest.fixture
def blob(original: Path, tmp_path: Path) -> Path:
    """Cut-out photos without cameras."""
    shutil.copytree(original, tmp_path / "blob")
    return tmp_path / "blob"


@pytest.fixture
def photos(original: Path, tmp_path: Path) -> Path:
    """The same as photos before black, under names of their own."""
    folder = tmp_path / "my photos"
    for name in NAMES:
        with Image.open(original / "processed" / f"{name}_rgba.png") as image:
            rgba = np.asarray(image)
        save_png(folder / f"{name}.png", np.where(rgba[..., 3:] > 0, rgba[..., :3], 0).astype(np.uint8))
    return folder


def test_writes_cameras_and_a_picture(
    blob: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Task] = []
    install(monkeypatch, knowing(TRUE, NAMES, lost=["003"], seen=seen))
    main(["poses", str(blob), "--seed", "5"])
    listed = read_cameras_json(blob / "cameras.json", 48, 48)
    assert listed.names == ("000", "001", "002", "004", "005")
    torch.testing.assert_close(listed.cameras.viewmats, TRUE[[0, 1, 2, 4, 5]].viewmats, atol=1e-5, rtol=0)
    assert json.loads((blob / "cameras.json").read_text())["004"]["confidence"] == pytest.approx(0.8)
    with Image.open(blob / "poses.png") as picture:
        assert picture.width == 1520
    printed = capsys.readouterr().out
    assert "auto placed 5 of 6 views" in printed and "Left out" in printed and ": 003\n" in printed
    assert str(blob / "cameras.json") in printed and "poses.png" in printed
    assert seen[0].seed == 5 and seen[0].folder == blob


def test_photos_from_one_side_alone(
    blob: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    near = Cameras.orbit(-10.0, torch.arange(6) * 6.0, 1.8, Ks=TRUE.Ks, width=48, height=48)
    install(monkeypatch, knowing(near, NAMES))
    main(["poses", str(blob)])
    assert "within 30 degrees: its back is made up" in " ".join(capsys.readouterr().out.split())
    install(monkeypatch, knowing(TRUE, NAMES))
    main(["poses", str(blob), "--overwrite"])
    assert "made up" not in capsys.readouterr().out


@pytest.mark.parametrize("inside", [False, True])
def test_options(blob: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool) -> None:
    seen: list[Task] = []
    install(monkeypatch, knowing(TRUE, NAMES, seen=seen), "dust3r")
    output = tmp_path / "new" / "mine.json"
    options = ["--method", "dust3r", "--model", "some/folder", "--focal", "80", "--output", str(output)]
    main(["poses", str(blob / "processed" if inside else blob), *options, "--views", "004", "000"])
    listed = read_cameras_json(output, 48, 48)
    assert listed.names == ("004", "000") and listed.cameras.focal_lengths.unique().tolist() == [80.0]
    assert seen[0].model == "some/folder" and (tmp_path / "new" / "poses.png").is_file()
    assert not (blob / "cameras.json").exists()


def test_cuts_photos_out_first(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Task] = []
    install(monkeypatch, knowing(TRUE, NAMES, seen=seen))
    main(["poses", str(photos), "--background-model", "grabcut", "--num-views", "3"])
    assert seen[0].views.names == NAMES[:3]
    assert read_cameras_json(photos / "cameras.json", 48, 48).names == NAMES[:3]
    assert "Cut 6 photos out" in capsys.readouterr().out
    before = (photos / "processed" / "000_rgba.png").stat().st_mtime_ns
    main(["poses", str(photos), "--overwrite"])
    assert (photos / "processed" / "000_rgba.png").stat().st_mtime_ns == before
    assert read_cameras_json(photos / "cameras.json", 48, 48).names == NAMES[:3], "cameras.json names them"


def test_overwrites_only_when_asked(
    blob: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, knowing(TRUE, NAMES))
    write_cameras_json(blob / "cameras.json", rough(TRUE, 20), NAMES)
    before = (blob / "cameras.json").read_bytes()
    message = refused(capsys, "poses", str(blob))
    assert "cameras.json exists already" in message and "--overwrite" in message
    assert (blob / "cameras.json").read_bytes() == before and not (blob / "poses.png").exists()
    main(["poses", str(blob), "--overwrite"])
    assert (blob / "cameras.json").read_bytes() != before


def test_converts_a_file(blob: Path, tmp_path: Path) -> None:
    write_cameras_json(tmp_path / "given.json", TRUE, NAMES)
    main(["poses", str(blob), "--method", "file", "--file", str(tmp_path / "given.json")])
    listed = read_cameras_json(blob / "cameras.json", 48, 48)
    torch.testing.assert_close(listed.cameras.viewmats, TRUE.viewmats, atol=1e-5, rtol=0)


BAD: dict[str, tuple[list[str], list[str]]] = {
    "unknown method": (["--method", "magic"], ["--method", "'magic'"]),
    "one view": (["--num-views", "1"], ["one view (000) cannot be posed"]),
    "too many views": (["--num-views", "9"], ["9 views asked for", "1 to 6"]),
    "no such view": (["--views", "000", "x"], ["'x'"]),
    "missing extra": (["--method", "colmap"], ["pycolmap is not installed", "agsrec[colmap]"]),
    "leap alone": (["--method", "leap"], ["leap", "name a checkpoint"]),
    "noposplat without a lens": (["--method", "noposplat"], ["noposplat", "focal length", "--focal"]),
    "file alone": (["--method", "file"], ["needs the camera file"]),
    "no such file": (["--method", "file", "--file", "gone.json"], ["gone.json does not exist"]),
    "model of none": (["--method", "colmap", "--model", "x"], ["has no model"]),
    "output": (["--output", "cameras.txt"], ["--output", ".json"]),
    "focal": (["--focal", "-3"], ["focal length of -3"]),
    "no CUDA": (["--device", "cuda"], ["--device cuda"]),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(
    blob: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    install(monkeypatch, lambda _: pytest.fail("work was done"))
    arguments, words = BAD[case]
    before = sorted(blob.rglob("*"))
    message = refused(capsys, "poses", str(blob), *arguments)
    assert all(word in message for word in words), message
    assert sorted(blob.rglob("*")) == before


def test_what_an_initialiser_raises_is_one_line(
    blob: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(task: Task) -> None:
        raise CheckpointError(f"{task.model}: no such model folder")

    monkeypatch.setitem(sys.modules, "pycolmap", None)
    install(monkeypatch, missing)  # type: ignore[arg-type]
    assert "nview-mini: no such model folder" in refused(capsys, "poses", str(blob))
    install(monkeypatch, knowing(TRUE, NAMES, lost=NAMES[1:]))
    assert "could place only 1 of 6 views" in refused(capsys, "poses", str(blob))
    assert "not a folder" in refused(capsys, "poses", str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "no *_rgba.png" in refused(capsys, "poses", str(tmp_path / "empty"))
    assert not (blob / "cameras.json").exists()


def test_poses_that_rest_on_shape_alone_are_named(
    blob: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = knowing(TRUE, NAMES)
    pairs = [PairMatches(i, i + 1, np.full((9, 2, 2), 20, np.float32), *_nine()) for i in range(4)]
    matches = Correspondences.of(pairs, 48, 48)
    install(monkeypatch, lambda task: replace(known(task), matches=matches))
    main(["poses", str(blob)])
    assert "Only the shape says where 005 was taken from" in capsys.readouterr().out
    listed = json.loads((blob / "cameras.json").read_text())
    assert [listed[n]["rests_on"] for n in ("000", "004", "005")] == ["matches", "matches", "shape"]


def test_views_that_would_fit_elsewhere_are_named(
    blob: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = knowing(TRUE, NAMES)
    viewmats = TRUE.viewmats.clone()
    viewmats[4:, :, [0, 2]] *= -1
    other = Alternative(replace(TRUE, viewmats=viewmats), -1.0, equal=True)
    install(monkeypatch, lambda task: replace(known(task), alternatives=(other,)))
    main(["poses", str(blob)])
    said = capsys.readouterr().out
    assert "The object looks alike from several sides: 004, 005 would fit as well from elsewhere" in said
    listed = json.loads((blob / "cameras.json").read_text())
    assert [n for n in NAMES if listed[n].get("ambiguous")] == ["004", "005"]


def test_odd_photos_are_named_with_what_to_do(
    blob: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = knowing(TRUE, NAMES, lost=NAMES[4:])
    odd = (
        Oddity(1, "turned", 90),
        Oddity(2, "copy", of=0),
        Oddity(4, "mirrored"),
        Oddity(5, "foreign"),
    )
    install(monkeypatch, lambda task: replace(known(task), oddities=odd))
    main(["poses", str(blob)])
    said = " ".join(capsys.readouterr().out.split())
    assert "001 (a quarter turn to the left)" in said and "002 (of 000)" in said
    assert "004 is mirrored" in said and "005 shows nothing that the other photos show" in said
    assert "their poses could not be found" not in said
    listed = json.loads((blob / "cameras.json").read_text())
    assert listed["001"]["turned_deg"] == 90 and listed["002"]["copy_of"] == "000"
    assert "004" not in listed and "005" not in listed


def test_two_photos_that_share_nothing(
    blob: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, knowing(TRUE, NAMES))
    main(["poses", str(blob), "--num-views", "2"])
    assert "000 and 001 share no print or texture" in " ".join(capsys.readouterr().out.split())


def _nine() -> tuple[np.ndarray, np.ndarray]:
    """Numbers and scores of nine matches."""
    return np.arange(18).reshape(9, 2), np.ones(9, np.float32)
