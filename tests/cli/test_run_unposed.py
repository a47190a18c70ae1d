"""`agsrec run` on photos without cameras, with an initialiser that knows the answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agsrec.camera_files import read_cameras_json, write_cameras_json
from agsrec.cli import main
from agsrec.config import PRESETS
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init.initialize import Task
from tests.cli.helpers import refused
from tests.cli.test_poses import TRUE, original, photos
from tests.pose_init.fakes import install, knowing
from tests.tiny import NAMES, rough, tiny_config

__all__ = ["original", "photos"]
ALONE = ("--prior", "none")
SPLAT = (*ALONE, "--mesh_format", "none")


@pytest.fixture
def data(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the scene `blob`, which has no cameras.json, and a preset `fast` of seconds."""
    monkeypatch.setitem(PRESETS, "fast", tiny_config(6, size=24))
    # The video takes longer than all the rest.
    monkeypatch.setattr("agsrec.export.results.save_turntable", lambda path, *_: path.write_bytes(b"video"))
    shutil.copytree(original, tmp_path / "data" / "blob")
    return tmp_path / "data"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def run(data: Path, *options: str) -> Path:
    """Result folder of a run on `blob`."""
    usual = ["--category", "blob", "--data", str(data), "--output", str(data / "../out"), *SPLAT]
    main(["run", *usual, *options])
    return data / "../out" / "blob"


def test_without_cameras(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = rough(TRUE, 8)
    install(monkeypatch, knowing(start, NAMES, lost=["001"]))
    before = tree(data)
    out = run(data)
    assert tree(data) == before, "nothing is written into the data folder"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["views"] == ["000", "002", "003", "004", "005"]
    assert metrics["timings"]["poses"] > 0 and "novel" in metrics and "poses_before" in metrics
    initial = read_cameras_json(out / "cameras_initial.json", 48, 48)
    kept = [0, 2, 3, 4, 5]
    assert initial.names == tuple(metrics["views"])
    assert pairwise_rotation_errors(initial.cameras, start[kept]).max() < 1e-2
    config = json.loads((out / "config.json").read_text())
    assert config["init"] == "auto" and config["init_model"] is None
    printed = capsys.readouterr().out
    assert "auto placed 5 of 6 views" in printed and "Left out" in printed and "001" in printed


def test_a_blank_photo_is_left_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from agsrec.images import save_png

    save_png(data / "blob" / "processed" / "002_rgba.png", np.zeros((48, 48, 4), np.uint8))
    install(monkeypatch, knowing(TRUE, NAMES))
    assert "002" not in json.loads((run(data) / "metrics.json").read_text())["views"]


def test_cameras_are_used_unless_others_are_wanted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cameras_json(data / "blob" / "cameras.json", rough(TRUE, 12), NAMES, flags=[1, 1, 0, 1, 1, 1])
    seen: list[Task] = []
    install(monkeypatch, knowing(TRUE, NAMES, seen=seen), "dust3r")
    install(monkeypatch, lambda _: pytest.fail("there are cameras"))
    out = run(data)
    assert not (out / "cameras_initial.json").exists()
    assert "init" not in json.loads((out / "config.json").read_text())
    out = run(data, "--init", "dust3r", "--init-model", "some/folder", "--num-views", "4")
    assert read_cameras_json(out / "cameras_initial.json", 48, 48).names == ("000", "001", "003", "004")
    assert seen[0].model == "some/folder"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["poses_before"]["pairs"]["median_deg"] < 0.1


@pytest.mark.usefixtures("data")
def test_a_folder_of_photos(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, knowing(TRUE, NAMES))
    usual = ["--output", str(tmp_path / "out"), "--background-model", "grabcut", "--num_views", "3", *SPLAT]
    main(["run", str(photos) + "/", *usual])
    out = tmp_path / "out" / "my photos"
    assert json.loads((out / "metrics.json").read_text())["views"] == list(NAMES[:3])
    assert not (photos / "cameras.json").exists() and (photos / "processed" / "crops.json").exists()
    assert "Cut 6 photos out" in capsys.readouterr().out


def test_a_relative_folder_and_a_cut_out_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Path] = []

    def save(_: Any, folder: Path, *__: Any, **___: Any) -> dict[str, Any]:
        saved.append(folder)
        return {"input": {"psnr": 0.0}, "seconds": 0.0}

    monkeypatch.setattr("agsrec.export.results.save_results", save)
    install(monkeypatch, knowing(TRUE, NAMES))
    monkeypatch.chdir(data / "blob")
    main(["run", ".", "--output", "../../a", *SPLAT])
    main(["run", "processed", "--output", "../../b", *SPLAT])
    monkeypatch.chdir(data)
    main(["run", "--data", ".", "--category", "blob", "--output", "../c", *SPLAT])
    assert saved == [Path("../../a/blob"), Path("../../b/blob"), Path("../c/blob")]


def test_continues_after_an_interruption(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same photos give the same start, so that the checkpoint fits."""
    install(monkeypatch, knowing(rough(TRUE, 8), NAMES))
    out = run(data)
    first = json.loads((out / "metrics.json").read_text())
    monkeypatch.setattr("agsrec.fit.joint._step", lambda *_: pytest.fail("it started over"))
    run(data)
    assert json.loads((out / "metrics.json").read_text())["history"] == first["history"]


CASES: dict[str, tuple[list[str], list[str]]] = {
    "nothing": ([], ["nothing to reconstruct", "--category"]),
    "both": (["blob", "--category", "blob"], ["not both"]),
    "no such folder": (["nowhere"], ["nowhere is not a folder"]),
    "no photos": (["empty"], ["unknown category 'empty'"]),
    "one photo to pose": (["blob", "--views", "000", "--init", "nview"], ["one photo", "--init"]),
    "initialiser for a photo": (["blob/processed/000_rgba.png", "--init", "nview"], ["--init", "one photo"]),
    "colmap has no model": (["blob", "--init", "colmap", "--init-model", "x"], ["has no model"]),
    "file without a file": (["blob", "--init", "file"], ["needs the camera file"]),
    "focal": (["blob", "--init-focal", "1"], ["1 pixels makes no sense"]),
    "field of view": (["blob", "--fov", "30"], ["--fov", "without cameras.json"]),
    "output": (["blob", "--output", "."], ["--output", "overwrite"]),
    "too few": (["blob"], ["could place only 1 of 6 views", "another initialiser"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    install(monkeypatch, knowing(TRUE, NAMES, lost=NAMES[1:]))
    monkeypatch.chdir(data)
    (data / "empty").mkdir()
    before = tree(data)
    arguments, words = CASES[case]
    usual = [] if "--output" in arguments else ["--output", "../out"]
    message = refused(capsys, "run", *arguments, *usual, *SPLAT)
    assert all(word in message for word in words), message
    assert tree(data) == before and not (data / "../out").exists()
