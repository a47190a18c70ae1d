"""Processes for heavy work: forked, where the platform has that, from a server that has imported everything.

The server has computed nothing, so that processes start within a fraction of a second and share its memory.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext, SpawnContext

__all__ = ["PIPELINE_MODULES", "preload", "process_context"]

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
