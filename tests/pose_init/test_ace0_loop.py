"""Photos are registered to what a head learns from the few that are posed; others stay out."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.cameras import Cameras
from agsrec.matching import Tracks, turns_apart
from agsrec.pose_init.ace0.bundling import bundled, longest_tracks
from agsrec.pose_init.ace0.features import Seen
from agsrec.pose_init.ace0.loop import LoopConfig, Start, register_photos
from agsrec.pose_init.ace0.registered import Registered
from agsrec.pose_init.ace0.seeds import choose_seeds
from agsrec.pose_init.ace0.shared_points import SharedPoints, shared_points
from agsrec.pose_init.ace0.sharing import Sharing
from agsrec.pose_init.ace0.training import TrainingConfig
from agsrec.store import Checkpointing

SIZE, VIEWS, FOREIGN = 256, 9, 2
SEEDS = (0, 3, 6)
QUICK = LoopConfig(
    channels=64,
    first=TrainingConfig(steps=200, batch=256, poses_from=1.0),
    again=TrainingConfig(steps=100, batch=256, poses_from=0.2),
    last=TrainingConfig(steps=150, batch=256, poses_from=1.0),
    tries=200,
    rounds=2,
)


def ring() -> Cameras:
    focal = torch.full((VIEWS,), 1.3 * SIZE)
    azimuths = torch.arange(VIEWS) * 360.0 / VIEWS
    Ks = Cameras.intrinsics(focal, SIZE, SIZE)
    return Cameras.orbit(torch.full((VIEWS,), -20.0), azimuths, 1.85, Ks=Ks, width=SIZE, height=SIZE)


def looks(points: Tensor, seed: int) -> Tensor:
    """What points [N, 3] of an object look like from anywhere [N, 32]: unit vectors that vary over it."""
    generator = torch.Generator().manual_seed(seed)
    waves = 6 * torch.randn(3, 32, generator=generator)
    return F.normalize(torch.sin(points @ waves + 6 * torch.rand(32, generator=generator)), dim=1)


@lru_cache(maxsize=1)
def photos() -> tuple[list[Seen], list[Tensor]]:
    """A ball from a ring of cameras and, at the end, photos of other things; and the points seen."""
    cameras = ring()
    generator = torch.Generator().manual_seed(0)
    ball = 0.45 * F.normalize(torch.randn(900, 3, generator=generator), dim=1)
    seen, points = [], []
    for v in range(VIEWS + FOREIGN):
        camera = cameras[v % VIEWS]
        facing = (F.normalize(camera.centers - ball, dim=1) * F.normalize(ball, dim=1)).sum(1) > 0.35
        shown = ball[facing]
        pixels = camera.project(shown)[0][0]
        seen.append(Seen(pixels, looks(shown, 0 if v < VIEWS else v)))
        points.append(shown)
    return seen, points


def start(known: bool = True) -> Start:
    cameras, (seen, points) = ring(), photos()
    index = [v % VIEWS for v in range(len(seen))]
    posed = torch.tensor([v in SEEDS for v in range(len(seen))])
    viewmats = torch.where(posed[:, None, None], cameras.viewmats[index], torch.eye(4))
    near = [p + 0.01 if known and v in SEEDS else None for v, p in enumerate(points)]
    return Start(viewmats, cameras.Ks[index], posed, near, SIZE)


def registered(**options: Any) -> Registered:
    adjust = partial(bundled, SharedPoints(photos()[0]), size=(SIZE, SIZE), focal_known=True)
    return register_photos(photos()[0], start(), QUICK, adjust=adjust, **options)


@lru_cache(maxsize=1)
def whole() -> Registered:
    return registered()


def test_a_ring_is_registered_from_three_of_its_photos() -> None:
    found = whole()
    assert found.placed[:VIEWS].all()
    off = turns_apart(found.viewmats[:VIEWS, :3, :3], ring().rotations)
    assert float(off.max()) < 1.0
    assert (found.agreeing[:VIEWS] > 0.3).all()
    assert found.course[-1] == VIEWS


def test_photos_of_something_else_stay_out() -> None:
    found = whole()
    assert not found.placed[VIEWS:].any()
    assert (found.agreeing[VIEWS:] == 0).all()


class _Killed(Exception):
    pass


class _Dying(Checkpointing):
    """Saves as usual, and the process dies right after."""

    def save(self, state: dict[str, Any]) -> None:
        super().save(state)
        raise _Killed


def test_what_was_killed_goes_on_and_comes_out_the_same(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(_Killed):
        registered(checkpointing=_Dying(tmp_path / "state", "key"))
    again = registered(checkpointing=Checkpointing(tmp_path / "state", "key"), report=said.append)
    assert not any("round 1" in sentence for sentence in said)
    assert torch.equal(again.viewmats, whole().viewmats)
    assert torch.equal(again.placed, whole().placed)
    assert again.course == whole().course
    kept = registered(checkpointing=Checkpointing(tmp_path / "state", "key"), report=said.append)
    assert torch.equal(kept.viewmats, again.viewmats)
    assert len(said) == len(again.course) - 1  # the finished one had nothing to do


def test_where_texture_is_rich_points_register_photos_without_a_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two neighbours locate points, which give the next one a pose, all around; others' points do not."""
    seen, given = photos()[0], start(known=False)
    monkeypatch.setattr("agsrec.pose_init.ace0.loop.train", lambda *_, **__: pytest.fail("it was trained"))
    posed = torch.tensor([v in (0, 1) for v in range(len(seen))])
    viewmats = torch.where(
        posed[:, None, None], ring().viewmats[[v % VIEWS for v in range(len(seen))]], torch.eye(4)
    )
    begun = replace(given, posed=posed, viewmats=viewmats)
    sharing = Sharing(SharedPoints(seen), (SIZE, SIZE))
    alone = Registered(viewmats, given.Ks, posed, posed.float(), ())
    once = sharing.register(alone)
    assert once.placed.sum() == 4 and once.placed[[2, VIEWS - 1]].all(), "those beside the two"
    adjust = partial(bundled, SharedPoints(seen[:VIEWS]), size=(SIZE, SIZE), focal_known=True)
    rows = list(range(VIEWS))
    own = replace(begun, viewmats=viewmats[rows], Ks=given.Ks[rows], posed=posed[rows], known=[None] * VIEWS)
    found = register_photos(
        seen[:VIEWS], own, QUICK, adjust=adjust, sharing=Sharing(SharedPoints(seen[:VIEWS]), (SIZE, SIZE))
    )
    assert found.placed.all() and found.course == (VIEWS, VIEWS)
    turns = found.viewmats[:, :3, :3] @ found.viewmats[:1, :3, :3].mT
    assert float(turns_apart(turns, ring().rotations @ ring().rotations[:1].mT).max()) < 1.0


