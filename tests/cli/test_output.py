"""Where a command's words go that no terminal takes as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")

PRINTS = "from agsrec.cli import entry; entry.Doctor.main = lambda _, console: console.print('5° at 3 µm')"


def printed(to: int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command whose output has characters beyond ASCII."""
    code = f"{PRINTS}; entry.main(['doctor'])"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=to, stderr=subprocess.PIPE,
        env=os.environ | environment, check=False,
    )  # fmt: skip


def test_an_output_that_takes_ascii_alone() -> None:
    done = printed(subprocess.PIPE, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"5? at 3 ?m\n", b"")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_an_output_on_a_full_disk() -> None:
    with FULL.open("wb") as full:
        done = printed(full.fileno())
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: no space left on the device")
    assert done.stderr.count(b"\n") == 1
