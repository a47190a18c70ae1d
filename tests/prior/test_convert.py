"""Conversion of latent-diffusion checkpoints: key rules, round trip, and everything that is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from agsrec.cameras import Cameras
from agsrec.errors import CheckpointError, OutputError
from agsrec.prior.camera_projection import CLIPCameraProjection
from agsrec.prior.convert import _plan, _unused, convert
from agsrec.prior.convert_keys import UNET_PREFIX, VAE_PREFIX, unet_sources
from agsrec.prior.zero123 import Conditioning, Zero123
from agsrec.weights import Weights, read_weights
from tests.prior.ldm import ldm_checkpoint
from tests.tiny_prior import tiny_zero123

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder in float32."""
    folder = tmp_path_factory.mktemp("base")
    tiny_zero123(seed=1).save_pretrained(folder)
    return folder


@pytest.fixture
def published() -> Zero123:
    """The model the checkpoint comes from, other than the base."""
    return tiny_zero123(seed=2)


def saved(state: dict[str, Any], folder: Path, **beside: Any) -> Path:
    path = folder / "zero123.ckpt"
    torch.save({"state_dict": state, "global_step": 23000, **beside}, path)
    return path


def prediction(model: Zero123, cameras: Cameras) -> Tensor:
    """What the whole model makes of one picture and one camera."""
    draw = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 32, 32, 3, generator=draw)
    noisy = torch.randn(1, 4, 8, 8, generator=draw)
    embedding = model.embed_pixels(torch.randn(1, 3, 16, 16, generator=draw))
    latents = model.vae.encode(2 * picture.permute(0, 3, 1, 2) - 1).latent_dist.mode()  # type: ignore[union-attr]
    condition = Conditioning(embedding, latents)
    noise = model.predict_noise(noisy, torch.tensor([300]), condition, cameras[0], cameras[1], 3.0)
    return torch.cat([noise.flatten(), model.decode_latents(latents).flatten()])


# ---------------------------------------------------------------- rules


def test_rule_gives_the_published_unet_table(shared_dir: Path) -> None:
    path = shared_dir / "parity" / "zero123_6dof_ckpt_keys.json"
    if not path.is_file():
        pytest.skip("no list of the published keys")
    keys = json.loads(path.read_text())
    sources = unet_sources(list(keys["diffusers_unet_shapes"]))
    assert {source.key: name for name, source in sources.items()} == keys["full_unet_ldm_to_diffusers"]
    taken = {s.key: name for name, s in sources.items() if ".attentions." in name}
    assert taken == keys["keys_loaded_by_official_loader"]


def test_every_published_key_is_accounted_for(shared_dir: Path) -> None:
    """All 1938 keys in their true shapes, without values."""
    path = shared_dir / "parity" / "zero123_6dof_ckpt_keys.json"
    if not path.is_file():
        pytest.skip("no list of the published keys")
    listed = json.loads(path.read_text())
    shapes = {k: torch.empty(v["shape"], device="meta") for k, v in listed["state_dict"].items()}
    weights = Weights(shapes, shapes.__getitem__)
    skeletons: dict[str, Any] = {name: published_skeleton(name) for name in ("unet", "vae", "image_encoder")}
    with torch.device("meta"):
        skeletons["camera_projection"] = CLIPCameraProjection(768, 18)
    for everything, used in ((False, 416 + 2), (True, 686 + 248 + (24 * 12 + 8) + 2)):
        plan = _plan(weights, skeletons, everything)
        unused = _unused(weights, plan, everything, path)
        keys = {s.key for sources in plan.sources.values() for s in sources.values()}
        assert len(keys) == used
        assert len(keys) + sum(unused.values()) == 1938
        assert unused["moving averages"] == 688 and unused["noise schedule"] == 12


def published_skeleton(name: str) -> torch.nn.Module:
    with torch.device("meta"):
        if name == "unet":
            return UNet2DConditionModel(
                sample_size=32, in_channels=8, cross_attention_dim=768, attention_head_dim=8
            )
        if name == "vae":
            vae: dict[str, Any] = {
                "block_out_channels": (128, 256, 512, 512),
                "layers_per_block": 2,
                "down_block_types": ("DownEncoderBlock2D",) * 4,
                "up_block_types": ("UpDecoderBlock2D",) * 4,
            }
            return AutoencoderKL(**vae)
        return CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=1024,
                intermediate_size=4096,
                num_hidden_layers=24,
                num_attention_heads=16,
                patch_size=14,
                projection_dim=768,
            )
        )


