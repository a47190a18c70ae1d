"""What is asked of a scene where no photo looks.

A few photos are reproduced by many scenes, most of which are wrong from between them. Two things are true of
objects and not of those: no part of a picture hangs on a single Gaussian, and surfaces are smooth but for
edges.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.fit.novel_views import novel_cameras
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import LossConfig
    from agsrec.gaussians import Gaussians

__all__ = ["depth_roughness", "novel_roughness", "thinned"]

_OPAQUE = 0.999  # largest opacity, as of the rasterizer
_SOLID = 0.9  # opacity from which a pixel shows a surface
_EDGE = 0.05  # object radii: a bend by so much counts half, an edge hardly more


def thinned(gaussians: Gaussians, share: float, generator: torch.Generator) -> Gaussians:
    """The Gaussians without a random share of them, the others as much more opaque.

    A step that does without some teaches the rest to (DropGaussian, Park et al. 2025). Pictures stay the
    same in the mean, as far as opacities do not reach one.

    Args:
        gaussians: N Gaussians.
        share: How many are left out, in [0, 1).
        generator: Source of randomness.
    """
    kept = torch.rand(len(gaussians), generator=generator) >= share
    left = gaussians[kept.to(gaussians.means.device)]
    opacities = (left.opacities / (1 - share)).clamp(1e-6, _OPAQUE)
    return replace(left, opacity_logits=opacities.logit())


def novel_roughness(
    gaussians: Gaussians, cameras: Cameras, config: LossConfig, radius: float, generator: torch.Generator
) -> Tensor:
    """How rough the scene's surface is from random views; see `depth_roughness`."""
    inputs = replace(cameras, viewmats=cameras.viewmats.detach(), Ks=cameras.Ks.detach())
    novel = novel_cameras(gaussians, inputs, config.novel_views, config.novel_size, generator)
    rendered = render_scene(gaussians, novel, render_mode="RGB+ED")
    assert rendered.depth is not None
    return depth_roughness(rendered.depth / radius, rendered.alpha)


def depth_roughness(depth: Tensor, alpha: Tensor) -> Tensor:
    """Mean over pixels of e / (e + edge), where e is how far a surface bends along rows and columns.

    That is the second difference of disparity, as a depth: exactly zero on planes. An edge of the object
    counts as one bend, however high.

    Args:
        depth: Of B views [B, H, W], in radii of the object.
        alpha: Opacities [B, H, W]; only where three pixels in line show a surface is it looked at.
    """
    solid = (alpha.detach() > _SOLID) & (depth.detach() > 0)
    total, count = depth.new_zeros(()), depth.new_zeros(())
    for d, s in ((depth, solid), (depth.mT, solid.mT)):
        there = s[:, :-2] & s[:, 1:-1] & s[:, 2:]
        before, here, after = d[:, :-2][there], d[:, 1:-1][there], d[:, 2:][there]
        bend = (1 / before - 2 / here + 1 / after).abs() * here.square()
        total = total + (bend / (bend + _EDGE)).sum()
        count = count + there.sum()
    return total / count.clamp_min(1)
