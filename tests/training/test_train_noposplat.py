"""NoPoSplat learns from rendered groups of views, can be stopped anywhere, and is measured fairly."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agsrec.cameras import CAMERA_DISTANCE
from agsrec.errors import CameraError, CheckpointError, OptionError
from agsrec.gaussians import SH_C0
from agsrec.pose_init.noposplat.config import NoPoSplatConfig
from agsrec.pose_init.noposplat.model import NoPoSplat
from agsrec.pose_init.noposplat.splats import SplatMaps
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.training import noposplat as training
from agsrec.training.config import DataConfig, PhaseConfig
from agsrec.training.dust3r_data import PairPool, render_point_views
from agsrec.training.loop import Intervals, Record, read_log
from agsrec.training.noposplat import CentersLoss, NoPoSplatTrainConfig, SplatLoss, train_noposplat
from agsrec.training.noposplat_data import SHOWN, SplatTruth, UnseenPair, draw_groups, unseen_splat_pairs
from agsrec.training.noposplat_validation import measured_pairs, validate_centers, validate_splats
from agsrec.training.settings import load_settings, settings_json

CPU = torch.device("cpu")
SIZE = 32
TRANSFORMER = DUSt3RConfig(
    image_size=(SIZE, SIZE), square_images=True, patch_size=8, enc_width=16, enc_depth=1, enc_heads=2,
    dec_width=16, dec_depth=4, dec_heads=2, head="dpt", dpt_width=8, dpt_last_width=8,
    dpt_level_widths=(8, 8, 8, 8),
)  # fmt: skip
NETWORK = NoPoSplatConfig(transformer=TRANSFORMER, sh_degree=0)
PHASE = PhaseConfig(
    steps=3, batch_size=2, learning_rate=1e-3, warmup_steps=1, objects_per_step=0.5, ema_decay=0.5
)
CONFIG = NoPoSplatTrainConfig(
    network=NETWORK.to_settings(),
    data=DataConfig(views_per_object=4, pool_objects=2),
    centers=PHASE,
    splats=PHASE,
    targets=1,
    ssim_weight=0.2,
    mask_weight=0.5,
    points_weight=0.5,
)


def tiny(seed: int = 0) -> NoPoSplat:
    return NoPoSplat(NETWORK).initialize(torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def groups() -> SplatTruth:
    """Four groups of two objects."""
    pool = PairPool.empty(2, 6, SIZE, CPU)
    for slot in range(2):
        pool.insert(slot, render_point_views(3, 6, SIZE, slot))
    return draw_groups(pool, 4, 2, torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- network


def test_untrained_gaussians_are_in_the_picture() -> None:
    images = 2 * torch.rand(1, 2, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0)) - 1
    lens = torch.tensor([[0.9, 0.0, 0.5], [0.0, 0.9, 0.5], [0.0, 0.0, 1.0]]).expand(1, 2, 3, 3)
    model = tiny()
    found = model(images, lens)
    assert found.means.shape == (1, 2, SIZE, SIZE, 3)  # with patches of 8 too
    torch.testing.assert_close(model.centers(images, lens), found.means)
    away = (found.means - torch.tensor([0.0, 0.0, 1.0])).norm(dim=-1)
    assert away.max() < 0.5
    torch.testing.assert_close(found.scales, torch.full_like(found.scales, 0.7 / SIZE), rtol=0.2, atol=0)
    assert found.opacities.min() > 0.7
    torch.testing.assert_close(tiny().state_dict(), model.state_dict())


# ---------------------------------------------------------------- data


def test_groups_are_in_the_first_camera_and_its_unit(groups: SplatTruth) -> None:
    rows, columns = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    pixels = torch.stack([columns, rows], -1)
    assert groups.pictures.shape == (4, 4, SIZE, SIZE, 3) and groups.pictures.min() >= 0
    for b in range(4):
        torch.testing.assert_close(groups.viewmats[b, 0], torch.eye(4), atol=1e-5, rtol=0)
        seen = groups.seen[b]
        assert float(groups.points[b][seen].norm(dim=-1).mean()) == pytest.approx(1, abs=1e-4)
        for view in range(SHOWN):
            cameras, own = groups.cameras(b), groups.points[b, view][seen[view]]
            projected = cameras[[view]].project(own)[0][0]
            torch.testing.assert_close(projected, pixels[seen[view]], atol=0.05, rtol=0)
        for view in range(4):  # all look at the same object
            inside = groups.cameras(b)[[view]].project(groups.points[b, 0][seen[0]])[0][0] / SIZE
            assert ((inside > -0.1) & (inside < 1.1)).all()
    images, lenses = groups.inputs
    torch.testing.assert_close(images, 2 * groups.pictures[:, :2] - 1)
    torch.testing.assert_close(lenses[:, :, 0, 0] * SIZE, groups.Ks[:, :2, 0, 0])


def test_views_of_a_group_are_near_each_other() -> None:
    angles = torch.arange(8) * torch.pi / 4
    centers = torch.stack([angles.sin(), torch.zeros(8), angles.cos()], -1)
    viewmats = torch.eye(4).repeat(8, 1, 1)
    viewmats[:, :3, 3] = -centers
    pool = PairPool.empty(1, 8, 8, CPU)
    pool.viewmats[0], pool.seen[0] = viewmats, True
    pool.points[0, ..., 2] = 1
    pool.Ks[0] = torch.arange(8)[:, None, None] * torch.ones(3, 3)  # which view it is
    chosen = draw_groups(pool, 200, 2, torch.Generator().manual_seed(0)).Ks[..., 0, 0].long()
    apart = (chosen[:, 1] - chosen[:, 0]).remainder(8)
    assert set(apart.tolist()) <= {1, 2, 6, 7} and len(set(apart.tolist())) >= 3
    for first, second, *others in chosen.tolist():
        assert len({first, second, *others}) == 4
        if (second - first) % 8 == 2:  # the one between the two comes first
            assert others[0] == (first + 1) % 8
    assert len(chosen[:, 0].unique()) == 8


# ---------------------------------------------------------------- objectives


def exact(truth: SplatTruth) -> SplatMaps:
    """Gaussians on the true surface in the true colours."""
    means = truth.points.clone()
    colors = truth.pictures[:, :SHOWN]
    quats = torch.zeros(*means.shape[:-1], 4)
    quats[..., 0] = 1
    focal = truth.Ks[:, :SHOWN, 0, 0][..., None, None, None]
    scales = (0.5 * means[..., 2:].abs() / focal).clamp_min(1e-3).expand_as(means)
    logits = torch.where(truth.seen, 4.0, -8.0)
    return SplatMaps(means, scales, quats, logits, ((colors - 0.5) / SH_C0)[..., None, :])


class Exact(nn.Module):
    """A network that knows the truth, but for an error of its centres."""

    device, config = CPU, NETWORK

    def __init__(self, truth: SplatTruth, off: float = 0.0) -> None:
        super().__init__()
        self.backbone = self.downstream_head1 = self.downstream_head2 = nn.Identity()
        self.maps = exact(truth)
        self.maps = replace(self.maps, means=self.maps.means + off)

    def forward(self, *inputs: Tensor) -> SplatMaps:
        return self.maps

    def centers(self, *inputs: Tensor) -> Tensor:
        return self.maps.means


def test_losses_are_least_at_the_truth(groups: SplatTruth) -> None:
    near, far = (cast(NoPoSplat, Exact(groups, off)) for off in (0.0, 0.1))
    assert float(CentersLoss(near)(groups)) == 0
    assert float(CentersLoss(far)(groups)) == pytest.approx(0.1 * 3**0.5, rel=1e-4)
    losses = [float(SplatLoss(model, CONFIG)(groups)) for model in (near, far)]
    assert losses[0] < 0.15 and losses[1] > losses[0] + 0.1
    # Every term counts.
    parts = [replace(CONFIG, **{name: 0.0}) for name in ("ssim_weight", "mask_weight", "points_weight")]
    assert all(float(SplatLoss(far, part)(groups)) < losses[1] - 1e-3 for part in parts)


def test_what_each_loss_trains(groups: SplatTruth) -> None:
    model = tiny()
    CentersLoss(model)(groups).backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert moved == {"backbone", "downstream_head1", "downstream_head2"}
    assert {p for p in CentersLoss(model).parameters() if p.requires_grad} == {
        p for p in model.parameters() if p.grad is not None
    }
    SplatLoss(model, CONFIG)(groups).backward()
    still = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not still


# ---------------------------------------------------------------- validation


class Oracle(Exact):
    """Knows the pairs by their first photo, and turns the second view's centres by an angle in degrees."""

    def __init__(self, off_deg: float = 0.0) -> None:
        self.pairs = unseen_splat_pairs(1, SIZE)
        super().__init__(self.pairs[0].truth)
        angle = torch.tensor(off_deg).deg2rad()
        self.turn = torch.tensor(
            [[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]]
        )  # fmt: skip

    def forward(self, *inputs: Tensor) -> SplatMaps:
        pair = next(p for p in self.pairs if torch.allclose(p.truth.inputs[0], inputs[0], atol=0.02))
        maps = exact(pair.truth)
        means = maps.means.clone()
        means[:, 1] = means[:, 1] @ self.turn.mT
        return replace(maps, means=means)

    def encode(self, images: Tensor, intrinsics: Tensor, *, batch: int | None = None) -> list[Tensor]:
        return [images[None], intrinsics[None]]

    def decode(self, encoded: list[Tensor], groups: Tensor, *, batch: int = 4) -> SplatMaps:
        assert groups.tolist() == [[0, 1]]
        return self(*encoded)


