"""The hook through which a prior judges views of the scene that nobody photographed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from agsrec.fit.novel_views import novel_cameras, unphotographed
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import GuidanceConfig
    from agsrec.gaussians import Gaussians

__all__ = ["Guidance", "NovelViews", "StatefulGuidance", "guidance_loss"]


@dataclass(frozen=True)
class NovelViews:
    """What a guidance judges.

    Attributes:
        images: Renders of B novel views over white [B, S, S, 3], in the autograd graph.
        cameras: Their cameras.
        inputs: The photos' cameras as optimised so far, without gradient.
        center: Centre of the object [3], world units.
        progress: How far the guided part of the round is, in [0, 1).
        generator: Source of all randomness.
    """

    images: Tensor  # [B, S, S, 3]
    cameras: Cameras
    inputs: Cameras
    center: Tensor  # [3]
    progress: float
    generator: torch.Generator


Guidance = Callable[[NovelViews], Tensor]
"""Judge of novel views: returns a scalar loss."""


@runtime_checkable
class StatefulGuidance(Protocol):
    """A guidance that remembers something; it is kept with the state of an unfinished fit."""

    def __call__(self, novel: NovelViews, /) -> Tensor:
        """Judge; see `Guidance`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as plain values and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Remember that instead."""
        ...


def guidance_loss(
    guidance: Guidance,
    config: GuidanceConfig,
    gaussians: Gaussians,
    cameras: Cameras,
    center: Tensor,  # [3]
    progress: float,
    generator: torch.Generator,
) -> Tensor | None:
    """The weighted judgement of fresh random views of the scene; None where photos know better."""
    inputs = replace(cameras, viewmats=cameras.viewmats.detach(), Ks=cameras.Ks.detach())
    drawn = novel_cameras(gaussians, inputs, config.views, config.size, generator)
    far = unphotographed(drawn, inputs, center, config.full_angle, generator)
    if not far:
        return None
    novel, white = drawn[far], torch.ones(len(far), 3).to(center)
    images = render_scene(gaussians, novel, white, render_mode="RGB").rgb
    judged = guidance(NovelViews(images, novel, inputs, center, progress, generator))
    return config.weight * len(far) / len(drawn) * judged
