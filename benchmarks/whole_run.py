"""The whole command of this tree beside that of another, in turns; and how long until the fit begins.

python benchmarks/whole_run.py [--beside TREE] [--runs 5] [--busy] [-- OPTIONS OF run.py]

Without options `--category jordan --num_views 8`. Every run is a process of its own, into a fresh folder; the
first of each tree, which compiles kernels, does not count. With --busy another program computes on one core
all the while. `first step` is the time from the command to the first step of the fit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import description, heading

ROOT = Path(__file__).resolve().parents[1]
USUAL = ["--category", "jordan", "--num_views", "8"]
FIRST = """
import sys, time
import agsrec.fit.joint as joint
def first(*_, **__):
    print("first step at", time.time(), flush=True)
    raise KeyboardInterrupt
joint._step = first
from agsrec.cli import main
main(["run", *sys.argv[1:]])
"""


@dataclass(frozen=True)
class Whole:
    """Seconds of one run.

    Attributes:
        wall: By the clock.
        processor: Of all cores.
        psnr: At the photos, dB, where it is known.
        novel: At new views, dB, likewise.
        pairs: Median error of relative rotations, degrees, likewise.
    """

    wall: float
    processor: float
    psnr: float | None
    novel: float | None
    pairs: float | None


def run(tree: Path, options: list[str]) -> Whole:
    """One run of a tree."""
    with tempfile.TemporaryDirectory() as place:
        before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, str(tree / "run.py"), *options, "--output", place]
        done = called(tree, command)
        wall = time.perf_counter() - clock
        if done.returncode:
            sys.exit(f"{tree}: {done.stderr or done.stdout}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        (file,) = Path(place).glob("*/metrics.json")
        metrics = json.loads(file.read_text())
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Whole(
        wall,
        busy,
        value(metrics, "input", "psnr"),
        value(metrics, "novel", "psnr"),
        value(metrics, "poses_after", "pairs", "median_deg"),
    )


def first_step(tree: Path, options: list[str]) -> float:
    """Seconds from the command to the first step of the fit."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-c", FIRST, *options, "--output", place]
        begun = time.time()
        done = called(tree, command)
    line = next(line for line in done.stdout.splitlines() if line.startswith("first step at"))
    return float(line.split()[-1]) - begun


def called(tree: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """A command in the environment of a user, with the tree's own package; kernels are kept."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(tree)
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def value(metrics: Any, *path: str) -> float | None:
    """A figure somewhere in the metrics."""
    for name in path:
        metrics = metrics.get(name) if isinstance(metrics, dict) else None
    return metrics


@contextmanager
def busy_core() -> Iterator[None]:
    """Another program that computes all the while."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beside", type=Path, help="another checkout of this project")
    parser.add_argument("--runs", type=int, default=5, help="runs of each tree that count")
    parser.add_argument("--busy", action="store_true", help="with one core taken by another program")
    parser.add_argument("options", nargs="*", help="of run.py, after --")
    args = parser.parse_args()
    options = args.options or USUAL
    trees = [ROOT] if args.beside is None else [args.beside.resolve(), ROOT]
    print(heading(description()))
    print(*options)
    for tree in trees:
        run(tree, options)
    runs: dict[Path, list[Whole]] = {tree: [] for tree in trees}
    starts: dict[Path, list[float]] = {tree: [] for tree in trees}
    with busy_core() if args.busy else nullcontext():
        for _ in range(args.runs):
            for tree in trees:
                starts[tree].append(first_step(tree, options))
                runs[tree].append(run(tree, options))
                print(tree.name, f"first step {starts[tree][-1]:.1f} s", runs[tree][-1], flush=True)
    for tree in trees:
        wall, processor = ([getattr(r, name) for r in runs[tree]] for name in ("wall", "processor"))
        print(
            f"{tree.name}: {statistics.median(wall):.1f} s ({min(wall):.1f}-{max(wall):.1f}), processor "
            f"{statistics.median(processor):.1f} s, first step {statistics.median(starts[tree]):.1f} s"
        )
    if len(trees) == 2:
        before, now = (statistics.median(r.wall for r in runs[tree]) for tree in trees)
        print(f"ratio {now / before:.3f}")


if __name__ == "__main__":
    main()
