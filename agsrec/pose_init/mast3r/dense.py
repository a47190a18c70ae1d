"""Pixels of predicted pairs that show the same point, by their descriptors, as matches of the views."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from agsrec.matching import PairMatches
from agsrec.pose_init.mast3r.reciprocal import fast_mutual_neighbours
from agsrec.pose_init.mast3r.subpixel import peak_offsets

__all__ = ["DenseMatches", "Described", "PixelMatches", "matching_pixels"]

_SEEDS = 3000  # of an object, about; as many as every eighth row and column of a whole picture of 512 pixels
_LEAST_CONFIDENCE = 1.001  # of both descriptors: just above what the exponential gives where it says nothing
_WHOLE = 0.5  # of the score of a match of which only the pixel is known
_FINE = 512  # pixels of pictures for which shares of their longer side were found in `agsrec.matching`


class Described(Protocol):
    """What the network says of B pairs besides their points; `PairPrediction` has it."""

    @property
    def descriptors1(self) -> Tensor | None: ...  # [B, H, W, D]
    @property
    def descriptors2(self) -> Tensor | None: ...  # [B, H, W, D]
    @property
    def descriptor_confidence1(self) -> Tensor | None: ...  # [B, H, W]
    @property
    def descriptor_confidence2(self) -> Tensor | None: ...  # [B, H, W]


@dataclass(frozen=True)
class PixelMatches:
    """Matches of an ordered pair of images.

    Attributes:
        index: Flat indices of the pixels in both [K, 2].
        offsets: Where the point of the first pixel's centre is, from the second pixel's centre (x, y) [K, 2].
        scores: [K] in [0, 1).
    """

    index: Tensor
    offsets: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def only(self, rows: Tensor) -> PixelMatches:
        """Some of them."""
        return PixelMatches(self.index[rows], self.offsets[rows], self.scores[rows])

    def to(self, device: str) -> PixelMatches:
        """The same on another device."""
        return PixelMatches(self.index.to(device), self.offsets.to(device), self.scores.to(device))


@dataclass
class DenseMatches:
    """Matches of all pairs that were predicted, both orders of a pair together.

    Attributes:
        size: Height and width of the network's images.
        found: Matches by ordered pair.
    """

    size: tuple[int, int] = (0, 0)
    found: dict[tuple[int, int], PixelMatches] = field(default_factory=dict)

    def watch(self, index: Tensor, maps: Described, masks: Tensor) -> None:
        """Add the matches of pairs [B, 2] of views with masks [V, H, W]; a `Watcher`."""
        self.size = (masks.shape[1], masks.shape[2])
        inside = masks > 0.5
        for row, (i, j) in enumerate(index.tolist()):
            self.found[i, j] = matching_pixels(maps, row, inside[i], inside[j]).to("cpu")

    def of_pairs(self, place: Callable[[Tensor], Tensor], picture: int) -> list[PairMatches]:
        """The matches as those of views, in order of the pairs, where there are any.

        Args:
            place: From points [..., 2] of the network's images to pixels of the views.
            picture: Longer side of the views in pixels.
        """
        step = float((place(torch.tensor([1.0, 0.0])) - place(torch.zeros(2))).norm())
        # Points are off one pixel of the network, tolerances are shares of a picture of `_FINE`.
        grain = max(1.0, step * _FINE / picture)
        listed = []
        for i, j in sorted({(min(pair), max(pair)) for pair in self.found}):
            parts = [part for pair in ((i, j), (j, i)) if (part := self._as_views(pair, place)) is not None]
            points, ids, pixels, scores = (torch.cat(values) for values in zip(*parts, strict=True))
            rows = _one_to_one(pixels, scores)
            if len(rows):
                seen, known, sure = (t[rows].numpy() for t in (points, ids, scores))
                listed.append(PairMatches(i, j, seen.astype(np.float32), known, sure, grain=grain))
        return listed

    def _as_views(
        self, pair: tuple[int, int], place: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        """Points [K, 2, 2], ids and pixels [K, 2] and scores [K] of an ordered pair, the lower view first."""
        part = self.found.get(pair)
        if part is None:
            return None
        count = self.size[0] * self.size[1]
        centers = torch.stack([part.index % self.size[1], part.index // self.size[1]], -1) + 0.5
        points = place(centers + torch.stack([torch.zeros_like(part.offsets), part.offsets], 1))
        # A point between pixels is no other pair's; only the first view's pixels are met again.
        ids = part.index + torch.tensor([0, count * (1 + pair[0])])
        if pair[0] > pair[1]:
            points, ids, pixels = points.flip(1), ids.flip(1), part.index.flip(1)
            return points, ids, pixels, part.scores
        return points, ids, part.index, part.scores


def matching_pixels(maps: Described, row: int, inside1: Tensor, inside2: Tensor) -> PixelMatches:
    """Pixels of two images that are each other's nearest by descriptors, and of which both are sure.

    Args:
        maps: What the network says of pairs.
        row: Which of the pairs.
        inside1: Object mask [H, W] of the first image, booleans; pixels outside take no part.
        inside2: That of the second.
    """
    assert maps.descriptors1 is not None and maps.descriptors2 is not None, "there is no matching head"
    assert maps.descriptor_confidence1 is not None and maps.descriptor_confidence2 is not None
    fields = maps.descriptors1[row].float(), maps.descriptors2[row].float()
    sure = maps.descriptor_confidence1[row], maps.descriptor_confidence2[row]
    usable = [
        inside & vectors.isfinite().all(-1) & confidence.isfinite()
        for inside, vectors, confidence in zip((inside1, inside2), fields, sure, strict=True)
    ]
    pixels = [one.flatten().nonzero()[:, 0] for one in usable]
    vectors = [one.flatten(0, 1)[chosen] for one, chosen in zip(fields, pixels, strict=True)]
    both = fast_mutual_neighbours(vectors[0], vectors[1], _seeds(pixels[0], inside1.shape[1]))
    index = torch.stack([pixels[0][both[:, 0]], pixels[1][both[:, 1]]], 1)
    confidence = torch.minimum(*(one.flatten()[index[:, side]] for side, one in enumerate(sure))).float()
    offsets = peak_offsets(vectors[0][both[:, 0]], fields[1], index[:, 1], usable[1])
    whole = (offsets == 0).all(1)
    scores = torch.where(whole, _WHOLE, 1.0) * confidence / (1 + confidence)
    matches = PixelMatches(index, offsets, scores)
    return matches.only((confidence > _LEAST_CONFIDENCE).nonzero()[:, 0])


def _seeds(pixels: Tensor, width: int) -> Tensor:
    """Which of the pixels (flat indices) are on a grid of as many as are wanted."""
    step = max(1, round(math.sqrt(len(pixels) / _SEEDS)))
    return ((pixels // width % step == 0) & (pixels % width % step == 0)).nonzero()[:, 0]


def _one_to_one(pixels: Tensor, scores: Tensor) -> Tensor:
    """Rows of matches of both orders of a pair; of those that share a pixel the surest."""
    rows = scores.argsort(descending=True, stable=True)
    for side in (0, 1):
        rows = rows[np.sort(np.unique(pixels[rows, side].numpy(), return_index=True)[1])]
    return rows
