"""What stands for the reconstruction of an object in tests of everything around it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agsrec.batch.record import Job
from agsrec.errors import ImageError
from agsrec.options import ObjectOptions
from agsrec.pipeline import Listener

__all__ = ["Stub", "jobs_in", "traces", "write_photos"]

PHOTOS = 3


@dataclass(frozen=True)
class Stub:
    """Writes a file, and whatever the object's name asks for.

    Attributes:
        traces: Folder that every call leaves a file in: which object, and which process.
        seconds: Time it takes.
    """

    traces: Path
    seconds: float = 0.0

    def __call__(self, job: Job, photos: Path, folder: Path, listener: Listener) -> dict[str, Any]:
        """Do as the name says."""
        trace = folder / "trace"
        trace.write_text(str(os.getpid()))
        trace.replace(self.traces / f"{job.name}-{time.time_ns()}")  # whole at once: others wait for it
        count = len(list(photos.iterdir()))
        if "slow" in job.name:
            time.sleep(600)
        if "killed" in job.name:
            os.kill(os.getpid(), 9)
        if "once" in job.name and not (folder / "seen").exists():
            (folder / "seen").write_text("")
            os.kill(os.getpid(), 9)
        if "wrong" in job.name:
            raise ImageError(f"{photos}/0.png: no object found in it")
        if "bug" in job.name:
            raise ZeroDivisionError("a stub")
        if "odd" in job.name:
            listener.warn("Left out, because their poses could not be found: 2")
        time.sleep(self.seconds)
        (folder / "stages").mkdir(exist_ok=True)
        (folder / "stages" / "fit.value").write_text("large")
        (folder / "views").mkdir(exist_ok=True)
        (folder / "views" / "result.txt").write_text(f"{job.name} {count} {job.options.seed}")
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        return {"views": count, "gaussians": threads, "psnr": 25.0, "worst_psnr": 22.0}


def write_photos(folder: Path, count: int = PHOTOS) -> Path:
    """A folder of files that are named like photos."""
    folder.mkdir(parents=True)
    for k in range(count):
        (folder / f"{k}.png").write_bytes(b"a photo")
    return folder


def jobs_in(root: Path, names: Sequence[str], options: ObjectOptions | None = None) -> list[Job]:
    """Jobs with photos of those names."""
    return [
        Job(
            name,
            str(root / name if (root / name).exists() else write_photos(root / name)),
            options or ObjectOptions(),
        )
        for name in names
    ]


def traces(folder: Path) -> list[str]:
    """The objects that were worked on, in order, once for every time."""
    files = sorted(folder.iterdir(), key=lambda file: int(file.name.rpartition("-")[2]))
    return [file.name.rpartition("-")[0] for file in files]
