"""Photos that share nothing with others are found in a scene of these, what shows something else is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.config import Stage
from agsrec.errors import SceneError
from agsrec.fit.coarse import coarse_schedule
from agsrec.lie import so3_exp
from agsrec.metrics.poses import rotation_errors_after_alignment
from agsrec.pose_init.ace0 import searching
from agsrec.pose_init.ace0.features import Seen
from agsrec.pose_init.ace0.registered import Registered
from agsrec.pose_init.ace0.searching import Searching
from agsrec.pose_init.ace0.shared_points import SharedPoints
from agsrec.pose_search import Level, SearchConfig
from agsrec.store import Checkpointing
from agsrec.synthetic import random_cameras, random_object, render_views

SIZE, VIEWS = 48, 12
ALIEN = VIEWS  # after the photos of the object
MISSING = (2, 5, 9)
NONE = torch.zeros(VIEWS + 1, dtype=torch.bool)


@pytest.fixture(scope="module")
def photos() -> tuple[torch.Tensor, Cameras]:
    """Photos of a thing from all around and one of another, and the cameras of the former."""
    thing, chance = random_object(8), np.random.default_rng(8)
    cameras = random_cameras(thing.vertices, VIEWS, SIZE, chance, layout="ring")
    other = random_object(9)
    alien = render_views(other, random_cameras(other.vertices, 1, SIZE, chance)).images
    return torch.from_numpy(np.concatenate([render_views(thing, cameras).images, alien])), cameras


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = coarse_schedule(Stage(32, 120), warmup=1000, points=600)  # the cameras are exact
    monkeypatch.setattr(searching, "_SCENE", scene)
    config = SearchConfig(directions=300, rolls=36, levels=(Level(24, 3, 8), Level(32, 4, 3)))
    monkeypatch.setattr(searching, "_SEARCH", config)


def search(photos: torch.Tensor) -> Searching:
    seen = [Seen(torch.full((1, 2), 16.0), torch.ones(1, 4)) for _ in photos]
    return Searching(photos, SharedPoints(seen), (SIZE, SIZE), device=torch.device("cpu"))


def known(cameras: Cameras) -> Registered:
    """All photos posed but the missing ones and the one of something else."""
    viewmats = torch.cat([cameras.viewmats, torch.eye(4)[None]]).float()
    placed = torch.tensor([v not in (*MISSING, ALIEN) for v in range(VIEWS + 1)])
    viewmats[~placed] = torch.eye(4)
    Ks = torch.cat([cameras.Ks, cameras.Ks[:1]]).float()
    return Registered(viewmats, Ks, placed, 0.2 * placed, (9,))


def errors(found: Registered, cameras: Cameras) -> torch.Tensor:
    estimated = Cameras(found.viewmats[:VIEWS], found.Ks[:VIEWS], SIZE, SIZE)
    return rotation_errors_after_alignment(estimated.centred(), cameras.to(dtype=torch.float32).centred())


def test_missing_photos_are_found_and_others_are_not(photos: tuple[torch.Tensor, Cameras]) -> None:
    images, cameras = photos
    found = search(images).register(known(cameras), NONE)
    assert found.placed[:VIEWS].all() and not found.placed[ALIEN]
    assert float(errors(found, cameras).max()) < 8
    assert all(float(found.agreeing[v]) > 0.25 for v in MISSING) and found.agreeing[ALIEN] == 0


def turned(cameras: Cameras) -> Registered:
    """The same with one of the poses wrong."""
    found = known(cameras)
    found.viewmats[7, :3, :3] @= so3_exp(torch.tensor([[0.0, 2.5, 0.0]]))[0]
    return found


def test_a_contradicted_photo_is_found_again_after_a_stop_too(
    photos: tuple[torch.Tensor, Cameras], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, cameras = photos
    whole = search(images).register(turned(cameras), NONE)
    assert whole.placed[:VIEWS].all() and float(errors(whole, cameras).max()) < 8
    state = Checkpointing(tmp_path / "state", "key")
    usual, rounds = Searching._turn, []

    def interrupted(self: Searching, *given: Any) -> Any:
        rounds.append(given[0].rounds)
        if len(rounds) == 2:
            raise KeyboardInterrupt
        return usual(self, *given)

    monkeypatch.setattr(Searching, "_turn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(images).register(turned(cameras), NONE, state)
    found = search(images).register(turned(cameras), NONE, state)
    assert rounds[:3] == [0, 1, 1]
    assert torch.equal(found.viewmats, whole.viewmats) and torch.equal(found.placed, whole.placed)


def test_what_is_contradicted_loses_its_pose(photos: tuple[torch.Tensor, Cameras]) -> None:
    before = known(photos[1])
    look = searching._Look(None, torch.empty(0), before.Ks, before)  # pyright: ignore[reportArgumentType]
    look.__dict__["losses"] = torch.where(before.placed, 0.01, torch.nan)
    look.losses[[0, 1]] = 0.5
    assert look.contradicted().nonzero()[:, 0].tolist() == [0, 1]
    state = searching._State(before, NONE, look.contradicted() & (torch.arange(VIEWS + 1) != 1))
    after = look.searched(state, []).found
    assert after.placed.tolist() == (before.placed & (torch.arange(VIEWS + 1) != 0)).tolist()
    assert after.agreeing[0] == 0 and after.agreeing[1] > 0


def test_poses_that_contradict_each_other_are_left_alone(
    photos: tuple[torch.Tensor, Cameras], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, cameras = photos
    before = known(cameras)
    few = replace(before, placed=before.placed & (torch.arange(VIEWS + 1) < 4))  # three of them
    monkeypatch.setattr(searching._Look, "contradicted", lambda self: torch.arange(VIEWS + 1) == 0)
    monkeypatch.setattr(searching, "_MARGIN", 2.0)  # nobody is found
    assert search(images).register(few, NONE) is few


def test_where_nothing_is_found_everything_stays(
    photos: tuple[torch.Tensor, Cameras], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_scene(*_: Any, **__: Any) -> None:
        raise SceneError("no scene")

    images, cameras = photos
    complete = replace(known(cameras), placed=torch.arange(VIEWS + 1) != ALIEN)
    complete.viewmats[:VIEWS] = cameras.viewmats
    assert search(images).register(complete, NONE) is complete
    monkeypatch.setattr(searching, "fit", no_scene)
    before = known(photos[1])
    assert search(photos[0]).register(before, NONE) is before
    everyone = replace(before, placed=~NONE)
    assert search(photos[0]).register(everyone, NONE) is everyone, "nobody is missing"
