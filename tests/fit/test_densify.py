from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agsrec.config import DensifyConfig, Rates
from agsrec.fit.densify import densify_and_prune
from agsrec.fit.gaussian_optimizer import GaussianOptimizer
from agsrec.gaussians import Gaussians
from tests.reference import rotation_matrices

CONFIG = DensifyConfig(growth=1.5, split_scale=0.1, min_opacity=0.05)
RADIUS = 1.0


def cloud(count: int, scale: float = 0.01) -> Gaussians:
    """Gaussians within the unit sphere, of anisotropic shape, all well visible."""
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 0.7
    g = Gaussians.from_points(points, torch.rand(count, 3, generator=generator), torch.full((count,), scale))
    stretch = torch.rand(count, 3, generator=generator)
    return replace(g, quats=torch.randn(count, 4, generator=generator), log_scales=g.log_scales + stretch)


def densified(
    gaussians: Gaussians, gradient: torch.Tensor, *, max_points: int = 1000, config: DensifyConfig = CONFIG
) -> GaussianOptimizer:
    optimizer = GaussianOptimizer(gaussians, Rates(), RADIUS)
    optimizer.position_gradient = gradient
    densify_and_prune(
        optimizer,
        config,
        max_points=max_points,
        center=torch.zeros(3),
        radius=RADIUS,
        generator=torch.Generator().manual_seed(1),
    )
    return optimizer


def with_opacity(gaussians: Gaussians, index: list[int], opacity: float) -> Gaussians:
    logits = gaussians.opacity_logits.clone()
    logits[index] = torch.logit(torch.tensor(opacity))
    return replace(gaussians, opacity_logits=logits)


@pytest.mark.parametrize("scale", [0.01, 0.5])
@pytest.mark.parametrize(("max_points", "want"), [(1000, 60), (47, 47), (40, 40), (10, 40)])
def test_budget(scale: float, max_points: int, want: int) -> None:
    """Growth is limited by factor and budget, for clones and for splits; nothing good is removed."""
    optimizer = densified(cloud(40, scale), torch.ones(40), max_points=max_points)
    assert len(optimizer.gaussians) == len(optimizer.position_gradient) == want


def test_the_largest_gradients_are_cloned() -> None:
    g, gradient = cloud(10), torch.zeros(10)
    gradient[[3, 7]] = torch.tensor([2.0, 1.0])
    out = densified(g, gradient, max_points=12).gaussians.detach()
    assert torch.equal(out.means, torch.cat([g.means, g.means[[3, 7]]]))
    assert torch.equal(out.sh, torch.cat([g.sh, g.sh[[3, 7]]]))


def test_faint_and_stray_ones_are_removed() -> None:
    g = with_opacity(cloud(10), [0, 4], 0.01)
    means = g.means.clone()
    means[9] = torch.tensor([0.0, 2.0, 0.0])
    g = replace(g, means=means)
    out = densified(g, torch.arange(10.0), config=replace(CONFIG, growth=1.0), max_points=1)
    kept = [1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(out.gaussians.means, g.means[kept])


def test_dead_ones_never_multiply() -> None:
    """Even where nothing else has a gradient, a faint Gaussian must not come back as a clone."""
    g = with_opacity(cloud(10), [0, 1, 2], 0.01)
    out = densified(g, torch.tensor([5.0] * 3 + [0.0] * 7)).gaussians
    assert len(out) > 7 and bool((out.opacities > 0.05).all())


def test_halves_stay_inside_their_parent() -> None:
    g = cloud(10, scale=0.2)
    optimizer = densified(g, torch.ones(10), max_points=15)
    out = optimizer.gaussians.detach()
    children = out[torch.arange(5, 15)]
    remaining = {tuple(m.tolist()) for m in out.means[:5]}
    parents = torch.tensor([i for i, m in enumerate(g.means) if tuple(m.tolist()) not in remaining])
    first, second = children[torch.arange(5)], children[torch.arange(5, 10)]
    match = torch.cdist((first.means + second.means) / 2, g.means[parents])
    parent = parents[match.argmin(1)]
    torch.testing.assert_close(match.amin(1), torch.zeros(5), atol=1e-6, rtol=0)
    assert len(parent.unique()) == 5, "the halves of each parent lie opposite to each other"
    local = ((first.means - g.means[parent])[:, None] @ rotation_matrices(g.quats[parent]))[:, 0]
    reach = (local / g.scales[parent]).abs()
    longest = g.scales[parent].argmax(1, keepdim=True)
    assert float(reach.max()) <= 1 + 1e-4 and float(reach.gather(1, longest).min()) >= 0.5 - 1e-4
    assert float(reach.scatter(1, longest, 0.0).max()) < 1e-4, "off the longest axis"
    assert bool((first.scales < g.scales[parent]).all())


def test_nothing_alive_changes_nothing() -> None:
    g = with_opacity(cloud(5), list(range(5)), 0.001)
    optimizer = densified(g, torch.ones(5))
    assert torch.equal(optimizer.gaussians.means, g.means)


def test_a_single_one() -> None:
    assert len(densified(cloud(1), torch.ones(1), config=replace(CONFIG, growth=2.0)).gaussians) == 2
    assert len(densified(cloud(1, 0.5), torch.ones(1), config=replace(CONFIG, growth=2.0)).gaussians) == 2


def test_equal_seeds_equal_results() -> None:
    one, two = (densified(cloud(20, 0.3), torch.ones(20)).gaussians for _ in range(2))
    assert torch.equal(one.means, two.means)
