"""Which pairs of views the network looks at, and what it says about them inside the object masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from agsrec.errors import ShapeError
from agsrec.pose_init.dust3r.focal import pixel_grid

__all__ = [
    "COMPLETE_LIMIT",
    "PairPoints",
    "Pairs",
    "complete_graph",
    "pair_graph",
    "predict_pairs",
    "sparse_graph",
]

COMPLETE_LIMIT = 12
"""Up to so many views every pair is looked at; beyond, their number grows only in proportion to the views."""

_OFFSETS = 5  # neighbours of a view on either side in the sparse graph


class PairPoints(Protocol):
    """What the network says about P ordered pairs: both point maps are in the frame of camera 1."""

    @property
    def points1(self) -> Tensor: ...  # [P, H, W, 3]
    @property
    def confidence1(self) -> Tensor: ...  # [P, H, W], from 1 up
    @property
    def points2(self) -> Tensor: ...  # [P, H, W, 3]
    @property
    def confidence2(self) -> Tensor: ...  # [P, H, W], from 1 up


def complete_graph(num_views: int) -> Tensor:
    """All ordered pairs [V * (V - 1), 2] in the public code's order."""
    one_way = [(i, j) for i in range(num_views) for j in range(i)]
    return _both_ways(one_way)


def sparse_graph(num_views: int, num_offsets: int = _OFFSETS) -> Tensor:
    """Ordered pairs [P, 2] in which view i meets i +- 1, 2, 4, ... around the circle, P <= 2 V num_offsets.

    Connected, deterministic, and every pair closes triangles with others. Offsets of three times a power of
    two come in where there are fewer powers of two than offsets.
    """
    half = num_views // 2
    powers = [2**k for k in range(half.bit_length()) if 2**k <= half]
    triples = [3 * p for p in powers if 3 * p <= half]
    offsets = (powers + triples)[:num_offsets]
    one_way = {
        (max(i, j), min(i, j)) for d in offsets for i in range(num_views) if (j := (i + d) % num_views) != i
    }
    return _both_ways(sorted(one_way))


def pair_graph(num_views: int) -> Tensor:
    """Ordered pairs [P, 2]: all of them for up to `COMPLETE_LIMIT` views, else a sparse graph."""
    return complete_graph(num_views) if num_views <= COMPLETE_LIMIT else sparse_graph(num_views)


def _both_ways(one_way: list[tuple[int, int]]) -> Tensor:
    index = torch.tensor(one_way, dtype=torch.long).reshape(-1, 2)
    return torch.cat([index, index.flip(-1)])


