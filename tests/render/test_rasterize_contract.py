"""What `agsrec.render.rasterize` promises besides its numbers: corner cases, determinism, dtypes, errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agsrec.errors import AgsrecError
from agsrec.render import rasterize
from agsrec.render.cpu import threads
from tests.reference import assert_grad_close
from tests.render.scenes import INPUTS, Scene, cotangents, gradients, images, make_scene, render, with_leaves


def test_rgb_mode_has_no_depth_and_the_same_picture() -> None:
    scene = make_scene()
    plain, full = render(scene, render_mode="RGB"), render(scene, render_mode="RGB+ED")
    assert plain.depth is None
    torch.testing.assert_close(plain.rgb, full.rgb, atol=1e-6, rtol=0)
    torch.testing.assert_close(plain.alpha, full.alpha, atol=1e-6, rtol=0)


def test_gradient_mode_does_not_change_the_picture() -> None:
    scene = make_scene(sh_degree=1)
    with torch.no_grad():
        without = images(render(scene))
    for a, b in zip(images(render(with_leaves(scene))), without, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_views_are_independent() -> None:
    scene = make_scene(views=3, seed=12)
    assert scene.backgrounds is not None
    together = images(render(scene))
    for v in range(3):
        one = replace(
            scene,
            viewmats=scene.viewmats[v : v + 1],
            Ks=scene.Ks[v : v + 1],
            backgrounds=scene.backgrounds[v : v + 1],
        )
        for all_views, alone in zip(together, images(render(one)), strict=True):
            assert torch.equal(all_views[v], alone[0])


@pytest.mark.parametrize("sh_degree", [None, 2])
def test_no_gaussians(sh_degree: int | None) -> None:
    scene = with_leaves(make_scene(0, views=3, sh_degree=sh_degree))
    assert scene.backgrounds is not None
    result = render(scene)
    rgb, alpha, depth = images(result)
    assert torch.equal(rgb, scene.backgrounds[:, None, None].expand_as(rgb))
    assert (alpha == 0).all() and (depth == 0).all()
    assert result.radii.shape == (3, 0)
    for name, gradient in gradients(scene, (rgb, alpha, depth), (rgb, alpha, depth)).items():
        assert (gradient == 0).all(), name


def test_nothing_visible() -> None:
    scene = make_scene()
    viewmats = scene.viewmats.clone()
    viewmats[:, 2, 3] = -50.0
    scene = with_leaves(replace(scene, viewmats=viewmats))
    assert scene.backgrounds is not None
    result = render(scene)
    rgb, alpha, depth = images(result)
    assert torch.equal(rgb, scene.backgrounds[:, None, None].expand_as(rgb))
    assert (alpha == 0).all() and (depth == 0).all() and (result.radii == 0).all()
    for name, gradient in gradients(scene, (rgb, alpha, depth), cotangents(scene)).items():
        assert (gradient == 0).all(), name


def test_far_plane_culls() -> None:
    scene = make_scene()
    assert (render(scene, far=0.5).alpha == 0).all()


def test_zero_opacity_is_invisible_and_finite() -> None:
    scene = make_scene()
    scene = with_leaves(replace(scene, opacities=torch.zeros_like(scene.opacities)))
    outputs = images(render(scene))
    assert (outputs[1] == 0).all()
    for name, gradient in gradients(scene, outputs, cotangents(scene)).items():
        assert torch.isfinite(gradient).all(), name


def picture_and_gradients(scene: Scene) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Tensor]]:
    """Images and the gradients of a fixed random combination of them."""
    leaves = with_leaves(scene)
    outputs = images(render(leaves))
    return outputs, gradients(leaves, outputs, cotangents(scene))


def assert_identical(a: tuple[Any, dict[str, Tensor]], b: tuple[Any, dict[str, Tensor]]) -> None:
    """Every image and every gradient equal to the last bit."""
    for x, y in zip(a[0], b[0], strict=True):
        assert torch.equal(x, y)
    for name in INPUTS:
        assert torch.equal(a[1][name], b[1][name]), name


def test_two_runs_are_bit_identical() -> None:
    scene = make_scene(400, views=4, sh_degree=2, width=70, height=50, seed=13)
    assert_identical(picture_and_gradients(scene), picture_and_gradients(scene))


def test_result_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(400, views=4, sh_degree=2, width=70, height=50, seed=13)
    results = []
    for count in (1, 2):
        monkeypatch.setattr(threads, "num_threads", lambda count=count: count)
        results.append(picture_and_gradients(scene))
    assert_identical(*results)


def test_order_of_gaussians_does_not_matter() -> None:
    scene = make_scene(seed=14)
    order = torch.randperm(len(scene.means), generator=torch.Generator().manual_seed(1))
    shuffled = replace(scene, **{name: tensor[order] for name, tensor in scene.gaussians().items()})
    for a, b in zip(images(render(scene)), images(render(shuffled)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_one_background_for_all_views() -> None:
    color = torch.tensor([0.2, 0.4, 0.9])
    scene = make_scene(views=3)
    shared = render(scene, backgrounds=color)
    assert torch.equal(shared.rgb, render(scene, backgrounds=color.expand(3, 3)).rgb)


def test_inputs_are_not_modified() -> None:
    scene = make_scene(sh_degree=1)
    before = {name: tensor.clone() for name, tensor in scene.tensors().items()}
    picture_and_gradients(scene)
    for name, tensor in scene.tensors().items():
        assert torch.equal(tensor, before[name]), name


def test_non_contiguous_inputs() -> None:
    scene = make_scene(sh_degree=1)
    strided = {
        name: torch.stack([t, torch.full_like(t, 7.0)], -1)[..., 0] for name, t in scene.tensors().items()
    }
    assert not strided["means"].is_contiguous()
    leaves = replace(scene, **{name: tensor.requires_grad_() for name, tensor in strided.items()})
    outputs = images(render(leaves))
    assert_identical((outputs, gradients(leaves, outputs, cotangents(scene))), picture_and_gradients(scene))


def test_non_contiguous_cotangents() -> None:
    scene = make_scene()
    weights = cotangents(scene)
    strided = [torch.stack([w, torch.full_like(w, 7.0)], -1)[..., 0] for w in weights]
    leaves = with_leaves(scene)
    got = torch.autograd.grad(images(render(leaves)), list(leaves.tensors().values()), strided)
    want = picture_and_gradients(scene)[1]
    for name, gradient in zip(INPUTS, got, strict=True):
        assert_grad_close(name, gradient, want[name], rel_l2=1e-5)


def test_float64_inputs_get_float64_gradients() -> None:
    scene = make_scene(sh_degree=1)
    outputs, want = picture_and_gradients(scene)
    double = with_leaves(scene, dtype=torch.float64)
    got_outputs = images(render(double))
    for a, b in zip(got_outputs, outputs, strict=True):
        torch.testing.assert_close(a.float(), b, atol=1e-5, rtol=0)
    for name, gradient in gradients(double, got_outputs, cotangents(scene)).items():
        assert gradient.dtype == torch.float64, name
        assert_grad_close(name, gradient, want[name])


@pytest.mark.parametrize("index", range(3))
def test_gradient_of_one_output_only(index: int) -> None:
    scene = make_scene()
    weights = tuple(w * (i == index) for i, w in enumerate(cotangents(scene)))
    joint, single = with_leaves(scene), with_leaves(scene)
    want = gradients(joint, images(render(joint)), weights)
    output = images(render(single))[index]
    leaves = [tensor for name, tensor in single.tensors().items() if name != "colors" or index == 0]
    names = [name for name in INPUTS if name != "colors" or index == 0]
    for name, got in zip(names, torch.autograd.grad(output, leaves, weights[index]), strict=True):
        assert_grad_close(name, got, want[name])


WRONG_SHAPES = [
    ("means", (60, 7)),
    ("means", (3,)),
    ("quats", (60, 7)),
    ("quats", (59, 4)),
    ("scales", (60, 7)),
    ("scales", (60,)),
    ("opacities", (60, 7)),
    ("opacities", (59,)),
    ("colors", (60, 7)),
    ("colors", (59, 3)),
    ("viewmats", (2, 7, 4)),
    ("viewmats", (4, 4)),
    ("Ks", (2, 7, 3)),
    ("Ks", (5, 3, 3)),
    ("backgrounds", (7, 3)),
    ("backgrounds", (2, 7)),
]


@pytest.mark.parametrize(("name", "shape"), WRONG_SHAPES)
def test_wrong_shape_is_named(name: str, shape: tuple[int, ...]) -> None:
    scene = make_scene(60, views=2)
    with pytest.raises(ValueError) as error:
        render(scene, **{name: torch.ones(shape)})
    message = str(error.value)
    assert name in message
    assert str(shape[0]) in message and str(shape[-1]) in message


@pytest.mark.parametrize(
    "overrides",
    [
        {"sh_degree": 4},
        {"sh_degree": -1},
        {"sh_degree": 3},
        {"width": 0},
        {"height": -3},
        {"backend": "metal"},
        {"render_mode": "D"},
    ],
)
def test_unusable_options_are_refused(overrides: dict[str, Any]) -> None:
    scene = make_scene(sh_degree=2)
    with pytest.raises((ValueError, AgsrecError)):
        render(scene, **overrides)


def test_sh_coefficients_need_a_degree() -> None:
    with pytest.raises(ValueError, match="colors"):
        render(make_scene(sh_degree=1), sh_degree=None)


def test_backend_auto_renders_on_the_cpu() -> None:
    scene = make_scene()
    result = rasterize(**scene.arguments())
    assert result.rgb.shape == (2, scene.height, scene.width, 3)
