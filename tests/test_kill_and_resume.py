"""A run killed without warning and started again gives, byte for byte, what an unbroken run gives."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from agsrec.cli import main
from tests.tiny import quick_options, write_scene

RUN = Path(__file__).parents[1] / "run.py"
RESULTS = ("cameras.json", "splat.ply")


def arguments(root: Path, output: str, *options: str) -> list[str]:
    every = ["--prior", "none", "--mesh_format", "none", "--fit.checkpoint-interval", "5"]
    every += [*quick_options(12, size=32), *options]
    return ["--category", "blob", "--data", str(root), "--output", str(root / output), *every]


def finish(root: Path, output: str, *options: str) -> dict[str, bytes]:
    """The results of a whole run, in this process: another one would load everything anew."""
    main(["run", *arguments(root, output, *options)])
    return {name: (root / output / "blob" / name).read_bytes() for name in RESULTS}


def kill_once_there_is(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 200
    while not any(folder.glob(pattern)):
        assert process.poll() is None and time.monotonic() < end, "no checkpoint was written"
        time.sleep(0.005)
    process.kill()
    assert process.wait(timeout=30) == -9, "it had finished before it was killed"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_and_started_again(tmp_path: Path) -> None:
    write_scene(tmp_path / "blob")
    folder = tmp_path / "killed" / "blob"
    command = [sys.executable, str(RUN), *arguments(tmp_path, "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        kill_once_there_is(folder / "stages", "fit-*.begun", process)
    finally:
        process.kill()
        process.wait()
    assert not any((folder / name).exists() for name in RESULTS)
    resumed = finish(tmp_path, "killed")
    assert resumed == finish(tmp_path, "unbroken")
    # The finished fit is still there: another seed must not pick it up.
    other = finish(tmp_path, "killed", "--seed", "1")
    assert all(other[name] != resumed[name] for name in RESULTS)
