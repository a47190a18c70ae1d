"""Models are read from every published form, completely or not at all."""

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

from agsrec.errors import CheckpointError, OutputError
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.model import DUSt3R

CONFIG = DUSt3RConfig(
    image_size=(32, 32), enc_width=8, enc_depth=1, enc_heads=1, dec_width=8, dec_depth=4, dec_heads=1,
    head="dpt", square_images=True, dpt_width=8, dpt_last_width=4, dpt_level_widths=(4, 4, 6, 8),
)  # fmt: skip
CALL = "AsymmetricCroCo3DStereo(img_size=(224, 224), enc_embed_dim=8, enc_depth=1, enc_num_heads=1, {})"
LINEAR = "dec_embed_dim=8, dec_depth=1, dec_num_heads=1, head_type='linear', depth_mode=('exp', -inf, inf)"
IMAGES = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def model() -> DUSt3R:
    return DUSt3R(CONFIG).initialize(torch.Generator().manual_seed(0)).eval().requires_grad_(False)


@pytest.fixture
def folder(model: DUSt3R, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def same(a: DUSt3R, b: DUSt3R) -> None:
    assert a.config == b.config and a.state_dict().keys() == b.state_dict().keys()
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def rewritten(folder: Path, change: Any) -> None:
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file({name: value.contiguous() for name, value in state.items()}, file)


def test_round_trip(model: DUSt3R, folder: Path) -> None:
    found = DUSt3R.from_pretrained(folder)
    same(found, model)
    assert not found.training and not any(p.requires_grad for p in found.parameters())
    # One name for each tensor, as the hub's models have them.
    names = load_file(folder / "model.safetensors").keys()
    assert not any("layer_rn." in name for name in names) and len(names) == len(model.state_dict()) - 8
    # The file itself will do as well.
    same(DUSt3R.from_pretrained(folder / "model.safetensors"), model)


def test_half_precision(model: DUSt3R, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, dtype=torch.float16)
    found = DUSt3R.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert found.enc_norm.weight.dtype == torch.bfloat16
    assert found.downstream_head1.dpt.head[0].weight.dtype == torch.float32  # type: ignore[union-attr]
    prediction, exact = (m.forward_pairs(IMAGES, IMAGES) for m in (found, model))
    assert prediction.points1.dtype == torch.float32
    torch.testing.assert_close(prediction.points1, exact.points1, atol=0.1, rtol=0.1)


def test_other_name_of_the_same_weights(model: DUSt3R, folder: Path) -> None:
    def change(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if "scratch.layer" in name]:
            head, level = name.split("scratch.layer")
            state[f"{head}scratch.layer_rn.{int(level[0]) - 1}.weight"] = state.pop(name)

    rewritten(folder, change)
    same(DUSt3R.from_pretrained(folder), model)


def test_published_file(tmp_path: Path) -> None:
    config = DUSt3RConfig(
        enc_width=8, enc_depth=1, enc_heads=1, dec_width=8, dec_depth=1, dec_heads=1
    )  # fmt: skip
    model = DUSt3R(config).initialize(torch.Generator().manual_seed(0))
    args = argparse.Namespace(model=CALL.format(LINEAR), epochs=100, output_dir="somewhere")
    file = tmp_path / "DUSt3R_ViTLarge_BaseDecoder_224_linear.pth"
    torch.save({"args": args, "model": model.state_dict()}, file)
    same(DUSt3R.from_pretrained(file), model)
    # Without settings in the file, those beside it count.
    torch.save({"model": model.state_dict()}, file)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        DUSt3R.from_pretrained(file)
    (tmp_path / "config.json").write_text(json.dumps(config.to_published()))
    same(DUSt3R.from_pretrained(file), model)


class Hostile:
    """Would write a file where code in a checkpoint is followed."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[Any, ...]:
        return shutil.copyfile, (__file__, self.target)


@pytest.mark.parametrize("place", ["args", "model", "inside args"])
def test_code_in_a_file_is_not_run(model: DUSt3R, tmp_path: Path, place: str) -> None:
    content: dict[str, Any] = {"args": argparse.Namespace(model=""), "model": model.state_dict()}
    if place == "inside args":
        content["args"].model = Hostile(tmp_path / "written")
    else:
        content[place] = Hostile(tmp_path / "written")
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"refused, because reading it could run code .*copyfile"):
        DUSt3R.from_pretrained(tmp_path / "model.pth")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("__import__('os').mkdir('x')", "cannot be read"),
        (CALL.format(LINEAR.replace("'exp'", "'square'")), "depth_mode"),
        (CALL.format(LINEAR.replace("linear", "other")), "head_type"),
    ],
)
def test_strange_settings_in_a_file(tmp_path: Path, call: str, message: str) -> None:
    file = tmp_path / "model.pth"
    torch.save({"args": argparse.Namespace(model=call), "model": {"a": torch.zeros(1)}}, file)
    with pytest.raises(CheckpointError, match=f"model.pth: .*{message}"):
        DUSt3R.from_pretrained(file)


def test_all_that_does_not_fit_is_named(folder: Path) -> None:
    def change(state: dict[str, Tensor]) -> None:
        del state["enc_norm.weight"], state["dec_norm.bias"]
        state["prediction_head.weight"] = torch.zeros(2)
        state["mask_token"] = torch.zeros(1, 1, 12)

    rewritten(folder, change)
    with pytest.raises(CheckpointError) as caught:
        DUSt3R.from_pretrained(folder)
    text = str(caught.value)
    assert "missing enc_norm.weight, dec_norm.bias;" in text
    assert "unexpected prediction_head.weight;" in text
    assert "misshapen mask_token [1, 1, 12] instead of [1, 1, 8]" in text


def test_weights_of_another_architecture(folder: Path) -> None:
    settings = DUSt3RConfig.from_published(json.loads((folder / "config.json").read_text()))
    other = replace(settings, head="linear").to_published()
    (folder / "config.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match=r"missing downstream_head1.proj.weight.*unexpected .* more"):
        DUSt3R.from_pretrained(folder)


def test_nan(folder: Path) -> None:
    rewritten(folder, lambda state: state["dec_norm.bias"].fill_(float("nan")))
    with pytest.raises(CheckpointError, match=r"dec_norm\.bias holds NaN"):
        DUSt3R.from_pretrained(folder)


def test_whole_numbers(folder: Path) -> None:
    rewritten(folder, lambda state: state.update({"dec_norm.bias": torch.zeros(8, dtype=torch.int64)}))
    with pytest.raises(CheckpointError, match=r"dec_norm\.bias holds whole numbers"):
        DUSt3R.from_pretrained(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_damaged(folder: Path, name: str) -> None:
    file = folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=f"{name}: no "):
        DUSt3R.from_pretrained(folder)
    file.unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        DUSt3R.from_pretrained(folder)


def test_damaged_pth(tmp_path: Path) -> None:
    file = tmp_path / "model.pth"
    torch.save({"model": {"a": torch.zeros(1000)}}, file)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"model\.pth: damaged"):
        DUSt3R.from_pretrained(file)
    torch.save([1, 2], file)
    with pytest.raises(CheckpointError, match="holds no DUSt3R weights"):
        DUSt3R.from_pretrained(file)


def test_unreachable_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> str:
        raise ConnectionError("no route to host\nand a long story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(CheckpointError) as caught:
        DUSt3R.from_pretrained("naver/DUSt3R_ViTLarge_BaseDecoder_224_linear")
    text = str(caught.value)
    assert "(no route to host)" in text and "by hand into a folder" in text and "nview" in text


def test_hub(folder: Path, model: DUSt3R, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(source: str, *, allow_patterns: list[str]) -> str:
        asked.append((source, allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    same(DUSt3R.from_pretrained("naver/some-model"), model)
    assert asked == [("naver/some-model", ["config.json", "model.safetensors"])]


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such model"):
        DUSt3R.from_pretrained(tmp_path / "nothing")


def test_too_large_for_the_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: argparse.Namespace(available=100, total=1000))
    with pytest.raises(CheckpointError, match="GiB are free on cpu"):
        DUSt3R.from_pretrained(folder)


def test_folder_that_cannot_be_written(model: DUSt3R, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        model.save_pretrained(tmp_path / "file")


# ---------------------------------------------------------------- the two kinds

MATCHING = replace(
    CONFIG, image_size=(64, 64), head="catmlp+dpt", descriptor_width=6, square_images=False
)  # fmt: skip
MAST3R_CALL = (
    "AsymmetricMASt3R(pos_embed='RoPE100', patch_embed_cls='ManyAR_PatchEmbed', img_size=(512, 512), "
    "head_type='catmlp+dpt', output_mode='pts3d+desc24', depth_mode=('exp', -inf, inf), "
    "conf_mode=('exp', 1, inf), enc_embed_dim=8, enc_depth=1, enc_num_heads=1, dec_embed_dim=8, dec_depth=4, "
    "dec_num_heads=1, two_confs=True, desc_conf_mode=('exp', 0, inf), landscape_only=False)"
)


def test_each_kind_is_recognised_by_its_keys(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"this is a DUSt3R checkpoint .*method dust3r") as caught:
        DUSt3R.from_pretrained(folder, matching=True)
    assert str(caught.value).count("\n") == 0
    DUSt3R(MATCHING).initialize(torch.Generator().manual_seed(0)).save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match=r"this is a MASt3R checkpoint .*method mast3r"):
        DUSt3R.from_pretrained(tmp_path / "other", matching=False)
    assert DUSt3R.from_pretrained(tmp_path / "other", matching=True).config == MATCHING


def test_published_file_of_mast3r(tmp_path: Path) -> None:
    config = DUSt3RConfig(
        image_size=(512, 512), square_images=False, enc_width=8, enc_depth=1, enc_heads=1, dec_width=8,
        dec_depth=4, dec_heads=1, head="catmlp+dpt", metric=True,
    )  # fmt: skip
    model = DUSt3R(config).initialize(torch.Generator().manual_seed(0))
    file = tmp_path / "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpthead_metric.pth"
    torch.save({"args": argparse.Namespace(model=MAST3R_CALL), "model": model.state_dict()}, file)
    same(DUSt3R.from_pretrained(file, matching=True), model)  # metric by its name
    plain = file.rename(tmp_path / "MASt3R.pth")
    assert not DUSt3R.from_pretrained(plain).config.metric
    state = model.state_dict()
    del state["downstream_head2.head_local_features.fc1.weight"]
    state["prediction_head.weight"] = torch.zeros(2)
    torch.save({"args": argparse.Namespace(model=MAST3R_CALL), "model": state}, plain)
    with pytest.raises(
        CheckpointError, match=r"missing downstream_head2.*fc1\.weight; unexpected prediction_"
    ):
        DUSt3R.from_pretrained(plain, matching=True)
