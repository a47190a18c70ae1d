"""A field tells true poses from wrong ones by photos that were held back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from agsrec.errors import OptionError
from agsrec.fit.target import Target
from agsrec.radiance import HeldBack, RadianceConfig, RadianceLevel, compared, held_back, held_back_fold
from agsrec.radiance.training import train_field
from agsrec.views import Views
from tests.pretended_cuda import is_pretended, pretended_cuda
from tests.tiny import rough, tiny_scene

QUICK = RadianceConfig(object_size=32, levels=(RadianceLevel(12, 50), RadianceLevel(24, 60)), batch=512)
BRIEF = replace(QUICK, levels=(RadianceLevel(8, 12), RadianceLevel(12, 12)))


@lru_cache
def of_true() -> HeldBack:
    views, cameras = tiny_scene(8)
    return held_back(views, cameras, folds=2, seeds=(0, 1), config=QUICK)


def test_true_poses_beat_wrong_ones() -> None:
    views, cameras = tiny_scene(8)
    calls: list[None] = []
    wrong = held_back(
        views, rough(cameras, 10), folds=2, seeds=(0, 1), config=QUICK, on_fold=lambda: calls.append(None)
    )
    true = of_true()
    assert len(calls) == 4 and true.psnr.shape == (2, 8)
    assert float(true.psnr.mean()) > 24
    found = compared(true, wrong)
    assert found.difference > 0.7 and found.photos >= 6
    assert compared(wrong, true).difference == -found.difference


def test_seeds_decide_everything() -> None:
    views, cameras = tiny_scene(8)
    first, again, other = (
        held_back(views, cameras, folds=2, seeds=(seed,), config=BRIEF) for seed in (0, 0, 1)
    )
    assert torch.equal(first.psnr, again.psnr) and torch.equal(first.renders, again.renders)
    assert not torch.equal(first.psnr, other.psnr)


def test_what_is_held_back_is_not_seen() -> None:
    views, cameras = tiny_scene(8)
    held = [2, 5]
    images = views.images.clone()
    images[held, ..., :3] = 1 - images[held, ..., :3]
    score, photos, renders = held_back_fold(views, cameras, held, config=BRIEF)
    other, inverted, same = held_back_fold(Views(images, views.names), cameras, held, config=BRIEF)
    assert torch.equal(renders, same)
    assert not torch.equal(photos, inverted) and float((score - other).min()) > 1


def test_the_world_does_not_matter() -> None:
    views, cameras = tiny_scene(8)
    moved = cameras.transformed(3.0, torch.eye(3).to(cameras.viewmats), torch.tensor([5.0, -2.0, 1.0]))
    score = held_back(views, moved, folds=2, config=QUICK).psnr.mean()
    assert float(score) == pytest.approx(float(of_true().psnr[0].mean()), abs=0.1)


@pytest.fixture
def pretended() -> Iterator[None]:
    with pretended_cuda():
        yield


@pytest.mark.usefixtures("pretended")
def test_trains_where_it_is_told_to() -> None:
    views, cameras = tiny_scene(4)
    few = replace(QUICK, levels=(RadianceLevel(4, 2), RadianceLevel(8, 2)))
    target = Target.at(views.to("cuda"), 16)
    there = cameras.to("cuda", torch.float32).resized(16, 16)
    assert is_pretended(train_field(target, there, few).grid)
    score, *_ = held_back_fold(views, cameras, [1], config=few, device="cuda")
    assert float(score) > 3


def outcome(*psnr: tuple[float, ...]) -> HeldBack:
    pictures = torch.zeros(len(psnr[0]), 2, 2, 3)
    names = tuple(str(k) for k in range(len(psnr[0])))
    return HeldBack(names, torch.tensor(psnr), pictures, pictures)


def test_differences_against_chance() -> None:
    true, wrong = (
        outcome((21.0, 20.0), (21.2, 20.2), (20.8, 19.8)),
        outcome((20.0, 20.5), (20.2, 20.7), (19.9, 20.2)),
    )
    found = compared(true, wrong)
    # 0.25, 0.25 and 0.25 dB by seed.
    assert found.difference == pytest.approx(0.25, abs=1e-5) and found.error < 1e-5
    assert found.decided and found.photos == 1
    # 1, 0 and -1 dB: no difference, and its standard error.
    found = compared(outcome((21.0,), (20.0,), (19.0,)), outcome((20.0,), (20.0,), (20.0,)))
    assert found.difference == 0 and found.error == pytest.approx(3**-0.5)
    assert not found.decided
    # With two seeds the bar is Student's 12.7 standard errors.
    assert not compared(outcome((20.9,), (21.1,)), outcome((20.0,), (20.0,))).decided
    assert compared(outcome((20.99,), (21.01,)), outcome((20.0,), (20.0,))).decided
    record = outcome((21.0, 20.0), (21.0, 22.0)).as_dict()
    assert (
        record["psnr"] == 21 and record["by_view"] == {"0": 21, "1": 21} and record["by_seed"] == [20.5, 21.5]
    )
    assert outcome((20.0,)).as_dict()["standard_error"] is None


def test_too_little() -> None:
    views, cameras = tiny_scene(8)
    with pytest.raises(OptionError, match="at least 3 photos, not 2"):
        held_back(views[[0, 1]], cameras[[0, 1]])
    with pytest.raises(OptionError, match="--folds must be at least 2, not 1"):
        held_back(views, cameras, folds=1)
    for seeds in ((), (1, 1)):
        with pytest.raises(OptionError, match="--seeds must be different"):
            held_back(views, cameras, seeds=seeds)
    with pytest.raises(OptionError, match="at least 2 to tell"):
        compared(outcome((20.0,)), outcome((20.0,)))