@pytest.mark.parametrize("off_deg", [0.0, 20.0])
def test_validation_measures_rotations_and_pictures(off_deg: float, tmp_path: Path) -> None:
    found = validate_splats(cast(NoPoSplat, Oracle(off_deg)), tmp_path, 7, count=1)
    assert found["rotation_deg"] == pytest.approx(off_deg, abs=0.5)
    assert (found["within_15"], found["within_30"]) == (float(off_deg < 15), 1.0)
    assert (found["psnr"] > 15) == (off_deg == 0)
    assert (tmp_path / "validation" / "splats-000007.png").is_file()


def test_pairs_that_cannot_be_posed_count_as_wrong() -> None:
    def refuse(pair: UnseenPair) -> Any:
        raise CameraError("no")

    pairs = unseen_splat_pairs(1, SIZE)
    assert measured_pairs(pairs, refuse).report() == {"rotation_deg": 180.0, "within_15": 0, "within_30": 0}
    turns = [p.cameras.rotations[1] @ p.cameras.rotations[0].mT for p in pairs]
    angles = torch.stack([t.diagonal().sum().sub(1).div(2).acos().rad2deg() for t in turns])
    assert (angles.diff() > 20).all()
    for pair in pairs:  # the third view is between the two
        away = F.normalize(pair.truth.cameras(0).centers - torch.tensor([0, 0, 1.0]), dim=-1)
        assert min(away[2] @ away[0], away[2] @ away[1]) > away[0] @ away[1]
    assert pairs[0].cameras.centers.norm(dim=-1).tolist() == pytest.approx([CAMERA_DISTANCE] * 2, rel=1e-4)


