"""The network computes what the published code computes, under its names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from agsrec.errors import CheckpointError, ShapeError
from agsrec.pose_init.stereo.config import DUSt3RConfig, constructor_settings
from agsrec.pose_init.stereo.model import DUSt3R, PairPrediction
from agsrec.pose_init.stereo.rope import grid_positions, patch_rotation, rotate

TINY = DUSt3RConfig(
    image_size=(32, 32), enc_width=16, enc_depth=1, enc_heads=2, dec_width=16, dec_depth=4, dec_heads=2
)  # fmt: skip
TINY_DPT = replace(TINY, head="dpt", dpt_width=8, dpt_last_width=4, dpt_level_widths=(4, 4, 6, 8))


class Parity:
    """Weights, inputs and outputs of the published code."""

    def __init__(self, shared: Path, name: str) -> None:
        path = shared / "parity" / f"{name}.safetensors"
        if not path.is_file():
            pytest.skip(f"no parity fixture {name}")
        self.tensors = load_file(path)
        self.notes: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def model(self) -> DUSt3R:
        config = DUSt3RConfig.from_published(self.notes["constructor"])
        small = self.notes.get("dpt_override") or self.notes.get("head_override")
        if small:
            config = replace(
                config,
                dpt_width=small["feature_dim"],
                dpt_last_width=small["last_dim"],
                dpt_level_widths=tuple(small["layer_dims"]),
                descriptor_mlp_ratio=small.get("hidden_dim_factor", 4.0),
            )
        model = DUSt3R(config)
        weights = {k.removeprefix("weights."): v for k, v in self.tensors.items() if k.startswith("weights.")}
        model.load_state_dict(weights, strict=True)
        return model.eval().requires_grad_(False)

    def images(self, case: str) -> tuple[Tensor, Tensor]:
        first, second = (self[f"in.{case}.view{i}.img"].movedim(1, -1) for i in (1, 2))
        return first, second


def close(found: Tensor | None, expected: Tensor, atol: float = 1e-4) -> None:
    assert found is not None
    torch.testing.assert_close(found, expected, atol=atol, rtol=1e-4)


def test_rotation(shared_dir: Path) -> None:
    data = Parity(shared_dir, "dust3r_linear")
    rotation = patch_rotation(data["in.rope.positions"][0], 16, 100.0)
    close(rotate(data["in.rope.tokens"], rotation), data["out.rope.tokens"], 1e-6)
    # At the first patch nothing turns.
    still = rotate(data["in.rope.tokens"][:, :, :1], patch_rotation(grid_positions(1, 1), 16, 100.0))
    assert torch.equal(still, data["in.rope.tokens"][:, :, :1])


@pytest.mark.parametrize("case", ["same", "diff"])
@pytest.mark.parametrize("name", ["dust3r_linear", "dust3r_dpt"])
def test_published_numbers(shared_dir: Path, name: str, case: str) -> None:
    data = Parity(shared_dir, name)
    model = data.model()
    seen: dict[str, Tensor] = {}
    normed: list[Tensor] = []

    def keep(key: str) -> Any:
        return lambda _module, _inputs, out: seen.update({key: out})

    model.dec_blocks[0].register_forward_hook(keep("dec1_mid"))
    model.dec_blocks2[0].register_forward_hook(keep("dec2_mid"))
    model.dec_norm.register_forward_hook(lambda _m, _i, out: normed.append(cast(Tensor, out)))
    first, second = data.images(case)
    features = model.encode(first)
    close(features.tokens, data[f"out.{case}.enc_feat1"])
    close(model.encode(second).tokens, data[f"out.{case}.enc_feat2"])
    assert torch.equal(grid_positions(*features.grid), data[f"out.{case}.pos1"][0])
    found = model.forward_pairs(first, second)
    for key, value in {**seen, "dec1_last": normed[0], "dec2_last": normed[1]}.items():
        close(value, data[f"out.{case}.{key}"])
    close(found.points1, data[f"out.{case}.res1.pts3d"])
    close(found.confidence1, data[f"out.{case}.res1.conf"])
    close(found.points2, data[f"out.{case}.res2.pts3d_in_other_view"])
    close(found.confidence2, data[f"out.{case}.res2.conf"])


@pytest.mark.parametrize("case", ["same", "diff"])
def test_published_numbers_of_the_matching_head(shared_dir: Path, case: str) -> None:
    data = Parity(shared_dir, "mast3r_catmlp_dpt")
    found = data.model().forward_pairs(*data.images(case))
    close(found.points1, data[f"out.{case}.res1.pts3d"], 5e-5)
    close(found.points2, data[f"out.{case}.res2.pts3d_in_other_view"], 5e-5)
    for i in (1, 2):
        close(vars(found)[f"confidence{i}"], data[f"out.{case}.res{i}.conf"], 5e-5)
        close(vars(found)[f"descriptors{i}"], data[f"out.{case}.res{i}.desc"], 5e-5)
        close(vars(found)[f"descriptor_confidence{i}"], data[f"out.{case}.res{i}.desc_conf"], 5e-5)


@pytest.mark.parametrize(
    ("name", "size", "head"),
    [
        ("dust3r_224_linear", 224, "linear"),
        ("dust3r_512_linear", 512, "linear"),
        ("dust3r_512_dpt", 512, "dpt"),
        ("mast3r_512_catmlp_dpt", 512, "catmlp+dpt"),
    ],
)
def test_published_keys(shared_dir: Path, name: str, size: int, head: Any) -> None:
    path = shared_dir / "parity" / f"keys_{name}.json"
    expected = json.loads(path.read_text())["state_dict_shapes"]
    with torch.device("meta"):
        model = DUSt3R(DUSt3RConfig(image_size=(size, size), head=head))
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == expected


# ---------------------------------------------------------------- pairs of encoded images


def tiny(config: DUSt3RConfig = TINY) -> DUSt3R:
    return DUSt3R(config).initialize(torch.Generator().manual_seed(0)).eval().requires_grad_(False)


def pictures(count: int, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("config", [TINY, TINY_DPT], ids=["linear", "dpt"])
def test_every_image_is_encoded_once(config: DUSt3RConfig) -> None:
    model, images, count = tiny(config), pictures(3), []
    model.enc_norm.register_forward_hook(lambda _m, _i, out: count.append(len(out)))
    pairs = torch.tensor([(i, j) for i in range(3) for j in range(3) if i != j])
    found = model.decode_pairs(model.encode(images, batch=2), pairs, batch=4)
    assert count == [2, 1]
    assert (
        len(found) == 6 and found.points1.shape == (6, 32, 32, 3) and found.confidence2.shape == (6, 32, 32)
    )
    expected = model.forward_pairs(images[pairs[:, 0]], images[pairs[:, 1]])
    for name in ("points1", "points2", "confidence1", "confidence2"):
        close(getattr(found, name), getattr(expected, name), 1e-5)
    assert not torch.allclose(found.points1[0], found.points1[1], atol=1e-3)  # the partner matters
    assert (found.confidence1 > 1).all()


def test_pair_batches_bound_the_memory() -> None:
    model, sizes = tiny(), []
    model.dec_norm.register_forward_hook(lambda _m, _i, out: sizes.append(len(out)))
    pairs = torch.tensor([(0, 1), (1, 0)] * 5)
    model.decode_pairs(model.encode(pictures(2)), pairs, batch=3)
    assert max(sizes) == 3


def test_predictions_join(shared_dir: Path) -> None:
    data = Parity(shared_dir, "mast3r_catmlp_dpt")
    model, images = data.model(), pictures(2, 48, 64)
    found = model.decode_pairs(model.encode(images), torch.tensor([(0, 1), (1, 0), (0, 0)]), batch=2)
    assert found.descriptors1 is not None and found.descriptors1.shape == (3, 48, 64, 8)
    assert len(PairPrediction.cat([found, found])) == 6


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (torch.zeros(0, 2, dtype=torch.long), "P > 0"),
        (torch.tensor([[0, 2]]), "up to 2, but there are 2"),
        (torch.tensor([[-1, 0]]), "there are 2"),
        (torch.tensor([0, 1]), r"\[P, 2\]"),
        (torch.tensor([[0.0, 1.0]]), "whole numbers"),
    ],
)
def test_wrong_pairs(pairs: Tensor, message: str) -> None:
    model = tiny()
    with pytest.raises(ShapeError, match=message):
        model.decode_pairs(model.encode(pictures(2)), pairs)


def test_wrong_images() -> None:
    model = tiny()
    for images in (pictures(1, 30), pictures(1).movedim(-1, 1), pictures(1)[0]):
        with pytest.raises(ShapeError, match="16 divides"):
            model.encode(images)
    with pytest.raises(ShapeError, match="1 first and 2 second"):
        model.forward_pairs(pictures(1), pictures(2))


def test_half_precision_keeps_the_heads() -> None:
    model = tiny(TINY_DPT)
    exact = model.forward_pairs(pictures(1), pictures(1))
    with torch.autocast("cpu", torch.bfloat16):
        found = model.forward_pairs(pictures(1), pictures(1))
    assert found.points1.dtype == torch.float32
    torch.testing.assert_close(found.points1, exact.points1, atol=0.1, rtol=0.1)


def test_every_trained_weight_is_used() -> None:
    model = DUSt3R(TINY_DPT).initialize(torch.Generator().manual_seed(0))
    found = model.forward_pairs(pictures(1), pictures(1).flip(1))
    (found.points1 + found.points2 + (found.confidence1 + found.confidence2)[..., None]).sum().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


# ---------------------------------------------------------------- settings

PUBLISHED = {
    "pos_embed": "RoPE100",
    "patch_embed_cls": "ManyAR_PatchEmbed",
    "img_size": [512, 512],
    "head_type": "dpt",
    "output_mode": "pts3d",
    "depth_mode": ["exp", float("-inf"), float("inf")],
    "conf_mode": ["exp", 1, float("inf")],
    "enc_embed_dim": 1024,
    "enc_depth": 24,
    "enc_num_heads": 16,
    "dec_embed_dim": 768,
    "dec_depth": 12,
    "dec_num_heads": 12,
    "freeze": "none",
}


def test_published_settings() -> None:
    config = DUSt3RConfig.from_published(PUBLISHED)
    assert config == DUSt3RConfig(image_size=(512, 512), square_images=False, head="dpt")
    for one in (config, DUSt3RConfig(), TINY, TINY_DPT, replace(TINY, square_images=False)):
        assert DUSt3RConfig.from_published(json.loads(json.dumps(one.to_published()))) == one
    matching = replace(TINY_DPT, head="catmlp+dpt", descriptor_width=6, descriptor_mlp_ratio=1.5)
    assert DUSt3RConfig.from_published(matching.to_published()) == matching


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth_mode": ["linear", "-inf", "inf"]}, "depth_mode"),
        ({"depth_mode": ["exp", 0, "inf"]}, "depth_mode"),
        ({"conf_mode": ["sigmoid", 0, 1]}, "conf_mode"),
        ({"pos_embed": "cosine"}, "pos_embed"),
        ({"output_mode": "pts3d+desc24"}, "output_mode"),
        ({"head_type": "transformer"}, "head_type"),
        ({"enc_depth": 10**9}, "1000000000"),
        ({"enc_depth": 257}, "enc_depth must be between 1 and 256, not 257"),
        ({"enc_depth": "24"}, "'24'"),
        ({"enc_num_heads": 0}, "0"),
        ({"enc_embed_dim": 1000}, "enc_embed_dim"),
        ({"img_size": [500, 500]}, "img_size 500"),
        ({"img_size": 3.5}, "wrong kind"),
        ({"dec_depth": 3}, "dec_depth"),
        ({"conf_mode": None}, "wrong kind"),
    ],
)
def test_settings_of_other_networks(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        DUSt3RConfig.from_published(PUBLISHED | change)


def test_settings_in_a_constructor_call() -> None:
    call = (
        "AsymmetricCroCo3DStereo(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', "
        "img_size=(512, 512), head_type='dpt', output_mode='pts3d', depth_mode=('exp', -inf, inf), "
        "conf_mode=('exp', 1, inf), enc_embed_dim=1024, enc_depth=24, enc_num_heads=16, "
        "dec_embed_dim=768, dec_depth=12, dec_num_heads=12, freeze='none', landscape_only=False)"
    )
    assert constructor_settings(call) == PUBLISHED | {"landscape_only": False}
    for hostile in ("__import__('os').system('id')", "f(a=__import__('os'))", "f(a=g(1))", "f(", "1", "f(1)"):
        with pytest.raises(CheckpointError, match="cannot be read"):
            constructor_settings(hostile)
