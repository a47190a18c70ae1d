"""DUSt3R learns from rendered pairs, can be stopped anywhere, and is measured fairly."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agsrec.cameras import CAMERA_DISTANCE
from agsrec.errors import CheckpointError, OptionError
from agsrec.lie import so3_exp
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.model import DUSt3R
from agsrec.training import dust3r as training
from agsrec.training.config import DataConfig, PhaseConfig
from agsrec.training.dust3r import (
    DUSt3RLoss,
    DUSt3RTrainConfig,
    scale_invariant_error,
    train_dust3r,
    validate_pairs,
)
from agsrec.training.dust3r_data import PairPool, PairTruth, PointViews, render_point_views, unseen_pairs
from agsrec.training.loop import Intervals, Record, read_log
from agsrec.training.render_stream import RenderStream
from agsrec.training.settings import load_settings, settings_json

CPU = torch.device("cpu")
NETWORK = DUSt3RConfig(
    image_size=(32, 32), enc_width=32, enc_depth=1, enc_heads=2, dec_width=32, dec_depth=1, dec_heads=2
)  # fmt: skip
CONFIG = DUSt3RTrainConfig(
    network=NETWORK.to_published(),
    data=DataConfig(views_per_object=3, pool_objects=2),
    training=PhaseConfig(
        steps=4, batch_size=2, learning_rate=1e-3, warmup_steps=1, objects_per_step=0.5, ema_decay=0.5
    ),
    confidence_weight=0.2,
)


# ---------------------------------------------------------------- objective


def made_up(seed: int = 0) -> tuple[Tensor, PairTruth]:
    generator = torch.Generator().manual_seed(seed)
    points, truth = torch.randn(2, 3, 2, 4, 5, 3, generator=generator, dtype=torch.float64)
    return points, PairTruth(truth, torch.rand(3, 2, 4, 5, generator=generator) < 0.6)


def test_error_follows_the_equations() -> None:
    points, (truth, seen) = made_up()
    found = scale_invariant_error(points, truth, seen)
    for b in range(3):
        z, z_true = (x[b][seen[b]].norm(dim=-1).mean() for x in (points, truth))
        expected = (points[b] / z - truth[b] / z_true).norm(dim=-1) * seen[b]
        torch.testing.assert_close(found[b], expected)
    scales = torch.tensor([0.1, 2.0, 30.0], dtype=torch.float64)[:, None, None, None, None]
    torch.testing.assert_close(scale_invariant_error(scales * points, truth, seen), found)
    assert scale_invariant_error(3 * truth, truth, seen).max() < 1e-12


def test_what_is_not_seen_does_not_count() -> None:
    points, (truth, seen) = made_up()
    wild = torch.where(seen[..., None], points, torch.inf).requires_grad_()
    found = scale_invariant_error(wild, truth, seen)
    torch.testing.assert_close(found, scale_invariant_error(points, truth, seen))
    found.sum().backward()
    assert wild.grad is not None and wild.grad.isfinite().all() and (wild.grad[~seen] == 0).all()


class Fixed(nn.Module):
    """Answers every pair with the same points and confidences."""

    def __init__(self, points: Tensor, confidence: Tensor) -> None:
        super().__init__()
        self.points, self.confidence = points, confidence

    def forward(self, images1: Tensor, images2: Tensor) -> SimpleNamespace:
        (p1, p2), (c1, c2) = self.points.unbind(1), self.confidence.unbind(1)
        return SimpleNamespace(points1=p1, confidence1=c1, points2=p2, confidence2=c2)


def test_confidence_is_earned() -> None:
    points, truth = made_up()
    error = scale_invariant_error(points, *truth)
    best = (0.2 / error).where(truth.seen, 7.0)
    images = torch.zeros(3, 2, 4, 5, 3)

    def loss(confidence: Tensor) -> Tensor:
        return DUSt3RLoss(cast(DUSt3R, Fixed(points, confidence)), 0.2)(images, truth)

    expected = sum((0.2 - 0.2 * best[:, v].log())[truth.seen[:, v]].mean() for v in (0, 1))
    torch.testing.assert_close(loss(best), torch.as_tensor(expected))
    for factor in (0.8, 1.2):
        assert loss(factor * best) > loss(best)
    # Outside the object any confidence will do.
    assert torch.equal(loss(best.where(truth.seen, 1.0)), loss(best))


# ---------------------------------------------------------------- data


def test_points_of_both_views_are_in_the_first_camera() -> None:
    pairs = unseen_pairs(2, 32)
    assert pairs.images.shape == (6, 2, 32, 32, 3) and pairs.rotations.shape == (6, 3, 3)
    focal = 16 / np.tan(np.deg2rad(20.0))
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], -1)
    center = torch.tensor([0.0, 0.0, CAMERA_DISTANCE])
    for p in range(6):
        assert pairs.truth.seen[p].sum((1, 2)).min() > 50
        own = [pairs.truth.points[p, 0], (pairs.truth.points[p, 1] - center) @ pairs.rotations[p] + center]
        for v in (0, 1):
            seen = pairs.truth.seen[p, v]
            projected = own[v][..., :2] / own[v][..., 2:] * focal + 16
            torch.testing.assert_close(projected[seen], pixels[seen], atol=1e-3, rtol=0)
    angles = pairs.rotations.diagonal(dim1=1, dim2=2).sum(-1).sub(1).div(2).acos().rad2deg()
    assert (angles > 20).all() and len(angles[:3].round(decimals=1).unique()) == 3


def test_pool_pairs_views_of_one_object() -> None:
    pool = PairPool.empty(2, 3, 8, CPU)
    for slot in range(2):
        code = 10.0 * slot + np.arange(3)
        viewmats = np.tile(np.eye(4, dtype=np.float32), (3, 1, 1))
        viewmats[:, 0, 3] = 100 * code
        points = np.zeros((3, 8, 8, 3), dtype=np.float16) + code[:, None, None, None].astype(np.float16)
        seen = np.zeros((3, 8, 8), dtype=np.bool_)
        seen[:, 2:6, 2:6] = True
        images, Ks = np.zeros((3, 8, 8, 4), dtype=np.uint8), np.zeros((3, 3, 3), dtype=np.float32)
        pool.insert(slot, PointViews(images, viewmats, points, seen, Ks))
    images, truth = pool.draw(64, torch.Generator().manual_seed(0))
    assert images.shape == (64, 2, 8, 8, 3) and images.max() <= 1 and images.min() >= -1
    assert (truth.points[~truth.seen] == 0).all() and truth.seen.sum() == 64 * 2 * 16
    codes = truth.points[:, :, 4, 4, 1]  # y was not moved
    assert ((codes // 10)[:, 0] == (codes // 10)[:, 1]).all() and (codes[:, 0] != codes[:, 1]).all()
    assert len(codes.unique(dim=0)) == 12
    # Both are moved into the camera of the first.
    torch.testing.assert_close(truth.points[:, :, 4, 4, 0], codes + 100 * codes[:, :1])


def test_objects_depend_on_seed_and_index_alone() -> None:
    first, again, next_one, other = (
        render_point_views(seed, 2, 16, index) for seed, index in ((5, 3), (5, 3), (5, 4), (6, 3))
    )
    for a, b, c, d in zip(first, again, next_one, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c) and not np.array_equal(a, d)


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_come_in_order(workers: int) -> None:
    with RenderStream(partial(np.full, 2), workers=workers, first=3) as stream:
        for expected in range(3, 15):
            assert next(stream).tolist() == [expected] * 2
    with pytest.raises(OptionError, match="--workers must be at least 0"):
        RenderStream(partial(np.full, 2), workers=-1)


# ---------------------------------------------------------------- validation


class Oracle:
    """Knows the truth at a scale of its own, and turns the second view's points by an angle in degrees."""

    device = CPU
    config = replace(NETWORK, image_size=(32, 32))

    def __init__(self, off_deg: float = 0.0) -> None:
        self.pairs = unseen_pairs(2, 32)
        self.turn = so3_exp(torch.tensor([0.0, np.deg2rad(off_deg), 0.0], dtype=torch.float64)[None])[
            0
        ].float()

    def __call__(self, first: Tensor, second: Tensor) -> SimpleNamespace:
        found = []
        for a, b in zip(first, second, strict=True):
            there = [(a == x).all() and (b == y).all() for x, y in self.pairs.images]
            p = next(i for i in range(6) if there[i]) if any(there) else None
            if p is not None:
                one, two = self.pairs.truth.points[p]
                found.append((2.0 * one, 2.0 * two @ self.turn.mT))
            else:
                p = next(i for i, (x, y) in enumerate(self.pairs.images) if (a == y).all() and (b == x).all())
                own = (self.pairs.truth.points[p, 1] - 5.0) @ self.pairs.rotations[p]
                found.append((7.0 * own, 7.0 * own))
        one, two = (torch.stack(x) for x in zip(*found, strict=True))
        return SimpleNamespace(points1=one, points2=two)


