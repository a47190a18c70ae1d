"""A stand-in for the MASt3R network that knows the answer."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.pose_init.stereo.model import PairPrediction
from tests.exact_dust3r import ExactNetwork, ExactScene

_SURE, _UNSURE = 5.0, 0.2
_SAME = 0.03  # world units between what two views see of a point that both see


@dataclass
class ExactMatcher(ExactNetwork):
    """Answers with true point maps and with descriptors that are functions of the surface point alone.

    A spoiled pair has wrong points, and sure descriptors that match mirror images of pixels.

    Attributes:
        metric: Whether points are in the scene's own units, instead of each pair's.
        blind: Ordered pairs about whose descriptors it is unsure.
    """

    metric: bool = False
    blind: frozenset[tuple[int, int]] = frozenset()

    @property
    def config(self) -> SimpleNamespace:
        """Sizes."""
        return SimpleNamespace(**vars(super().config), metric=self.metric)

    def decode_pairs(
        self,
        features: list[int],
        pairs: Tensor,
        *,
        batch: int = 8,
        device: torch.device | str | None = None,
    ) -> PairPrediction:
        """Point maps and descriptors of the pairs of encoded views."""
        maps = super().decode_pairs(features, pairs, batch=batch, device=device)
        rows = []
        for row, (i, j) in enumerate(torch.tensor(features)[pairs].tolist()):
            spoiled = (i, j) in self.spoiled
            one, other = descriptors(self.scene.points[i]), descriptors(self.scene.points[j])
            sure = [seen_too(self.scene, a, b) for a, b in ((i, j), (j, i))]
            if spoiled:
                other, sure = other.flip(1), [torch.ones_like(s) for s in sure]
            if (i, j) in self.blind:
                sure = [torch.zeros_like(s) for s in sure]
            confidence = [_UNSURE + (_SURE - _UNSURE) * s for s in sure]
            scale = 1.0
            if self.metric and not spoiled:
                scale = float(self._scale(maps, row, i))
            rows.append(
                PairPrediction(
                    maps.points1[row : row + 1] * scale,
                    maps.confidence1[row : row + 1],
                    maps.points2[row : row + 1] * scale,
                    maps.confidence2[row : row + 1],
                    one[None],
                    other[None],
                    confidence[0][None],
                    confidence[1][None],
                )
            )
        return PairPrediction.cat(rows)

    def _scale(self, maps: PairPrediction, row: int, view: int) -> Tensor:
        """From the pair's units to the scene's."""
        viewmat = self.scene.cameras.viewmats[view]
        own = self.scene.points[view] @ viewmat[:3, :3].T + viewmat[:3, 3]
        return (own.norm(dim=-1) / maps.points1[row].norm(dim=-1)).median()


def descriptors(points: Tensor) -> Tensor:
    """Unit vectors [..., 4] of points [..., 3]: near if and only if the points are."""
    return F.normalize(torch.cat([points, torch.ones_like(points[..., :1])], -1), dim=-1)


def seen_too(scene: ExactScene, view: int, other: int) -> Tensor:
    """Which pixels [H, W] of a view show something that the other view shows too, 0 or 1."""
    points = scene.points[view]
    pixels, _ = scene.cameras[[other]].project(points.reshape(-1, 3))
    x, y = pixels[0].round().long().clamp(0, scene.views.width - 1).unbind(-1)
    there = scene.points[other][y, x]
    inside = (scene.views.masks[other] >= 0.5)[y, x]
    near = (there - points.reshape(-1, 3)).norm(dim=-1) < _SAME
    return (near & inside).view(points.shape[:2]).float()
