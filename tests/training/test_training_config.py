"""Training settings are read completely, and refused with the name of what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agsrec.errors import OptionError
from agsrec.training.config import TrainConfig, load_config
from agsrec.training.models import build_zero123
from agsrec.training.settings import packaged_settings, settings_json
from tests.tiny_prior import tiny_config


def written(folder: Path, change: Any) -> Path:
    content = json.loads(settings_json(tiny_config()))
    change(content)
    file = folder / "settings.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


@pytest.mark.parametrize("name", ["mini", "published"])
def test_packaged(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    assert name in packaged_settings("zero123") and isinstance(config, TrainConfig)
    file = tmp_path / "copy.json"
    file.write_text(settings_json(config), encoding="utf-8")
    assert load_config(file) == config


def test_published_sizes_are_those_of_the_public_model() -> None:
    config = load_config("published")
    assert config.unet["block_out_channels"] == [320, 640, 1280, 1280]
    assert (config.image_size, config.unet["cross_attention_dim"]) == (256, 768)
    assert config.image_encoder["hidden_size"] == 1024 and config.scheduler == {"prediction_type": "epsilon"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.pop("kl_weight"), "lacks kl_weight"),
        (lambda c: c.update(extra=1), "does not know extra"),
        (lambda c: c["diffusion"].pop("steps"), "diffusion lacks steps"),
        (lambda c: c["diffusion"].update(steps="many"), "diffusion.steps: 'many'"),
        (lambda c: c["diffusion"].update(steps=2.5), "diffusion.steps: 2.5"),
        (lambda c: c["diffusion"].update(steps=True), "diffusion.steps: True"),
        (lambda c: c["diffusion"].update(learning_rate=float("nan")), "learning_rate: nan"),
        (lambda c: c["autoencoder"].update(steps=0), "autoencoder: steps must be at least 1, not 0"),
        (lambda c: c["autoencoder"].update(warmup_steps=5), "warmup_steps must be between 0 and steps"),
        (lambda c: c["autoencoder"].update(ema_decay=1), "ema_decay"),
        (lambda c: c.update(data=3), "data must be a JSON object"),
        (lambda c: c["data"].update(views_per_object=1), "views_per_object must be at least 2"),
        (lambda c: c.update(image_size=30), "image_size must be a multiple of 4"),
        (lambda c: c.update(autoencoder_crop=64), "autoencoder_crop must not exceed"),
        (lambda c: c.update(condition_dropout=1.5), "condition_dropout"),
        (lambda c: c.update(snr_clip=0), "snr_clip must be positive, not 0"),
        (lambda c: c["vae"].pop("block_out_channels"), "vae lacks block_out_channels"),
        (lambda c: c["scheduler"].update(prediction_type="eps"), "prediction_type must be one of epsilon"),
    ],
)
def test_refused(change: Any, named: str, tmp_path: Path) -> None:
    file = written(tmp_path, change)
    with pytest.raises(OptionError, match="--config") as caught:
        load_config(file)
    assert named in str(caught.value) and str(file) in str(caught.value)
    assert str(caught.value).count("--config") == 1


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="neither a JSON file nor one of mini, mini-continued, mini-warped"):
        load_config("huge")
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(OptionError, match=r"a\.json is not a readable JSON file"):
        load_config(tmp_path / "a.json")


def test_networks_that_cannot_be_built() -> None:
    unet = tiny_config().unet | {"no_such_option": 1}
    with pytest.raises(OptionError, match="no_such_option"):
        build_zero123(tiny_config(unet=unet), seed=0)


def test_weights_follow_the_seed() -> None:
    first, second, other = (build_zero123(tiny_config(), seed).state_dict() for seed in (0, 0, 1))
    assert all((first[name] == second[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)
