from __future__ import annotations

import logging
import re
import sys
import threading
import time
from importlib.metadata import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from agsrec.errors import CheckpointError, OptionError
from agsrec.preprocess import network, remover
from agsrec.preprocess.grabcut import grabcut_alpha
from agsrec.preprocess.remover import GRABCUT, MODELS, EmbeddedRemover, make_remover


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(OptionError, match="unknown background model 'u3net'; choose one of auto, u2net, "):
        make_remover("u3net")


def test_grabcut_by_name_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert make_remover(GRABCUT) is grabcut_alpha
    assert not caplog.records


def test_offline_falls_back_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(remover, "_network_available", lambda: False)
    for variable in ("HOME", "U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert isinstance(make_remover("u2net"), EmbeddedRemover)
    assert "u2net" in caplog.text and "falling back to the embedded u2netp" in caplog.text


@pytest.mark.parametrize("problem", [OSError("no route"), SystemExit(1), RuntimeError("bad model")])
def test_failing_model_falls_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, problem: BaseException
) -> None:
    def fail(model: str) -> None:
        raise problem

    monkeypatch.setattr(remover, "_network_available", lambda: True)
    monkeypatch.setitem(sys.modules, "rembg", SimpleNamespace(new_session=fail))
    assert isinstance(make_remover("u2net"), EmbeddedRemover)
    assert str(problem) in caplog.text


def test_model_is_used_when_its_file_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def remove(image: Image.Image, session: str, only_mask: bool) -> Image.Image:
        assert session == "session of birefnet-general" and only_mask
        return Image.new("L", image.size, 77)

    fake = SimpleNamespace(new_session=lambda model: f"session of {model}", remove=remove)
    monkeypatch.setitem(sys.modules, "rembg", fake)
    monkeypatch.setattr(remover, "_network_available", lambda: False)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    for path in (
        tmp_path / "birefnet-general.onnx",
        tmp_path / "models" / "birefnet-general" / "birefnet-general.onnx",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        for name in ("birefnet-general", "auto"):
            alpha = make_remover(name)(np.zeros((4, 5, 3), dtype=np.uint8))
            assert alpha.shape == (4, 5) and alpha.dtype == np.uint8 and (alpha == 77).all()
        path.unlink()


def test_hanging_network_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*args: object, **options: object) -> None:
        over.wait(5)
        raise OSError("at last")

    monkeypatch.setattr(remover, "_NETWORK_TIMEOUT", 0.1)
    monkeypatch.setattr(remover.urllib.request, "urlopen", hang)
    start = time.monotonic()
    assert not remover._network_available()
    assert time.monotonic() - start < 2
    over.set()


def test_network_errors_mean_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError("unreachable")

    monkeypatch.setattr(remover.urllib.request, "urlopen", refuse)
    assert not remover._network_available()


def test_models_exist_in_rembg() -> None:
    # Read, not imported: its first import compiles for a minute.
    modules = [f for f in files("rembg") or [] if f.parts[:2] == ("rembg", "sessions") and f.suffix == ".py"]
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    assert set(MODELS) <= set(re.findall(r'return "([\w-]+)"', source))


@pytest.mark.parametrize("name", ["auto", "u2netp"])
def test_nothing_is_asked_of_the_network_without_need(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail() -> bool:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(remover, "_network_available", fail)
    monkeypatch.setattr(remover, "_model_file_present", lambda model: False)
    assert isinstance(make_remover(name), EmbeddedRemover)


def test_damaged_model_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("agsrec.embedded.find_checkpoint", lambda name: tmp_path)
    for content in (None, b"", b"not a model"):
        if content is not None:
            (tmp_path / "u2netp.onnx").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"u2netp\.onnx is missing or damaged .*such as grabcut"):
            network.load_network()
