"""What is seen in many photos, of which one at a time is in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agsrec.pose_init.ace0.features import Describer, Seen
from agsrec.pose_init.ace0.seeds import thumbnail
from agsrec.views import Views

__all__ = ["Collection", "collected"]

_MIN_OBJECT_PIXELS = 4  # fewer are dust, not an object


@dataclass(frozen=True)
class Collection:
    """All photos, seen once.

    Attributes:
        first: For each photo the first that is the same picture, itself if none; -1 where it shows nothing.
        different: The photos that are others' first.
        seen: What is seen in these.
        thumbnails: Of these [D, C].
    """

    first: list[int]
    different: list[int]
    seen: list[Seen]
    thumbnails: Tensor


def collected(
    photos: Sequence[Tensor] | Tensor,
    names: Sequence[str],
    describe: Describer,
    device: torch.device,
    report: Callable[[str], object],
) -> Collection:
    """Look at every photo, one at a time."""
    first: list[int] = []
    known: dict[bytes, int] = {}
    seen, thumbnails = [], []
    for v, name in enumerate(names):
        photo = photos[v].float()
        if int((photo[..., 3] >= 0.5).sum()) < _MIN_OBJECT_PIXELS:
            first.append(-1)
            continue
        shown = torch.cat([photo[..., :3] * photo[..., 3:], photo[..., 3:]], -1)
        digest = hashlib.sha256(shown.cpu().numpy().tobytes()).digest()
        first.append(known.setdefault(digest, v))
        if first[v] != v:
            continue
        report(f"looking at {name}, {v + 1} of {len(names)}")
        seen.append(describe(Views(photo[None].to(device), (name,))))
        thumbnails.append(thumbnail(photo))
    different = [v for v, same in enumerate(first) if same == v]
    return Collection(
        first, different, seen, torch.stack(thumbnails) if thumbnails else torch.zeros(0, 1, device="cpu")
    )
