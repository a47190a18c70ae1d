"""Training of the all-views pose network: it learns, resumes bit for bit, and its data are consistent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agsrec.errors import OptionError
from agsrec.pose_init.nview import NView, NViewConfig
from agsrec.pose_init.nview.weights import load_nview
from agsrec.training import nview as training
from agsrec.training.config import PhaseConfig
from agsrec.training.loop import Intervals
from agsrec.training.nview import NViewTrainConfig, train_nview
from agsrec.training.nview_data import ViewPool, render_view_sets
from agsrec.training.nview_losses import NViewLoss, losses, soft_bins, token_points
from agsrec.training.settings import load_settings, settings_json

SIZE = 32
NETWORK = NViewConfig(
    image_size=SIZE, tokens=10, width=32, heads=2, blocks="FGF", match_after=1, match_channels=8
)
CPU = torch.device("cpu")


def config(steps: int = 6) -> NViewTrainConfig:
    phase = PhaseConfig(
        steps=steps, batch_size=16, learning_rate=3e-3, warmup_steps=2, objects_per_step=0.5, ema_decay=0.9
    )
    return NViewTrainConfig(NETWORK, pool_objects=3, training=phase)


def pool(objects: int = 3) -> ViewPool:
    made = ViewPool.empty(objects, SIZE, CPU)
    made.advance((render_view_sets(0, k, size=SIZE) for k in range(objects)), 0)
    return made


def train(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> bool:
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(training, "validate_poses", lambda *_: {"median_deg": 1.0})
    return train_nview(options.pop("config", config()), folder, device=CPU, **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_nview(folder / "model").state_dict()


def test_points_are_where_the_pictures_show_them() -> None:
    """A true point, seen through its camera, falls on the object and in its token."""
    views, truth = pool().draw(3, 8, torch.Generator().manual_seed(0))
    assert views.shape == (3, 8, 4, SIZE, SIZE) and bool(truth.seen.any((2, 3)).all())
    solid = views[:, :, 3, ::2, ::2] > 0
    assert float((solid & truth.seen).sum() / truth.seen.sum()) > 0.9
    assert float(truth.points.norm(dim=-1).max()) < 0.6


def test_token_points_follow_the_rows() -> None:
    grid = torch.arange(64.0).view(1, 1, 8, 8, 1)  # two by two tokens of four by four points
    cells = token_points(grid, torch.tensor([[[1, 2]]]))
    assert cells.shape == (1, 1, 2, 4, 4, 1)
    assert cells[0, 0, 0, 0, :, 0].tolist() == [4, 5, 6, 7] and cells[0, 0, 1, 0, 0, 0] == 32


def test_labels_peak_at_the_angle_and_wrap() -> None:
    labels = soft_bins(torch.tensor([2.5, 358.0]), 72, 0.0, 360.0, periodic=True)
    assert labels.argmax(-1).tolist() == [0, 71]
    assert torch.allclose(labels.sum(-1), torch.ones(2)) and labels[1, 0] > labels[1, 69]


def test_the_truth_costs_nothing() -> None:
    """With points, roll and labels as they are, only the uncertainty of the labels is left."""
    images, truth = pool().draw(2, 4, torch.Generator().manual_seed(1))
    output = NView(NETWORK)(images)
    world = token_points(truth.points, output.tokens)
    local = (truth.rotations[:, :, None, None, None] @ world[..., None])[..., 0]
    before = losses(output, truth)
    told = type(output)(
        **{**vars(output), "local_points": local, "log_confidence": 0 * output.log_confidence}
    )
    assert float(losses(told, truth)["local_points"].detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(before["local_points"].detach()) > 0.05


def test_it_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    images, truth = pool(2).draw(2, 4, torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    module = NViewLoss(NView(NETWORK))
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    found = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = module(images, truth)
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.6 * found[0]


def test_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_accelerator: None
) -> None:
    assert train(tmp_path / "whole", monkeypatch)
    part = tmp_path / "part"
    assert not train(part, monkeypatch, intervals=Intervals(stop_after_seconds=0.0))
    while not train(part, monkeypatch, intervals=Intervals(stop_after_seconds=0.0)):
        pass
    whole, resumed = weights(tmp_path / "whole"), weights(part)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert json.loads((part / "config.json").read_text())["pool_objects"] == 3


def test_starts_from_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_accelerator: None
) -> None:
    train(tmp_path / "first", monkeypatch)
    train(tmp_path / "second", monkeypatch, start=tmp_path / "first" / "model", config=config(2))
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert float((first["position"] - second["position"]).abs().max()) < 0.02
    wider = NViewTrainConfig(
        NViewConfig(**{**vars(NETWORK), "width": 64}), pool_objects=3, training=config().training
    )
    with pytest.raises(OptionError, match="another width"):
        train(tmp_path / "third", monkeypatch, start=tmp_path / "first" / "model", config=wider)


def test_a_share_of_the_start_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_accelerator: None
) -> None:
    """Weights are the mean of those learned and those begun with, but for those that are new."""
    telling = NViewTrainConfig(replace(NETWORK, lens=True), pool_objects=3, training=config(3).training)
    with pytest.raises(OptionError, match="--start"):
        train(tmp_path / "none", monkeypatch, config=replace(telling, start_share=0.25))
    train(tmp_path / "first", monkeypatch)
    start = tmp_path / "first" / "model"
    train(tmp_path / "learned", monkeypatch, start=start, config=telling)
    train(tmp_path / "mixed", monkeypatch, start=start, config=replace(telling, start_share=0.25))
    begun, learned, mixed = (weights(tmp_path / name) for name in ("first", "learned", "mixed"))
    for name in mixed:
        wanted = 0.25 * begun[name].float() + 0.75 * learned[name].float() if name in begun else learned[name]
        assert torch.allclose(mixed[name].float(), wanted.float(), atol=2e-3), name
    assert not torch.allclose(mixed["position"].float(), learned["position"].float(), atol=1e-4)


def test_a_network_learns_to_tell_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_accelerator: None
) -> None:
    """Fields of view are learned by networks that did not tell them, which else stay as they are."""
    train(tmp_path / "first", monkeypatch)
    telling = NViewTrainConfig(replace(NETWORK, lens=True), pool_objects=3, training=config(2).training)
    train(tmp_path / "second", monkeypatch, start=tmp_path / "first" / "model", config=telling)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert float((first["position"] - second["position"]).abs().max()) < 0.02
    assert {name for name in second if name not in first} == {
        f"lens_head.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
    }


def test_a_network_learns_to_look_closer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_accelerator: None
) -> None:
    """Finer tokens are learned by networks that had none, whose stem they start with."""
    train(tmp_path / "first", monkeypatch)
    closer = NViewTrainConfig(replace(NETWORK, fine_tokens=8), pool_objects=3, training=config(2).training)
    train(tmp_path / "second", monkeypatch, start=tmp_path / "first" / "model", config=closer)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert float((first["position"] - second["position"]).abs().max()) < 0.02
    assert float((first["stem.1.weight"] - second["refinement.stem.1.weight"]).abs().max()) < 0.02
    assert bool(second["refinement.questions.0.out.weight"].any())


def test_points_of_larger_pictures_are_the_same() -> None:
    """The points of a cell of pixels are those of the one pixel that it is in smaller pictures."""
    small, large = (render_view_sets(0, 1, size=SIZE, zoom=zoom) for zoom in (1, 2))
    assert large.images.shape[1:3] == (2 * SIZE, 2 * SIZE) and large.points.shape == small.points.shape
    assert np.allclose(large.fields, small.fields, atol=1e-3)
    both = small.seen & large.seen
    assert both.sum() > 0.8 * small.seen.sum()
    away = np.linalg.norm(large.points[both].astype(float) - small.points[both].astype(float), axis=-1)
    assert np.median(away) < 0.005


def test_what_is_told_of_the_lens_is_learned() -> None:
    images, truth = pool(2).draw(2, 4, torch.Generator().manual_seed(3))
    assert float(truth.fields.min()) > 4 and float(truth.fields.max()) < 80
    torch.manual_seed(0)
    module = NViewLoss(NView(replace(NETWORK, lens=True)))
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    found = []
    for _ in range(40):
        optimizer.zero_grad()
        module(images, truth).backward()
        optimizer.step()
        found.append(float(module.last["field"].detach()))
    assert found[-1] < 0.7 * found[0]


def test_packaged_settings(tmp_path: Path) -> None:
    packaged = load_settings(NViewTrainConfig, "nview", "mini")
    assert packaged.network == NViewConfig()
    (tmp_path / "copy.json").write_text(settings_json(packaged))
    assert load_settings(NViewTrainConfig, "nview", tmp_path / "copy.json") == packaged
    finer = load_settings(NViewTrainConfig, "nview", "mini-fine")
    assert (
        replace(finer.network, fine_tokens=0, lens=False) == packaged.network
        and finer.network.crop_size == 128
    )
    content = json.loads(settings_json(packaged))
    content["network"]["blocks"] = "FX"
    (tmp_path / "copy.json").write_text(json.dumps(content))
    with pytest.raises(OptionError, match="network: blocks must be"):
        load_settings(NViewTrainConfig, "nview", tmp_path / "copy.json")
