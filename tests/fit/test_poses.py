from __future__ import annotations

from dataclasses import replace

import torch

from agsrec.cameras import Cameras
from agsrec.fit.poses import PoseParameters, moved
from agsrec.lie import se3_exp

PIVOT = torch.tensor([0.1, -0.2, 0.15], dtype=torch.float64)


def setup(cameras: Cameras, scale: float = 0.2) -> tuple[Cameras, PoseParameters]:
    draw = torch.randn(len(cameras), 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return cameras.to(dtype=torch.float64), PoseParameters(scale * draw[:, :6], scale * draw[:1, 6])


def test_zero_changes_nothing(cameras: Cameras) -> None:
    out = moved(cameras, PIVOT.float(), PoseParameters.zeros(cameras.viewmats))
    torch.testing.assert_close(out.viewmats, cameras.viewmats)
    assert torch.equal(out.Ks, cameras.Ks)


def test_zeros_follow_their_model(cameras: Cameras) -> None:
    zeros = PoseParameters.zeros(cameras.viewmats.double())
    assert zeros.xi.shape == (5, 6) and zeros.log_focal.shape == (1,) and zeros.xi.dtype == torch.float64


def test_rotations_keep_the_pivots_pixel(cameras: Cameras) -> None:
    exact, parameters = setup(cameras)
    xi = parameters.xi.clone()
    xi[:, :3] = 0
    turned = moved(exact, PIVOT, PoseParameters(xi, torch.zeros(1).double()))
    for before, after in zip(exact.project(PIVOT[None]), turned.project(PIVOT[None]), strict=True):
        torch.testing.assert_close(after, before)
    assert float((turned.rotations - exact.rotations).abs().amax((1, 2)).min()) > 0.05


def test_translations_are_in_camera_axes(cameras: Cameras) -> None:
    exact, _ = setup(cameras)
    xi = torch.zeros(5, 6, dtype=torch.float64)
    xi[:, :3] = torch.tensor([0.1, 0.2, 0.3])
    shifted = moved(exact, PIVOT, PoseParameters(xi, torch.zeros(1).double()))
    torch.testing.assert_close(shifted.viewmats[:, :3, 3] - exact.viewmats[:, :3, 3], xi[:, :3])
    assert torch.equal(shifted.rotations, exact.rotations)


def test_is_exp_between_translations_to_the_pivot(cameras: Cameras) -> None:
    exact, parameters = setup(cameras)
    there = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    there[:, :3, 3] = exact.rotations @ PIVOT + exact.viewmats[:, :3, 3]
    want = there @ se3_exp(parameters.xi) @ torch.linalg.inv(there) @ exact.viewmats
    unzoomed = replace(parameters, log_focal=torch.zeros(1).double())
    torch.testing.assert_close(moved(exact, PIVOT, unzoomed).viewmats, want)


def test_focal_lengths_scale_and_the_object_keeps_its_size(cameras: Cameras) -> None:
    exact, parameters = setup(cameras)
    out = moved(exact, PIVOT, replace(parameters, xi=torch.zeros(5, 6).double()))
    # What lies beside the pivot, as each camera sees it, stays at its pixel.
    for i in range(5):
        beside = PIVOT + 0.3 * exact.rotations[i, :2]
        torch.testing.assert_close(out[i].project(beside)[0], exact[i].project(beside)[0])
    torch.testing.assert_close(out.focal_lengths, exact.focal_lengths * parameters.log_focal.exp())
    assert torch.equal(out.principal_points, exact.principal_points)
    assert torch.equal(out.Ks[:, 2], exact.Ks[:, 2])


def test_batch_equals_loop(cameras: Cameras) -> None:
    exact, parameters = setup(cameras)
    together = moved(exact, PIVOT, parameters)
    for i in range(5):
        alone = moved(exact[i], PIVOT, PoseParameters(parameters.xi[[i]], parameters.log_focal))
        torch.testing.assert_close(alone.viewmats[0], together.viewmats[i])
        torch.testing.assert_close(alone.Ks[0], together.Ks[i])


def test_gradcheck(cameras: Cameras) -> None:
    exact, parameters = setup(cameras[[0, 1]])

    def pixels(xi: torch.Tensor, log_focal: torch.Tensor) -> torch.Tensor:
        out = moved(exact, PIVOT, PoseParameters(xi, log_focal))
        return torch.cat([out.viewmats.flatten(), out.Ks.flatten()])

    for factor in (1.0, 0.0):
        xi = (factor * parameters.xi).requires_grad_()
        log_focal = (factor * parameters.log_focal).requires_grad_()
        assert torch.autograd.gradcheck(pixels, (xi, log_focal))