# ---------------------------------------------------------------- training


def train(folder: Path, **options: Any) -> bool:
    intervals = Intervals(log=1, save=2, validate=9)
    settings: dict[str, Any] = {"workers": 0, "device": CPU, "intervals": intervals} | options
    return train_noposplat(settings.pop("config", CONFIG), folder, **settings)


def shorten_validation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(training, "validate_centers", partial(validate_centers, count=1))
    patch.setattr(training, "validate_splats", partial(validate_splats, count=1))


@pytest.fixture(autouse=True)
def quick_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_validation(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        shorten_validation(patch)
        assert train(folder)
    return folder


def test_what_a_training_leaves(finished: Path) -> None:
    assert settings_json(load(finished / "config.json")) == settings_json(CONFIG)
    log = read_log(finished)
    assert [(r["phase"], r["step"]) for r in log if "loss" in r] == [
        (phase, step) for phase in ("centers", "splats") for step in (1, 2, 3)
    ]
    last = [r for r in log if "loss" not in r]
    assert [r["phase"] for r in last] == ["centers", "splats"]
    assert all(0 < r["rotation_deg"] <= 180 for r in last) and 5 < last[1]["psnr"] < 40
    assert (finished / "validation" / "splats-000003.png").is_file()
    model = NoPoSplat.from_pretrained(finished / "model")
    assert model.config == NETWORK
    # What is kept is the average, in half precision.
    average = torch.load(finished / "splats.pt", weights_only=True)["average"]["shadow_params"]
    every = zip(model.parameters(), tiny().parameters(), strict=True)
    for stored, exact_value in zip([p for p, own in every if own.requires_grad], average, strict=True):
        torch.testing.assert_close(stored, exact_value, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("phase", ["centers", "splats"])
def test_interrupted_ends_where_an_uninterrupted_one_does(finished: Path, tmp_path: Path, phase: str) -> None:
    def interrupt(record: Record) -> None:
        if (record["phase"], record["step"]) == (phase, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, progress=interrupt)
    assert torch.load(tmp_path / f"{phase}.pt", weights_only=True)["step"] == 2
    train(tmp_path, intervals=Intervals(log=1, save=9, stop_after_seconds=0.0))
    assert torch.load(tmp_path / f"{phase}.pt", weights_only=True)["step"] == 3
    assert train(tmp_path)
    for name in ("config.json", "model.safetensors"):
        assert (finished / "model" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()
    losses = [[r["loss"] for r in read_log(f) if "loss" in r] for f in (finished, tmp_path)]
    assert losses[0] == losses[1] and len(losses[0]) == 6


def test_it_learns(tmp_path: Path) -> None:
    more = replace(PHASE, steps=25, objects_per_step=0.0, learning_rate=3e-3)
    assert train(tmp_path, config=replace(CONFIG, centers=more, splats=more))
    log = [r for r in read_log(tmp_path) if "loss" in r]
    for phase in ("centers", "splats"):
        losses = [r["loss"] for r in log if r["phase"] == phase]
        assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3]), phase


def test_start_and_refusals(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"centers\.pt is the state of a training with other"):
        train(finished, seed=1)
    short = replace(CONFIG, splats=replace(PHASE, steps=1, learning_rate=1e-9, ema_decay=0.0))
    assert train(tmp_path / "on", config=short, start=finished / "model", seed=9)
    assert not (tmp_path / "on" / "centers.pt").exists()
    given, found = (NoPoSplat.from_pretrained(f / "model") for f in (finished, tmp_path / "on"))
    torch.testing.assert_close(found.state_dict(), given.state_dict(), atol=1e-5, rtol=1e-3)
    other = replace(CONFIG, network=replace(NETWORK, sh_degree=1).to_settings())
    with pytest.raises(OptionError, match=r"--start: .*other settings.*\"sh_degree\": 0"):
        train(tmp_path / "other", config=other, start=finished / "model")


# ---------------------------------------------------------------- settings


def load(name: str | Path) -> NoPoSplatTrainConfig:
    return load_settings(NoPoSplatTrainConfig, "noposplat", name)


def test_packaged(tmp_path: Path) -> None:
    config = load("mini")
    network = NoPoSplatConfig.from_settings(config.network)
    assert network.image_size == 64 and network.transformer.patch_size == 8
    (tmp_path / "copy.json").write_text(settings_json(config))
    assert load(tmp_path / "copy.json") == config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("network", "head_type"), "linear", "network: head_type"),
        (("network", "patch_size"), 4, "network: .*patch_size 4 is not 8 or 16"),
        (("network", "views"), 3, "views must be 2"),
        (("targets",), 3, "targets: .*views_per_object"),
        (("mask_weight",), -1.0, "mask_weight"),
        (("centers", "steps"), 0, "steps"),
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
