"""What workers take of a machine: cores that are theirs alone, and memory that is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agsrec.errors import OptionError
from agsrec.limits import THREAD_VARIABLES, allowed_cores, memory, tell_libraries, usual_threads

__all__ = [
    "limited_environment",
    "reset_peak_memory",
    "share_cores",
    "take_cores",
    "use_cores",
    "usual_workers",
]

_WORKER_BYTES = 2 * 2**30  # what a run takes, with some room


def usual_workers() -> int:
    """As many objects at once as there are cores, and memory for."""
    return max(1, min(usual_threads(), memory().free // _WORKER_BYTES))


def share_cores(workers: int) -> int:
    """Threads of each worker, so that all together have as many as there are cores.

    Raises:
        OptionError: There are fewer cores than workers.
    """
    cores = usual_threads()
    if not 1 <= workers <= cores:
        raise OptionError(f"--workers must be between 1 and the {cores} cores there are, not {workers}")
    return cores // workers


@contextmanager
def limited_environment(threads: int) -> Iterator[None]:
    """While this lasts, processes that are started are told by the environment how many threads to use."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def use_cores(cores: Sequence[int]) -> None:
    """Let this process run on these cores alone, as far as the system knows of that.

    Whatever starts threads by the number of cores it may run on then starts that many: the kernels, OpenMP,
    OpenCV, onnxruntime, xatlas, and ffmpeg as a process of its own. Where a container has a share of the time
    of all cores instead, it is left to the system which: others may be at work on any.
    """
    if hasattr(os, "sched_setaffinity") and usual_threads() >= len(allowed_cores()):
        os.sched_setaffinity(0, cores)
    tell_libraries(len(cores))


def take_cores(folder: Path, threads: int) -> None:
    """Let this process run on so many cores that no other one has taken so, for as long as it lives.

    Which are taken stands in locks on files, which the system gives back however a process ends. Where all
    are, it runs on any, with so many threads.

    Args:
        folder: Folder of the locks, the same for all workers of a machine.
        threads: Number of cores.
    """
    cores = allowed_cores()
    for first in range(0, len(cores) - threads + 1, threads):
        if _is_mine(folder / f"cores-{cores[first]}"):
            use_cores(cores[first : first + threads])
            return
    tell_libraries(threads)


def _is_mine(file: Path) -> bool:
    """Whether a lock could be had; it is kept until the process ends."""
    try:
        import fcntl
    except ImportError:
        return False
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return False
    return True


# -------------------------------------------------------------------- memory


def reset_peak_memory() -> None:
    """Start measuring anew, where the system can: a process that does many objects has a peak for each."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # then the peak is that of the process so far
