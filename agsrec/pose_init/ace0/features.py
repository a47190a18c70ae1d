"""What the head of a scene is shown of a photo: features of some of the object's pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agsrec.embedded import EMBEDDED_MATCHER
from agsrec.matching import Features, describe_views, load_matcher
from agsrec.matching.pictures import object_pictures
from agsrec.pose_init.ace0.network import SUBSAMPLE, Encoder, grey_input
from agsrec.pose_init.ace0.weights import load_encoder

if TYPE_CHECKING:
    from agsrec.store import Memory
    from agsrec.views import Views

__all__ = ["Describer", "Seen", "describer"]


@dataclass(frozen=True)
class Seen:
    """N pixels of an object in one photo.

    Attributes:
        pixels: Where they are [N, 2], pixels of the view.
        features: What is seen there [N, C].
    """

    pixels: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.pixels)


Describer = Callable[["Views"], Seen]
"""What is seen in a view; given one at a time."""


def describer(model: str | Path, device: torch.device, memory: Memory) -> Describer:
    """What describes views: DISK of the embedded matcher, or the encoder in a file that ACE published.

    Args:
        model: Name of the embedded matcher, or an encoder's file.
        device: Where to compute.
        memory: Where descriptions are kept for the next time.

    Raises:
        CheckpointError: It is not there, or cannot be used.
    """
    if str(model) == EMBEDDED_MATCHER:
        matcher = load_matcher(model, device)
        return lambda view: _of_disk(describe_views(view, matcher, memory)[0])
    return partial(_of_encoder, load_encoder(model, device=device))


def _of_disk(features: Features) -> Seen:
    """DISK's own points: those that other photos show again, as the published grid's mostly are not."""
    learned = features.learned
    assert learned is not None
    descriptors = learned.descriptors
    return Seen(torch.from_numpy(learned.points).to(descriptors), descriptors.clone())


@torch.no_grad()
def _of_encoder(encoder: Encoder, view: Views) -> Seen:
    """Features of the published encoder, in the middles of its cells."""
    picture = object_pictures(view)[0]
    weight = encoder.conv1.weight
    found = encoder(grey_input(torch.from_numpy(picture.rgb).to(weight)[None] / 255))[0]
    half = SUBSAMPLE // 2
    rows, columns = np.nonzero(picture.inside[half::SUBSAMPLE, half::SUBSAMPLE])
    middles = SUBSAMPLE * (np.stack([columns, rows], 1).astype(np.float32) + np.float32(0.5))
    pixels = torch.from_numpy(picture.to_view(middles)).to(weight)
    return Seen(pixels, found[:, rows, columns].T.contiguous())