def test_of_two_objects_mixed_one_is_registered() -> None:
    """As many photos of another ball, from the same cameras."""
    cameras, points = ring(), photos()[1]
    seen = photos()[0][:VIEWS]
    other = [Seen(s.pixels, looks(p, 50)) for s, p in zip(seen, points, strict=False)]
    twin = Seen(seen[4].pixels + 0.3, seen[4].features)  # the same photo once more, saved otherwise
    mixed = [*seen, *other, twin]
    index = [v % VIEWS for v in range(len(mixed))]
    posed = torch.tensor([v in (0, 2, 3, 6) for v in range(len(mixed))])
    given = Start(cameras.viewmats[index], cameras.Ks[index], posed, [None] * len(mixed), SIZE)
    adjust = partial(bundled, SharedPoints(mixed), size=(SIZE, SIZE), focal_known=True)
    found = register_photos(
        mixed, given, QUICK, adjust=adjust, sharing=Sharing(SharedPoints(mixed), (SIZE, SIZE))
    )
    assert found.placed[:VIEWS].all() and found.placed[-1] and not found.placed[VIEWS:-1].any()
    assert float(turns_apart(found.viewmats[4:5, :3, :3], found.viewmats[-1:, :3, :3])) < 0.5


def test_shared_points_are_the_same_point() -> None:
    (seen, points), (i, j) = photos(), (0, 1)
    shared = shared_points(seen[i], seen[j], i, j)
    assert len(shared) > 50
    assert torch.equal(points[i][shared.ids[:, 0]], points[j][shared.ids[:, 1]])
    assert len(shared_points(seen[0], seen[VIEWS])) < 10 < len(shared_points(seen[0], seen[1]))


def test_a_view_that_few_others_see_points_of_keeps_its_tracks() -> None:
    """Five tracks of three views, and two of a fourth view with one of these."""
    views = torch.tensor([*[0, 1, 2] * 5, *[2, 3] * 2])
    points = torch.tensor([*[k for k in range(5) for _ in range(3)], 5, 5, 6, 6])
    pixels = torch.arange(2.0 * len(views)).view(-1, 2)
    tracks = Tracks(views, points, pixels, torch.zeros(2), 100.0)
    kept = longest_tracks(tracks, 2)
    assert len(kept) == 4 and kept.lengths.tolist() == [3, 3, 2, 2]
    assert (kept.views == 3).sum() == 2
    assert torch.equal(kept.pixels[kept.views == 3], pixels[views == 3])


def test_the_first_photos_are_of_the_same_thing_and_overlap_or_are_far_apart() -> None:
    """The thumbnails of what does not belong are the most different ones of all."""
    azimuth = torch.arange(VIEWS) * 2 * torch.pi / VIEWS
    looks_like = torch.stack([azimuth.cos(), azimuth.sin()], 1)
    thumbnails = torch.cat([looks_like, 5 + torch.arange(2.0 * FOREIGN).view(FOREIGN, 2)])
    seen = photos()[0]
    choice = choose_seeds(thumbnails, SharedPoints(seen), 4)
    assert choice.alike == VIEWS and max(choice.apart) < VIEWS
    steps = [(b - a) % VIEWS for a, b in zip(choice.apart, [*choice.apart[1:], choice.apart[0]], strict=True)]
    assert min(steps) >= 2, "as far apart as there are"
    chosen = choice.overlapping
    assert len(set(chosen)) == 4 and max(chosen) < VIEWS
    for k, v in enumerate(chosen[1:], 1):
        assert max(len(shared_points(seen[v], seen[before])) for before in chosen[:k]) >= 40
    span = max(min((a - b) % VIEWS, (b - a) % VIEWS) for a in chosen for b in chosen)
    assert span >= 3, "as far apart as that lets them be"


def test_a_photo_with_a_badly_guessed_focal_length_is_registered_too() -> None:
    given = start()
    Ks = given.Ks.clone()
    Ks[1, :2, :2] *= 0.85  # of a photo that is not posed
    seen = photos()[0]
    rows = [*SEEDS, 1]
    few = replace(
        given,
        viewmats=given.viewmats[rows],
        Ks=Ks[rows],
        posed=given.posed[rows],
        known=[given.known[v] for v in rows],
    )
    found = register_photos([seen[v] for v in rows], few, replace(QUICK, rounds=1))
    assert found.placed.all()
    off = turns_apart(found.viewmats[:, :3, :3], ring().rotations[rows])
    assert float(off.max()) < 8.0