@dataclass(frozen=True)
class Pairs:
    """Predictions for P ordered pairs of V views, at the pixels inside the masks alone.

    Views with fewer than K pixels are padded; padding has no confidence and does not count anywhere.

    Attributes:
        index: First and second view of each pair [P, 2].
        points1: Points of the first view in the first camera [P, K, 3].
        confidence1: Their confidence [P, K], from 1 up, 0 where padded or not finite.
        points2: Points of the second view in the first camera [P, K, 3].
        confidence2: Their confidence [P, K].
        pixels: Pixels (x, y) of each view's points [V, K, 2], counted from 0 at the first pixel's centre.
        valid: Which of them are inside the mask [V, K]; these come first.
        height: Of the point maps, in pixels.
        width: Of the point maps, in pixels.
    """

    index: Tensor
    points1: Tensor
    confidence1: Tensor
    points2: Tensor
    confidence2: Tensor
    pixels: Tensor
    valid: Tensor
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.index)

    @property
    def num_views(self) -> int:
        """V, whether or not all of them are in pairs."""
        return len(self.valid)

    @property
    def scores(self) -> Tensor:
        """Strength of each pair [P]: the product of the mean confidences of its two images."""
        means = []
        for side, conf in enumerate((self.confidence1, self.confidence2)):
            count = self.valid[self.index[:, side]].sum(-1)
            means.append(conf.sum(-1) / count.clamp_min(1))
        return means[0] * means[1]

    @property
    def view_confidence(self) -> Tensor:
        """Highest confidence [V, K] that any pair gives to a pixel."""
        best = torch.zeros(self.valid.shape, dtype=self.confidence1.dtype, device=self.confidence1.device)
        for side, conf in enumerate((self.confidence1, self.confidence2)):
            views = self.index[:, side, None].expand_as(conf)
            best.scatter_reduce_(0, views, conf, "amax")
        return best

    @staticmethod
    def empty(masks: Tensor) -> Pairs:
        """No pairs yet of views with these object masks [V, H, W] (booleans, or above a half inside)."""
        if masks.ndim != 3:
            raise ShapeError(f"masks must be [V, H, W], not {tuple(masks.shape)}")
        inside = (masks if masks.dtype == torch.bool else masks > 0.5).flatten(1)
        count = inside.sum(-1)
        size = max(int(count.max()) if len(count) else 0, 1)
        # A stable sort brings the pixels inside to the front in their order.
        chosen = inside.int().argsort(dim=-1, descending=True, stable=True)[:, :size]
        height, width = masks.shape[1:]
        pixels = pixel_grid(height, width, masks.device).flatten(0, 1)[chosen]
        valid = torch.arange(size, device=masks.device) < count[:, None]
        none = torch.zeros(0, size, device=masks.device)
        points = torch.zeros(0, size, 3, device=masks.device)
        index = torch.zeros(0, 2, dtype=torch.long, device=masks.device)
        return Pairs(index, points, none, points, none, pixels, valid, height, width)

    @staticmethod
    def from_maps(index: Tensor, maps: PairPoints, masks: Tensor) -> Pairs:
        """The pairs `index` [P, 2] with their point maps, of views with these masks [V, H, W]."""
        none = Pairs.empty(masks)
        return none.joined([none.gathered(index, maps)])

    def gathered(self, index: Tensor, maps: PairPoints, stride: int = 1) -> Pairs:
        """Other pairs of the same views, from full point maps or every `stride`-th row and column of them."""
        index = index.to(self.valid.device)
        first = self._inside(index[:, 0], maps.points1, maps.confidence1, stride)
        second = self._inside(index[:, 1], maps.points2, maps.confidence2, stride)
        return replace(
            self,
            index=index,
            points1=first[0],
            confidence1=first[1],
            points2=second[0],
            confidence2=second[1],
        )

    def _inside(self, views: Tensor, points: Tensor, conf: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        points, conf = points[:, ::stride, ::stride], conf[:, ::stride, ::stride]
        if points.shape != (len(views), self.height, self.width, 3):
            raise ShapeError(
                f"point maps must be [{len(views)}, {self.height}, {self.width}, 3], "
                f"not {tuple(points.shape)}"
            )
        flat = (self.pixels[views] @ self.pixels.new_tensor([1.0, self.width])).long()
        points = points.flatten(1, 2).to(self.pixels)
        points = torch.take_along_dim(points, flat[..., None], dim=1)
        conf = torch.take_along_dim(conf.flatten(1).to(self.pixels), flat, dim=1)
        good = self.valid[views] & points.isfinite().all(-1) & conf.isfinite()
        return torch.where(good[..., None], points, 0.0), torch.where(good, conf, 0.0)

    def joined(self, parts: list[Pairs]) -> Pairs:
        """These pairs and others of the same views."""
        everything = [self, *parts]
        names = ("index", "points1", "confidence1", "points2", "confidence2")
        return replace(self, **{n: torch.cat([getattr(p, n) for p in everything]) for n in names})

    def select(self, keep: Tensor) -> Pairs:
        """Some of the pairs: booleans [P] or indices."""
        names = ("index", "points1", "confidence1", "points2", "confidence2")
        return replace(self, **{n: getattr(self, n)[keep] for n in names})

    def restricted(self, views: Tensor) -> Pairs:
        """Some of the views (indices), renumbered, and the pairs among them."""
        number = torch.full((self.num_views,), -1, dtype=torch.long, device=self.index.device)
        number[views] = torch.arange(len(views), device=self.index.device)
        among = (number[self.index] >= 0).all(-1)
        kept = self.select(among)
        return replace(kept, index=number[kept.index], pixels=self.pixels[views], valid=self.valid[views])


def predict_pairs(
    predict: Callable[[Tensor], PairPoints], index: Tensor, masks: Tensor, *, batch: int = 8, stride: int = 1
) -> Pairs:
    """Ask the network about all pairs, a batch at a time, keeping what lies inside the masks.

    Args:
        predict: Gives the point maps of ordered pairs [B, 2], B <= batch.
        index: All ordered pairs [P, 2].
        masks: Object masks [V, H, W] in the size of the point maps.
        batch: Pairs predicted together.
        stride: Keep every so many-th row and column; then the pixels are those of the smaller grid.
    """
    none = Pairs.empty(masks[:, ::stride, ::stride])
    parts = []
    for some in index.split(batch):
        maps = predict(some)
        parts.append(none.gathered(some, maps, stride))
    return none.joined(parts)