@pytest.mark.parametrize("off_deg", [0.0, 20.0])
def test_validation_measures_rotations(off_deg: float) -> None:
    found = validate_pairs(cast(DUSt3R, Oracle(off_deg)), 2)
    assert found["rotation_deg"] == pytest.approx(off_deg, abs=0.02)
    assert (found["within_15"], found["within_30"]) == (float(off_deg < 15), 1.0)
    assert (found["point_error"] == 0) == (off_deg == 0)


# ---------------------------------------------------------------- training


def train(folder: Path, **options: Any) -> bool:
    intervals = Intervals(log=1, save=2, validate=4)
    settings: dict[str, Any] = {"workers": 0, "device": CPU, "intervals": intervals} | options
    return train_dust3r(settings.pop("config", CONFIG), folder, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    assert train(folder)
    return folder


def no_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "validate_pairs", lambda model: {})


def test_what_a_training_leaves(finished: Path) -> None:
    assert load(finished / "config.json") == CONFIG
    log = read_log(finished)
    assert [r["step"] for r in log if "loss" in r] == [1, 2, 3, 4]
    last = log[-1]
    assert last["step"] == 4 and 0 < last["point_error"] < 3 and 0 < last["rotation_deg"] <= 180
    model = DUSt3R.from_pretrained(finished / "model")
    assert model.config == NETWORK
    # What is kept is the average, in half precision.
    average = torch.load(finished / "dust3r.pt", weights_only=True)["average"]["shadow_params"]
    for stored, exact in zip(model.parameters(), average, strict=True):
        torch.testing.assert_close(stored, exact, atol=1e-3, rtol=1e-3)


