from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agsrec.cli import main
from agsrec.prior.zero123 import Zero123
from tests.cli.helpers import refused
from tests.prior.ldm import ldm_checkpoint
from tests.tiny_prior import tiny_zero123


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of another model than the tiny prior."""
    torch.save({"state_dict": ldm_checkpoint(tiny_zero123(seed=2))}, tmp_path / "zero123.ckpt")
    return tmp_path / "zero123.ckpt"


def test_prints_what_came_from_where(
    checkpoint: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "model"
    main(["convert", str(checkpoint), "--base", str(model_folder), "--output", str(output)])
    printed = capsys.readouterr().out
    made, base, source = Zero123.from_pretrained(output), tiny_zero123(), tiny_zero123(seed=2)
    attention = sum(".attentions." in name for name in base.unet.state_dict())
    assert f"wrote {output} (cameras: zero123-6dof)" in printed
    assert f"from the checkpoint: unet {attention}, " in printed and "camera_projection 2" in printed
    assert f"image_encoder {len(base.image_encoder.state_dict())}" in printed
    weight = "proj.weight"
    taken = made.camera_projection.state_dict()[weight]
    torch.testing.assert_close(taken, source.camera_projection.state_dict()[weight], atol=1e-3, rtol=0)
    torch.testing.assert_close(made.vae.state_dict(), base.vae.state_dict(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("mark", ["-", "_"])
def test_all_weights_in_full_precision(
    checkpoint: Path, model_folder: Path, tmp_path: Path, mark: str
) -> None:
    output = tmp_path / "model"
    options = ["--base", str(model_folder), "--output", str(output), "--dtype", "float32"]
    main(["convert", str(checkpoint), *options, f"--all{mark}weights"])
    made = Zero123.from_pretrained(output)
    assert made.fingerprint() == tiny_zero123(seed=2).fingerprint()


def test_refusals(
    checkpoint: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, output = ["--base", str(model_folder)], ["--output", str(tmp_path / "out")]
    assert "nowhere.ckpt" in refused(capsys, "convert", "nowhere.ckpt", *base, *output)
    assert "nowhere" in refused(capsys, "convert", str(checkpoint), "--base", "nowhere", *output)
    message = refused(capsys, "convert", str(checkpoint), *base, "--output", str(model_folder))
    assert str(model_folder) in message and "exists" in message
    assert "--dtype" in refused(capsys, "convert", str(checkpoint), *base, *output, "--dtype", "int8")
    assert not (tmp_path / "out").exists()
