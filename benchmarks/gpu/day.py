"""Everything that a machine with one large GPU should do in a quarter of an hour, in order of worth.

python benchmarks/gpu/day.py --output DIR [--minutes 15] [--steps checks train] [--train nview|zero123]

Each step runs in a process of its own with a limit of time; one that fails or hangs is put down, and the next
goes on. The same command again does only what is not done, and goes on with the training. `DIR/day.json` has
the figures so far at any moment, `DIR/logs/` what the steps said. Exits with 2 where there is no CUDA, unless
`--dry_run` has every step done in a tiny size on the CPU.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from agenda import CHECKS, STEPS, TRAINING, Day, agenda
from steps import Background, Book, Step, carry_out

_BUILDS = 150.0  # seconds that steps wait for kernels to be compiled
_LEAST = 8.0  # seconds under which no step is begun
_GROUPS = {"checks": CHECKS, "training": TRAINING}


def do_all(book: Book, steps: Sequence[Step], minutes: float, training_minutes: float) -> None:
    """Do the steps in order; the checks leave the training its time, and what was left out comes last."""
    begun = time.perf_counter()
    end = begun + 60 * minutes
    trains = any(step.name == "train" for step in steps)
    checks_end = end - 60 * training_minutes if trains else end
    builds = [Background(book, step) for step in steps if step.name == "gsplat"]
    try:
        for last_chance in (False, True):
            for step in steps:
                if step.name == "gsplat" or book.is_done(step.name):
                    continue
                until = checks_end if step.name in CHECKS and not last_chance else end
                _attempt(book, step, until, builds)
    finally:
        for build in builds:
            build.end()


def _attempt(book: Book, step: Step, until: float, builds: Sequence[Background]) -> None:
    """Do a step if there is time for it before `until`, and what it needs is built."""
    waits = [build for build in builds if build.step.name == step.after]
    for build in waits:
        build.finished(wait=min(_BUILDS, until - time.perf_counter()))
    if step.after is not None and not book.is_done(step.after):
        book.note(step.name, {"state": "left out", "error": f"{step.after} is not built"})
        return
    left = until - time.perf_counter()
    if left < _LEAST:
        book.note(step.name, {"state": "left out", "error": "no time was left"})
        return
    print(f"{step.name}: at most {min(left, step.limit):.0f} s", flush=True)
    carry_out(book, step, left)
    record = book.content()["steps"][step.name]
    print(f"{step.name}: {record['state']} after {record['seconds']} s", flush=True)


def about() -> dict[str, Any]:
    """Date, machine and versions."""
    there = torch.cuda.is_available()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "gpu": torch.cuda.get_device_name() if there else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False) if there else None,
    }


def chosen(names: Sequence[str]) -> set[str]:
    """Names of steps, from their names and those of groups."""
    return {step for name in names for step in _GROUPS.get(name, (name,))}


def options() -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for everything")
    parser.add_argument("--minutes", type=float, default=15.0, help="time for all of it")
    parser.add_argument("--training_minutes", type=float, default=10.0, help="time that checks leave")
    parser.add_argument(
        "--steps", nargs="+", choices=(*_GROUPS, *STEPS), default=list(_GROUPS), help="what to do"
    )
    parser.add_argument("--train", choices=("nview", "zero123"), default="nview", help="model to train")
    parser.add_argument(
        "--train_config", help="its settings, as packaged; large for nview, mini-warped for zero123"
    )
    parser.add_argument(
        "--start", help="embedded model to start from; none for nview, zero123-6dof-mini for zero123"
    )
    parser.add_argument("--batch_size", type=int, help="another than the settings'")
    parser.add_argument("--workers", type=int, default=16, help="processes that render")
    parser.add_argument("--part_mib", type=float, help="write the model in parts of so many MiB, too")
    parser.add_argument("--dry_run", action="store_true", help="tiny sizes, on the CPU")
    return parser.parse_args()


def main() -> None:
    """Do the day; the exit status is 1 if a step is not done."""
    given = options()
    if not torch.cuda.is_available() and not given.dry_run:
        print("error: this needs a CUDA device, and PyTorch sees none here", file=sys.stderr)
        raise SystemExit(2)
    given.output.mkdir(parents=True, exist_ok=True)
    book = Book(given.output)
    book.describe(about())
    wanted = chosen(given.steps)
    steps = [step for step in agenda(Day.of(given)) if step.name in wanted]
    do_all(book, steps, given.minutes, given.training_minutes)
    undone = [step.name for step in steps if not book.is_done(step.name)]
    print(f"{book.file}: {len(steps) - len(undone)} of {len(steps)} steps are done")
    if undone:
        print(f"not done: {', '.join(undone)}; the same command tries them again")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
