"""What this process may use of the machine: processors and memory, as a container or a shell may limit them.

A container's limits are those of its control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html and,
of the first version, https://docs.kernel.org/scheduler/sched-bwc.html.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "LACK_OF_MEMORY",
    "THREAD_VARIABLES",
    "Memory",
    "allowed_cores",
    "is_lack_of_memory",
    "memory",
    "one_thread_of_torch",
    "processor_quota",
    "tell_libraries",
    "use_no_more_threads",
    "usual_threads",
    "wait_asleep",
]

THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"),
    "OPENCV_FOR_THREADS_NUM",
)
"""What libraries ask for the number of their threads when they are loaded."""

LACK_OF_MEMORY = (
    "there is not enough memory; close other programs, raise the limit of `ulimit -v` or of the container, "
    "or take fewer views or --mesh-format none"
)
"""What is said where memory ran out."""

_GROUPS = Path("/sys/fs/cgroup")
_MINE = Path("/proc/self/cgroup")


# -------------------------------------------------------------------- processors


def allowed_cores() -> list[int]:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def usual_threads() -> int:
    """As many threads as this process has processors, or as much of their time as it is given."""
    cores = max(1, len(allowed_cores()))
    quota = processor_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def processor_quota() -> float | None:
    """Processors whose whole time a container is given, such as 1.5; None without such a limit."""
    limits = []
    for folder in _groups("cpu"):
        whole, period = _numbers(folder / "cpu.max", 2)
        if whole is None:
            ((whole,), (period,)) = (
                _numbers(folder / "cpu.cfs_quota_us"),
                _numbers(folder / "cpu.cfs_period_us"),
            )
        if whole is not None and period is not None and whole > 0 and period > 0:
            limits.append(whole / period)
    return min(limits, default=None)


def use_no_more_threads() -> None:
    """Let libraries that count processors start no more threads than a container has time for.

    For the start of a program: it is the environment that tells them, and what is set there already stays.
    """
    if usual_threads() < len(allowed_cores()):
        for name in THREAD_VARIABLES:
            os.environ.setdefault(name, str(usual_threads()))
        if os.environ["OMP_NUM_THREADS"].isdecimal():
            tell_libraries(int(os.environ["OMP_NUM_THREADS"]))


def wait_asleep() -> None:
    """Let threads of OpenMP sleep while they have nothing to do; spinning, they take the time of all others.

    For the start of a program, before PyTorch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def tell_libraries(threads: int) -> None:
    """Tell those that counted processors when they were imported."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)


@contextmanager
def one_thread_of_torch() -> Iterator[None]:
    """Let PyTorch compute alone in this thread: for operations so short that waking others takes longer."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# -------------------------------------------------------------------- memory


@dataclass(frozen=True)
class Memory:
    """Main memory that this process can have, bytes.

    Attributes:
        free: How much more of it.
        total: All of it.
    """

    free: int
    total: int


def memory() -> Memory:
    """What the machine has free, or less by the limit of a container or of `ulimit -v`."""
    import psutil

    found = psutil.virtual_memory()
    free, total = [found.available], [found.total]
    for limit, used in (*_group_memory(), *_address_space()):
        free.append(max(0, limit - used))
        total.append(limit)
    return Memory(min(free), min(total))


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's own error, or one of PyTorch, whose class does not tell."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or "allocate memory" in words or "out of memory" in words


def _group_memory() -> Iterator[tuple[int, int]]:
    """Limit and use of each control group that has a limit, without what can be dropped at any time."""
    for folder in _groups("memory"):
        for limit_file, used_file, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            (limit,), (used,) = _numbers(folder / limit_file), _numbers(folder / used_file)
            if limit is not None and used is not None:
                yield limit, used - _counted(folder / "memory.stat", cached)


def _address_space() -> Iterator[tuple[int, int]]:
    """Limit and use of addresses, where they are limited."""
    try:
        import resource
    except ImportError:  # Windows
        return
    import psutil

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        yield limit, psutil.Process().memory_info().vms


# -------------------------------------------------------------------- control groups


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control groups, of both versions, each from its own up to the root."""
    for line in _text(_MINE).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _GROUPS / controller if controllers else _GROUPS
        # Inside of a container the path may be the machine's: the root is then what there is to see.
        own = root / path.lstrip("/") if ".." not in path.split("/") else root
        yield own
        if own != root:
            yield from list(own.parents)[: len(own.relative_to(root).parts)]


def _numbers(file: Path, count: int = 1) -> list[int | None]:
    """The first numbers in a file; None for words that are none, such as "max", and for what is not there."""
    words = _text(file).split()[:count]
    found: list[int | None] = [int(word) if word.isdecimal() else None for word in words]
    return found + [None] * (count - len(found))


def _counted(file: Path, name: str) -> int:
    """A number by its name in a file of such."""
    rows = (line.split() for line in _text(file).splitlines())
    return next((int(row[1]) for row in rows if row[0] == name), 0)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""
