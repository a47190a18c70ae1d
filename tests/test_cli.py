"""The command line: called in-process, and once each through `run.py` and `process.py`."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from agsrec.camera_files import read_cameras_json
from agsrec.cli import main
from agsrec.config import PRESETS
from agsrec.images import save_png
from agsrec.ply import read_ply
from tests.cli.helpers import refused
from tests.tiny import NAMES, quick_options, tiny_config, write_scene

ROOT = Path(__file__).parents[1]
ALONE = ("--prior", "none")
SPLAT = (*ALONE, "--mesh_format", "none")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("original")
    write_scene(root / "blob")
    write_scene(root / "other")
    return root


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """A data folder with the scenes `blob` and `other`, to be damaged at will."""
    shutil.copytree(original, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset `fast` takes seconds."""
    monkeypatch.setitem(PRESETS, "fast", tiny_config(6, size=24))


def tree(folder: Path) -> dict[str, bytes]:
    files = (f for f in folder.rglob("*") if f.is_file() and f.name != ".agsrec.lock")
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


# -------------------------------------------------------------------- the main job


def test_run_end_to_end(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "fast", tiny_config(75, 75))
    usual = ["--category", "blob", "--data", str(data), "--output", str(tmp_path)]
    main(["run", *usual, "--num_views", "6", *SPLAT])
    out = tmp_path / "blob"
    metrics = json.loads((out / "metrics.json").read_text())
    before, after = metrics["poses_before"], metrics["poses_after"]
    assert after["pairs"]["median_deg"] < 0.75 * before["pairs"]["median_deg"]
    assert metrics["input"]["psnr"] > 25 and metrics["novel"]["psnr"] > 17
    assert len(read_ply(out / "splat.ply")) == metrics["gaussians"]
    assert read_cameras_json(out / "cameras.json", 48, 48).names == NAMES
    printed = capsys.readouterr().out
    for words in ("rotation error", "PSNR at new views", str(out), "report.html"):
        assert words in printed, words


