"""The dense reference itself: closed forms, invariants, gradcheck, and gsplat's own torch functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import reference
from tests.reference import rasterize_dense

IDENTITY_QUAT = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)


def pinhole(focal: float, width: int, height: int) -> tuple[Tensor, Tensor]:
    """One camera at the origin looking along +z: viewmats [1, 4, 4] and Ks [1, 3, 3]."""
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
    return torch.eye(4, dtype=torch.float64)[None], K[None]


def random_cloud(n: int, *, views: int = 1, sh_bases: int | None = None, seed: int = 0) -> dict[str, Tensor]:
    """A small random float64 scene about 3 in front of `views` slightly turned cameras."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    viewmats = torch.eye(4, dtype=torch.float64).repeat(views, 1, 1)
    half = 0.3 * normal(views, 3, 3)
    viewmats[:, :3, :3] = torch.linalg.matrix_exp(half - half.mT)
    viewmats[:, 2, 3] = 3.0
    K = torch.tensor([[9.0, 0, 4.6], [0, 11.0, 3.1], [0, 0, 1]], dtype=torch.float64)
    colors = torch.sigmoid(normal(n, 3)) if sh_bases is None else 0.2 * normal(n, sh_bases, 3)
    return {
        "means": 0.5 * normal(n, 3),
        "quats": normal(n, 4),
        "scales": 0.2 * torch.exp(0.3 * normal(n, 3)),
        "opacities": torch.sigmoid(normal(n)),
        "colors": colors,
        "viewmats": viewmats,
        "Ks": K.repeat(views, 1, 1),
    }


def render(scene: dict[str, Tensor], **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The reference's 8 x 6 picture of a scene."""
    arguments: dict[str, Any] = {**scene, "width": 8, "height": 6, **options}
    return rasterize_dense(**arguments)


def test_single_isotropic_gaussian_matches_closed_form() -> None:
    width, height, focal, z, scale, opacity = 9, 7, 20.0, 4.0, 0.3, 0.8
    viewmats, Ks = pinhole(focal, width, height)
    color = torch.tensor([[0.2, 0.5, 0.9]], dtype=torch.float64)
    rgb, alpha, depth = rasterize_dense(
        torch.tensor([[0.0, 0.0, z]]), IDENTITY_QUAT, torch.full((1, 3), scale).double(),
        torch.tensor([opacity]).double(), color, viewmats, Ks, width, height,
    )  # fmt: skip
    variance = (focal * scale / z) ** 2 + 0.3
    for row in range(height):
        for column in range(width):
            squared = (column + 0.5 - width / 2) ** 2 + (row + 0.5 - height / 2) ** 2
            want = opacity * math.exp(-squared / (2 * variance))
            want = want if want >= 1 / 255 else 0.0
            assert alpha[0, row, column].item() == pytest.approx(want, abs=1e-7)
            assert rgb[0, row, column, 2].item() == pytest.approx(0.9 * want, abs=1e-7)
            assert depth[0, row, column].item() == pytest.approx(z if want else 0.0)


def layers(opacities: list[float], *, background: float = 0.0) -> tuple[float, float, float]:
    """Grey value, alpha and depth of one pixel behind flat layers at z = 1, 2, ... of brightness 1, 2, ..."""
    n = len(opacities)
    viewmats, Ks = pinhole(1.0, 1, 1)
    z = torch.arange(1, n + 1, dtype=torch.float64)
    rgb, alpha, depth = rasterize_dense(
        torch.stack([0 * z, 0 * z, z], -1), IDENTITY_QUAT.repeat(n, 1), torch.ones(n, 3).double(),
        torch.tensor(opacities).double(), z[:, None].repeat(1, 3), viewmats, Ks, 1, 1,
        backgrounds=torch.full((1, 3), background),
    )  # fmt: skip
    return rgb[0, 0, 0, 0].item(), alpha[0, 0, 0].item(), depth[0, 0, 0].item()


def test_blending_order_background_and_depth() -> None:
    value, alpha, depth = layers([0.5, 0.4], background=10.0)
    assert alpha == pytest.approx(0.7)
    assert value == pytest.approx(0.5 * 1 + 0.2 * 2 + 0.3 * 10)
    assert depth == pytest.approx((0.5 * 1 + 0.2 * 2) / 0.7)


def test_opacity_is_capped_and_faint_layers_are_skipped() -> None:
    assert layers([1.0])[1] == pytest.approx(0.999)
    assert layers([0.0039])[1] == 0.0
    assert layers([0.004])[1] == pytest.approx(0.004)


def test_blending_stops_before_the_layer_that_ends_it() -> None:
    # The first layer leaves 0.001; the second would leave 1e-6 and is dropped with all behind it.
    assert layers([0.999, 0.999, 0.5])[1] == pytest.approx(0.999)
    assert layers([0.999, 0.5])[1] == pytest.approx(0.9995)


def test_camera_behind_sees_the_background() -> None:
    scene = random_cloud(10)
    scene["viewmats"][:, 2, 3] = -20
    backgrounds = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)
    rgb, alpha, depth = render(scene, backgrounds=backgrounds)
    assert torch.equal(rgb, backgrounds.expand_as(rgb))
    assert (alpha == 0).all() and (depth == 0).all()


def test_permutation_invariance() -> None:
    scene = random_cloud(20, views=2, sh_bases=4)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    shuffled = {k: v if k in ("viewmats", "Ks") else v[order] for k, v in scene.items()}
    want = render(scene, sh_degree=1)
    for a, b in zip(render(shuffled, sh_degree=1), want, strict=True):
        torch.testing.assert_close(a, b)


