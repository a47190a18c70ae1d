"""Many photos, looked at one at a time: which are posed first, and what is said of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.errors import CameraError, CheckpointError, SceneError
from agsrec.pose_init import PoseEstimate, initialize
from agsrec.pose_init.ace0 import initializer
from agsrec.pose_init.ace0.features import Seen
from agsrec.pose_init.ace0.initializer import pose_many
from agsrec.pose_init.ace0.loop import Start
from agsrec.pose_init.ace0.registered import Registered
from agsrec.pose_init.ace0.seeds import SeedChoice
from agsrec.store import Checkpointing, Memory
from agsrec.views import Views

SIZE, VIEWS = 32, 12
BLANK, COPY, ALIEN = VIEWS, VIEWS + 1, VIEWS + 2  # after the photos of the object
NAMES = (*(f"{v:02d}" for v in range(VIEWS)), "blank", "copy", "alien")


def truth() -> Cameras:
    Ks = Cameras.intrinsics(torch.full((VIEWS,), 40.0), SIZE, SIZE)
    azimuths = torch.arange(VIEWS) * 360.0 / VIEWS
    return Cameras.orbit(torch.full((VIEWS,), -20.0), azimuths, 2.0, Ks=Ks, width=SIZE, height=SIZE)


class OneAtATime(Sequence[Tensor]):
    """Photos that are made when they are asked for; how often each was."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(NAMES)

    def __getitem__(self, index: Any) -> Any:
        self.asked.append(index)
        source = 3 if index == COPY else index
        photo = torch.zeros(SIZE, SIZE, 4)
        if source != BLANK:
            photo[8:24, 8:24] = torch.rand(16, 16, 4, generator=torch.Generator().manual_seed(source))
            photo[8:24, 8:24, 3] = 1
        return photo


def described(view: Views) -> Seen:
    """Twenty points that all photos share but the one of something else."""
    seed = 1 if view.names[0] != "alien" else 2
    features = torch.randn(20, 16, generator=torch.Generator().manual_seed(seed))
    return Seen(torch.full((20, 2), 16.0), features)


