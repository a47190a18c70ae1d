"""ACE computes the published numbers under the published names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from agsrec.errors import CheckpointError
from agsrec.pose_init.ace0.loss import CoordinateLoss, LossKind, ReprojectionLoss, Step, coordinate_loss
from agsrec.pose_init.ace0.network import EncoderConfig, Head, HeadConfig, Regressor
from agsrec.pose_init.ace0.poses import PoseNetwork, orthonormalized, refined
from agsrec.pose_init.ace0.weights import load_encoder, load_head, load_regressor

SMALL = EncoderConfig((32, 64, 16, 32), inner=64, features=64)
SMALL_HEAD = HeadConfig(features=64, channels=64)


@pytest.fixture(scope="module")
def recorded(shared_dir: Path) -> dict[str, Tensor]:
    return load_file(shared_dir / "parity" / "ace0_head.safetensors")


def part(recorded: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in recorded.items() if k.startswith(prefix)}


@pytest.fixture(scope="module")
def model(recorded: dict[str, Tensor]) -> Regressor:
    weights = {k: v for k, v in part(recorded, "weights.").items() if not k.startswith("pose_network.")}
    model = Regressor(SMALL, SMALL_HEAD)
    model.load_state_dict(weights, strict=True)
    return model


def agree(ours: Tensor, theirs: Tensor, rtol: float = 1e-4) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=rtol)


@torch.no_grad()
def test_agrees_with_the_official_network(model: Regressor, recorded: dict[str, Tensor]) -> None:
    grey = recorded["in.image_gray"]
    agree(model.encoder(grey), recorded["out.features"])
    agree(model(grey), recorded["out.scene_coordinates"])
    agree(model.heads(recorded["in.features_big"]), recorded["out.scene_coordinates_big"])


@pytest.mark.parametrize("kind", get_args(LossKind))
@pytest.mark.parametrize("circle", [True, False])
def test_agrees_with_the_official_losses(kind: Any, circle: bool, recorded: dict[str, Tensor]) -> None:
    loss = ReprojectionLoss(kind, circle=circle)
    ours = torch.stack([loss(recorded["in.errors"], done) for done in (0.0, 0.25, 0.9)])
    agree(ours, recorded[f"out.loss.{kind}.{'circle' if circle else 'linear'}"])


@pytest.mark.parametrize("kind", ["tanh", "dyntanh"])
def test_agrees_with_an_official_training_step(
    kind: Any, model: Regressor, recorded: dict[str, Tensor]
) -> None:
    features = recorded["in.step_features"].T[None, :, None]
    viewmats = recorded["in.step_inv_aug_poses"] @ recorded["in.step_inv_poses"]
    step = Step(recorded["in.step_target_px"], viewmats, recorded["in.step_K"])
    model.zero_grad()
    points = model.heads(features)[0, :, 0].T
    loss, errors = coordinate_loss(points, step, CoordinateLoss(ReprojectionLoss(kind)), progress=0.1)
    loss.backward()
    agree(loss.detach()[None], recorded[f"out.step.{kind}.loss"])
    gradients = {name: weight.grad for name, weight in model.heads.named_parameters()}
    for ours, theirs in (("fc3.weight", "fc3_weight"), ("res3_conv1.bias", "res3_conv1_bias")):
        gradient = gradients[ours]
        assert gradient is not None
        wanted = recorded[f"out.step.{kind}.grad_{theirs}"]
        # As a whole: a unit that is nearly off is on where a CPU sums in another order.
        assert float((gradient - wanted).norm()) < 1e-3 * float(wanted.norm())
    inliers = float((errors < 10).sum()) / len(points)
    assert inliers == pytest.approx(float(recorded[f"out.step.{kind}.batch_inliers"]))


@torch.no_grad()
@pytest.mark.parametrize(("way", "theirs"), [("gram-schmidt", "gram_schmidt"), ("procrustes", "procrustes")])
def test_agrees_with_the_official_pose_refinement(way: Any, theirs: str, recorded: dict[str, Tensor]) -> None:
    network = PoseNetwork()
    network.load_state_dict(part(recorded, "weights.pose_network."), strict=True)
    ours = refined(network, recorded["in.refiner.poses_inv"], way=way)
    agree(ours, recorded[f"out.refiner.poses_{theirs}"])


def test_published_names_and_shapes(shared_dir: Path) -> None:
    listed = json.loads((shared_dir / "parity" / "keys_ace0_regressor.json").read_text())
    ours = {name: list(weight.shape) for name, weight in Regressor().state_dict().items()}
    assert ours == listed["state_dict_shapes"]


def test_published_files_load(tmp_path: Path, model: Regressor, recorded: dict[str, Tensor]) -> None:
    """An encoder's weights have no prefix, nor have those of a map, which are in half precision."""
    state = model.state_dict()
    encoder, head, whole = (tmp_path / n for n in ("ace_encoder_pretrained.pt", "map.pt", "all.safetensors"))
    torch.save(part(state, "encoder."), encoder)
    torch.save({k: v.half() for k, v in part(state, "heads.").items()}, head)
    save_file(state, whole)
    grey, wanted = recorded["in.image_gray"], recorded["out.scene_coordinates"]
    agree(load_encoder(encoder)(grey), recorded["out.features"])
    agree(load_encoder(whole)(grey), recorded["out.features"])
    agree(load_regressor(whole)(grey), wanted)
    stored = load_head(head)
    assert stored.config == SMALL_HEAD
    torch.testing.assert_close(stored(recorded["out.features"]), wanted, atol=0.05, rtol=0.02)


