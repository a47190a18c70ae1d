"""The network computes what the published code computes; it is read completely or not at all."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from agsrec.errors import CheckpointError, ShapeError
from agsrec.pose_init.noposplat.config import PUBLISHED, NoPoSplatConfig
from agsrec.pose_init.noposplat.model import NoPoSplat
from agsrec.pose_init.noposplat.splats import SplatMaps, splat_channels
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.model import DUSt3R

SMALL = DUSt3RConfig(
    image_size=(32, 32), square_images=True, enc_width=8, enc_depth=1, enc_heads=1, dec_width=8, dec_depth=4,
    dec_heads=1, head="dpt", dpt_width=8, dpt_last_width=4, dpt_level_widths=(4, 4, 6, 8),
)  # fmt: skip
TINY = NoPoSplatConfig(transformer=SMALL, sh_degree=1)
LENS = torch.tensor([[0.9, 0.0, 0.5], [0.0, 0.9, 0.5], [0.0, 0.0, 1.0]])


def tiny(config: NoPoSplatConfig = TINY) -> NoPoSplat:
    model = NoPoSplat(config)
    generator = torch.Generator().manual_seed(0)
    for weight in model.state_dict().values():
        weight.normal_(0.0, 0.2, generator=generator)
    return model.eval().requires_grad_(False)


def pictures(count: int) -> Tensor:
    return torch.rand(count, 32, 32, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1


# ---------------------------------------------------------------- what it computes


def test_published_numbers(shared_dir: Path) -> None:
    path = shared_dir / "parity" / "noposplat_token.safetensors"
    if not path.is_file():
        pytest.skip("no parity fixture noposplat_token")
    data, notes = load_file(path), json.loads(path.with_suffix(".json").read_text())
    croco, small = notes["constructor"]["croco_params"], notes["constructor"]["head_override"]
    settings = {**croco, "head_type": "dpt", "square_images": True, "sh_degree": 4}
    config = NoPoSplatConfig.from_settings(settings)
    widths = {"dpt_width": small["feature_dim"], "dpt_last_width": small["last_dim"]}
    widths["dpt_level_widths"] = tuple(small["layer_dims"])
    model = NoPoSplat(replace(config, transformer=replace(config.transformer, **widths)))
    weights = {k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")}
    model.load_state_dict(weights, strict=True)
    model.eval().requires_grad_(False)
    normed: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Tensor) -> None:
        normed.append(output)

    model.backbone.dec_norm.register_forward_hook(keep)
    found = model(data["in.image"].movedim(2, -1), data["in.intrinsics"])

    def close(values: Tensor, name: str, atol: float = 1e-5, rtol: float = 1e-4) -> None:
        torch.testing.assert_close(values, data[f"out.{name}"], atol=atol, rtol=rtol)

    close(normed[0][:, :-1], "dec1_last")
    close(normed[1][:, :-1], "dec2_last")
    close(found.means.flatten(1, 3), "means", 2e-4)
    close(found.scales.flatten(1, 3), "scales", 1e-8)
    close(found.quats.flatten(1, 3).roll(-1, dims=-1), "rotations_xyzw")
    close(found.opacities.flatten(1, 3), "opacities")
    close(found.sh.flatten(1, 3).mT, "harmonics")
    # As our Gaussians they span the published covariances.
    ours = [found.gaussians(0, view) for view in range(2)]
    covariances = torch.cat([_covariances(g.quats, g.scales) for g in ours])
    expected = data["out.covariances"][0]
    error = (covariances - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert float(error.max()) < 1e-3
    assert ours[0].sh_degree == 3  # the published renderer does not look at degree 4 either


def _covariances(quats: Tensor, scales: Tensor) -> Tensor:
    w, x, y, z = quats.unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)]
    rows += [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)]
    rows += [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    spread = torch.stack(rows, -1).unflatten(-1, (3, 3)) * scales[:, None]
    return spread @ spread.mT


def test_published_keys(shared_dir: Path) -> None:
    path = shared_dir / "parity" / "keys_noposplat_re10k.json"
    expected = json.loads(path.read_text())["state_dict_shapes"]
    with torch.device("meta"):
        model = NoPoSplat(PUBLISHED["re10k.ckpt"])
    assert {name: list(weight.shape) for name, weight in model.state_dict().items()} == expected


def test_three_views_see_each_other() -> None:
    """The order of the second and third view does not matter, and each of them does."""
    model, images = tiny(), pictures(3)
    encoded = model.encode(images, LENS.expand(3, 3, 3))
    there, back, pair = (model.decode(encoded, torch.tensor([g])) for g in ([0, 1, 2], [0, 2, 1], [0, 1]))
    torch.testing.assert_close(back.means[:, [0, 2, 1]], there.means, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(back.sh[:, [0, 2, 1]], there.sh, atol=1e-5, rtol=1e-5)
    assert float((pair.means - there.means[:, :2]).abs().max()) > 1e-4
    # A group decodes the same alone and beside others.
    both = model.decode(encoded, torch.tensor([[2, 0], [0, 1]]), batch=2)
    torch.testing.assert_close(both.means[1:], pair.means, atol=1e-5, rtol=1e-5)


def test_the_intrinsics_are_seen() -> None:
    model, images = tiny(), pictures(2)
    wide = LENS.expand(2, 3, 3).clone()
    near = model(images[None], wide[None])
    wide[1, 0, 0] = 2.0
    assert float((model(images[None], wide[None]).means - near.means).abs().max()) > 1e-4


def test_gaussians_of_raw_channels() -> None:
    """A golden value by hand: opacity, scale, quaternion, colours in the published order."""
    raw = torch.zeros(1, 1, splat_channels(1), 1, 2)
    raw[0, 0, :8, 0, 0] = torch.tensor([1.5, 0.0, 10.0, 1e6, 0.0, 0.0, 3.0, 4.0])  # xyzw = 0 0 .6 .8
    raw[0, 0, 8:, 0, 0] = torch.arange(12.0)
    raw[0, 0, 0, 0, 1] = torch.nan
    found = SplatMaps.from_heads(torch.ones(1, 1, 1, 2, 3), raw).gaussians(0, 0)
    assert len(found) == 1  # without what is not finite
    assert found.quats[0].tolist() == pytest.approx([0.8, 0.0, 0.0, 0.6])
    assert found.scales[0].tolist() == pytest.approx([0.001 * 0.693147, 0.01000005, 0.3])
    assert float(found.opacity_logits[0]) == 1.5
    assert found.sh[0, :, 1].tolist() == pytest.approx([4.0, 5 * 0.025, 6 * 0.025, 7 * 0.025])


@pytest.mark.parametrize(
    ("images", "lenses", "groups"),
    [
        (torch.zeros(2, 30, 32, 3), LENS.expand(2, 3, 3), [[0, 1]]),
        (torch.zeros(2, 32, 32, 3), LENS, [[0, 1]]),
        (torch.zeros(2, 32, 32, 3), LENS.expand(2, 3, 3), [[0]]),
        (torch.zeros(2, 32, 32, 3), LENS.expand(2, 3, 3), [[0, 2]]),
        (torch.zeros(4, 32, 32, 3), LENS.expand(4, 3, 3), [[0, 1, 2, 3]]),
    ],
)
def test_wrong_shapes(images: Tensor, lenses: Tensor, groups: list[list[int]]) -> None:
    model = tiny()
    with pytest.raises(ShapeError, match="must"):
        model.decode(model.encode(images, lenses), torch.tensor(groups))


# ---------------------------------------------------------------- files


def same(a: NoPoSplat, b: NoPoSplat) -> None:
    assert a.config == b.config and a.state_dict().keys() == b.state_dict().keys()
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def settings_beside(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(TINY.to_settings()))


def test_round_trip(tmp_path: Path) -> None:
    config = replace(TINY, views=3)
    model = tiny(config)
    model.save_pretrained(tmp_path)
    found = NoPoSplat.from_pretrained(tmp_path)
    # One name for each of the tensors that have two.
    names = load_file(tmp_path / "model.safetensors").keys()
    assert not any("layer_rn." in name for name in names)
    same(NoPoSplat.from_pretrained(tmp_path / "model.safetensors"), found)
    assert found.config == config and not any(p.requires_grad for p in found.parameters())
    half = NoPoSplat.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.backbone.enc_norm.weight.dtype == torch.bfloat16
    assert half.gaussian_param_head.dpt.input_merger[0].weight.dtype == torch.float32
    assert half(pictures(2)[None], LENS.expand(1, 2, 3, 3)).means.dtype == torch.float32


def test_published_file(tmp_path: Path) -> None:
    """A checkpoint of the training framework: names with a prefix, and things beside the weights."""
    model = tiny()
    state = {f"encoder.{name}": weight for name, weight in model.state_dict().items()}
    file = tmp_path / "re10k.ckpt"
    extra = {"decoder.background_color": torch.zeros(3)}
    torch.save({"state_dict": state | extra, "global_step": 3, "callbacks": {}}, file)
    settings_beside(tmp_path)
    found = NoPoSplat.from_pretrained(file)
    torch.testing.assert_close(found.backbone.enc_norm.weight, model.backbone.enc_norm.weight)
    same(NoPoSplat.from_pretrained(tmp_path), found)
    # A weight too many, or too few, is named.
    torch.save({"state_dict": state | {"encoder.extra": torch.zeros(1)}}, file)
    with pytest.raises(CheckpointError, match=r"re10k\.ckpt.*unexpected extra"):
        NoPoSplat.from_pretrained(file)
    state.pop("encoder.backbone.intrinsic_encoder.bias")
    torch.save({"state_dict": state}, file)
    with pytest.raises(CheckpointError, match=r"missing backbone\.intrinsic_encoder\.bias"):
        NoPoSplat.from_pretrained(file)


def test_published_names_tell_what_a_network_learnt_on() -> None:
    assert PUBLISHED["re10k_3views.ckpt"].views == 3 and PUBLISHED["acid.ckpt"].views == 2
    assert PUBLISHED["mixRe10kDl3dv_512x512.ckpt"].image_size == 512


@pytest.mark.parametrize("form", ["pth", "safetensors"])
@pytest.mark.parametrize(("head", "name"), [("dpt", "DUSt3R"), ("catmlp+dpt", "MASt3R")])
def test_relatives_are_recognised(tmp_path: Path, head: Any, name: str, form: str) -> None:
    relative = DUSt3R(replace(SMALL, head=head, descriptor_width=2))
    file = tmp_path / f"model.{form}"
    if form == "pth":  # as published
        torch.save({"args": argparse.Namespace(epochs=1), "model": relative.state_dict()}, file)
    else:
        relative.save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=f"{file.name}: a {name} checkpoint, not one of NoPoSplat"
    ) as caught:
        NoPoSplat.from_pretrained(file)
    assert "\n" not in str(caught.value)


class Hostile:
    """Would write a file where code in a checkpoint is followed."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return shutil.copyfile, (__file__, self.target)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "extra": Hostile(tmp_path / "written")}, tmp_path / "re10k.ckpt")
    with pytest.raises(CheckpointError, match="refused"):
        NoPoSplat.from_pretrained(tmp_path / "re10k.ckpt")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": 4}, "views must be between 2 and 3"),
        ({"head_type": "linear"}, "not dpt"),
        ({"img_size": [32, 64]}, "not square"),
        ({"enc_embed_dim": 9}, "enc_embed_dim"),
    ],
)
def test_unusable_settings(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    tiny().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(TINY.to_settings() | change))
    with pytest.raises(CheckpointError, match=rf"config\.json.*{message}"):
        NoPoSplat.from_pretrained(tmp_path)


def test_weights_that_are_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        CheckpointError, match=r"no NoPoSplat weights, model\.safetensors or mixRe10kDl3dv\.ckpt"
    ):
        NoPoSplat.from_pretrained(tmp_path)

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        CheckpointError, match=r"botaoye/NoPoSplat: no such NoPoSplat model.*no network.*by hand"
    ):
        NoPoSplat.from_pretrained("botaoye/NoPoSplat")


def test_bad_values(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    state["backbone.enc_norm.bias"][0] = torch.nan
    save_file(state, file)
    with pytest.raises(CheckpointError, match=r"enc_norm\.bias holds NaN"):
        NoPoSplat.from_pretrained(tmp_path)
