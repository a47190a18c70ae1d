"""`agsrec convert`: published checkpoints into model folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from agsrec.cli.printing import say

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Convert"]


@dataclass(frozen=True)
class Convert:
    """Turn a published Zero123 checkpoint (.ckpt, .safetensors) into a model folder for --prior."""

    checkpoint: tyro.conf.Positional[Path]
    """File such as zero123_6dof_23k.ckpt."""
    base: str
    """Folder or hub id of the public model that brings the other parts: kxic/zero123-xl."""
    output: Path
    """Folder to write; new or empty."""
    all_weights: bool = False
    """Take UNet, autoencoder and image encoder whole from the checkpoint, not only its transformers."""
    dtype: Literal["float16", "float32"] = "float16"
    """Precision of the stored weights."""

    def main(self, console: Console) -> None:
        """Convert, and print what came from where."""
        import torch

        from agsrec.prior.convert import convert

        with console.status("converting"):
            report = convert(
                self.checkpoint,
                self.base,
                self.output,
                all_weights=self.all_weights,
                dtype=getattr(torch, self.dtype),
            )
        say(console, str(report))
