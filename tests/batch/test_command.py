"""`agsrec batch` as a user types it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from agsrec.batch.work import Work
from agsrec.cli import main
from tests.batch.stubs import write_photos
from tests.cli.helpers import refused
from tests.tiny import quick_options, write_scene


class Here:
    """Does what a pool does, in this process: others would load everything anew."""

    def __init__(self, *options: object) -> None:
        self.options = options

    def __call__(self, work: Work, jobs: list) -> Iterator:
        return (work(job) for job in jobs)


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Here]:
    """The pools that were asked for."""
    made: list[Here] = []

    def pool(*options: object) -> Here:
        made.append(Here(*options))
        return made[-1]

    monkeypatch.setattr("agsrec.batch.local.LocalPool", pool)
    return made


@pytest.mark.slow
def test_scenes_become_results(tmp_path: Path, pools: list[Here], capsys: pytest.CaptureFixture[str]) -> None:
    """What `agsrec run` makes, a record, a row and a card for each."""
    for name in ("blob", "other"):
        write_scene(tmp_path / "photos" / name)
    (tmp_path / "photos" / "other" / "cameras.json").write_text("{")
    usual = ["--prior", "none", "--mesh_format", "none", *quick_options(4)]
    folders = [str(tmp_path / "photos" / name) for name in ("blob", "other")]
    command = ["batch", *folders, "--output", str(tmp_path / "out"), "--workers", "1", *usual]
    with pytest.raises(SystemExit) as stop:
        main([*command, "--timeout", "600"])
    assert stop.value.code == 1 and pools[0].options == (1, 600.0)
    printed = capsys.readouterr().out
    assert f"Results are in {tmp_path}/out; index.html shows " in printed
    assert "[1/2] blob is done in" in printed and "[2/2] other failed: " in printed
    assert "1 of 2 objects are done, 1 failed" in printed
    record = json.loads((tmp_path / "out/blob/object.json").read_text())
    metrics = json.loads((tmp_path / "out/blob/metrics.json").read_text())
    assert record["psnr"] == metrics["input"]["psnr"] and record["views"] == 6
    assert record["worst_psnr"] == min(metrics["input"]["by_view"]["psnr"]) and record["has_mesh"] is False
    assert Image.open(tmp_path / "out/blob/thumbnail.jpg").size == (256, 256)
    base = sqlite3.connect(tmp_path / "out/manifest.sqlite")
    rows = base.execute("SELECT name, state, psnr FROM objects ORDER BY name").fetchall()
    base.close()
    assert rows == [("blob", "done", record["psnr"]), ("other", "failed", None)]
    main([*command, "--look"])
    printed = capsys.readouterr().out
    assert "1 objects are done, 1 failed, 1 are to be made" in printed and "other: " in printed
    main(["run", folders[0], "--output", str(tmp_path / "out"), *usual, "--explain"])
    stages = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert stages == [["fit", "is", "there"], ["export", "is", "there"]], "they are those of `agsrec run`"


def test_what_is_wrong_is_said_before_anything_starts(
    tmp_path: Path, pools: list[Here], capsys: pytest.CaptureFixture[str]
) -> None:
    photos, output = str(write_photos(tmp_path / "mug")), str(tmp_path / "out")
    assert "give folders of photos, or a --list" in refused(capsys, "batch", "--output", output)
    both = ("batch", photos, "--list", "x.csv", "--output", output)
    assert "give folders of photos, or a --list" in refused(capsys, *both)
    gone = ("batch", photos, f"{tmp_path}/cup", f"{tmp_path}/pot", "--output", output)
    message = refused(capsys, *gone)
    assert f"nothing was started: {tmp_path}/cup is not there" in message and "and 1 more" in message
    usual = ("batch", photos, "--output", output)
    assert "--workers must be between" in refused(capsys, *usual, "--workers", "9999")
    assert "--timeout must be above 0" in refused(capsys, *usual, "--timeout", "0")
    assert "--address is of a Ray cluster" in refused(
        capsys, *usual, "--engine", "local", "--address", "auto"
    )
    ray = (*usual, "--engine", "ray", "--workers", "2")
    assert "--workers are of this machine" in refused(capsys, *ray)
    assert not pools and not Path(output).exists()