@pytest.fixture
def posed_first(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The names that `auto` was asked for; loop and scene know the truth, or nothing."""
    asked: list[tuple[str, ...]] = []

    def auto(views: Views, **_: Any) -> PoseEstimate:
        asked.append(views.names)
        cameras = truth()[[int(name) for name in views.names]]
        every = torch.ones(len(views))
        return PoseEstimate(cameras, every.bool(), every)

    def loop(seen: Sequence[Seen], start: Start, *_: Any, **__: Any) -> Registered:
        assert len(seen) == VIEWS + 1 and int(start.posed.sum()) == len(asked[-1])
        viewmats = torch.cat([truth().viewmats, torch.eye(4)[None]])
        placed = torch.tensor([*[True] * VIEWS, False])
        known = start.viewmats[start.posed]
        torch.testing.assert_close(known, viewmats[start.posed])
        return Registered(viewmats, start.Ks, placed, 0.2 * placed, (VIEWS,))

    def no_scene(*_: Any, **__: Any) -> None:
        raise SceneError("no scene")

    class NoSearch:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def register(self, found: Registered, *_: Any) -> Registered:
            return found

    monkeypatch.setattr(initializer, "Searching", NoSearch)
    monkeypatch.setattr(initializer, "describer", lambda *_: described)
    monkeypatch.setattr(initializer, "initialize_auto", auto)
    monkeypatch.setattr(initializer, "register_photos", loop)
    monkeypatch.setattr(initializer, "fit", no_scene)
    return asked


def test_every_photo_gets_what_is_its_due(posed_first: list[tuple[str, ...]]) -> None:
    said: list[str] = []
    photos = OneAtATime()
    found = pose_many(photos, NAMES, device="cpu", report=said.append)
    assert len(posed_first) == 1 and len(posed_first[0]) == 8
    assert not {"alien", "blank", "copy"} & set(posed_first[0])
    assert found.indices == [*range(VIEWS), COPY]
    assert float(found.cameras.centers.norm(dim=1).mean()) == pytest.approx(CAMERA_DISTANCE, rel=1e-4)
    torch.testing.assert_close(found.cameras.viewmats[VIEWS], found.cameras.viewmats[3])
    torch.testing.assert_close(found.cameras.rotations[:VIEWS], truth().rotations)
    assert found.confidence[0] == pytest.approx(0.5) and found.confidence[ALIEN] == 0
    assert any("posing 8 of 15 photos first" in sentence for sentence in said)
    assert max(photos.asked.count(v) for v in range(len(NAMES))) <= 3


def test_what_a_search_finds_counts(
    posed_first: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = initializer.register_photos

    def loop(*args: Any, **options: Any) -> Registered:
        found = usual(*args, **options)
        return replace(found, placed=found.placed & (torch.arange(VIEWS + 1) < 9))

    def register(self: Any, found: Registered, holding: Tensor, *_: Any) -> Registered:
        assert int(found.placed.sum()) == 9 and holding.shape == (VIEWS + 1,)
        return replace(found, placed=torch.arange(VIEWS + 1) < VIEWS)

    monkeypatch.setattr(initializer, "register_photos", loop)
    monkeypatch.setattr(initializer.Searching, "register", register)
    said: list[str] = []
    found = pose_many(OneAtATime(), NAMES, device="cpu", report=said.append)
    assert found.indices == [*range(VIEWS), COPY] and len(posed_first) == 1


def test_the_first_poses_are_kept(posed_first: list[tuple[str, ...]]) -> None:
    memory = Memory()
    one, two = (pose_many(OneAtATime(), NAMES, device="cpu", memory=memory) for _ in range(2))
    assert len(posed_first) == 1
    assert torch.equal(one.cameras.viewmats, two.cameras.viewmats)


def test_known_focal_lengths_are_kept_per_photo(posed_first: list[tuple[str, ...]]) -> None:
    focals = [40.0 + v for v in range(len(NAMES))]
    found = pose_many(OneAtATime(), NAMES, device="cpu", focals=focals)
    assert found.focal_known
    unposed = [v for v in range(VIEWS) if NAMES[v] not in posed_first[0]]
    for v in unposed:
        assert float(found.cameras.Ks[v, 0, 0]) == focals[v]


def test_photos_without_an_object_are_an_error(posed_first: list[tuple[str, ...]]) -> None:
    blank = torch.zeros(3, SIZE, SIZE, 4)
    with pytest.raises(CameraError, match="fewer than two of the photos show an object"):
        pose_many(blank, NAMES[:3], device="cpu")
    assert posed_first == []


def test_first_photos_that_cannot_be_posed_are_an_error(
    posed_first: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = initializer.initialize_auto

    def lost(views: Views, **options: Any) -> PoseEstimate:
        found = usual(views, **options)
        placed = torch.arange(len(views)) < 1
        return replace(found, cameras=found.cameras[[0]], placed=placed, confidence=placed.float())

    monkeypatch.setattr(initializer, "initialize_auto", lost)
    with pytest.raises(CameraError, match="fewer than two of the first photos could be posed"):
        pose_many(OneAtATime(), NAMES, device="cpu")


@pytest.mark.parametrize(("first", "second"), [(9, 12), (9, 8), (10, 12)])
def test_other_photos_are_posed_first_where_these_lead_to_few(
    posed_first: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    first: int,
    second: int,
    tmp_path: Path,
) -> None:
    usual, counts, kept = initializer.register_photos, [first, second], []

    def loop(*args: Any, **options: Any) -> Registered:
        kept.append(options["checkpointing"].load())
        options["checkpointing"].save({"of": len(kept)})
        found = usual(*args, **options)
        return replace(found, placed=found.placed & (torch.arange(VIEWS + 1) < counts[len(kept) - 1]))

    choice = SeedChoice([*range(8)], [*range(4, 12)], VIEWS)
    monkeypatch.setattr(initializer, "choose_seeds", lambda *_: choice)
    monkeypatch.setattr(initializer, "register_photos", loop)
    said: list[str] = []
    state = Checkpointing(tmp_path / "state", "key")
    found = pose_many(OneAtATime(), NAMES, device="cpu", report=said.append, checkpointing=state)
    again = first < 0.8 * VIEWS
    assert posed_first == [tuple(NAMES[:8]), *([tuple(NAMES[4:12])] if again else [])]
    assert any("only 9 of 12 photos could be registered" in sentence for sentence in said) == again
    assert kept == [None] * len(posed_first), "neither goes on from where the other stands"
    assert state.part("overlapping, loop").load() == {"of": 1}
    assert int(found.placed[:VIEWS].sum()) == (max(first, second) if again else first)


def test_a_model_that_is_not_there_is_named() -> None:
    images = torch.stack([OneAtATime()[v] for v in range(3)])
    with pytest.raises(CheckpointError, match=r"nowhere\.pt: no such file; download ace_encoder_pretrained"):
        initialize(Views(images, NAMES[:3]), "ace0", model="nowhere.pt", device="cpu")
