"""LEAP computes the published numbers under the published names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from agsrec.errors import CheckpointError, ShapeError
from agsrec.pose_init.leap.config import LEAP_VARIANTS, LeapConfig
from agsrec.pose_init.leap.model import Leap
from agsrec.pose_init.leap.volume import LeapVolume, VolumeRenderer, march

FIXTURE = LeapConfig(
    image_size=56,
    render_size=28,
    width=32,
    backbone_heads=4,
    encoder_layers=2,
    lifting_layers=2,
    latent_size=4,
    num_samples=16,
    refine_width=24,
    volume_width=16,
    head_width=12,
)


@pytest.fixture(scope="module")
def recorded(shared_dir: Path) -> dict[str, Tensor]:
    return load_file(shared_dir / "parity" / "leap_tiny.safetensors")


@pytest.fixture(scope="module")
def model(recorded: dict[str, Tensor]) -> Leap:
    model = Leap(FIXTURE, with_backbone=False).eval()
    weights = {k.removeprefix("weights."): v for k, v in recorded.items() if k.startswith("weights.")}
    model.load_state_dict(weights, strict=True)
    return model


def agree(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_agrees_with_the_official_network(model: Leap, recorded: dict[str, Tensor]) -> None:
    encoded = model.encode(recorded["in.backbone_tokens"][None])
    agree(encoded, recorded["out.features_2d_refined"])
    coarse = model.lifting(recorded["out.features_2d_refined"])
    agree(coarse, recorded["out.features_3d_lifted"])
    features, densities = model.decode(recorded["out.features_3d_lifted"])
    agree(features, recorded["out.volume_features"])
    agree(densities, recorded["out.volume_densities"])
    volume = model.volume_from_tokens(recorded["in.backbone_tokens"])
    agree(volume.features, recorded["out.volume_features"][0])
    agree(volume.densities, recorded["out.volume_densities"][0])


@torch.no_grad()
def test_agrees_with_the_official_renderer(model: Leap, recorded: dict[str, Tensor]) -> None:
    features, densities = (
        recorded[f"out.volume_{kind}"].expand(3, -1, -1, -1, -1) for kind in ("features", "densities")
    )
    rgb, mask = model.render(
        features, densities, recorded["in.cam_extrinsics_cv2_canonicalized"], recorded["in.K_cv2"][0]
    )
    agree(rgb, recorded["out.rgb"])
    agree(mask, recorded["out.mask"])


def test_published_names_and_shapes(shared_dir: Path) -> None:
    listed = json.loads((shared_dir / "parity" / "keys_leap_kubric_224.json").read_text())
    with torch.device("meta"):
        model = Leap(LEAP_VARIANTS["kubric"])
    ours = {k: list(v.shape) for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    assert ours == listed["state_dict_shapes"]
    # DINOv2 ViT-B/14 has 86.6 million weights, some of them positions that are resampled on loading.
    backbone = sum(p.numel() for k, p in model.state_dict().items() if k.startswith("backbone."))
    assert backbone == 86_580_480 - (1370 - 257) * 768


def test_numbers_of_views(model: Leap) -> None:
    tokens = torch.zeros(11, 16, 32)
    for count in (1, 11):
        with pytest.raises(ShapeError, match=f"2 to 10 views at once, not {count}"):
            model.volume_from_tokens(tokens[:count])
    with torch.no_grad():
        assert model.volume_from_tokens(tokens[:10]).densities.shape == (1, 16, 16, 16)


def test_later_views_matter(model: Leap, recorded: dict[str, Tensor]) -> None:
    tokens = recorded["in.backbone_tokens"]
    with torch.no_grad():
        same, other = (model.volume_from_tokens(t).features for t in (tokens, tokens[[0, 2, 1]]))
    assert float((same - other).abs().max()) > 5e-6


def test_samples_include_both_ends_and_use_the_voxel_grid() -> None:
    # One opaque voxel at x = +0.3 (right), y = -0.1 (up), z = +0.1 (away) of a volume with 5 voxels of 0.2.
    densities = torch.zeros(1, 1, 5, 5, 5)
    densities[0, 0, 3, 2, 4] = 0.75
    features = torch.full((1, 1, 5, 5, 5), 2.0)
    viewmats = torch.eye(4)[None].clone()
    viewmats[0, 2, 3] = 2.0
    K = torch.tensor([[[100.0, 0, 20.5], [0, 100.0, 20.5], [0, 0, 1]]])

    def at(depths: list[float], x: float, y: float, z: float) -> tuple[float, float]:
        column, row = (round(100 * value / (2 + z) + 20.5 - 0.5) for value in (x, y))
        shown, alpha = march(features, densities, 1.0, viewmats, K, 41, 41, torch.tensor(depths))
        return float(shown[0, 0, row, column]), float(alpha[0, 0, row, column])

    # Voxel middles are at -0.4, -0.2, 0, 0.2, 0.4.
    for depths in ([2.2, 3.0], [1.0, 2.2]):
        shown, alpha = at(depths, 0.4, 0.0, 0.2)
        assert alpha == pytest.approx(0.75, abs=0.06)
        assert shown == pytest.approx(2 * alpha, rel=1e-4)
    _, twice = at([2.2, 2.2], 0.4, 0.0, 0.2)
    _, once = at([2.2], 0.4, 0.0, 0.2)
    assert twice == pytest.approx(1 - (1 - once) ** 2, rel=1e-4)
    assert at([2.2], -0.4, 0.0, 0.2)[1] == 0


def test_volume_renderer_keeps_opacity_at_any_number_of_samples() -> None:
    densities = torch.zeros(1, 24, 24, 24)
    densities[:, 6:18, 6:18, 6:18] = 0.05
    volume = LeapVolume(torch.zeros(1, 24, 24, 24), densities, size=1.0, spacing=1 / 40)
    viewmats = torch.eye(4)[None].clone()
    viewmats[0, 2, 3] = 2.0
    K = torch.tensor([[40.0, 0, 8], [0, 40, 8], [0, 0, 1]])
    alphas = [
        float(
            VolumeRenderer(volume, torch.full((3, 24, 24, 24), 0.5), samples=n)(viewmats, K, 16)[0, 8, 8, 3]
        )
        for n in (30, 60, 120)
    ]
    # Half a unit of material, 20 samples of 5 %.
    assert alphas == pytest.approx([1 - 0.95**20] * 3, abs=0.03)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 225}, "not a multiple of patch_size"),
        ({"image_size": 224, "render_size": 100}, "power of two"),
        ({"width": 770}, "multiple of heads"),
        ({"min_depth": 3.0}, "min_depth must be below"),
        ({"depth": 3}, "unknown setting 'depth'"),
        ({"width": "large"}, "config.json: width must be a whole number, not 'large'"),
        ({"width": True}, "width must be a whole number, not True"),
        ({"width": None}, "width must be a whole number, not None"),
        ({"focal": 0}, "focal must be above 0 and at most 1000000, not 0"),
    ],
)
def test_settings_are_checked(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        LeapConfig.from_dict(dict(values), "config.json")
