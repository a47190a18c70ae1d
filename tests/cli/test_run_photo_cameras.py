"""`agsrec run`, `poses` and `process` on folders of nerfstudio and COLMAP whose lenses distort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from agsrec.camera_files import read_cameras_json
from agsrec.cli import main
from agsrec.config import PRESETS
from agsrec.preprocess import read_lenses
from tests.cli.helpers import refused
from tests.distorted_scene import VIEWS, true_cameras
from tests.pose_init.fakes import install
from tests.test_photos import scene_folder
from tests.tiny import tiny_config


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "fast", tiny_config(6, size=24))
    monkeypatch.setattr("agsrec.export.results.save_turntable", lambda path, *_: path.write_bytes(b"video"))
    install(monkeypatch, lambda _: pytest.fail("there are cameras"))


def run(folder: Path, *options: str) -> Path:
    usual = ["--prior", "none", "--mesh_format", "none", "--background-model", "grabcut"]
    main(["run", str(folder), "--output", str(folder.parent / "out"), *usual, *options])
    return folder.parent / "out" / folder.name


def require_true_poses(file: Path, model: str) -> None:
    listed = read_cameras_json(file, 512, 512)
    assert listed.names == VIEWS
    turns = [c.rotations.double() @ c.rotations[0].double().mT for c in (listed.cameras, true_cameras(model))]
    torch.testing.assert_close(*turns, atol=1e-6, rtol=0)


def test_a_folder_as_the_program_left_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my capture"
    scene_folder(folder, "nerfstudio", "OPENCV", background=True)
    out = run(folder)
    require_true_poses(out / "cameras_initial.json", "OPENCV")
    assert json.loads((out / "metrics.json").read_text())["views"] == list(VIEWS)
    assert json.loads((out / "config.json").read_text())["init"] == "file"
    printed = " ".join(capsys.readouterr().out.split())
    assert "Cut 5 photos out, undistorted" in printed and "transforms.json) placed 5 of 5" in printed


def test_cut_out_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "capture"
    scene_folder(folder, "colmap", "SIMPLE_RADIAL")
    main(["process", str(folder), "--size", "48"])
    out = run(folder, "--num-views", "3")
    listed = read_cameras_json(out / "cameras_initial.json", 48, 48)
    printed = " ".join(capsys.readouterr().out.split())
    assert listed.names == VIEWS[:3] and "sparse/0) placed 3 of 3" in printed


def test_a_camera_file_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = scene_folder(tmp_path / "capture", "nerfstudio", "OPENCV")
    for name in ("a", "b", "c"):
        shutil.copytree(tmp_path / "capture" / "images", tmp_path / name)
    main(["poses", str(tmp_path / "a"), "--file", str(file)])
    require_true_poses(tmp_path / "a" / "cameras.json", "OPENCV")
    main(["process", str(tmp_path / "c"), "--cameras", str(file), "--size", "48"])
    out = run(tmp_path / "c", "--init", "file", "--init-file", str(file))
    require_true_poses(out / "cameras_initial.json", "OPENCV")
    # Cut out without the file first: said, with a remedy that is one.
    main(["process", str(tmp_path / "b"), "--size", "48"])
    options = ["--file", str(file)]
    message = refused(capsys, "poses", str(tmp_path / "b"), "--method", "file", *options)
    assert f"agsrec process {tmp_path / 'b'} --cameras {file}" in message
    main(["process", str(tmp_path / "b"), "--cameras", str(file), "--size", "48"])
    main(["poses", str(tmp_path / "b"), "--method", "file", *options])
    require_true_poses(tmp_path / "b" / "cameras.json", "OPENCV")


def test_poses_takes_the_file_too(tmp_path: Path) -> None:
    scene_folder(tmp_path, "colmap", "SIMPLE_RADIAL")
    main(["poses", str(tmp_path)])
    require_true_poses(tmp_path / "cameras.json", "SIMPLE_RADIAL")
    assert len(read_lenses(tmp_path / "processed" / "crops.json")) == len(VIEWS)


BAD: dict[str, tuple[list[str], str]] = {
    "no such file": (["--init-file", "gone.json"], "gone.json does not exist"),
    "no file": (["--init", "file"], "needs the camera file"),
    "damaged": (["--init-file", "broken.bin"], "is damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    scene_folder(tmp_path / "capture", "nerfstudio", "OPENCV")
    (tmp_path / "capture" / "transforms.json").rename(tmp_path / "aside.json")
    for name in ("broken.bin", "cameras.bin", "images.bin"):
        (tmp_path / name).write_bytes(b"\xff" * 9)
    monkeypatch.chdir(tmp_path)
    arguments, words = BAD[case]
    message = refused(capsys, "run", "capture", "--output", "out", "--prior", "none", *arguments)
    assert words in message
    made = tmp_path / "capture" / "processed"
    # Cut-outs that were made are kept, and what they were made from.
    assert made.exists() == (tmp_path / "out").exists() == (case == "no file")
