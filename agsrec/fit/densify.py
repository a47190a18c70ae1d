"""Growing Gaussians where the picture asks for detail, removing those nobody sees."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from agsrec.config import DensifyConfig
    from agsrec.fit.gaussian_optimizer import GaussianOptimizer
    from agsrec.gaussians import Gaussians

__all__ = ["densify_and_prune"]

# Children of a split are this much smaller (Kerbl et al. 2023).
_SPLIT_SHRINK = 1.6


def densify_and_prune(
    optimizer: GaussianOptimizer,
    config: DensifyConfig,
    *,
    max_points: int,
    center: Tensor,  # [3]
    radius: float,
    generator: torch.Generator,
) -> None:
    """Remove faint and stray Gaussians, then clone or split those with the largest position gradients.

    A budget takes the place of the published gradient threshold: the count grows by `config.growth` at most
    and never beyond `max_points`, so that time and memory are known in advance.
    """
    g = optimizer.gaussians.detach()
    alive = (g.opacities > config.min_opacity) & ((g.means - center).norm(dim=-1) < 1.5 * radius)
    if not alive.any():
        return
    # Never a dead one, even where the rest has no gradient.
    score = optimizer.position_gradient.masked_fill(~alive, -1.0)
    budget = max(0, min(int(config.growth * len(g)), max_points) - int(alive.sum()))
    chosen = torch.topk(score, min(budget, int(alive.sum()))).indices
    big = g.scales[chosen].amax(-1) > config.split_scale * radius
    cloned, split = chosen[~big], chosen[big]
    first, second = _halves(g[split], generator)
    # A split Gaussian makes room for its two halves.
    alive[split] = False
    children = _joined(_joined(g[cloned], first), second)
    optimizer.replace_with(alive.nonzero()[:, 0], children)


def _joined(a: Gaussians, b: Gaussians) -> Gaussians:
    return type(a)(
        means=torch.cat([a.means, b.means]),
        quats=torch.cat([a.quats, b.quats]),
        log_scales=torch.cat([a.log_scales, b.log_scales]),
        opacity_logits=torch.cat([a.opacity_logits, b.opacity_logits]),
        sh=torch.cat([a.sh, b.sh]),
    )


def _halves(g: Gaussians, generator: torch.Generator) -> tuple[Gaussians, Gaussians]:
    """Two smaller Gaussians for each, at opposite places along its longest axis."""
    axis = g.log_scales.argmax(-1)
    length = g.scales.gather(1, axis[:, None])
    offset = (
        _rotation_columns(g.quats, axis)
        * length
        * (0.5 + 0.5 * torch.rand(len(g), 1, generator=generator).to(g.means))
    )
    smaller = g.log_scales - math.log(_SPLIT_SHRINK)
    return (
        replace(g, means=g.means + offset, log_scales=smaller),
        replace(g, means=g.means - offset, log_scales=smaller),
    )


def _rotation_columns(quats: Tensor, column: Tensor) -> Tensor:
    """The given column [N, 3] of each rotation matrix."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    columns = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], -1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        dim=1,
    )  # [N, column, 3]
    return columns[torch.arange(len(quats), device=quats.device), column]
