"""Views that the training device draws: consistent, a function of the step, and the same after a stop."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from agsrec.cli.train import Train
from agsrec.errors import CheckpointError, OptionError
from agsrec.pose_init.nview import NViewConfig
from agsrec.pose_init.nview.weights import load_nview
from agsrec.synthetic.texels import BakedObject
from agsrec.training import nview as training
from agsrec.training.config import PhaseConfig
from agsrec.training.loop import Intervals, read_log
from agsrec.training.nview import NViewTrainConfig, train_nview
from agsrec.training.nview_device import BankPool, bake_thing
from tests.pretended_cuda import is_pretended, pretended_cuda

SIZE = 16
NETWORK = NViewConfig(
    image_size=SIZE, tokens=4, width=32, heads=2, blocks="FG", match_after=1, match_channels=8
)
CONFIG = NViewTrainConfig(
    NETWORK,
    pool_objects=2,
    training=PhaseConfig(
        steps=3, batch_size=4, learning_rate=3e-3, warmup_steps=1, objects_per_step=0.5, ema_decay=0.9
    ),
)
CPU = torch.device("cpu")


@cache
def thing(index: int) -> BakedObject:
    return bake_thing(0, index, size=SIZE)


def pool(first: int = 0, device: torch.device = CPU) -> BankPool:
    made = BankPool.empty(2, SIZE, device, first=first)
    made.advance(stream(first), first)
    return made


def stream(first: int) -> Iterator[BakedObject]:
    return (thing(index) for index in count(first))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


def test_points_are_where_the_pictures_show_them() -> None:
    views, truth = pool().draw(2, 4, generator())
    assert views.shape == (2, 4, 4, SIZE, SIZE) and bool(truth.seen.any((2, 3)).all())
    solid = views[:, :, 3, ::2, ::2] > 0
    assert float((solid & truth.seen).sum() / truth.seen.sum()) > 0.85
    assert 0.2 < float(truth.points.norm(dim=-1).max()) < 0.6
    assert truth.fields.shape == (2, 4) and float(truth.fields.min()) > 5 and float(truth.fields.max()) < 90


def test_every_batch_has_new_views() -> None:
    made, draws = pool(), generator()
    first, second = (made.draw(2, 2, draws)[1].rotations for _ in range(2))
    assert float((first - second).abs().amax((2, 3)).min()) > 0.01


def test_contents_depend_on_the_step_alone() -> None:
    walked, objects = pool(), stream(2)
    walked.advance(objects, 1)
    jumped = pool(first=1)
    assert torch.equal(walked.bank.texels, jumped.bank.texels)
    assert torch.equal(walked.draw(2, 2, generator())[0], jumped.draw(2, 2, generator())[0])


def test_everything_stays_on_the_device() -> None:
    here = pool().draw(1, 2, generator())[0]
    with pretended_cuda() as traffic:
        made = pool(device=torch.device("cuda"))
        images, truth = made.draw(1, 2, generator())
        assert all(map(is_pretended, (images, *vars(truth).values())))
        assert not traffic.waits and traffic.downloads == 0
        assert torch.allclose(images.cpu(), here, atol=1e-6)


def train(folder: Path, **options: Any) -> bool:
    folder.mkdir(exist_ok=True)
    given: dict[str, Any] = {"render": "device", **options}
    return train_nview(CONFIG, folder, device=CPU, **given)


@pytest.fixture
def unvalidated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "validate_poses", lambda *_: {"median_deg": 1.0})


def test_resumes_bit_for_bit(tmp_path: Path, unvalidated: None, fresh_accelerator: None) -> None:
    assert train(tmp_path / "whole")
    part = tmp_path / "part"
    stop = Intervals(stop_after_seconds=0.0)
    assert not train(part, intervals=stop)
    with pytest.raises(CheckpointError, match="other settings"):
        train(part, render="workers")  # would see other views
    while not train(part, intervals=stop):
        pass
    validated = [record for record in read_log(tmp_path / "whole") if "median_deg" in record]
    assert validated[-1]["lost_tests"] == 0
    whole, resumed = (load_nview(tmp_path / name / "model").state_dict() for name in ("whole", "part"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_other_models_have_no_such_option(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--render device is for nview alone"):
        Train("dust3r", tmp_path, render="device")._check()
