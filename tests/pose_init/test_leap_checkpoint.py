"""LEAP weights load from what is published, and from nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from agsrec.errors import CheckpointError
from agsrec.pose_init.leap.checkpoint import load_leap, transformers_backbone
from agsrec.pose_init.leap.config import LeapConfig
from agsrec.pose_init.leap.model import Leap

TINY = LeapConfig(
    image_size=28,
    render_size=14,
    width=16,
    backbone_layers=2,
    backbone_heads=2,
    heads=2,
    encoder_layers=1,
    lifting_layers=1,
    latent_size=2,
    refine_width=8,
    volume_width=8,
    head_width=8,
    density_width=4,
    feature_channels=4,
)


def published_backbone(positions: int = 5) -> dict[str, Tensor]:
    """Random DINOv2 weights under the names of the original code."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return 0.3 * torch.randn(*shape, generator=generator)

    width = TINY.width
    out = {
        "cls_token": random(1, 1, width),
        "mask_token": random(1, width),
        "pos_embed": random(1, positions, width),
        "patch_embed.proj.weight": random(width, 3, 14, 14) * 0.1,
        "patch_embed.proj.bias": random(width),
        "norm.weight": random(width) + 1,
        "norm.bias": random(width),
    }
    for i in range(TINY.backbone_layers):
        for name, shape in {
            "norm1": (width,),
            "norm2": (width,),
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }.items():
            out[f"blocks.{i}.{name}.weight"] = random(*shape)
            out[f"blocks.{i}.{name}.bias"] = random(shape[0])
        for name in ("ls1", "ls2"):
            out[f"blocks.{i}.{name}.gamma"] = random(width)
    return out


def published(**backbone: int) -> dict[str, Tensor]:
    """A whole checkpoint under published names."""
    torch.manual_seed(1)
    model = Leap(TINY, with_backbone=False)
    return model.state_dict() | {f"backbone.{k}": v for k, v in published_backbone(**backbone).items()}


def reference_tokens(w: dict[str, Tensor], pictures: Tensor) -> Tensor:
    """DINOv2's patch tokens after the last norm, written out."""
    x = F.conv2d(pictures, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14).flatten(2).mT
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], 1) + w["pos_embed"]

    def linear(name: str, y: Tensor) -> Tensor:
        return F.linear(y, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(name: str, y: Tensor) -> Tensor:
        return F.layer_norm(y, y.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    for i in range(TINY.backbone_layers):
        b = f"blocks.{i}"
        qkv = linear(f"{b}.attn.qkv", norm(f"{b}.norm1", x)).unflatten(-1, (3, TINY.backbone_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + w[f"{b}.ls1.gamma"] * linear(f"{b}.attn.proj", attended)
        hidden = F.gelu(linear(f"{b}.mlp.fc1", norm(f"{b}.norm2", x)))
        x = x + w[f"{b}.ls2.gamma"] * linear(f"{b}.mlp.fc2", hidden)
    return norm("norm", x)[:, 1:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(asdict(TINY)))
    return tmp_path


def test_published_layout(folder: Path) -> None:
    weights = published()
    torch.save({"state_dict": weights, "epoch": 3}, folder / "cpt_last.pth.tar")
    model = load_leap(folder)
    assert not model.training
    assert model.config == TINY
    pictures = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours = model.tokens(pictures)
    backbone = {k.removeprefix("backbone."): v for k, v in weights.items() if k.startswith("backbone.")}
    torch.testing.assert_close(ours, reference_tokens(backbone, pictures), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.lifting.latent_emb.data, weights["lifting.latent_emb"])


def test_own_layout_and_wrapped_names_load_alike(folder: Path) -> None:
    torch.save({"state_dict": published()}, folder / "a.pth")
    first = load_leap(folder / "a.pth")
    save_file(first.state_dict(), folder / "model.safetensors")
    wrapped = {f"module.{k}": v for k, v in published().items()}
    torch.save({"state_dict": wrapped}, folder / "b.pth")
    for other in (load_leap(folder), load_leap(folder / "b.pth")):
        for name, tensor in first.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_positions_are_resampled_by_the_original_rule() -> None:
    # Positions that are a linear function of the row: bicubic resampling keeps it nearly linear inside.
    side, given = 16, 37
    rows = torch.arange(given, dtype=torch.float32)[:, None].expand(given, given).reshape(1, -1, 1)
    table = torch.cat([torch.tensor([[[7.0]]]), rows], dim=1)
    out = transformers_backbone({"pos_embed": table}, side)["embeddings.position_embeddings"]
    assert out.shape == (1, 1 + side * side, 1)
    assert float(out[0, 0]) == 7
    grid = out[0, 1:, 0].unflatten(0, (side, side))
    expected = (torch.arange(side) + 0.5) * given / (side + 0.1) - 0.5
    # The cubic kernel bends a line a little; the rule without the offset is off by 0.2 at the end.
    torch.testing.assert_close(grid[2:-2, 5], expected[2:-2], atol=0.06, rtol=0)


def test_every_problem_is_named_at_once(folder: Path) -> None:
    weights = published()
    del weights["encoder.cam_emb"]
    weights["encoder.extra"] = torch.zeros(2)
    weights["lifting.latent_emb"] = torch.zeros(3, 2, 2, 16)
    weights["backbone.blocks.0.attn.surprise.weight"] = torch.zeros(3)
    torch.save({"state_dict": weights}, folder / "leap.pth")
    with pytest.raises(CheckpointError) as caught:
        load_leap(folder)
    message = str(caught.value)
    assert str(folder / "leap.pth") in message
    assert "1 missing (encoder.cam_emb)" in message
    assert "2 unexpected (backbone.blocks.0.attn.surprise.weight, encoder.extra)" in message
    assert "1 misshapen (lifting.latent_emb [3, 2, 2, 16] instead of [2, 2, 2, 16])" in message


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("run",))


def test_refusals(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match=r"no LEAP weights; expected model\.safetensors"):
        load_leap(folder)
    with pytest.raises(CheckpointError, match=r"nowhere\.pth: no such LEAP checkpoint"):
        load_leap("nowhere.pth")
    with pytest.raises(CheckpointError, match="no LEAP variant 'shapenet'; choose kubric or omniobject3d"):
        load_leap(folder, variant="shapenet")
    torch.save({"state_dict": {"a": _Evil()}}, folder / "leap.pth")
    with pytest.raises(CheckpointError, match="refused"):
        load_leap(folder)
    assert "run" not in capsys.readouterr().out
    (folder / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="no settings file"):
        load_leap(folder)
