"""The generative prior: a view-conditioned diffusion model, and its judgement as a loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.embedded import EMBEDDED_PRIOR, find_checkpoint

if TYPE_CHECKING:
    import torch

    from agsrec.prior.zero123 import Zero123

__all__ = ["EMBEDDED_PRIOR", "load_prior"]


def load_prior(name: str | Path, device: torch.device | str = "cpu") -> Zero123:
    """A Zero123 model by folder, name in `checkpoints/`, or hub id.

    Raises:
        CheckpointError: There is no such model, or it cannot be used.
    """
    from agsrec.prior.zero123 import Zero123

    return Zero123.from_pretrained(find_checkpoint(name), device=device)
