"""What is asked of a scene between the photos."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from agsrec.config import LossConfig, Rates
from agsrec.fit import fit, joint
from agsrec.fit.between import depth_roughness, novel_roughness, thinned
from agsrec.gaussians import Gaussians
from agsrec.render import Render, render_scene
from tests.tiny import rough, tiny_config, tiny_scene


def cloud(count: int = 400, opacity: float = 0.08) -> Gaussians:
    generator = torch.Generator().manual_seed(3)
    points = 0.5 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    colors = torch.rand(count, 3, generator=generator)
    return Gaussians.from_points(points, colors, torch.full((count,), 0.05), opacity)


# -------------------------------------------------------------------- dropping


def test_dropping_leaves_the_mean_picture_as_it_is() -> None:
    _, cameras = tiny_scene()
    scene, generator = cloud(), torch.Generator().manual_seed(0)
    draws = [thinned(scene, 0.3, generator) for _ in range(300)]
    pictures = torch.stack([render_scene(g, cameras, torch.zeros(3)).rgb for g in draws])
    whole = render_scene(scene, cameras, torch.zeros(3)).rgb
    assert float(pictures.std(0).mean()) > 0.1 * float(whole.mean())
    # What falls below 1/255 is not drawn, so that fainter ones come out a little darker.
    assert float(pictures.mean()) == pytest.approx(float(whole.mean()), rel=0.03)
    counts = torch.tensor([len(g) for g in draws], dtype=torch.float32)
    assert float(counts.mean()) == pytest.approx(280, abs=3) and float(counts.std()) > 5


def test_those_left_are_more_opaque_and_learn() -> None:
    scene = cloud(opacity=0.5).map(lambda t: t.requires_grad_())
    left = thinned(scene, 0.4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(left.opacities, torch.full((len(left),), 0.5 / 0.6))
    left.opacities.sum().backward()
    assert int((scene.opacity_logits.grad != 0).sum()) == len(left)


def test_opaque_ones_stay_within_bounds() -> None:
    left = thinned(cloud(opacity=0.99), 0.3, torch.Generator().manual_seed(0))
    assert left.opacity_logits.isfinite().all() and float(left.opacities.max()) <= 0.9991


# -------------------------------------------------------------------- roughness


def plane(size: int = 40) -> Tensor:
    """Depth of a slanted plane seen through a pinhole camera [1, S, S]."""
    steps = torch.linspace(-0.4, 0.4, size, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return (1 / (0.3 + 0.2 * x - 0.1 * y))[None]


def test_a_plane_has_no_roughness_and_a_spike_has() -> None:
    flat, solid = plane(), torch.ones(1, 40, 40)
    assert float(depth_roughness(flat, solid)) < 1e-9
    spiked = flat.clone()
    spiked[0, 20, 20] -= 0.1
    once = float(depth_roughness(spiked, solid))
    spiked[0, 10, 10] -= 0.1
    assert float(depth_roughness(spiked, solid)) == pytest.approx(2 * once, rel=0.1) and once > 1e-3


def test_an_edge_counts_little_more_when_it_is_higher() -> None:
    flat, solid = plane(), torch.ones(1, 40, 40)
    low, high = flat.clone(), flat.clone()
    low[..., 20:] += 0.2
    high[..., 20:] += 2.0
    assert depth_roughness(high, solid) < 1.6 * depth_roughness(low, solid)


def test_what_is_not_solid_is_not_looked_at() -> None:
    depth, alpha = plane(), torch.ones(1, 40, 40)
    depth[0, 20, 20], alpha[0, 20, 20] = 0.0, 0.5
    assert float(depth_roughness(depth, alpha)) < 1e-9
    assert float(depth_roughness(depth, torch.zeros_like(alpha))) == 0


def test_roughness_pulls_a_spike_back() -> None:
    depth = plane()
    depth[0, 20, 20] -= 0.1
    depth.requires_grad_()
    depth_roughness(depth, torch.ones(1, 40, 40)).backward()
    assert depth.grad is not None and float(depth.grad[0, 20, 20]) < 0  # deeper is smoother


def test_it_is_the_scene_that_is_moved_not_the_cameras() -> None:
    _, cameras = tiny_scene()
    cameras = replace(cameras, viewmats=cameras.viewmats.clone().requires_grad_())
    scene = cloud(3000, 0.95).map(lambda t: t.requires_grad_())
    config = LossConfig(novel_views=1, novel_size=32)
    novel_roughness(scene, cameras, config, 0.5, torch.Generator().manual_seed(0)).backward()
    assert cameras.viewmats.grad is None
    assert scene.means.grad is not None and float(scene.means.grad.abs().max()) > 0


# -------------------------------------------------------------------- in the fit


def test_only_regularized_rounds_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    views, truth = tiny_scene()
    drawn: list[int] = []

    def watched(scene: Gaussians, *rest: object, **options: object) -> Render:
        drawn.append(len(scene))
        return render_scene(scene, *rest, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(joint, "render_scene", watched)
    plain = tiny_config(10, loss=LossConfig(drop=0.5, drop_until=0.8))
    fit(views, rough(truth), plain)
    assert len(set(drawn)) == 1
    drawn.clear()
    regular = replace(plain, rounds=tuple(replace(r, regularized=True) for r in plain.rounds))
    fit(views, rough(truth), regular)
    assert drawn[0] > drawn[4] > drawn[7] > 0.4 * drawn[0]
    assert drawn[0] == drawn[8] == drawn[9], "the last word is that of all"


@pytest.mark.parametrize("bounded", [False, True])
def test_colours_stay_between_black_and_white(bounded: bool) -> None:
    views, truth = tiny_scene()
    config = tiny_config(30, rates=Rates(sh=0.3), loss=LossConfig(bounded_colors=bounded))
    beyond = (fit(views, truth, config).gaussians.base_colors - 0.5).abs().max() - 0.5
    assert (float(beyond) < 1e-5) == bounded
