from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.errors import ShapeError
from agsrec.gaussians import SH_C0, Gaussians
from agsrec.lie import so3_exp
from agsrec.render import render_scene


def gaussians(n: int = 5, bands: int = 4) -> Gaussians:
    g = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.randn(n, 3, generator=g),
        quats=torch.randn(n, 4, generator=g),
        log_scales=torch.randn(n, 3, generator=g) - 3,
        opacity_logits=torch.randn(n, generator=g),
        sh=torch.randn(n, bands, 3, generator=g),
    )


def test_from_points_by_hand() -> None:
    colors = torch.tensor([[1.0, 0.5, 0.0], [0.2, 0.3, 0.4]])
    g = Gaussians.from_points(torch.zeros(2, 3), colors, torch.tensor([0.1, 0.2]), opacity=0.25)
    torch.testing.assert_close(g.base_colors, colors)
    torch.testing.assert_close(g.scales, torch.tensor([[0.1] * 3, [0.2] * 3]))
    torch.testing.assert_close(g.opacities, torch.full((2,), 0.25))
    assert g.quats.tolist() == [[1, 0, 0, 0]] * 2 and g.sh_degree == 0
    assert math.isclose(g.sh[0, 0, 0].item(), 0.5 / SH_C0, rel_tol=1e-6)


def test_sh_constant() -> None:
    assert math.isclose(SH_C0, 0.5 / math.sqrt(math.pi))


@pytest.mark.parametrize("degree", range(4))
def test_sh_degree_pads_and_cuts(degree: int) -> None:
    g = gaussians(bands=4)
    changed = g.with_sh_degree(degree)
    assert changed.sh_degree == degree and changed.sh.shape == (5, (degree + 1) ** 2, 3)
    shared = min(4, (degree + 1) ** 2)
    assert torch.equal(changed.sh[:, :shared], g.sh[:, :shared])
    assert (changed.sh[:, shared:] == 0).all()


def test_selection_by_mask_and_index() -> None:
    g = gaussians()
    assert torch.equal(g[torch.tensor([4, 1])].means, g.means[[4, 1]])
    assert len(g[torch.zeros(5, dtype=torch.bool)]) == 0


def test_detach_leaves_the_graph() -> None:
    g = gaussians().map(lambda t: t.clone().requires_grad_())
    assert g.scales.requires_grad and not g.detach().scales.requires_grad


@pytest.mark.parametrize("bands", [1, 16])
def test_a_moved_scene_looks_the_same_to_cameras_that_moved_along(cameras: Cameras, bands: int) -> None:
    g = gaussians(40, bands)
    g = replace(g, means=0.2 * g.means, log_scales=g.log_scales + 0.5, sh=0.4 * g.sh)
    rotation = so3_exp(torch.tensor([0.7, -1.1, 0.4], dtype=torch.float64))
    move = (1.7, rotation, torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
    before, after = render_scene(g, cameras), render_scene(g.transformed(*move), _moved(cameras, *move))
    torch.testing.assert_close(after.rgb, before.rgb, atol=2e-3, rtol=0)
    torch.testing.assert_close(after.alpha, before.alpha, atol=2e-3, rtol=0)
    assert float(before.rgb.std()) > 0.02


def _moved(cameras: Cameras, scale: float, rotation: torch.Tensor, offset: torch.Tensor) -> Cameras:
    return cameras.transformed(scale, rotation.float(), offset.float())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("means", (5, 2)),
        ("quats", (5, 3)),
        ("log_scales", (4, 3)),
        ("opacity_logits", (5, 1)),
        ("sh", (5, 2, 3)),
    ],
)
def test_wrong_shapes(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=name):
        replace(gaussians(), **{name: torch.zeros(shape)})
