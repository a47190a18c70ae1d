from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.config import PRESETS
from agsrec.pose_init import Alternative, PoseEstimate
from agsrec.store import digest, plain, rebuilt
from agsrec.store.codec import leaves
from tests.tiny import tiny_scene


def through_a_file(value: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def estimate() -> PoseEstimate:
    _, cameras = tiny_scene(3)
    other = Alternative(cameras[[1, 0, 2]], 0.25)
    return PoseEstimate(
        cameras, torch.ones(3, dtype=torch.bool), torch.rand(3), alternatives=(other,), score=0.5
    )


def test_values_come_back_as_they_were() -> None:
    value = {"a": (1, 2.5, None, True), "b": [Path("x/y"), "text"], "c": np.arange(6.0).reshape(2, 3)}
    back = rebuilt(through_a_file(plain(value)))
    assert back["a"] == value["a"] and back["b"] == value["b"]
    assert np.array_equal(back["c"], value["c"]) and back["c"].dtype == np.float64
    found = rebuilt(through_a_file(plain(estimate())))
    assert isinstance(found, PoseEstimate) and isinstance(found.alternatives, tuple)
    assert isinstance(found.alternatives[0].cameras, Cameras) and found.score == 0.5
    config = PRESETS["quality"]
    assert rebuilt(through_a_file(plain(config))) == config


def test_inputs_are_named_not_stored() -> None:
    views, cameras = tiny_scene(3)
    stored = plain({"views": views, "cameras": cameras}, {"photos": views})
    assert stored["dict"]["views"] == {"given": "photos"}
    back = rebuilt(through_a_file(stored), {"photos": views})
    assert back["views"] is views and back["cameras"] is not cameras


@dataclass(frozen=True)
class Foreign:
    x: int = 1


@pytest.mark.parametrize("value", [Foreign(), object(), {1: 2}, torch.nn.ReLU()])
def test_unknown_things_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be stored"):
        plain(value)


@pytest.mark.parametrize(
    "name",
    ["os:system", "agsrec.cli:main", "agsrec.store:digest", "builtins:exec", "agsrec.errors:OptionError"],
)
def test_nothing_but_our_dataclasses_is_made(name: str) -> None:
    with pytest.raises((ValueError, AttributeError)):
        rebuilt({"class": name, "fields": {}})


def test_digests_tell_values_apart() -> None:
    views, cameras = tiny_scene(3)
    pixel, pose = views.images.clone(), cameras.viewmats.clone()
    pixel[1, 5, 6, 2] += 1 / 255
    pose[2, 0, 3] += 1e-6
    values = [
        views,
        replace(views, images=pixel),
        replace(views, names=("a", "b", "c")),
        views[[1, 0, 2]],
        cameras,
        replace(cameras, viewmats=pose),
        cameras.to(dtype=torch.float64),
        PRESETS["fast"],
        replace(PRESETS["fast"], log_interval=4),
        [1, 2],
        (1, 2),
        [12],
        ["12"],
        None,
    ]
    found = [digest(value) for value in values]
    assert len(set(found)) == len(found)
    assert digest(replace(views, images=views.images.clone())) == found[0]


def test_options_are_named_by_their_way() -> None:
    named = leaves("fit", PRESETS["fast"])
    assert named["fit.rounds.2.max_points"] == "10000" and named["fit.loss.background"] == "'random'"
    assert leaves("seed", 3) == {"seed": "3"} and leaves("file", Path("a")) == {"file": "a"}
