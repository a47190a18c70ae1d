"""Processors and memory of a container, in either version of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from agsrec import limits
from agsrec.batch.machine import share_cores, usual_workers
from agsrec.cli import main
from agsrec.errors import OptionError
from agsrec.render.cpu import threads
from tests.cli.helpers import refused


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Made-up control groups of a machine with 64 processors and 64 GiB."""
    monkeypatch.setattr(limits, "_GROUPS", tmp_path)
    monkeypatch.setattr(limits, "_MINE", tmp_path / "mine")
    monkeypatch.setattr(limits, "allowed_cores", lambda: list(range(64)))
    memory = SimpleNamespace(available=60 * 2**30, total=64 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    threads.num_threads.cache_clear()
    yield tmp_path
    threads.num_threads.cache_clear()


def put(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_no_limits(groups: Path) -> None:
    assert limits.processor_quota() is None and limits.usual_threads() == 64
    put(groups, mine="0::/user.slice\n", cpu__max="max 100000\n", memory__max="max\n")
    assert limits.processor_quota() is None and limits.memory().free == 60 * 2**30


@pytest.mark.parametrize(
    ("mine", "folder"),
    [("0::/\n", ""), ("0::/a/b\n", "a/b"), ("0::/a/b\n", "a"), ("0::/../../c\n", "")],
)
@pytest.mark.parametrize(
    ("written", "count"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)]
)
def test_version_2(groups: Path, mine: str, folder: str, written: str, count: int) -> None:
    put(groups, mine=mine)
    put(groups / folder, cpu__max=written, memory__max=f"{2**31}", memory__current=f"{2**30}")
    put(groups / folder, memory__stat=f"anon 1\ninactive_file {2**29}\n")
    assert threads.num_threads() == limits.usual_threads() == count
    assert limits.memory() == limits.Memory(free=3 * 2**29, total=2**31)
    assert usual_workers() == 1
    with pytest.raises(OptionError, match=f"between 1 and the {count} cores"):
        share_cores(count + 1)


@pytest.mark.parametrize("folder", ["", "docker/abc"])
def test_version_1(groups: Path, folder: str) -> None:
    put(groups, mine="5:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n0::/\n")
    put(groups / "cpu" / folder, cpu__cfs_quota_us="400000\n", cpu__cfs_period_us="100000\n")
    put(groups / "memory" / folder, memory__limit_in_bytes=f"{2**32}", memory__usage_in_bytes=f"{2**31}")
    assert limits.usual_threads() == 4 and limits.memory().free == 2**31
    put(groups / "cpu" / folder, cpu__cfs_quota_us="-1\n")
    assert limits.usual_threads() == 64


def test_numba_is_told_fewer(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert threads.num_threads() == 3


def test_libraries_follow(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    for name in limits.THREAD_VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    limits.use_no_more_threads()
    assert not told and "OMP_NUM_THREADS" not in os.environ
    put(groups, mine="0::/\n", cpu__max="200000 100000")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    limits.use_no_more_threads()
    assert told == [2] and os.environ["OMP_NUM_THREADS"] == os.environ["NUMBA_NUM_THREADS"] == "2"
    assert os.environ["MKL_NUM_THREADS"] == "1", "what the user said stays"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs ulimit -v")
def test_limited_addresses() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30));"
        "from agsrec.limits import memory; m = memory(); print(m.total == 2**30, 0 < m.free < 2**30)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_run_says_when_memory_will_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agsrec.cli.run.memory", lambda: limits.Memory(2**29, 2**30))
    with pytest.raises(SystemExit):  # there are no photos
        main(["run", str(tmp_path), "--prior", "none"])
    assert "Only 0.5 GiB of memory are left here" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("kind", ["python", "torch"])
def test_lack_of_memory_is_a_sentence(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def take(*_: object) -> None:
        if kind == "python":
            bytearray(2**62)
        torch.empty(2**45)

    monkeypatch.setattr("agsrec.cli.entry.Doctor.main", take)
    assert limits.LACK_OF_MEMORY in refused(capsys, "doctor")


def test_threads_that_wait_sleep_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    limits.wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    limits.wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
