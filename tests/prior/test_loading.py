"""Model folders: the round trip, what is refused and why, silence and speed."""

from __future__ import annotations

import json
import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import psutil
import pytest
import torch
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from agsrec.errors import CheckpointError, OutputError
from agsrec.prior.zero123 import Zero123
from tests.prior.test_convert import prediction
from tests.tiny_prior import tiny_zero123

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_zero123().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the model folder to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def change(folder: Path, part: str, file: str = "config.json", **settings: Any) -> None:
    path = folder / part / file
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def change_weights(path: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})


def refused(source: str | Path, **options: Any) -> str:
    """The one sentence with which a model is refused."""
    with pytest.raises(CheckpointError) as error:
        Zero123.from_pretrained(source, **options)
    message = str(error.value)
    assert "\n" not in message and len(message) < 600
    return message


# ---------------------------------------------------------------- round trip


def test_round_trip(saved: Path, cameras: Any) -> None:
    found = prediction(Zero123.from_pretrained(saved), cameras)
    assert torch.equal(found, prediction(tiny_zero123(), cameras))
    assert not torch.equal(found, prediction(tiny_zero123(seed=1), cameras))


def test_stored_type(tmp_path: Path) -> None:
    model = tiny_zero123()
    model.save_pretrained(tmp_path, dtype=torch.float16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for file in tmp_path.glob("*/*.safetensors"):
        assert {w.dtype for w in load_file(file).values()} == {torch.float16}, file
    stored = load_file(tmp_path / UNET)
    for name, weight in model.unet.state_dict().items():
        assert torch.equal(stored[name], weight.half()), name
    assert {p.dtype for p in Zero123.from_pretrained(tmp_path).parameters()} == {torch.float32}
    half = Zero123.from_pretrained(tmp_path, dtype=torch.float16)
    assert {p.dtype for p in half.parameters()} == {torch.float16}


def test_saving_again_replaces_the_parts_and_nothing_else(folder: Path, cameras: Any) -> None:
    (folder / "MODEL_CARD.md").write_text("a card")
    other = tiny_zero123(seed=1)
    other.save_pretrained(folder)
    assert torch.equal(prediction(Zero123.from_pretrained(folder), cameras), prediction(other, cameras))
    assert (folder / "MODEL_CARD.md").read_text() == "a card"
    assert not [p for p in folder.rglob("*") if p.name.startswith(".")]


def test_saved_models_do_not_tell_where_they_came_from(saved: Path, tmp_path: Path) -> None:
    Zero123.from_pretrained(saved).save_pretrained(tmp_path / "again", dtype=torch.float16)
    settings = list((tmp_path / "again").rglob("*.json"))
    assert len(settings) >= 6
    for file in settings:
        assert str(saved) not in file.read_text(encoding="utf-8"), file
    Zero123.from_pretrained(tmp_path / "again")


def test_saving_that_fails_leaves_the_old_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tiny_zero123(seed=1)

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(other.unet, "save_pretrained", full)
    with pytest.raises(OutputError, match="unet: No space left"):
        other.save_pretrained(folder)
    assert Zero123.from_pretrained(folder)
    assert not [p for p in folder.rglob("*") if p.name.startswith(".")]


# ---------------------------------------------------------------- other layouts


def test_the_other_public_layout(folder: Path, cameras: Any) -> None:
    """The camera projection of the community pipeline has other names, and its settings no sizes."""
    expected = prediction(Zero123.from_pretrained(folder), cameras)
    (folder / "model_index.json").write_text('{"_class_name": "Zero1to3StableDiffusionPipeline"}')
    old = folder / "clip_camera_projection"
    weights = load_file(old / "diffusion_pytorch_model.safetensors")
    new = {name.replace("proj.", "projection."): weight for name, weight in weights.items()}
    save_file(new, old / "diffusion_pytorch_model.safetensors")
    (old / "config.json").write_text('{"_class_name": "CCProjection"}')
    old.rename(folder / "cc_projection")
    model = Zero123.from_pretrained(folder)
    assert torch.equal(prediction(model, cameras), expected)


def test_variants_and_old_settings(folder: Path, cameras: Any) -> None:
    expected = prediction(Zero123.from_pretrained(folder), cameras)
    for part in ("unet", "vae"):
        file = folder / part / "diffusion_pytorch_model.safetensors"
        file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    # Older image processors wrote plain numbers.
    change(folder, "feature_extractor", "preprocessor_config.json", crop_size=16, size=16)
    assert torch.equal(prediction(Zero123.from_pretrained(folder), cameras), expected)


# ---------------------------------------------------------------- missing


def test_missing_folder_says_where_models_are(tmp_path: Path) -> None:
    message = refused(tmp_path / "nothing")
    assert "no such model folder" in message
    for hint in (
        "agsrec convert",
        "zero123_6dof_23k.ckpt",
        "kxic/zero123-xl",
        "checkpoints/zero123-6dof-mini",
    ):
        assert hint in message


def test_hub_ids_are_downloaded(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    def download(source: str, allow_patterns: Any) -> str:
        asked.append((source, allow_patterns))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert Zero123.from_pretrained("someone/a-model")
    assert asked[0][0] == "someone/a-model"
    assert "unet/*.safetensors" in asked[0][1] and not any(p.endswith("bin") for p in asked[0][1])


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*args: Any, **kwargs: Any) -> str:
        raise ConnectionError("cannot reach huggingface.co\nand much more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    message = refused("someone/a-model")
    assert "cannot reach huggingface.co" in message and "much more" not in message


def test_a_path_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt model beside others is not looked for on the internet."""
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for source in ("checkpoints/zero123-mini", "./a/b", "model", "/absolute/path", "a/b/c"):
        assert "no such model folder" in refused(source)


@pytest.mark.parametrize(
    "part", ["unet", "vae", "image_encoder", "clip_camera_projection", "scheduler", "feature_extractor"]
)
def test_missing_part(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    message = refused(folder)
    assert f"model/{part}: this part is missing" in message
    (folder / part).mkdir()
    assert "is missing" in refused(folder) and ".json" in refused(folder)


def test_missing_weights(folder: Path) -> None:
    weights = folder / UNET
    weights.unlink()
    assert f"{weights}: no such file" in refused(folder)
    weights.with_suffix(".bin").write_bytes(b"whatever")
    message = refused(folder)
    assert "only .bin weights" in message and "agsrec convert" in message


# ---------------------------------------------------------------- damaged, or another model


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        ("unet", {"_class_name": "UNet3DConditionModel"}, "is a UNet3DConditionModel, expected a UNet2DCond"),
        ("unet", {"in_channels": 4}, "has in_channels 4, expected 8"),
        ("unet", {"out_channels": 8}, "has out_channels 8, expected 4"),
        ("unet", {"sample_size": None}, "sample_size"),
        ("vae", {"latent_channels": 16}, "has latent_channels 16, expected 4"),
        ("image_encoder", {"architectures": ["CLIPModel"]}, "is a CLIPModel"),
        ("image_encoder", {"projection_dim": 24}, "has projection_dim 24, expected 16"),
        ("clip_camera_projection", {"embedding_dim": 8}, "has embedding_dim 8, expected 16"),
        ("clip_camera_projection", {"additional_embeddings": 5}, "takes 5 camera numbers"),
        ("unet", {"norm_num_groups": 3}, "does not load"),
        ("unet", {"sample_size": "64"}, "sample_size 64"),
        ("vae", {"block_out_channels": 3}, "settings of the wrong kind"),
        ("image_encoder", {"architectures": 5}, "settings of the wrong kind"),
        ("clip_camera_projection", {"additional_embeddings": [18]}, "camera numbers"),
        ("unet", {"block_out_channels": [8, 32]}, "unet"),
    ],
)
def test_other_settings(folder: Path, part: str, settings: dict[str, Any], message: str) -> None:
    change(folder, part, **settings)
    found = refused(folder)
    assert message in found and (part in found or "kind" in message or "camera numbers" in message)


def test_settings_of_scheduler_and_processor(folder: Path) -> None:
    change(folder, "feature_extractor", "preprocessor_config.json", crop_size={"height": 224, "width": 224})
    assert "makes images of 224 px, expected 16 px" in refused(folder)
    change(folder, "scheduler", "scheduler_config.json", prediction_type="flow")
    assert "unknown prediction_type" in refused(folder)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "\ud800", "[" * 100_000])
def test_no_settings(folder: Path, text: str) -> None:
    (folder / "vae" / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    assert "vae/config.json: no settings file" in refused(folder)


@pytest.mark.parametrize("part", ["unet", "image_encoder"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_half_downloaded_weights(folder: Path, part: str, share: float) -> None:
    file = next((folder / part).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    assert f"{file}: incomplete or damaged; download it again" in refused(folder)


def test_git_lfs_pointer(folder: Path) -> None:
    (folder / UNET).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in refused(folder)


@pytest.mark.parametrize("part", ["unet", "vae", "image_encoder", "clip_camera_projection"])
def test_missing_and_foreign_weights(folder: Path, part: str) -> None:
    file = next((folder / part).glob("*.safetensors"))
    name = sorted(load_file(file))[0]
    change_weights(file, lambda weights: weights.pop(name))
    message = refused(folder)
    assert "missing weights" in message and name in message and part in message
    change_weights(file, lambda weights: weights.update({name: torch.zeros(7, 3)}))
    assert part in refused(folder)


@pytest.mark.parametrize("part", ["unet", "vae", "image_encoder", "clip_camera_projection"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan(folder: Path, part: str, value: float) -> None:
    file = next((folder / part).glob("*.safetensors"))
    name = sorted(load_file(file))[-1]
    change_weights(file, lambda weights: weights[name].view(-1)[-1:].fill_(value))
    message = refused(folder)
    assert "NaN or infinite" in message and name in message and part in message


def test_too_large_for_half_precision(folder: Path) -> None:
    change_weights(folder / UNET, lambda weights: weights["conv_in.bias"].fill_(1e5))
    assert Zero123.from_pretrained(folder)
    assert "as float16; try another precision" in refused(folder, dtype=torch.float16)


def test_memory(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 4 * sum(p.numel() for p in Zero123.from_pretrained(saved).parameters())

    def with_free(free: int) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: Namespace(available=free, total=2**40))

    with_free(needed)
    assert Zero123.from_pretrained(saved)
    with_free(needed - 1)
    message = refused(saved)
    assert "free on cpu" in message and "float32" in message
    assert Zero123.from_pretrained(saved, dtype=torch.float16)


# ---------------------------------------------------------------- manners


def test_silent_and_quick(saved: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    libraries: list[Any] = [diffusers_logging, transformers_logging]
    for library in libraries:
        library.enable_progress_bar()
    before = [(x.get_verbosity(), x.is_progress_bar_enabled()) for x in libraries]
    Zero123.from_pretrained(saved).save_pretrained(tmp_path)
    start = time.perf_counter()
    Zero123.from_pretrained(saved)
    assert time.perf_counter() - start < 2  # 0.1 s on an idle core
    assert capfd.readouterr() == ("", "")
    assert [(x.get_verbosity(), x.is_progress_bar_enabled()) for x in libraries] == before