def tiny_head(seed: int = 0) -> Head:
    torch.manual_seed(seed)
    return Head(HeadConfig(features=8, channels=16, blocks=2), torch.tensor([1.0, 2.0, 3.0]))


def test_a_head_of_other_sizes_comes_back_as_it_was(tmp_path: Path) -> None:
    head = tiny_head()
    torch.save(head.state_dict(), tmp_path / "map.pt")
    again = load_head(tmp_path / "map.pt")
    features = torch.randn(1, 8, 2, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again(features), head(features).detach())
    assert not any(weight.requires_grad for weight in again.parameters())


def test_a_head_that_says_nothing_says_the_middle_of_the_scene() -> None:
    head = tiny_head()
    torch.nn.init.zeros_(head.fc3.weight)
    assert head.fc3.bias is not None
    torch.nn.init.zeros_(head.fc3.bias)
    points = head(torch.randn(1, 8, 1, 5))
    assert torch.allclose(points, torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand_as(points))


@pytest.mark.parametrize("load", [load_encoder, load_head, load_regressor])
def test_files_that_are_no_weights_are_refused_in_a_sentence(load: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.pt: no such file; download ace_encoder_pretrained"):
        load(tmp_path / "nowhere.pt")
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(CheckpointError, match=r"text\.pt: no PyTorch checkpoint"):
        load(tmp_path / "text.pt")
    torch.save({"other.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt: no weights of ACE"):
        load(tmp_path / "other.pt")


def test_a_map_is_no_encoder(tmp_path: Path) -> None:
    torch.save(tiny_head().state_dict(), tmp_path / "map.pt")
    with pytest.raises(CheckpointError, match="map of a scene"):
        load_encoder(tmp_path / "map.pt")


def test_a_file_that_lacks_a_weight_names_it(tmp_path: Path) -> None:
    state = tiny_head().state_dict()
    del state["fc2.bias"]
    torch.save(state, tmp_path / "map.pt")
    with pytest.raises(CheckpointError, match=r"missing fc2\.bias"):
        load_head(tmp_path / "map.pt")


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": math.sqrt}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match=r"code\.pt: refused"):
        load_encoder(tmp_path / "code.pt")


def test_impossible_points_are_drawn_to_what_is_known_or_to_their_ray() -> None:
    K = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    behind = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, -1.0]], requires_grad=True)
    known = torch.tensor([[0.0, 0.0, 2.0], [torch.nan] * 3])
    step = Step(torch.tensor([[50.0, 50.0], [50.0, 50.0]]), torch.eye(4).expand(2, 4, 4), K, known)
    loss, errors = coordinate_loss(behind, step, CoordinateLoss(depth_target=5.0), 0.0)
    assert float(loss.detach()) == pytest.approx((3 + 6) / 2)
    assert len(errors) == 0
    loss.backward()
    assert behind.grad is not None and (behind.grad[:, 2] < 0).all()  # both are to come forward


def test_what_becomes_a_rotation_is_one() -> None:
    matrices = torch.eye(3) + 0.3 * torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    for way in ("gram-schmidt", "procrustes"):
        R = orthonormalized(matrices, way)
        torch.testing.assert_close(R @ R.mT, torch.eye(3).expand(4, 3, 3), atol=1e-5, rtol=0)
        assert (torch.linalg.det(R) > 0).all()