# ---------------------------------------------------------------- round trip


def test_all_weights(base: Path, published: Zero123, cameras: Cameras, tmp_path: Path) -> None:
    checkpoint = saved(ldm_checkpoint(published), tmp_path)
    report = convert(checkpoint, base, tmp_path / "out", all_weights=True, dtype=torch.float32)
    model = Zero123.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(prediction(model, cameras), prediction(published, cameras), atol=0, rtol=0)
    assert report.camera_kind == "zero123-6dof"
    assert report.kept == {}
    assert report.taken["unet"] == len(published.unet.state_dict())
    assert report.unused["text tower"] == 1


def test_by_default_only_transformers_and_projection(
    base: Path, published: Zero123, cameras: Cameras, tmp_path: Path
) -> None:
    checkpoint = saved(ldm_checkpoint(published), tmp_path)
    report = convert(checkpoint, base, tmp_path / "out", dtype=torch.float32)
    expected = Zero123.from_pretrained(base)
    theirs = published.unet.state_dict()
    attentions = {name: w for name, w in theirs.items() if ".attentions." in name}
    expected.unet.load_state_dict(attentions, strict=False)
    expected.camera_projection.load_state_dict(published.camera_projection.state_dict())
    model = Zero123.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(prediction(model, cameras), prediction(expected, cameras), atol=0, rtol=0)
    assert report.taken == {"unet": len(attentions), "camera_projection": 2}
    rest = {k: w for k, w in theirs.items() if k not in attentions}
    own = expected.unet.state_dict()
    assert report.differing == sum(not torch.equal(w, own[k]) for k, w in rest.items()) > 0
    assert report.unused["rest of the UNet"] == len(rest)
    assert "--all-weights" in str(report)


def test_a_checkpoint_with_nothing_but_what_is_taken(base: Path, published: Zero123, tmp_path: Path) -> None:
    state = ldm_checkpoint(published)
    attended = {
        s.key for n, s in unet_sources(list(published.unet.state_dict())).items() if ".attentions." in n
    }
    needed = {k: v for k, v in state.items() if k in attended or k.startswith("cc_projection")}
    report = convert(saved(needed, tmp_path), base, tmp_path / "out")
    assert report.unused == {} and report.differing == 0


def test_safetensors_and_half_precision(base: Path, published: Zero123, tmp_path: Path) -> None:
    path = tmp_path / "zero123.safetensors"
    save_file({k: v.contiguous() for k, v in ldm_checkpoint(published).items()}, path)
    convert(path, base, tmp_path / "out", all_weights=True)
    found = load_file(tmp_path / "out" / "vae" / "diffusion_pytorch_model.safetensors")
    for name, weight in published.vae.state_dict().items():
        assert torch.equal(found[name], weight.half()), name


@pytest.mark.parametrize(("inputs", "kind"), [(4, "zero123"), (19, "zeronvs"), (18, "zero123-6dof")])
def test_camera_inputs_follow_from_the_checkpoint(
    base: Path, published: Zero123, cameras: Cameras, tmp_path: Path, inputs: int, kind: str
) -> None:
    published.camera_projection = CLIPCameraProjection(16, inputs)
    report = convert(saved(ldm_checkpoint(published), tmp_path), base, tmp_path / "out", dtype=torch.float32)
    assert report.camera_kind == kind
    model = Zero123.from_pretrained(tmp_path / "out")
    assert model.encode_cameras(cameras, cameras).shape == (5, inputs)
    assert torch.equal(model.camera_projection.proj.weight, published.camera_projection.proj.weight)


