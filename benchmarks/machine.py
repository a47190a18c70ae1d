"""What every benchmark records beside its figures, and how it times."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from agsrec.render.cpu.threads import num_threads

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Timing:
    """Milliseconds over several repeats.

    Attributes:
        median: Median.
        low: Fastest repeat.
        high: 90 % quantile.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.low:.1f}-{self.high:.1f})"


def timed(function: Callable[[], Any], *, seconds: float = 1.5, warmup: int = 3) -> Timing:
    """Time a call again and again for about `seconds`, at least five times, after a warm-up."""
    for _ in range(warmup):
        function()
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < 5 or time.perf_counter() < end:
        _synchronize()
        start = time.perf_counter()
        function()
        _synchronize()
        samples.append(1e3 * (time.perf_counter() - start))
    samples.sort()
    return Timing(statistics.median(samples), samples[0], samples[round(0.9 * (len(samples) - 1))])


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def description() -> dict[str, Any]:
    """Date, machine, versions and commit."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "threads": num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("torch", "numpy", "numba", "gsplat")},
        "commit": _commit(),
    }


def heading(about: dict[str, Any]) -> str:
    """The description as one line of text."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
    gpu = f"{about['gpu']}; " if about["gpu"] else ""
    return (
        f"{about['date']}; {about['processor']}, {about['threads']} threads; {gpu}"
        f"Python {about['python']}, {versions}; commit {about['commit']}"
    )


def _processor() -> str:
    """Model name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    """Short commit of this tree, marked where it has changes; "unknown" outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
