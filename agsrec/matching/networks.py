"""The embedded matcher: DISK features and LightGlue for them, both run by kornia."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from agsrec.embedded import EMBEDDED_MATCHER, find_checkpoint
from agsrec.errors import CheckpointError

__all__ = ["Matcher", "load_matcher"]

FEATURES_FILE, MATCHER_FILE = "disk.safetensors", "lightglue.safetensors"
_CHANNELS = 128  # of a DISK descriptor


@dataclass(frozen=True)
class Matcher:
    """DISK and LightGlue on one device.

    Attributes:
        disk: Features (Tyszkiewicz et al., "DISK: Learning local features with policy gradient", 2020).
        lightglue: Matches (Lindenberger et al., "LightGlue: Local Feature Matching at Light Speed", 2023).
    """

    disk: nn.Module
    lightglue: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.disk.parameters()).device


def load_matcher(name: str | Path = EMBEDDED_MATCHER, device: torch.device | str = "cpu") -> Matcher:
    """The matcher in a folder, or by its name in `checkpoints/`.

    Raises:
        CheckpointError: It is not there, or is not one.
    """
    import kornia.feature as kornia

    folder = Path(find_checkpoint(name))
    disk = kornia.DISK(desc_dim=_CHANNELS)
    nameless: Any = None  # a name would have it fetch weights
    lightglue = kornia.LightGlue(nameless, input_dim=_CHANNELS)
    _fill(disk, folder / FEATURES_FILE)
    _fill(lightglue, folder / MATCHER_FILE)
    return Matcher(disk.to(device).eval(), lightglue.to(device).eval())


def _fill(network: nn.Module, path: Path) -> None:
    """Load weights that are stored in half precision or single."""
    try:
        weights: dict[str, Tensor] = load_file(path)
        wanted = dict(network.named_parameters())
        missing = [key for key in wanted if key not in weights]
        if missing:
            raise CheckpointError(f"{path} lacks {missing[0]}; it is no file of this matcher")
        network.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be used as weights of the matcher: {error}") from error
