"""Two processes and one folder: the second is refused, and nobody waits for one that is gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pytest

from agsrec.cli import main
from agsrec.errors import OptionError, OutputError
from agsrec.images import save_png
from agsrec.locks import Board, Owner, held, locked
from tests.cli.helpers import refused
from tests.tiny import quick_options, write_scene

_HOLDS = """
import sys, time
from pathlib import Path
from agsrec.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["locks", "no locks"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, also on a file system that knows no locks, as some of networks."""

    def none(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    if request.param == "no locks":
        monkeypatch.setattr(filelock.FileLock, "acquire", none)
    return tmp_path / "out"


def test_the_second_is_refused_by_name(folder: Path) -> None:
    with (
        locked(folder),
        pytest.raises(OptionError, match=rf"{folder} \(.* on .*, process {os.getpid()}, since"),
        locked(folder),
    ):
        pass
    with locked(folder):
        pass


def test_a_lock_that_cannot_be_written_is_no_lack_of_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", denied)
    with pytest.raises(OutputError, match=r"\.agsrec\.lock: .*make it writable"), locked(tmp_path):
        pass


def test_nothing_is_left_of_a_folder_that_was_made_for_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not list(tmp_path.iterdir())
    with locked(tmp_path / "a"):
        (tmp_path / "a" / "result").touch()
    assert {file.name for file in (tmp_path / "a").iterdir()} == {"result", ".agsrec.lock"}


def test_the_lock_of_a_killed_process_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(OptionError, match=f"process {process.pid}, since"), locked(tmp_path):
            pass
        process.kill()
        process.wait()
    with locked(tmp_path):
        owner = Board.of(tmp_path).owner()
        assert owner is not None and owner.pid == os.getpid()


@pytest.mark.parametrize(
    ("who", "stale"),
    [
        ({}, False),
        ({"host": "elsewhere", "pid": 1}, False),
        ({"pid": 2**22 + 1}, True),
        ({"pid": 1, "beat": 3600.0}, True),  # before the machine was started: another process by now
        ({"host": "elsewhere", "beat": -3600.0}, True),
        ({"host": "elsewhere", "beat": 7200.0}, True),  # written before the clock was set back
    ],
)
def test_names_of_those_who_are_no_more(tmp_path: Path, who: dict[str, object], stale: bool) -> None:
    board = Board.of(tmp_path)
    beat = time.time() + float(str(who.pop("beat", 0.0)))
    if who.get("pid") == 1:
        beat = beat if "host" in who else 0.0
    owner = replace(Owner.me(), beat=beat, **who)  # pyright: ignore[reportArgumentType]
    (tmp_path / ".agsrec.json").write_bytes(owner.written())
    if stale:
        with held(board):
            now = board.owner()
            assert now is not None and (now.pid, now.host) == (os.getpid(), socket.gethostname())
        assert board.owner() is None
    else:
        with pytest.raises(OptionError, match="another process"), held(board):
            pass


def test_a_run_into_a_folder_that_is_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scene(tmp_path / "blob")
    options = ["--prior", "none", "--mesh-format", "none", *quick_options(2)]
    out = tmp_path / "out"
    run = ["run", "--category", "blob", "--data", str(tmp_path), "--output", str(out), *options]
    with locked(out / "blob"):
        assert f"process {os.getpid()}, since" in refused(capsys, *run)
        assert {file.name for file in (out / "blob").iterdir()} == {".agsrec.lock", ".agsrec.json"}


def test_photos_that_are_being_cut_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = tmp_path / "mug"
    write_photo(photos / "a.png")
    with locked(photos / "processed"):
        message = refused(capsys, "process", str(photos))
        assert f"{photos / 'processed'} (" in message and f"process {os.getpid()}, since" in message
        assert message.endswith("wait until it is done, or copy the photos to another folder\n")
    main(["process", str(photos)])
    assert (photos / "processed" / "a_rgba.png").exists()


def test_cameras_that_are_being_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photo(tmp_path / "mug" / "a.png")
    with held(Board.of(tmp_path / "mug")):
        message = refused(capsys, "poses", str(tmp_path / "mug"))
    assert f"{tmp_path / 'mug'} (" in message and message.endswith("or name another --output\n")
    assert not (tmp_path / "mug" / "processed").exists()


def test_who_has_patience_waits(folder: Path) -> None:
    ready, done = threading.Event(), []

    def hold() -> None:
        with locked(folder):
            ready.set()
            time.sleep(0.5)
            done.append("first")

    other = threading.Thread(target=hold)
    other.start()
    assert ready.wait(10)
    with locked(folder, patience=30.0):
        assert done == ["first"]
    other.join()


def write_photo(file: Path) -> None:
    """A photo that is cut out already."""
    rgba = np.full((32, 32, 4), 200, dtype=np.uint8)
    rgba[:8, :, 3] = 0
    rgba[:, :8, 3] = 0
    save_png(file, rgba)
