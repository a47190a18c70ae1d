"""`agsrec run` on one photo: a file, a folder with one, or one view of several."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agsrec.camera_files import read_cameras_json
from agsrec.cli import main
from agsrec.config import PRESETS
from agsrec.ply import read_ply
from tests.cli.helpers import refused
from tests.tiny import tiny_config, write_scene


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original")
    write_scene(root / "blob")
    return root


@pytest.fixture
def data(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the scene `blob`, and a preset `fast` that takes a second."""
    monkeypatch.setitem(PRESETS, "fast", tiny_config(6, size=24, log_interval=2))
    shutil.copytree(original, tmp_path / "data")
    return tmp_path / "data"


def run(output: Path, model: Path, *options: str) -> None:
    main(["run", "--output", str(output), "--prior", str(model), "--mesh_format", "none", *options])


def camera(folder: Path, name: str) -> tuple[float, float, float]:
    """Elevation above the object, azimuth and focal length for a side of 2, of the only camera."""
    listed = read_cameras_json(folder / "cameras.json", 2, 2)
    assert listed.names == (name,)
    elevation, azimuth, radius = listed.cameras.spherical()
    assert float(radius) == pytest.approx(1.85, abs=1e-4)
    return -float(elevation), float(azimuth), float(listed.cameras.focal_lengths[0, 0])


def test_a_file(data: Path, tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = data / "blob" / "processed" / "001_rgba.png"
    run(tmp_path / "out", model_folder, "--category", str(photo), "--fov", "90", "--elevation", "30")
    out = tmp_path / "out" / "001"
    assert camera(out, "001") == pytest.approx((30.0, 0.0, 1.0), abs=1e-3)
    config = json.loads((out / "config.json").read_text())
    assert config["fit"]["guidance"]["interval"] == 1 and config["fit"]["poses"]["optimize"] is False
    assert config["fit"]["rounds"][0]["guided"] is True and config["prior"] is not None
    metrics = json.loads((out / "metrics.json").read_text())
    assert [record["iteration"] for record in metrics["history"]] == [2, 4, 6]
    assert len(read_ply(out / "splat.ply")) == metrics["gaussians"] > 300
    printed = capsys.readouterr().out
    assert "PSNR at the photos" in printed and "rotation error" not in printed and str(out) in printed


def test_a_folder_with_one_photo(data: Path, tmp_path: Path, model_folder: Path) -> None:
    (data / "mug").mkdir()
    shutil.copy(data / "blob" / "processed" / "002_rgba.png", data / "mug" / "front.png")
    run(tmp_path / "out", model_folder, "--data", str(data), "--category", "mug")
    assert camera(tmp_path / "out" / "mug", "front")[0] == pytest.approx(10.0, abs=1e-3)
    assert "1 photo of mug" in (tmp_path / "out" / "mug" / "report.html").read_text()


def test_one_view_of_a_scene_keeps_its_camera(data: Path, tmp_path: Path, model_folder: Path) -> None:
    options = ["--data", str(data), "--category", "blob", "--num_views", "1"]
    run(tmp_path / "out", model_folder, *options)
    out = tmp_path / "out" / "blob"
    before = json.loads((data / "blob" / "cameras.json").read_text())["000"]
    after = json.loads((out / "cameras.json").read_text())
    assert list(after) == ["000"]
    for key in ("R", "T", "focal_length"):
        assert np.allclose(after["000"][key], before[key], atol=1e-4), key
    metrics = json.loads((out / "metrics.json").read_text())
    assert "novel" in metrics and "poses_after" not in metrics


def test_without_a_prior(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(data / "blob" / "processed" / "001_rgba.png")
    usual = ["--output", str(tmp_path / "out"), "--prior", "None"]
    message = refused(capsys, "run", "--category", photo, *usual)
    assert "without a prior needs at least 2 views, not 1" in message and "--prior" in message
    assert not (tmp_path / "out").exists()


CASES: dict[str, tuple[list[str], list[str]]] = {
    "no such file": (["--category", "gone.png"], ["gone.png", "no such file"]),
    "several views of a file": (["--num-views", "2"], ["2 views asked for", "is one photo"]),
    "field of view": (["--fov", "0"], ["--fov", "between 1 and 150"]),
    "elevation": (["--elevation", "-90"], ["--elevation", "between -90 and 90"]),
    "result beside the photo": (["--output", "blob"], ["--output", "overwrite"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refusals(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    photo = data / "blob" / "comparison" / "comparison.png"
    photo.parent.mkdir()
    shutil.copy(data / "blob" / "processed" / "000_rgba.png", photo)
    monkeypatch.chdir(data)
    before = photo.read_bytes()
    arguments, words = CASES[case]
    usual: dict[str, Any] = {"--category": str(photo), "--output": "out", "--prior": "nowhere"}
    given = [a for k, v in usual.items() if k not in arguments for a in (k, v)]
    message = refused(capsys, "run", *given, *arguments)
    assert all(word in message for word in words), message
    assert photo.read_bytes() == before and not (data / "out").exists()
