from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from agsrec.cli import main
from agsrec.cli.printing import TrainingBar, training_status
from agsrec.cli.train import validation_rows
from agsrec.prior.zero123 import Zero123
from agsrec.training.loop import read_log
from agsrec.training.settings import settings_json
from tests.cli.helpers import refused
from tests.tiny_prior import tiny_config, tiny_zero123


@pytest.fixture
def settings(tmp_path: Path) -> str:
    path = tmp_path / "settings.json"
    path.write_text(settings_json(tiny_config()))
    return str(path)


def train(settings: str, output: Path, *options: str) -> None:
    main(["train", "zero123", "--config", settings, "--output", str(output), "--workers", "0", *options])


def test_trains_to_a_model_that_loads(
    settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, figures in (("autoencoder", {"psnr": 21.5}), ("novel_views", {"psnr_30": 18.125})):
        monkeypatch.setattr(f"agsrec.training.zero123.validate_{name}", lambda *_, made=figures: made)
    output = tmp_path / "out"
    train(settings, output, "--device", "cpu")
    printed = capsys.readouterr().out
    assert str(output / "model") in printed and "goes on" not in printed
    for words in ("autoencoder", "diffusion", "4/4", "21.500", "psnr_30", "18.125"):
        assert words in printed, words
    log = read_log(output)
    assert Zero123.from_pretrained(output / "model").image_size == 32
    # Complete: the same command has nothing left to do.
    weights = (output / "diffusion.pt").read_bytes()
    train(settings, output, "--device", "cpu")
    assert (output / "diffusion.pt").read_bytes() == weights and read_log(output) == log


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the training is asked for; it stops at once."""
    calls: list[dict[str, Any]] = []

    def stopped(config: Any, folder: Path, **options: Any) -> bool:
        calls.append({"config": config, "folder": folder, **options})
        record = {"phase": "autoencoder", "step": 2, "steps": 4, "psnr": 12.3456}
        (folder / "log.jsonl").write_text(json.dumps(record) + "\n")
        return False

    monkeypatch.setattr("agsrec.training.zero123.train_zero123", stopped)
    return calls


def test_every_option_arrives(
    asked: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_zero123().save_pretrained(tmp_path / "start")
    threads = torch.get_num_threads()
    try:
        options = ["--seed", "7", "--minutes", "1.5", "--start", str(tmp_path / "start"), "--threads", "3"]
        options += ["--validate-every", "30"]
        train("mini", tmp_path / "out", *options, "--device", "cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    (call,) = asked
    assert call["config"].image_size == 128 and call["folder"] == tmp_path / "out"
    assert call["seed"] == 7 and call["workers"] == 0 and call["device"] == torch.device("cpu")
    assert call["intervals"].stop_after_seconds == 90 and call["intervals"].validate == 30
    assert call["start"] == tmp_path / "start"
    printed = capsys.readouterr().out
    assert "12.346" in printed and "the same command goes on" in printed and "The model is" not in printed


def test_defaults(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    main(["train", "zero123", "--output", str(tmp_path / "out")])
    (call,) = asked
    assert call["intervals"].stop_after_seconds is None and call["start"] is None
    assert call["seed"] == 0 and call["workers"] == 2


def test_another_training_in_the_folder(
    settings: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"key": "another"}, tmp_path / "autoencoder.pt")
    usual = ["--config", settings, "--output", str(tmp_path), "--workers", "0", "--device", "cpu"]
    message = refused(capsys, "train", "zero123", *usual)
    assert "autoencoder.pt" in message and "--output" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--config", "maxi"], ["--config", "maxi", "mini"]),
        (["--seed", "-1"], ["--seed"]),
        (["--workers", "-1"], ["--workers", "at least 0"]),
        (["--threads", "0"], ["--threads", "at least 1"]),
        (["--minutes", "0"], ["--minutes", "positive"]),
        (["--validate-every", "0"], ["--validate-every", "at least 1"]),
        (["--minutes", "nan"], ["--minutes", "positive"]),
        (["--start", "nowhere"], ["--start", "nowhere"]),
        (["--device", "cuda"], ["--device cuda"]),
    ],
)
def test_refusals(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = refused(capsys, "train", "zero123", "--output", "out", *options)
    assert all(word in message for word in words), message
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------- printing


def record(**changes: Any) -> dict[str, Any]:
    known = {"phase": "diffusion", "step": 50, "steps": 200, "loss": 0.25, "images_per_second": 12.34}
    return known | {"seconds": 100.0} | changes


def test_status_says_loss_speed_and_what_is_left() -> None:
    assert training_status(record()) == "loss 0.2500  12.3 images/s  5 min left"
    assert training_status(record(seconds=4000.0)) == "loss 0.2500  12.3 images/s  3 h 20 min left"
    assert training_status(record(step=200)).endswith(" 0 min left")


def test_bar_shows_each_phase() -> None:
    screen = io.StringIO()
    with TrainingBar(Console(file=screen, width=100, force_terminal=True)) as advance:
        advance(record(phase="autoencoder", step=200))
        advance(record())
        advance({"phase": "diffusion", "step": 60, "steps": 200, "psnr_30": 20.0})
    shown = screen.getvalue()
    for words in ("autoencoder", "200/200", "diffusion", "60/200", "12.3 images/s"):
        assert words in shown, words


def test_table_has_the_last_validation_of_each_phase() -> None:
    log = [
        {"phase": "a", "step": 1, "steps": 2, "psnr": 1.0},
        record(phase="a", step=2),
        {"phase": "a", "step": 2, "steps": 2, "psnr": 2.0},
        {"phase": "b", "step": 9, "steps": 9, "x": 3.0, "y": 4.5},
    ]
    assert validation_rows(log) == [
        {"phase": "a", "step": 2, "figure": "psnr", "value": "2.000"},
        {"phase": "b", "step": 9, "figure": "x", "value": "3.000"},
        {"phase": "b", "step": 9, "figure": "y", "value": "4.500"},
    ]
