from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agsrec.errors import OutputError
from agsrec.fit.checkpoint import fit_key, load_checkpoint, save_checkpoint
from tests.tiny import tiny_config, tiny_scene

STATE: dict[str, Any] = {"x": torch.arange(1000.0), "n": 3, "history": [{"loss": 0.5}], "nested": {"y": None}}


def test_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "new" / "checkpoint.pt"
    assert load_checkpoint(file, "k") is None
    save_checkpoint(file, "k", STATE)
    state = load_checkpoint(file, "k")
    assert state is not None and torch.equal(state.pop("x"), STATE["x"])
    assert state == {k: v for k, v in STATE.items() if k != "x"}
    assert [f.name for f in file.parent.iterdir()] == ["checkpoint.pt"]


def test_another_key_is_never_continued(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", "one", STATE)
    assert load_checkpoint(tmp_path / "c.pt", "two") is None


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damage_is_a_warning_and_a_fresh_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "c.pt"
    save_checkpoint(file, "k", STATE)
    whole = file.read_bytes()
    damaged = [whole[:n] for n in (0, 1, len(whole) // 2, len(whole) - 1)]
    damaged += [b"garbage", pickle.dumps(STATE["history"]), b"\x80\x02", b"PK\x03\x04" + whole[9:]]
    for content in damaged:
        file.write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert load_checkpoint(file, "k") is None, content[:20]
        assert "starting over" in caplog.text and str(file) in caplog.text


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_fuzz(tmp_path_factory: pytest.TempPathFactory, position: int, value: int) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "c.pt"
    save_checkpoint(file, "k", STATE)
    content = bytearray(file.read_bytes())
    content[position % len(content)] = value
    file.write_bytes(content)
    state = load_checkpoint(file, "k")
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
        assert load_checkpoint(file, "k") is None
        assert not trap.exists()
    pickle.loads(files[1].read_bytes())
    assert trap.exists(), "the trap does not work: the test says nothing"


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        save_checkpoint(tmp_path / "file" / "c.pt", "k", STATE)


def test_key_depends_on_every_input() -> None:
    views, cameras = tiny_scene(3, 32)
    config = tiny_config(3)
    plan = config.rounds[0]
    pixel, pose, focal = views.images.clone(), cameras.viewmats.clone(), cameras.Ks.clone()
    pixel[1, 5, 6, 2] += 1 / 255
    pose[2, 0, 3] += 1e-6
    focal[0, 0, 0] += 1e-3
    keys = [
        fit_key(views, cameras, config, 0),
        fit_key(replace(views, images=pixel), cameras, config, 0),
        fit_key(replace(views, names=("a", "b", "c")), cameras, config, 0),
        fit_key(views[[1, 0, 2]], cameras, config, 0),
        fit_key(views, replace(cameras, viewmats=pose), config, 0),
        fit_key(views, replace(cameras, Ks=focal), config, 0),
        fit_key(views, cameras, replace(config, rates=replace(config.rates, sh=0.1)), 0),
        fit_key(views, cameras, replace(config, rounds=(replace(plan, max_points=701),)), 0),
        fit_key(views, cameras, replace(config, rounds=(plan, plan)), 0),
        fit_key(views, cameras, config, 1),
        fit_key(views, cameras, config, 0, device="cuda"),
        fit_key(views, cameras, config, 0, guided=True),
    ]
    assert len(set(keys)) == len(keys)


def test_key_is_stable() -> None:
    views, cameras = tiny_scene(3, 32)
    copy = replace(views, images=views.images.clone())
    assert fit_key(views, cameras, tiny_config(3), 0) == fit_key(copy, cameras, tiny_config(3), 0)
