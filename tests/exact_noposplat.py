"""A stand-in for the NoPoSplat network that knows the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.gaussians import SH_C0
from agsrec.lie import so3_exp
from agsrec.pose_init.noposplat.splats import SplatMaps
from tests.exact_dust3r import ExactScene

__all__ = ["ExactSplats"]

_OPAQUE, _CLEAR = 4.0, -6.0  # logits
_PIXEL = 0.6  # standard deviation in pixels: neighbours overlap


@dataclass
class ExactSplats:
    """Recognises the views by their pixels and answers with Gaussians on the true surface.

    Every group has a scale of its own.

    Attributes:
        scene: In the size of the network's images.
        views: How many it sees together.
        spoiled: Groups in which the second view comes out turned by 90 degrees about its middle.
        unsure: Views whose Gaussians come out as noise.
        asked: Groups of every call.
        intrinsics: What it was told of the views, normalised.
    """

    scene: ExactScene
    views: int = 2
    spoiled: frozenset[tuple[int, ...]] = frozenset()
    unsure: frozenset[int] = frozenset()
    asked: list[list[list[int]]] = field(default_factory=list)
    intrinsics: Tensor | None = None

    @property
    def config(self) -> SimpleNamespace:
        """Sizes."""
        return SimpleNamespace(image_size=self.scene.views.width, views=self.views)

    def encode(self, images: Tensor, intrinsics: Tensor, *, batch: int | None = None) -> list[int]:
        """Numbers of the scene's views that the images show."""
        self.intrinsics = intrinsics
        known = 2 * self.scene.views.composited(torch.ones(3)) - 1
        return [int((known - image).abs().mean((1, 2, 3)).argmin()) for image in images]

    def decode(self, encoded: list[int], groups: Tensor, *, batch: int = 4) -> SplatMaps:
        """Gaussians of groups of encoded views."""
        index = torch.tensor(encoded)[groups].tolist()
        self.asked.append(index)
        rows = [vars(self._group(tuple(group))) for group in index]
        return SplatMaps(**{name: torch.cat([row[name] for row in rows]) for name in rows[0]})

    def _group(self, group: tuple[int, ...]) -> SplatMaps:
        chosen = list(group)
        generator = torch.Generator().manual_seed(sum(100**k * (v + 1) for k, v in enumerate(group)))
        scale = 0.5 + torch.rand(1, generator=generator)
        cameras, world = self.scene.cameras, self.scene.points[chosen].float()
        first = cameras.viewmats[group[0]]
        means = scale * (world @ first[:3, :3].T + first[:3, 3])
        for slot, view in enumerate(group):
            if view in self.unsure:
                means[slot] = torch.randn(means[slot].shape, generator=generator)
        if group in self.spoiled:
            axis = F.normalize(torch.randn(3, generator=generator), dim=0)
            middle = means[1][self.scene.views.masks[group[1]] >= 0.5].mean(0)
            means[1] = (means[1] - middle) @ so3_exp(torch.pi / 2 * axis).T + middle
        own = cameras.viewmats[chosen, 2, :3], cameras.viewmats[chosen, 2, 3]
        depths = torch.einsum("nhwc,nc->nhw", world, own[0]) + own[1][:, None, None]
        focals = cameras.Ks[chosen, 0, 0][:, None, None]
        sizes = (scale * _PIXEL * depths / focals).abs().clamp_min(1e-6)
        images = self.scene.views.images[chosen]
        sh = torch.zeros(*means.shape[:-1], 25, 3)
        sh[..., 0, :] = (images[..., :3] - 0.5) / SH_C0
        quats = torch.zeros(*means.shape[:-1], 4)
        quats[..., 0] = 1
        logits = torch.where(images[..., 3] >= 0.5, _OPAQUE, _CLEAR)
        return SplatMaps(
            means[None], sizes[None, ..., None].repeat(1, 1, 1, 1, 3), quats[None], logits[None], sh[None]
        )
