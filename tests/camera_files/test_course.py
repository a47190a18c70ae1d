"""`cameras_rounds.json`: what is written comes back, and what is wrong in it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agsrec.camera_files import CameraCourse, read_camera_course, write_camera_course
from agsrec.cameras import Cameras
from agsrec.errors import CameraError, ShapeError


@pytest.fixture
def course(cameras: Cameras) -> CameraCourse:
    """Five photos, the fourth left out, at three moments."""
    generator = torch.Generator().manual_seed(0)
    used = cameras[[0, 1, 2, 4]]
    moments = [used.perturbed(degrees, generator).viewmats for degrees in (8.0, 3.0, 0.0)]
    return CameraCourse(
        views=("a", "b", "c", "d", 'é "e"'),
        given=cameras.perturbed(10, generator).viewmats,
        truth=cameras.viewmats,
        used=("a", "b", "c", 'é "e"'),
        iterations=(0, 20, 40),
        rounds=(0, 0, 1),
        viewmats=torch.stack(moments),
    )


def test_round_trip(tmp_path: Path, course: CameraCourse) -> None:
    write_camera_course(tmp_path / "c.json", course)
    back = read_camera_course(tmp_path / "c.json")
    for name in ("views", "used", "iterations", "rounds"):
        assert getattr(back, name) == getattr(course, name)
    for name in ("given", "truth", "viewmats"):
        torch.testing.assert_close(getattr(back, name), getattr(course, name), atol=2e-6, rtol=0)
    # Small, and readable without this package: four poses of twelve numbers at three moments.
    assert (tmp_path / "c.json").stat().st_size < 12 * 12 * (4 * 3 + 2 * 5)
    stored = json.loads((tmp_path / "c.json").read_text())
    assert stored["rounds"][2]["iteration"] == 40 and list(stored["rounds"][2]["poses"]) == [*course.used]
    assert course.truth is not None
    assert stored["views"]["d"]["true"][1] == pytest.approx(course.truth[3, 1].tolist(), abs=1e-6)


def test_without_truth(tmp_path: Path, course: CameraCourse) -> None:
    write_camera_course(tmp_path / "c.json", replace(course, truth=None))
    assert "true" not in (tmp_path / "c.json").read_text()
    assert read_camera_course(tmp_path / "c.json").truth is None


def delete(*path: Any) -> Callable[[Any], None]:
    return put(*path, value=...)


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        if value is ...:
            del content[path[-1]]
        else:
            content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (delete("views"), ["views", "every photo"]),
        (put("rounds", value=[]), ["rounds", "moments"]),
        (delete("views", "b", "given"), ["'b'", "given"]),
        (put("views", "b", value=3), ["'b'", "object"]),
        (put("views", "b", "given", 1, 2, value="x"), ["'b', given[1][2]", "number"]),
        (put("views", "b", "true", 1, value=[0, 0]), ["'b', true[1]"]),
        (put("rounds", 1, "poses", "c", 0, value=[2, 0, 0, 0]), ["rounds[1]", "'c'", "rotation"]),
        (delete("rounds", 1, "poses", "c"), ["rounds[1]", "exactly"]),
        (put("rounds", 0, "poses", value={"z": 1}), ["rounds[0]", "listed"]),
        (put("rounds", 2, "iteration", value=-1), ["rounds[2], iteration"]),
        (put("rounds", 2, "round", value=None), ["rounds[2], round"]),
        (put("rounds", 2, value=[]), ["rounds[2]", "poses"]),
    ],
)
def test_errors(
    tmp_path: Path, course: CameraCourse, change: Callable[[Any], None], words: list[str]
) -> None:
    file = tmp_path / "c.json"
    write_camera_course(file, course)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(CameraError) as caught:
        read_camera_course(file)
    assert all(word in str(caught.value) for word in [str(file), *words]), caught.value


def test_shapes_are_checked(course: CameraCourse) -> None:
    for wrong in ({"given": course.given[:2]}, {"rounds": (0,)}, {"used": ("a", "b", "c", "x")}):
        with pytest.raises(ShapeError):
            replace(course, **wrong)