def test_moving_the_world_and_the_cameras_together_changes_nothing() -> None:
    scene = random_cloud(15, views=2)
    moved = dict(scene)
    angle = 0.7
    turn = torch.tensor([math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0], dtype=torch.float64)
    rotation = reference.rotation_matrices(turn[None])[0]
    shift = torch.tensor([0.4, -1.0, 2.0], dtype=torch.float64)
    inverse = torch.eye(4, dtype=torch.float64)
    inverse[:3, :3], inverse[:3, 3] = rotation.T, -rotation.T @ shift
    moved["means"] = scene["means"] @ rotation.T + shift
    moved["quats"] = quaternion_product(turn, scene["quats"])
    moved["viewmats"] = scene["viewmats"] @ inverse
    want = render(scene)
    for a, b in zip(render(moved), want, strict=True):
        torch.testing.assert_close(a, b)


def quaternion_product(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton product of left [4] and right [N, 4], wxyz."""
    w, x, y, z = left.tolist()
    matrix = torch.tensor([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]], dtype=torch.float64)
    return right @ matrix.T


def test_sh_bases_are_orthonormal() -> None:
    # Products of two bases have degree 6: Gauss-Legendre in z and 16 even azimuths are exact for them.
    z, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(8))
    phi = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    radius = (1 - z * z).sqrt()[:, None]
    dirs = torch.stack([radius * phi.cos(), radius * phi.sin(), z[:, None].expand(8, 16)], -1).reshape(-1, 3)
    bases = reference.sh_bases(dirs, 3)
    area = (weight[:, None] * (2 * math.pi / 16)).expand(8, 16).reshape(-1, 1)
    torch.testing.assert_close(bases.T @ (area * bases), torch.eye(16, dtype=torch.float64))


def test_small_maths_gradcheck() -> None:
    scene = random_cloud(4)
    K = scene["Ks"][0]
    quats, scales = scene["quats"].requires_grad_(), scene["scales"].requires_grad_()
    assert torch.autograd.gradcheck(reference.covariances, (quats, scales))
    in_view = (scene["means"] + torch.tensor([0.0, 0.0, 3.0])).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: reference.projection_jacobians(p, K, 9, 7), (in_view,))
    aside = (scene["means"] + torch.tensor([9.0, -9.0, 3.0])).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: reference.projection_jacobians(p, K, 9, 7), (aside,))
    coefficients = random_cloud(4, sh_bases=16)["colors"].requires_grad_()
    assert torch.autograd.gradcheck(lambda c, d: reference.sh_colors(c, d, 3), (coefficients, in_view))


@pytest.mark.parametrize("sh_degree", [None, 1])
def test_rendering_gradcheck(sh_degree: int | None) -> None:
    scene = random_cloud(3, views=2, sh_bases=None if sh_degree is None else 4, seed=3)
    Ks = scene.pop("Ks")
    leaves = [tensor.requires_grad_() for tensor in scene.values()]

    def picture(*tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(scene, tensors, strict=True)) | {"Ks": Ks}
        return render(inputs, width=3, height=2, sh_degree=sh_degree, backgrounds=torch.full((2, 3), 0.3))

    assert torch.autograd.gradcheck(picture, leaves, atol=1e-6, rtol=1e-4)


def test_projection_and_colors_match_gsplat_torch() -> None:
    gsplat_torch = pytest.importorskip("gsplat.cuda._torch_impl")
    scene = random_cloud(40, views=3, sh_bases=16, seed=5)
    scene["means"] *= 4
    covars, _ = gsplat_torch._quat_scale_to_covar_preci(scene["quats"], scene["scales"], True, False)
    _, means2d, depths, conics, _ = gsplat_torch._fully_fused_projection(
        scene["means"], covars, scene["viewmats"], scene["Ks"], 9, 7
    )
    for v, viewmat in enumerate(scene["viewmats"]):
        splats = reference.project_view(
            *(scene[name] for name in ("means", "quats", "scales", "opacities", "colors")),
            viewmat=viewmat, K=scene["Ks"][v], width=9, height=7, sh_degree=3,
        )  # fmt: skip
        kept = torch.nonzero(depths[v] >= 0.01)[:, 0]
        kept = kept[torch.argsort(depths[v, kept])]
        offsets = scene["means"] - torch.linalg.inv(viewmat)[:3, 3]
        colors = gsplat_torch._spherical_harmonics(3, offsets, scene["colors"])
        torch.testing.assert_close(splats.depths, depths[v, kept])
        torch.testing.assert_close(splats.means2d, means2d[v, kept])
        torch.testing.assert_close(splats.conics, conics[v, kept])
        torch.testing.assert_close(splats.colors, (colors + 0.5).clamp_min(0)[kept])


def test_ambiguous_pixels_are_those_at_a_threshold() -> None:
    viewmats, Ks = pinhole(1.0, 1, 1)
    for opacity, want in [(1 / 255 * (1 + 1e-6), True), (0.5, False), (0.999 * (1 - 1e-6), True)]:
        ones, opacities = torch.ones(1, 3), torch.tensor([opacity]).double()
        means = torch.tensor([[0.0, 0.0, 1.0]])
        mask = reference.ambiguous_pixels(means, IDENTITY_QUAT, ones, opacities, ones, viewmats, Ks, 1, 1)
        assert mask.item() is want, opacity


def test_assert_grad_close_notices_a_difference() -> None:
    want = torch.linspace(-1, 1, 12).reshape(4, 3)
    reference.assert_grad_close("same", want.clone(), want)
    with pytest.raises(AssertionError, match=r"means: relative L2 .*worst at \(3, 1\)"):
        off = want.clone()
        off[3, 1] += 0.5
        reference.assert_grad_close("means", off, want)
    with pytest.raises(AssertionError, match="no gradient arrived"):
        reference.assert_grad_close("means", None, want)
