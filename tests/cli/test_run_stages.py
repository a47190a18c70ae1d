"""What a run finds of an earlier one: only what depends on a change is computed again."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from agsrec.cli import main
from agsrec.cli.listening import ConsoleListener
from agsrec.images import load_image, save_png
from tests.cli.helpers import refused
from tests.pose_init.fakes import install, knowing
from tests.tiny import NAMES, quick_options, rough, tiny_scene, write_scene

TRUE = tiny_scene(8)[1][[0, 1, 2, 4, 5, 6]]


@pytest.fixture(scope="module", autouse=True)
def no_video() -> Iterator[None]:
    """In place of the video, which is of no interest here."""

    def write(path: Path, *_: object) -> None:
        path.write_bytes(b"video")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agsrec.export.results.save_turntable", write)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scene `blob` and its results in `out`."""
    root = tmp_path_factory.mktemp("data")
    write_scene(root / "blob")
    main(command(root))
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    """The same for one test."""
    shutil.copytree(finished, tmp_path / "data")
    return tmp_path / "data"


def command(root: Path, *options: str) -> list[str]:
    places = ["--data", str(root), "--output", str(root / "out")]
    usual = ["--prior", "none", "--faces", "500", *quick_options(6, size=32)]
    return ["run", "--category", "blob", *places, *usual, *options]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stages that are computed."""
    stages: list[str] = []
    shown = ConsoleListener.stage

    def stage(self: ConsoleListener, name: str, text: str) -> object:
        stages.append(name)
        return shown(self, name, text)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(ConsoleListener, "stage", stage)
    return stages


def test_nothing_twice(root: Path, computed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = {f: f.read_bytes() for f in (root / "out/blob").rglob("*") if f.is_file()}
    main(command(root))
    assert computed == []
    assert {f: f.read_bytes() for f in before} == before
    assert "Using the fit of an earlier run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--faces", "300"], ["mesh", "export"]),
        (["--mesh_format", "obj"], ["export"]),
        (["--mesh_format", "none"], ["export"]),
        (["--seed", "1"], ["fit", "mesh", "export"]),
        (["--again", "mesh"], ["mesh", "export"]),  # with its own time in the report
        (["--again", "fit"], ["fit", "export"]),
        (["--again", "export", "fit"], ["fit", "export"]),
        (["--num_views", "5"], ["fit", "mesh", "export"]),
    ],
)
def test_only_what_depends_on_a_change(
    root: Path, computed: list[str], options: list[str], wanted: list[str]
) -> None:
    main(command(root, *options))
    assert computed == wanted


def test_a_compressed_splat_is_written_again_from_what_is_there(
    root: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gsply", None)
    assert "pip install 'agsrec[spz]'" in refused(capsys, *command(root, "--splat_format", "spz"))
    assert computed == []

    def write(file: Path, data: object, **_: object) -> None:
        file.write_bytes(b"spz")

    stub = SimpleNamespace(GSData=SimpleNamespace(from_arrays=dict), write_spz=write)
    monkeypatch.setitem(sys.modules, "gsply", stub)
    main(command(root, "--splat_format", "spz"))
    assert computed == ["export"] and (root / "out/blob/splat.spz").read_bytes() == b"spz"


def test_files_that_are_gone_are_written_again(root: Path, computed: list[str]) -> None:
    out = root / "out/blob"
    report = (out / "splat.ply").read_bytes()
    (out / "splat.ply").unlink()
    main(command(root))
    assert computed == ["export"] and (out / "splat.ply").read_bytes() == report


def test_a_deleted_store_is_no_loss(root: Path, computed: list[str]) -> None:
    splat = (root / "out/blob/splat.ply").read_bytes()
    shutil.rmtree(root / "out/blob/stages")
    main(command(root))
    assert computed == ["fit", "mesh", "export"] and (root / "out/blob/splat.ply").read_bytes() == splat


def explained(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, str]:
    capsys.readouterr()
    main(command(root, "--explain", *options))
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def test_explain(root: Path, computed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    there = "is there made from the same photos, options and versions"
    assert explained(root, capsys) == {"fit": there, "mesh": there, "export": there}
    assert explained(root, capsys, "--faces", "300") == {
        "fit": there,
        "mesh": "to be computed mesh.faces is 300, was 500",
        "export": "to be computed depends on mesh",
    }
    assert explained(root, capsys, "--seed", "4")["fit"] == "to be computed seed is 4, was 0"
    assert explained(root, capsys, "--again", "fit")["fit"] == "to be computed asked for again"
    loop = explained(root, capsys, "--enable_loop")
    assert (
        loop["outliers"] == "to be computed not made yet"
        and loop["fit"] == "to be computed depends on outliers"
    )
    (root / "out/blob/cameras.json").unlink()
    assert "changed or removed" in explained(root, capsys)["export"]
    shutil.rmtree(root / "out")
    assert explained(root, capsys)["fit"] == "to be computed not made yet"
    assert computed == [] and not (root / "out").exists()


def test_unknown_stage(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, *command(root, "--again", "fitt"))
    assert "fitt" in text and "cutout" in text


# -------------------------------------------------------------------- photos


def unposed(root: Path, *options: str) -> list[str]:
    usual = ["--background-model", "grabcut", "--mesh_format", "none", "--prior", "none"]
    return [
        "run",
        str(root / "photos"),
        "--output",
        str(root / "out"),
        *usual,
        *quick_options(4, size=24),
        *options,
    ]


@pytest.fixture
def photos(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of photos with their background, and an initialiser that knows their poses."""
    install(monkeypatch, knowing(rough(TRUE, 5), NAMES))
    (root / "photos").mkdir()
    for file in sorted((root / "blob/processed").glob("*_rgba.png")):
        rgba = np.array(load_image(file)[0])
        rgba[rgba[..., 3] < 128] = (255, 255, 255, 255)
        save_png(root / "photos" / f"{file.name.removesuffix('_rgba.png')}.png", rgba[..., :3])
    return root / "photos"


def test_cut_outs_are_made_again_only_if_they_are_ours(root: Path, photos: Path, computed: list[str]) -> None:
    main(unposed(root))
    assert computed == ["cutout", "poses", "fit", "export"]
    computed.clear()
    main(unposed(root, "--again", "poses"))
    assert computed == ["poses", "export"]  # with its own time
    computed.clear()
    rgba = np.array(load_image(photos / "001.png")[0])
    rgba[:3, :3, :3] = 200
    save_png(photos / "001.png", rgba[..., :3])
    main(unposed(root))
    assert computed[0] == "cutout"
    computed.clear()
    file = photos / "processed/002_rgba.png"
    mine = np.array(load_image(file)[0])
    mine[..., 3] = (mine[..., 3] > 100) * 255
    save_png(file, mine)
    by_hand = file.read_bytes()
    (photos / "003.png").write_bytes((photos / "004.png").read_bytes())
    main(unposed(root))
    assert "cutout" not in computed and file.read_bytes() == by_hand
    computed.clear()
    main(unposed(root, "--again", "cutout"))
    assert computed[0] == "cutout" and file.read_bytes() != by_hand


def test_half_written_cut_outs_are_made_again(root: Path, photos: Path, computed: list[str]) -> None:
    main(unposed(root))
    metrics = json.loads((root / "out/photos/metrics.json").read_text())
    (photos / "processed/.unfinished").touch()
    (photos / "processed/004_rgba.png").unlink()
    computed.clear()
    main(unposed(root))
    assert computed == ["cutout"] and not (photos / "processed/.unfinished").exists()
    assert json.loads((root / "out/photos/metrics.json").read_text()) == metrics
