"""The model card says what the log, the settings and the benchmark say, and the files' true digests."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agsrec.errors import CheckpointError
from agsrec.training.card import Making, write_card
from tests.tiny_prior import tiny_config, tiny_zero123

RECORDS = [
    {"phase": "autoencoder", "step": 2, "loss": 9.0, "seconds": 10.0},
    {"phase": "autoencoder", "step": 4, "loss": 0.25, "seconds": 5400.0},
    {"phase": "autoencoder", "step": 4, "psnr": 30.0},
    {"phase": "diffusion", "step": 3, "loss": 0.125, "seconds": 36000.0},
]
FIGURES: dict[str, Any] = {
    "objects": 5,
    "steps": 20,
    "guidance": 3.0,
    "processor": "Some CPU",
    "threads": 2,
    "date": "2026-01-02 03:04 UTC",
    "quality": {
        "model": {"psnr_30": 21.234, "ssim_30": 0.8, "psnr_180": 15.0, "ssim_180": 0.5},
        "copy of the photo": {"psnr_30": 17.0, "ssim_30": 0.6, "psnr_180": 14.0, "ssim_180": 0.4},
    },
    "timings": {"guided denoising (ms)": {"median": 41.6, "low": 40.0, "high": 50.0}},
}
MAKING = Making(tiny_config(), "mini", 7, RECORDS, "one small machine", FIGURES)


def test_card(tmp_path: Path) -> None:
    folder = tmp_path / "some-name"
    model = tiny_zero123()
    model.save_pretrained(folder, dtype=torch.float16)
    file = write_card(folder, MAKING)
    text = file.read_text(encoding="utf-8")
    assert file == folder / "MODEL_CARD.md" and text.startswith("# some-name\n")
    total = sum(p.numel() for p in model.parameters())
    assert f"| all | {total:,} | |" in text and "predicts `epsilon`" in text
    assert "| autoencoder | 4 | 2 | 0.001 | 3 | 0.2500 | 1.5 |" in text
    assert "| diffusion | 3 of 4, stopped early | 2 | 0.001 | 3 | 0.1250 | 10.0 |" in text
    assert "Hardware: one small machine." in text
    assert "| model | 21.23 / 0.800 | 15.00 / 0.500 |" in text
    assert "guided denoising 42 ms (Some CPU, threads: 2; 2026-01-02 03:04 UTC)" in text
    assert "agsrec train zero123 --config mini --seed 7 --output output/some-name" in text
    weights = (folder / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    assert f"{len(weights):,} | `{hashlib.sha256(weights).hexdigest()}`" in text
    assert text.count("safetensors |") == 4
    # Written again, it does not describe itself.
    assert write_card(folder, MAKING).read_text(encoding="utf-8") == text


def test_a_training_that_went_on_tells_from_what(tmp_path: Path) -> None:
    tiny_zero123().save_pretrained(tmp_path)
    going_on = replace(MAKING, records=RECORDS[3:], start="output/first/model")
    text = write_card(tmp_path, going_on).read_text(encoding="utf-8")
    assert "--seed 7 --start output/first/model --output" in text
    assert "| autoencoder | 4 |" not in text and "| diffusion | 3 of 4" in text


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no safetensors file"):
        write_card(tmp_path, MAKING)
    folder = tmp_path / "model"
    tiny_zero123().save_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"no model card for .*model: IndexError"):
        write_card(folder, replace(MAKING, records=RECORDS[:3]))
    with pytest.raises(CheckpointError, match="KeyError 'timings'"):
        write_card(folder, replace(MAKING, quality={k: v for k, v in FIGURES.items() if k != "timings"}))
    assert not (folder / "MODEL_CARD.md").exists()