def test_interrupted_ends_where_an_uninterrupted_one_does(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_validation(monkeypatch)

    def interrupt(record: Record) -> None:
        if record["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, progress=interrupt)
    assert torch.load(tmp_path / "dust3r.pt", weights_only=True)["step"] == 2
    assert not train(tmp_path, intervals=Intervals(log=1, save=9, stop_after_seconds=0.0))
    assert torch.load(tmp_path / "dust3r.pt", weights_only=True)["step"] == 3
    assert train(tmp_path)
    for name in ("config.json", "model.safetensors"):
        assert (finished / "model" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()
    losses = [[r["loss"] for r in read_log(f) if "loss" in r] for f in (finished, tmp_path)]
    assert losses[0] == losses[1] and len(losses[0]) == 4
    states = [torch.load(f / "dust3r.pt", weights_only=True)["weights"] for f in (finished, tmp_path)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_it_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_validation(monkeypatch)
    phase = replace(CONFIG.training, steps=40, objects_per_step=0.0, batch_size=4, learning_rate=3e-3)
    assert train(tmp_path, config=replace(CONFIG, training=phase))
    losses = [r["loss"] for r in read_log(tmp_path) if "loss" in r]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:3])


def test_start_and_refusals(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_validation(monkeypatch)
    with pytest.raises(CheckpointError, match=r"dust3r\.pt is the state of a training with other"):
        train(finished, seed=1)
    short = replace(CONFIG, training=replace(CONFIG.training, steps=1, learning_rate=1e-9, ema_decay=0.0))
    assert train(tmp_path / "on", config=short, start=finished / "model", seed=9)
    given, found = (DUSt3R.from_pretrained(f / "model") for f in (finished, tmp_path / "on"))
    torch.testing.assert_close(found.state_dict(), given.state_dict(), atol=1e-5, rtol=1e-3)
    other = replace(CONFIG, network=replace(NETWORK, dec_depth=2).to_published())
    with pytest.raises(OptionError, match=r"--start: .*other settings.*\"dec_depth\": 1"):
        train(tmp_path / "other", config=other, start=finished / "model")


# ---------------------------------------------------------------- settings


def load(name: str | Path) -> DUSt3RTrainConfig:
    return load_settings(DUSt3RTrainConfig, "dust3r", name)


@pytest.mark.parametrize(("name", "size", "width"), [("mini", 128, 256), ("224", 224, 1024)])
def test_packaged(name: str, size: int, width: int, tmp_path: Path) -> None:
    config = load(name)
    network = DUSt3RConfig.from_published(config.network)
    assert network.image_size == (size, size) and network.enc_width == width
    (tmp_path / "copy.json").write_text(settings_json(config))
    assert load(tmp_path / "copy.json") == config
    if name == "224":
        assert network == DUSt3RConfig()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("network", "head_type"), "other", "network: head_type"),
        (("network", "img_size"), [32, 64], "square"),
        (("network",), [], "network"),
        (("confidence_weight",), 0, "confidence_weight"),
        (("confidence_weight",), float("nan"), "confidence_weight"),
        (("training", "steps"), 1.5, "steps"),
        (("training", "steps"), True, "steps"),
        (("data", "views_per_object"), 1, "views_per_object"),
        (("more",), 1, "does not know more"),
    ],
)
def test_wrong_settings(path: tuple[str, ...], value: Any, message: str, tmp_path: Path) -> None:
    content = json.loads(settings_json(CONFIG))
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(content))
    with pytest.raises(OptionError, match=rf"--config: .*settings\.json: .*{message}"):
        load(file)


def test_no_such_settings(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="neither a JSON file nor one of 224, mini"):
        load("maxi")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(OptionError, match="not a readable JSON file"):
        load(tmp_path / "bad.json")
