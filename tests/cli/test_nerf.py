"""`agsrec nerf`, and the referee in `agsrec eval`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agsrec.camera_files import write_cameras_json
from agsrec.cli import main
from agsrec.images import load_image, save_png
from tests.cli.helpers import refused
from tests.tiny import NAMES, rough, tiny_scene

LEVELS = ((8, 20), (16, 20), (16, 0))
QUICK = ["--training.object_size", "24", "--training.batch", "256", "--folds", "2", "--seeds", "0", "1"]
QUICK += [
    word
    for k, level in enumerate(LEVELS)
    for name, value in zip(("resolution", "steps"), level, strict=True)
    for word in (f"--training.levels.{k}.{name}", str(value))
]


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """What the referee needs of a finished reconstruction."""
    views, cameras = tiny_scene(6)
    folder = tmp_path / "result"
    for name, image in zip(NAMES, (views.images * 255).round().byte().numpy(), strict=True):
        save_png(folder / "views" / f"{name}_rgba.png", image)
    write_cameras_json(folder / "cameras.json", cameras, NAMES)
    return folder


def test_which_cameras_explain_the_photos(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, cameras = tiny_scene(6)
    wrong, figures, picture = (tmp_path / name for name in ("wrong.json", "out/figures.json", "out/seen.png"))
    write_cameras_json(wrong, rough(cameras, 15), NAMES)
    files = ["--json", str(figures), "--picture", str(picture)]
    main(["nerf", str(result), "--cameras", str(wrong), *files, *QUICK])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:-2]] == list(NAMES) and lines[-2].startswith("mean")
    record = json.loads(figures.read_text())
    ours, theirs = record[str(result / "cameras.json")], record[str(wrong)]
    assert ours["psnr"] > 10 and set(ours["by_view"]) == set(theirs["by_view"]) == set(NAMES)
    difference = ours["psnr"] - theirs["psnr"]
    assert float(lines[-2].split()[-1]) == pytest.approx(difference, abs=6e-3)
    assert lines[-1].startswith("Neither") or lines[-1].startswith(str(wrong)) == (difference < 0)
    assert load_image(picture)[0].shape[0] > 3 * 24


def test_one_set_of_cameras(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["nerf", str(result), *QUICK])
    assert "Held-back photos are explained to" in capsys.readouterr().out.splitlines()[-1]


def test_a_referee_of_nothing(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--init", "auto", "--init-only", "--referee", "nerf"]
    assert "--referee judges the poses of a fit" in refused(capsys, "eval", str(result), *options)


def test_mistakes(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, cameras = tiny_scene(6)
    missing = refused(capsys, "nerf", str(tmp_path / "nothing"))
    assert "nothing is not a folder; give the folder of a finished reconstruction" in missing
    other = tmp_path / "other.json"
    given = ["nerf", str(result), "--cameras", str(other)]
    assert "other.json is not a file; give a cameras.json" in refused(capsys, *given)
    write_cameras_json(other, cameras, [f"x{name}" for name in NAMES])
    message = refused(capsys, *given)
    assert "usable cameras of 0 of the 6 photos, and none of 000" in message
    assert "give a cameras.json of the same photos under the same names" in message
    write_cameras_json(other, cameras[:4], NAMES[:4])
    assert "usable cameras of 4 of the 6 photos, and none of 004" in refused(capsys, *given)
    write_cameras_json(other, cameras, NAMES, flags=[1, 1, 0, 1, 1, 1])
    assert "usable cameras of 5 of the 6 photos, and none of 002" in refused(capsys, *given)
    other.write_text("{")
    assert "other.json" in refused(capsys, *given)
    own = ["nerf", str(result), "--cameras", str(result / "cameras.json")]
    assert "is the reconstruction's own; give another file" in refused(capsys, *own)
    write_cameras_json(other, cameras, NAMES)
    assert "--seeds must name at least 2" in refused(capsys, *given, "--seeds", "3")
    assert "--folds must be at least 2" in refused(capsys, "nerf", str(result), "--folds", "1")
    picture = refused(capsys, "nerf", str(result), "--picture", "seen.jpg")
    assert "seen.jpg must end in .png" in picture
    for option in ("--json", "--picture"):
        folder = tmp_path / "folder.png"
        folder.mkdir(exist_ok=True)
        assert "is a folder; give the name of a file" in refused(
            capsys, "nerf", str(result), option, str(folder)
        )
    (result / "cameras.json").unlink()
    assert "has no cameras.json" in refused(capsys, "nerf", str(result))