def test_run_script(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "run.py"), "--category", "blob", "--data", str(data)]
    command += ["--output", "out", "--views", "004", "000", "002", "--num-pts", "200"]
    command += [*SPLAT, *quick_options(4)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    out = tmp_path / "out" / "blob"
    assert json.loads((out / "metrics.json").read_text())["views"] == ["004", "000", "002"]
    assert len(read_ply(out / "splat.ply")) <= 200
    assert sorted(f.name for f in tmp_path.iterdir()) == ["data", "out"], "wrote where nobody asked"


def test_process_script(tmp_path: Path) -> None:
    photo = np.zeros((40, 60, 4), np.uint8)
    photo[10:30, 20:45] = (200, 50, 20, 255)
    save_png(tmp_path / "in" / "shoe.png", photo)
    command = [sys.executable, str(ROOT / "process.py"), str(tmp_path / "in"), "--size", "24"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "in" / "processed" / "shoe_rgba.png"
    with Image.open(made) as image:
        assert image.size == (24, 24) and image.mode == "RGBA"
    assert str(made) in done.stdout and (tmp_path / "in" / "source" / "shoe.png").exists()


@pytest.mark.usefixtures("tiny")
def test_eval(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "figures.json"
    main(["eval", str(data / "blob"), "--noise", "5", "--num-views", "4", "--json", str(file), *ALONE])
    stored = json.loads(file.read_text())
    assert set(stored) == {"rows", "runs"}
    assert [(r["scene"], r["start"]) for r in stored["runs"]] == [("blob", "oracle"), ("blob", "rough")]
    assert all(len(run["pair_errors_deg"]) == 6 for run in stored["runs"])
    printed = capsys.readouterr().out
    assert "Pair error" in printed and "all" in printed and "oracle" in printed


# -------------------------------------------------------------------- options


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("mark", ["-", "_"])
def test_dashes_and_underscores(data: Path, tmp_path: Path, mark: str) -> None:
    options = {"--num_views": "2", "--num_pts": "50", "--fit.log_interval": "3"}
    arguments = [a for k, v in options.items() for a in ("--" + k[2:].replace("_", mark), v)]
    usual = ["--category", "blob", "--data", str(data), "--output", str(tmp_path), *SPLAT]
    main(["run", *usual, *arguments])
    config = json.loads((tmp_path / "blob" / "config.json").read_text())
    assert config["fit"]["log_interval"] == 3 and config["fit"]["rounds"][-1]["max_points"] == 50
    assert len(read_cameras_json(tmp_path / "blob" / "cameras.json", 48, 48).names) == 2


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("arguments", [["--preset", "quality"], ["--preset=quality"]])
def test_preset_brings_its_schedule(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setitem(PRESETS, "quality", tiny_config(3, size=24, log_interval=2))
    options = ["--category", "blob", "--num_views", "2", "--data", str(data), "--output", str(tmp_path)]
    main(["run", *options, *SPLAT, *arguments, "--fit.densify.interval", "9"])
    config = json.loads((tmp_path / "blob" / "config.json").read_text())
    assert config["preset"] == "quality" and config["fit"]["log_interval"] == 2
    assert config["fit"]["densify"]["interval"] == 9


def test_interruption(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("agsrec.pipeline.run.fit_scene", interrupt)
    with pytest.raises(SystemExit) as stop:
        main(["run", "--category", "blob", "--data", str(data), "--output", str(tmp_path), *SPLAT])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "interrupted; the same command continues where it stood\n"


# -------------------------------------------------------------------- bad input


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def in_view(name: str, **values: Any) -> Callable[[Path], None]:
    return lambda scene: edit(scene / "cameras.json", lambda c: c[name].update(values))


def lacking(name: str, key: str) -> Callable[[Path], None]:
    return lambda scene: edit(scene / "cameras.json", lambda c: c[name].pop(key))


def image(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(scene: Path) -> None:
        file = scene / "processed" / "002_rgba.png"
        file.write_bytes(change(file.read_bytes()))

    return damage


def pixels(shape: tuple[int, int], alpha: int) -> Callable[[Path], None]:
    def damage(scene: Path) -> None:
        picture = np.full((*shape, 4), 128, np.uint8)
        picture[..., 3] = alpha
        picture[0, 0, 3] = 0
        save_png(scene / "processed" / "002_rgba.png", picture)

    return damage


def bomb(_: bytes = b"") -> bytes:
    """A PNG of a few bytes that claims 40000 x 40000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 6, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


TURN = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
SHEARED = [[1.0, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
BAD_SCENES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "not JSON": (lambda s: (s / "cameras.json").write_text("{"), ["cameras.json", "not valid JSON"]),
    "no views": (lambda s: (s / "cameras.json").write_text("{}"), ["cameras.json", "no views"]),
    "no R": (lacking("002", "R"), ["cameras.json", "'002'", "lacks R"]),
    "no focal": (lacking("001", "focal_length"), ["'001'", "lacks focal_length"]),
    "R is NaN": (in_view("002", R=[[float("nan")] * 3, *TURN[1:]]), ["'002', R", "finite"]),
    "R sheared": (in_view("001", R=SHEARED), ["'001', R", "not a rotation", "without scale or shear"]),
    "R mirrored": (in_view("001", R=[[-1.0, 0, 0], *TURN[1:]]), ["'001', R", "mirrors", "flip"]),
    "R is a number": (in_view("000", R=1.0), ["'000', R", "3 x 3"]),
    "T too short": (in_view("000", T=[1.0, 2.0]), ["'000', T", "3 numbers"]),
    "T infinite": (in_view("000", T=[float("inf"), 0, 0]), ["'000', T", "finite"]),
    "focal is zero": (in_view("003", focal_length=0.0), ["'003', focal_length", "between"]),
    "focal negative": (in_view("003", focal_length=[-5.0, 5.0]), ["'003', focal_length", "between"]),
    "photo missing": (
        lambda s: (s / "processed" / "002_rgba.png").unlink(),
        ["002_rgba.png", "no such file"],
    ),
    "not an image": (image(lambda _: b"hello"), ["002_rgba.png", "not an image", "PNG or JPEG"]),
    "truncated": (
        image(lambda b: b[: len(b) // 2]),
        ["002_rgba.png", "damaged or incomplete", "copy it again"],
    ),
    "empty file": (image(lambda _: b""), ["002_rgba.png", "is empty", "copy it again"]),
    "bomb": (image(bomb), ["002_rgba.png", "megapixels", "scale the image down"]),
    "empty mask": (pixels((48, 48), 0), ["002_rgba.png", "mask is empty", "cut it out again"]),
    "other size": (pixels((40, 48), 255), ["002_rgba.png", "48 x 40", "48 x 48", "only square images"]),
    "truth lacks a view": (
        lambda s: edit(s / "cameras_gt.json", lambda c: c.pop("004")),
        ["cameras_gt.json", "lacks view 004", "remove the file"],
    ),
    "test photo missing": (lambda s: shutil.rmtree(s / "test"), ["100_rgba.png", "no such file"]),
    "all look one way": (
        lambda s: edit(s / "cameras.json", lambda c: [v.update(R=TURN, T=[0, 0, 2]) for v in c.values()]),
        ["looks away", "check the poses in cameras.json"],
    ),
}
BAD_OPTIONS: dict[str, tuple[list[str], list[str]]] = {
    "unknown category": (["--category", "nope"], ["'nope'", "there are: blob, other"]),
    "category is a path": (["--category", "../data/blob"], ["unknown category", "blob, other"]),
    "too many views": (["--num_views", "7"], ["7 views", "cameras.json", "at most 6"]),
    "one view": (["--num_views", "1"], ["without a prior", "at least 2 views, not 1", "--prior"]),
    "no views": (["--num-views", "0"], ["at least 1"]),
    "negative views": (["--num-views", "-3"], ["at least 1"]),
    "views is no number": (["--num_views", "many"], ["--num-views", "'many'"]),
    "unknown view": (["--views", "000", "x"], ["views", "'x'", "there are: 000, 001"]),
    "view twice": (["--views", "000", "000"], ["'000'", "given twice"]),
    "one named view": (["--views", "000"], ["without a prior", "at least 2 views, not 1"]),
    "folder and category": (["blob"], ["not both"]),
    "model without initialiser": (["--init-model", "x"], ["--init-model", "there is a cameras.json"]),
    "unknown initialiser": (["--init", "magic"], ["--init", "'magic'", "nview", "colmap"]),
    "field of view beside cameras": (["--fov", "40"], ["--fov", "without cameras.json"]),
    "elevation beside cameras": (["--elevation", "10"], ["--elevation", "without cameras.json"]),
    "no such prior": (["--prior", "nowhere"], ["nowhere", "no such model folder"]),
    "no data": (["--data", "nowhere"], ["nowhere", "does not exist", "--data"]),
    "small resolution": (["--resolution", "31"], ["--resolution", "between 32 and 2048", "31"]),
    "large resolution": (["--resolution", "2049"], ["--resolution", "between 32 and 2048", "2049"]),
    "no points": (["--num_pts", "0"], ["--num_pts", "at least 1"]),
    "negative points": (["--num-pts", "-5"], ["--num_pts", "at least 1"]),
    "unknown preset": (["--preset", "best"], ["--preset", "'best'", "fast", "quality", "paper"]),
    "unknown device": (["--device", "tpu"], ["--device", "'tpu'", "cpu"]),
    "no CUDA": (["--device", "cuda"], ["--device cuda", "--device cpu"]),
    "negative seed": (["--seed", "-1"], ["--seed"]),
    "huge seed": (["--seed", str(2**70)], ["--seed"]),
    "seed is no number": (["--seed", "x"], ["--seed", "'x'"]),
    "unknown option": (["--frames", "3"], ["--frames", "--help"]),
    "bad schedule": (["--fit.log-interval", "0"], ["log_interval", "at least 1"]),
    "NaN rate": (["--fit.rates.means", "nan"], ["means", "nan"]),
}


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """An output folder with results of an earlier run."""
    for name in ("cameras.json", "splat.ply", "report.html", "stages"):
        file = tmp_path / "out" / "blob" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"earlier {name}")
    return tmp_path / "out"


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("case", BAD_SCENES)
def test_bad_scene(data: Path, earlier: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    damage, words = BAD_SCENES[case]
    damage(data / "blob")
    before = tree(earlier)
    usual = ["--category", "blob", "--data", str(data), "--output", str(earlier), *SPLAT]
    message = refused(capsys, "run", *usual)
    assert all(word in message for word in words), message
    assert tree(earlier) == before


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_option(
    data: Path, earlier: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments, words = BAD_OPTIONS[case]
    before = tree(earlier)
    usual = {"--category": "blob", "--data": str(data), "--output": str(earlier), "--prior": "none"}
    given = [a for k, v in usual.items() if k not in arguments for a in (k, v)]
    message = refused(capsys, "run", *given, *arguments)
    assert all(word in message for word in words), message
    assert tree(earlier) == before


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("place", ["out", "out/blob"])
def test_output_with_a_file_in_the_way(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("precious")
    output = str(tmp_path / "out")
    usual = ["--category", "blob", "--data", str(data), "--output", output, *SPLAT]
    message = refused(capsys, "run", *usual)
    assert "cannot write" in message and str(file) in message and "choose a folder" in message
    assert file.read_text() == "precious"


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("noise", ["-1", "nan", "inf"])
def test_eval_noise(data: Path, capsys: pytest.CaptureFixture[str], noise: str) -> None:
    assert "--noise" in refused(capsys, "eval", str(data / "blob"), "--noise", noise, *ALONE)


@pytest.mark.usefixtures("tiny")
def test_eval_finds_out_early_where_it_cannot_write(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agsrec.evaluate.evaluate_folders", lambda *_, **__: pytest.fail("work was done"))
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "figures.json", tmp_path):
        message = refused(capsys, "eval", str(data / "blob"), "--json", str(target), *ALONE)
        assert str(tmp_path) in message


@pytest.mark.usefixtures("tiny")
def test_never_writes_into_the_scene(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(data)
    usual = ["--category", "blob", "--data", str(data), "--output", str(data), *SPLAT]
    message = refused(capsys, "run", *usual)
    assert "--output" in message and str(data / "blob") in message and "overwrite" in message
    assert tree(data) == before
