"""Processes for heavy work, and the memory that one takes.

They are forked, where the platform has that, from a server that has imported everything and computed nothing,
so that they start within a fraction of a second and share its memory.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

__all__ = ["PIPELINE_MODULES", "peak_memory_mb", "preload", "process_context"]

PIPELINE_MODULES = (
    "agsrec.pipeline.run",
    "agsrec.export.results",
    "agsrec.mesh.stage",
    "agsrec.preprocess",
    "agsrec.prior.zero123",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "transformers.models.clip.modeling_clip",
)
"""What a whole run imports that takes long."""


def process_context() -> ForkServerContext | SpawnContext:
    """How processes are started: from the server, or anew where there is none."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def preload(modules: Sequence[str]) -> None:
    """Let the server import modules when it starts, if it has not yet; the environment then is its own."""
    context = process_context()
    if isinstance(context, ForkServerContext):
        context.set_forkserver_preload(list(modules))
        context.Process(target=_nothing, daemon=True).start()


def _nothing() -> None:
    """What the first process does."""


def peak_memory_mb() -> float | None:
    """Most memory that this process had resident, MB; None where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1024)
