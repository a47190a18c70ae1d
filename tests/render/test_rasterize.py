"""Every backend of `agsrec.render.rasterize` against the dense float64 reference, in value and gradient."""

from __future__ import annotations

import pytest
import torch

from tests.reference import assert_grad_close
from tests.render.scenes import (
    INPUTS,
    SCENES,
    camera_inside,
    cotangents,
    gradients,
    images,
    make_scene,
    render,
    render_dense,
    to_device,
    with_leaves,
)

VALUE_ATOL = 1e-4

requires_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
BACKENDS = [
    pytest.param("cpu", "cpu", id="cpu"),
    pytest.param("gsplat", "cuda", id="gsplat", marks=[pytest.mark.gpu, requires_cuda]),
]


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_values_match_reference(name: str, backend: str, device: str) -> None:
    scene = SCENES[name]()
    certain = ~scene.ambiguous()
    assert certain.float().mean() > 0.9, "the scene tests too few pixels"
    got = images(render(to_device(scene, device), backend=backend))
    for label, ours, want in zip(("rgb", "alpha", "depth"), got, render_dense(scene), strict=True):
        assert ours.shape == want.shape, label
        error = (ours.double().cpu() - want).abs()[certain]
        assert error.max() < VALUE_ATOL, f"{label}: {error.max():.2e}"


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize(("backend", "device"), BACKENDS)
def test_gradients_match_reference(name: str, backend: str, device: str) -> None:
    scene = SCENES[name]()
    weights = cotangents(scene)
    ours = with_leaves(to_device(scene, device))
    got = gradients(ours, images(render(ours, backend=backend)), weights)
    reference = with_leaves(scene)
    want = gradients(reference, render_dense(reference), weights)
    for label in INPUTS:
        assert_grad_close(label, got[label], want[label])


@pytest.mark.gpu
@requires_cuda
@pytest.mark.parametrize("name", ["rgb", "sh3", "camera_inside"])
def test_backends_agree(name: str) -> None:
    scene = SCENES[name]()
    weights, certain = cotangents(scene), ~scene.ambiguous()
    ours, theirs = with_leaves(scene), with_leaves(to_device(scene, "cuda"))
    cpu, cuda = images(render(ours)), images(render(theirs, backend="gsplat"))
    for a, b in zip(cpu, cuda, strict=True):
        torch.testing.assert_close(b.cpu()[certain], a[certain], atol=VALUE_ATOL, rtol=0)
    got, want = gradients(ours, cpu, weights), gradients(theirs, cuda, weights)
    for label in INPUTS:
        assert_grad_close(label, got[label], want[label])


def test_each_gradient_alone_equals_the_joint_one() -> None:
    scene = make_scene(sh_degree=2)
    weights = cotangents(scene)
    joint_scene = with_leaves(scene)
    joint = gradients(joint_scene, images(render(joint_scene)), weights)
    for name in INPUTS:
        single = with_leaves(scene, (name,))
        assert_grad_close(name, gradients(single, images(render(single)), weights)[name], joint[name])


def test_rgb_mode_gradients() -> None:
    scene = make_scene(sh_degree=1, seed=11)
    rgb, alpha, depth = cotangents(scene)
    ours, reference = with_leaves(scene), with_leaves(scene)
    result = render(ours, render_mode="RGB")
    got = gradients(ours, (result.rgb, result.alpha, torch.zeros(1)), (rgb, alpha, torch.zeros(1)))
    want = gradients(reference, render_dense(reference), (rgb, alpha, 0 * depth))
    for label in INPUTS:
        assert_grad_close(label, got[label], want[label])


@pytest.mark.parametrize("label", ["Ks", "backgrounds"])
@pytest.mark.parametrize("name", ["rgb", "sh2", "nearly_opaque"])
def test_intrinsics_and_background_gradients(name: str, label: str) -> None:
    scene = SCENES[name]()
    weights = cotangents(scene)
    ours, reference = with_leaves(scene, (label,)), with_leaves(scene, (label,))
    got = gradients(ours, images(render(ours)), weights, (label,))
    want = gradients(reference, render_dense(reference), weights, (label,))
    assert_grad_close(label, got[label], want[label])


def test_radii_tell_what_is_seen() -> None:
    scene = camera_inside()
    radii = render(scene).radii
    assert radii.shape == (len(scene.viewmats), len(scene.means))
    leaves = with_leaves(scene, ("colors",))
    for v, viewmat in enumerate(scene.viewmats):
        z = scene.means @ viewmat[2, :3] + viewmat[2, 3]
        assert (radii[v][z < scene.near] == 0).all()
        rgb = render_dense(leaves)[0][v]
        drawn = torch.autograd.grad(rgb.sum(), leaves.colors)[0].amax(-1) > 0
        assert drawn.any() and (radii[v][drawn] > 0).all()


def test_radius_covers_every_pixel_a_gaussian_reaches() -> None:
    scene = make_scene(1, views=1, seed=10)
    result = render(scene)
    reached = torch.nonzero(result.alpha[0] > 0)  # [P, 2] row, column
    x, y, z = scene.viewmats[0, :3, :3] @ scene.means[0] + scene.viewmats[0, :3, 3]
    fx, fy, cx, cy = scene.Ks[0, 0, 0], scene.Ks[0, 1, 1], scene.Ks[0, 0, 2], scene.Ks[0, 1, 2]
    center = torch.stack([fy * y / z + cy, fx * x / z + cx])
    assert len(reached) > 1
    assert (reached + 0.5 - center).abs().amax() <= result.radii[0, 0]
