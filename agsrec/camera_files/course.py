"""`cameras_rounds.json`: where the cameras of a result came from, and how they moved while it was fitted.

All poses are world-to-camera, the upper three rows [3, 4] of a view matrix, OpenCV axes. `views` has every
photo that was given, also those that were left out, with its pose as `given` and, where known, as `true`.
`rounds` has the course of the fit, one entry per record: `iteration` (0 is where it started), `round`, and
`poses` by view. The three kinds of poses are in worlds of their own: align them by what most views agree on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from agsrec.camera_files.parsing import Field, load_json_object, rotation_matrix
from agsrec.errors import ShapeError
from agsrec.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CameraCourse", "read_camera_course", "write_camera_course"]

_WHAT = "the course of a result's cameras, with views and rounds"
_DIGITS = 6  # of a unit vector and of world units: far below a pixel
_MAX_ITERATIONS = 10**9


@dataclass(frozen=True)
class CameraCourse:
    """Poses of V given photos, and of the U used ones at S moments of the fit; all world-to-camera.

    Attributes:
        views: Names of all photos that were given.
        given: Their poses as given [V, 4, 4].
        truth: Their true poses [V, 4, 4], where known.
        used: Names of the photos that the result was fitted to.
        iterations: Steps done at each moment; the first is 0.
        rounds: Round of the fit of each moment.
        viewmats: Poses of the used photos at each moment [S, U, 4, 4].
    """

    views: tuple[str, ...]
    given: Tensor  # [V, 4, 4]
    truth: Tensor | None  # [V, 4, 4]
    used: tuple[str, ...]
    iterations: tuple[int, ...]
    rounds: tuple[int, ...]
    viewmats: Tensor  # [S, U, 4, 4]

    def __post_init__(self) -> None:
        expected = {
            "given": (self.given, (len(self.views), 4, 4)),
            "truth": (self.given if self.truth is None else self.truth, (len(self.views), 4, 4)),
            "viewmats": (self.viewmats, (len(self.iterations), len(self.used), 4, 4)),
        }
        for name, (tensor, shape) in expected.items():
            if tuple(tensor.shape) != shape:
                raise ShapeError(f"{name} must be {list(shape)}, not {list(tensor.shape)}")
        if len(self.rounds) != len(self.iterations) or not set(self.used) <= set(self.views):
            raise ShapeError("a course needs a round per moment, and used views among the given ones")


def write_camera_course(path: str | Path, course: CameraCourse) -> None:
    """Write a course, rounded to what can be seen, a line per view and moment.

    Raises:
        OutputError: The file cannot be written.
    """
    given, truth = _rows(course.given), None if course.truth is None else _rows(course.truth)
    views = {
        name: {"given": given[i]} | ({} if truth is None else {"true": truth[i]})
        for i, name in enumerate(course.views)
    }
    rounds = [
        {"iteration": iteration, "round": number, "poses": dict(zip(course.used, _rows(poses), strict=True))}
        for iteration, number, poses in zip(course.iterations, course.rounds, course.viewmats, strict=True)
    ]
    lines = [f"    {json.dumps(name)}: {_compact(entry)}" for name, entry in views.items()]
    moments = [f"    {_compact(entry)}" for entry in rounds]
    text = '{\n  "views": {\n' + ",\n".join(lines) + '\n  },\n  "rounds": [\n' + ",\n".join(moments)
    atomic_write(path, text + "\n  ]\n}\n")


def _rows(viewmats: Tensor) -> list[Any]:
    """Upper three rows of view matrices [..., 4, 4], rounded."""
    return np.round(viewmats[..., :3, :].detach().cpu().double().numpy(), _DIGITS).tolist()


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def read_camera_course(path: str | Path) -> CameraCourse:
    """The course that `write_camera_course` wrote.

    Raises:
        CameraError: The file cannot be read or used; the message names the view and the field.
    """
    path = Path(path)
    content = load_json_object(path, _WHAT)
    views, rounds = content.get("views"), content.get("rounds")
    if not isinstance(views, dict) or not views:
        Field(f"{path}, views", views).fail("an object with every photo")
    if not isinstance(rounds, list) or not rounds:
        Field(f"{path}, rounds", rounds).fail("a list of moments of the fit")
    known = [_entry(f"{path}, view {name!r}", entry, "given") for name, entry in views.items()]
    has_truth = all("true" in entry for entry in known)
    moments = [_entry(f"{path}, rounds[{i}]", entry, "poses") for i, entry in enumerate(rounds)]
    used = tuple(moments[0]["poses"]) if isinstance(moments[0]["poses"], dict) else ()
    if not used or not set(used) <= set(views):
        Field(f"{path}, rounds[0], poses", moments[0]["poses"]).fail("poses of views that are listed")
    poses = [_poses(f"{path}, rounds[{i}], poses", entry["poses"], used) for i, entry in enumerate(moments)]
    return CameraCourse(
        views=tuple(views),
        given=_stack([_pose(f"{path}, view {n!r}, given", e["given"]) for n, e in views.items()]),
        truth=_stack([_pose(f"{path}, view {n!r}, true", e["true"]) for n, e in views.items()])
        if has_truth
        else None,
        used=used,
        iterations=_counts(path, moments, "iteration"),
        rounds=_counts(path, moments, "round"),
        viewmats=torch.stack(poses),
    )


def _entry(where: str, entry: Any, key: str) -> dict[str, Any]:
    if not isinstance(entry, dict) or key not in entry:
        Field(where, entry).fail(f"an object with {key}")
    return entry


def _counts(path: Path, moments: list[dict[str, Any]], key: str) -> tuple[int, ...]:
    fields = [Field(f"{path}, rounds[{i}], {key}", entry.get(key)) for i, entry in enumerate(moments)]
    return tuple(int(field.number(0, _MAX_ITERATIONS)) for field in fields)


def _poses(where: str, poses: Any, used: Sequence[str]) -> Tensor:
    """Poses [U, 4, 4] of one moment, which must be of the same views as those of the first."""
    if not isinstance(poses, dict) or set(poses) != set(used):
        Field(where, poses).fail(f"poses of exactly the views {', '.join(used)}")
    return _stack([_pose(f"{where}, view {name!r}", poses[name]) for name in used])


def _pose(where: str, value: Any) -> np.ndarray:
    """A checked pose [4, 4]."""
    rows = Field(where, value).matrix(3, 4)
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation_matrix(where, rows[:, :3]), rows[:, 3]
    return out


def _stack(poses: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(poses)).float()
