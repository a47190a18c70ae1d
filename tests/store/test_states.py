from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agsrec.errors import OutputError
from agsrec.store import load_state, save_state

STATE: dict[str, Any] = {"x": torch.arange(1000.0), "n": 3, "history": [{"loss": 0.5}], "nested": {"y": None}}


def test_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "new" / "checkpoint.pt"
    assert load_state(file, "k") is None
    save_state(file, "k", STATE)
    state = load_state(file, "k")
    assert state is not None and torch.equal(state.pop("x"), STATE["x"])
    assert state == {k: v for k, v in STATE.items() if k != "x"}
    assert [f.name for f in file.parent.iterdir()] == ["checkpoint.pt"]


def test_another_key_is_never_continued(tmp_path: Path) -> None:
    save_state(tmp_path / "c.pt", "one", STATE)
    assert load_state(tmp_path / "c.pt", "two") is None


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damage_is_a_warning_and_a_fresh_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "c.pt"
    save_state(file, "k", STATE)
    whole = file.read_bytes()
    damaged = [whole[:n] for n in (0, 1, len(whole) // 2, len(whole) - 1)]
    damaged += [b"garbage", pickle.dumps(STATE["history"]), b"\x80\x02", b"PK\x03\x04" + whole[9:]]
    for content in damaged:
        file.write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert load_state(file, "k") is None, content[:20]
        assert "starting over" in caplog.text and str(file) in caplog.text


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_fuzz(tmp_path_factory: pytest.TempPathFactory, position: int, value: int) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "c.pt"
    save_state(file, "k", STATE)
    content = bytearray(file.read_bytes())
    content[position % len(content)] = value
    file.write_bytes(content)
    state = load_state(file, "k")
    assert state is None or isinstance(state, dict)


class Malicious:
    """Unpickling this makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.mkdir, (self.folder,))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    trap, files = tmp_path / "trap", [tmp_path / "zip.pt", tmp_path / "plain.pt"]
    torch.save({"key": "k", "state": Malicious(trap)}, files[0])
    files[1].write_bytes(pickle.dumps({"key": "k", "state": Malicious(trap)}))
    for file in files:
        assert load_state(file, "k") is None
        assert not trap.exists()
    pickle.loads(files[1].read_bytes())
    assert trap.exists(), "the trap does not work: the test says nothing"


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        save_state(tmp_path / "file" / "c.pt", "k", STATE)
