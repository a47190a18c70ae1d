"""All evidence together: a label tells what the shape does not, in any order; without matches it goes on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.errors import CheckpointError
from agsrec.matching import Oddity, matches, pictures
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init import auto, initialize, look
from agsrec.store import Memory
from agsrec.synthetic import RandomObject, product_object, render_views
from agsrec.views import Views

SIZE, FOCAL = 192, 420.0


def photographed(*azimuths: float, thing: RandomObject | None = None) -> tuple[Views, Cameras]:
    """Four photos of a can with a printed label, or of another thing, from a long way off."""
    thing = product_object(4) if thing is None else thing
    Ks = Cameras.intrinsics(torch.full((4,), FOCAL, dtype=torch.float64), SIZE, SIZE)
    elevation = torch.tensor([-15.0, -22.0, -8.0, -18.0], dtype=torch.float64)
    azimuth = torch.tensor(azimuths, dtype=torch.float64)
    cameras = Cameras.orbit(elevation, azimuth, 3.2, Ks=Ks, width=SIZE, height=SIZE)
    images = torch.from_numpy(render_views(thing, cameras).images)
    return Views(images, ("a", "b", "c", "d")), cameras.to(dtype=torch.float32)


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of 192 pixels are matched at half the usual size, which takes a quarter of the time."""
    monkeypatch.setattr(matches, "object_pictures", partial(pictures.object_pictures, longer_side=256))


@pytest.fixture(scope="module")
def can() -> tuple[Views, Cameras]:
    return photographed(0.0, 62.0, 30.0, 95.0)


@pytest.fixture(scope="module")
def memory() -> Memory:
    """What was found in the can's photos, each and in pairs, does not depend on what it is found for."""
    return Memory()


@pytest.mark.slow
def test_a_label_tells_what_the_shape_does_not(can: tuple[Views, Cameras], memory: Memory) -> None:
    views, truth = can
    found = initialize(views, "auto", device="cpu", memory=memory)
    assert found.placed.all() and float(found.confidence.min()) > 0.9
    assert not found.ambiguous and not found.undecided()
    assert float(pairwise_rotation_errors(found.cameras, truth).max()) < 8.0
    assert float(found.cameras.focal_lengths.mean()) == pytest.approx(FOCAL, rel=0.25)
    assert found.matches is not None and len(found.matches) > 100
    assert set(found.matches.pairs.flatten().tolist()) == {0, 1, 2, 3}


@pytest.mark.slow
def test_a_plain_cylinder_is_said_to_be_ambiguous() -> None:
    bare = product_object(4, printed=False)
    even = np.zeros((2, 6))
    even[:, 3:] = 0.9  # from all sides: no shading tells them apart
    views, _ = photographed(0.0, 62.0, 30.0, 95.0, thing=replace(bare, lights=even))
    found = initialize(views, "auto", device="cpu")
    assert found.ambiguous and found.undecided()
    assert float(found.confidence[found.undecided()].max()) <= 0.5


def test_the_order_of_the_photos_does_not_matter(can: tuple[Views, Cameras], memory: Memory) -> None:
    views, _ = can
    order = [2, 0, 3, 1]
    options: dict[str, Any] = {"device": "cpu", "refine": False, "focal": FOCAL, "memory": memory}
    straight = initialize(views, "auto", **options).cameras
    shuffled = initialize(views[order], "auto", **options).cameras
    assert float(pairwise_rotation_errors(shuffled, straight[order]).max()) < 1.5


@pytest.mark.slow
def test_a_turned_photo_is_named_and_posed() -> None:
    views, truth = photographed(0.0, 25.0, 50.0, 75.0)
    images = views.images.clone()
    images[2] = images[2].rot90(1, (0, 1))
    found = initialize(Views(images, views.names), "auto", device="cpu", refine=False, focal=FOCAL)
    assert found.oddities == (Oddity(2, "turned", 90),) and found.placed.all()
    viewmats = truth.viewmats.clone()
    quarter = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # to the left, as y is down
    viewmats[2, :3] = quarter @ viewmats[2, :3]
    turned = Cameras(viewmats, truth.Ks, SIZE, SIZE)
    assert float(pairwise_rotation_errors(found.cameras, turned).max()) < 8.0


def test_without_the_matcher_the_network_goes_on_alone(
    can: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> None:
        raise CheckpointError("the embedded model disk-lightglue is missing")

    monkeypatch.setattr(auto, "load_matcher", missing)
    views, _ = can
    found = initialize(views, "auto", device="cpu", refine=False)
    assert "disk-lightglue is missing; poses rest on the network alone" in caplog.text
    alone = initialize(views, "nview", device="cpu", refine=False)
    assert float(pairwise_rotation_errors(found.cameras, alone.cameras).max()) < 1.0


def test_views_without_texture_are_not_said_to_be_sure() -> None:
    Ks = Cameras.intrinsics(torch.full((3,), FOCAL, dtype=torch.float64), SIZE, SIZE)
    azimuth = torch.tensor([0.0, 120.0, 240.0], dtype=torch.float64)
    cameras = Cameras.orbit(-15.0, azimuth, 3.2, Ks=Ks, width=SIZE, height=SIZE)
    images = torch.from_numpy(render_views(product_object(0, printed=False), cameras).images)
    found = initialize(Views(images, ("a", "b", "c")), "auto", device="cpu", refine=False)
    assert float(found.confidence.max()) < 0.9


def test_many_views_are_matched_with_their_likely_neighbours_alone() -> None:
    count, bins = 14, 36
    away = (np.arange(count)[None] - np.arange(count)[:, None]) * 360 / count
    centers = (np.arange(bins) + 0.5) * 10
    off = np.abs((centers - away[..., None] + 180) % 360 - 180)
    reading = type("Said", (), {"differences": torch.from_numpy(np.exp(-off / 10)).float()})()
    pairs = look._worth_matching(reading)  # type: ignore[arg-type]
    assert len(pairs) == 45 and pairs == sorted(set(pairs)) and all(i < j for i, j in pairs)
    apart = [min((j - i) % count, (i - j) % count) * 360 / count for i, j in pairs]
    assert max(apart) < 110