def test_what_training_frameworks_leave_behind_is_ignored(
    base: Path, published: Zero123, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old Lightning keys the states of callbacks by their classes."""
    allowed = torch.serialization.get_safe_globals()
    module = types.ModuleType("pytorch_lightning")
    callback = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning"})
    module.ModelCheckpoint = callback  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pytorch_lightning", module)
        state = ldm_checkpoint(published)
        path = saved(state, tmp_path, callbacks={callback: {"best": callback()}})
    assert "pytorch_lightning" not in sys.modules
    assert set(read_weights(path).shapes) == set(state)
    assert torch.serialization.get_safe_globals() == allowed


# ---------------------------------------------------------------- refused


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.target),)


def plain_pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def old_pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=0))


def legacy(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def inside_archive(value: Any, path: Path) -> None:
    torch.save({"cc_projection.weight": torch.zeros(2)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, pickle.dumps(value, protocol=2) if name.endswith("data.pkl") else data)


@pytest.mark.parametrize("write", [plain_pickle, old_pickle, legacy, inside_archive, torch.save])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    path, sign = tmp_path / "bad.ckpt", tmp_path / "sign"
    write({"state_dict": {"cc_projection.weight": Malicious(sign)}}, path)
    with pytest.raises(CheckpointError) as error:
        read_weights(path)
    assert not sign.exists()
    expected = (
        "no PyTorch checkpoint" if write is old_pickle else "refused, because reading it could run code"
    )
    assert expected in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)
    os.mkdir(sign)  # the very call works
    assert sign.exists()


def test_code_in_the_base_is_not_run(base: Path, published: Zero123, tmp_path: Path) -> None:
    folder, sign = tmp_path / "base", tmp_path / "sign"
    shutil.copytree(base, folder)
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"x": Malicious(sign)}, folder / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="vae"):
        convert(saved(ldm_checkpoint(published), tmp_path), folder, tmp_path / "out")
    assert not sign.exists() and not (tmp_path / "out").exists()


def test_a_base_in_pytorchs_own_format(
    base: Path, published: Zero123, cameras: Cameras, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    for part, name in (("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model")):
        file = folder / part / f"{name}.safetensors"
        torch.save(load_file(file), file.with_suffix(".bin"))
        file.unlink()
    checkpoint = saved(ldm_checkpoint(published), tmp_path)
    for where in (base, folder):
        convert(checkpoint, where, tmp_path / f"{where.name}-out", dtype=torch.float32)
    models = [Zero123.from_pretrained(tmp_path / f"{w.name}-out") for w in (base, folder)]
    found, expected = (prediction(model, cameras) for model in models)
    assert torch.equal(found, expected)


ATTENTION = "model.diffusion_model.middle_block.1.proj_in.weight"


@pytest.mark.parametrize(
    ("change", "everything", "message"),
    [
        (lambda s: s.pop(ATTENTION), False, f"1 missing: {ATTENTION}"),
        (lambda s: s.pop("cc_projection.weight"), False, "no Zero123 model"),
        (lambda s: s.pop("cc_projection.bias"), False, "1 missing: cc_projection.bias"),
        (lambda s: s.pop("first_stage_model.quant_conv.bias"), True, "1 missing: first_stage_model.quant"),
        (lambda s: s.update({ATTENTION: torch.zeros(3, 3)}), False, "1 of another shape: "),
        (
            lambda s: s.update({"model.diffusion_model.extra.weight": torch.zeros(3)}),
            False,
            "1 unknown: model",
        ),
        (lambda s: s.update({"anything": torch.zeros(3)}), False, "1 unknown: anything"),
        (lambda s: s.update({"cc_projection.weight": torch.zeros(16, 23)}), False, "7 camera numbers"),
        (lambda s: s.update({"cc_projection.weight": torch.zeros(8, 26)}), False, "another kind of model"),
        (lambda s: s.update({"cc_projection.bias": torch.full((16,), torch.nan)}), False, "NaN"),
        (lambda s: s.update({ATTENTION: 1e6 * torch.ones_like(s[ATTENTION])}), False, "infinite"),
        (lambda s: s.update({"alphas_cumprod": torch.ones(1000)}), False, "another noise schedule"),
    ],
)
def test_what_does_not_fit_is_named(
    base: Path,
    published: Zero123,
    tmp_path: Path,
    change: Callable[[State], Any],
    everything: bool,
    message: str,
) -> None:
    state = ldm_checkpoint(published)
    change(state)
    path = saved(state, tmp_path)
    with pytest.raises(CheckpointError) as error:
        convert(path, base, tmp_path / "out", all_weights=everything)
    assert message in str(error.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["zero123.ckpt"]  # nothing is left behind


def test_many_problems_are_counted(base: Path, published: Zero123, tmp_path: Path) -> None:
    state = ldm_checkpoint(published)
    for key in [k for k in state if ".transformer_blocks." in k and k.startswith("model.d")]:
        del state[key]
    with pytest.raises(CheckpointError, match=r"\d\d missing: .*, \.\.\.") as error:
        convert(saved(state, tmp_path), base, tmp_path / "out")
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no PyTorch checkpoint"),
        (b"just some text", "no PyTorch checkpoint"),
        (b"PK\x03\x04 not really", "damaged or no checkpoint"),
        (b"\x80\x02 not really", "refused"),
        (None, "no such file"),
    ],
)
def test_no_checkpoint(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "file.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        read_weights(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_half_downloaded(published: Zero123, tmp_path: Path, share: float) -> None:
    state = ldm_checkpoint(published)
    path = saved(state, tmp_path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(path)
    tensors = tmp_path / "zero123.safetensors"
    save_file({k: v.contiguous() for k, v in state.items()}, tensors)
    tensors.write_bytes(tensors.read_bytes()[: int(tensors.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="no complete safetensors file"):
        read_weights(tensors)


@pytest.mark.parametrize("value", [[torch.zeros(2)], {}, {"state_dict": {"a": 1}}, torch.zeros(3)])
def test_other_contents(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_weights(tmp_path / "other.ckpt")


def test_existing_output(base: Path, published: Zero123, tmp_path: Path) -> None:
    checkpoint = saved(ldm_checkpoint(published), tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    convert(checkpoint, base, out)  # an empty folder will do
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    with pytest.raises(OutputError, match="exists already"):
        convert(checkpoint, base, out)
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    assert not list(tmp_path.glob(".*"))


def test_official_weights_give_official_numbers(shared_dir: Path, published: Zero123, tmp_path: Path) -> None:
    """Through file, conversion and loading: the UNet and autoencoder of the public code."""
    stored: State = {}
    data: dict[str, State] = {}
    configs: dict[str, Any] = {}
    for name, prefix in (("ldm_unet_tiny", UNET_PREFIX), ("ldm_vae_tiny", VAE_PREFIX)):
        path = shared_dir / "parity" / f"{name}.safetensors"
        if not path.is_file():
            pytest.skip(f"no parity fixture {name}")
        data[name] = load_file(path)
        configs[name] = json.loads(path.with_suffix(".json").read_text())["diffusers_equivalent"]["config"]
        weights = {k.removeprefix("weights."): v for k, v in data[name].items() if k.startswith("weights.")}
        stored |= {prefix + k: v.float() for k, v in weights.items()}
    settings = {**published.image_encoder.config.to_dict(), "projection_dim": 24}
    empty = Zero123(
        UNet2DConditionModel(**configs["ldm_unet_tiny"]),
        AutoencoderKL(**configs["ldm_vae_tiny"]),
        CLIPVisionModelWithProjection(CLIPVisionConfig(**settings)),
        CLIPCameraProjection(24, 18),
        published.scheduler,
        published.image_processor,
    )
    empty.save_pretrained(tmp_path / "base")
    checkpoint = saved(ldm_checkpoint(empty) | stored, tmp_path)
    convert(checkpoint, tmp_path / "base", tmp_path / "out", all_weights=True, dtype=torch.float32)
    model = Zero123.from_pretrained(tmp_path / "out")
    unet, vae = data["ldm_unet_tiny"], data["ldm_vae_tiny"]
    found = model.unet(unet["in.x"], unet["in.timesteps"], encoder_hidden_states=unet["in.context3"]).sample
    torch.testing.assert_close(found, unet["out.eps_context3"], atol=5e-5, rtol=0)
    found = model.vae.decode(vae["in.z"]).sample  # type: ignore[union-attr]
    torch.testing.assert_close(found, vae["out.decoded"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("attended", "index"), [(True, 2), (False, 1)])
def test_upsampling_comes_after_attention(attended: bool, index: int) -> None:
    names = ["down_blocks.0.resnets.0.conv1.weight", "down_blocks.0.resnets.1.conv1.weight"]
    names += ["up_blocks.1.upsamplers.0.conv.bias"]
    names += ["up_blocks.1.attentions.0.norm.weight"] if attended else []
    found = unet_sources(names)["up_blocks.1.upsamplers.0.conv.bias"].key
    assert found == f"{UNET_PREFIX}output_blocks.5.{index}.conv.bias"
