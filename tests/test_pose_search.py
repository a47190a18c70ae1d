"""The pose search finds photos in known scenes, and says when it cannot tell."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import ImageError, OptionError, ShapeError
from agsrec.gaussians import Gaussians
from agsrec.lie import so3_exp
from agsrec.metrics.poses import rotation_angles
from agsrec.pose_search import FoundPoses, GaussianRenderer, Level, SearchConfig, search_pose
from agsrec.pose_search.photo import centred_photo, moments
from agsrec.pose_search.poses import Poses, distinct
from agsrec.pose_search.refine import Comparison, refined
from agsrec.render import render_scene

SIZE = 128
QUICK = SearchConfig(
    directions=400, rolls=36, coarse_size=32, patch_size=24, levels=(Level(24, 3, 24), Level(48, 4, 4))
)


def blobs(count: int = 150, seed: int = 0, scale: float = 1.0) -> Gaussians:
    """A lump of coloured balls without symmetry, away from the world's origin."""
    generator = torch.Generator().manual_seed(seed)
    shape = torch.tensor([0.45, 0.3, 0.22])
    points = torch.randn(count, 3, generator=generator).clamp(-1.6, 1.6) * shape
    points[:, 1] += 0.5 * points[:, 0] ** 2
    colors = (0.5 + torch.cat([points[:, :2] / shape[:2], points[:, 2:] / shape[2]], 1) * 0.25).clamp(
        0.05, 0.95
    )
    middle = torch.tensor([0.3, -0.2, 0.1])
    return Gaussians.from_points(
        (points + middle) * scale, colors, torch.full((count,), 0.07 * scale), opacity=0.9
    )


def camera(
    turn: Tensor, *, scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0), focal: float = 150.0
) -> Cameras:
    """A camera 3 units from the lump, turned by a rotation vector, with the lump off its axis."""
    K = Cameras.intrinsics(torch.tensor([focal]), SIZE, SIZE)
    position = torch.tensor([[*shift, 3.0]]) * scale
    viewmats = Poses(so3_exp(turn)[None], position).viewmats(torch.tensor([0.3, -0.2, 0.1]) * scale)
    return Cameras(viewmats, K, SIZE, SIZE)


def photo(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """What the first camera sees [H, W, 4], straight alpha."""
    with torch.no_grad():
        shown = render_scene(gaussians, cameras, render_mode="RGB")
    alpha = shown.alpha[0, ..., None]
    return torch.cat([shown.rgb[0] / alpha.clamp_min(1e-3), alpha], -1).clamp(0, 1)


def error_deg(found: FoundPoses, truth: Cameras, index: int = 0) -> float:
    """Rotation error of a mode."""
    return float(rotation_angles(found.viewmats[index, :3, :3] @ truth.rotations[0].mT))


@pytest.mark.parametrize(
    ("turn", "shift"),
    [((0.3, 2.0, 0.2), (0.0, 0.0)), ((-1.2, -0.5, 1.9), (0.3, -0.2)), ((2.6, 0.4, -0.9), (-0.25, 0.25))],
)
def test_finds_a_view_from_nothing(turn: tuple[float, ...], shift: tuple[float, float]) -> None:
    scene, truth = blobs(), camera(torch.tensor(turn), shift=shift)
    found = search_pose(GaussianRenderer(scene), photo(scene, truth), truth.Ks[0], QUICK)
    assert error_deg(found, truth) < 1.0
    distance = (found.viewmats[0, :3, 3] - truth.viewmats[0, :3, 3]).norm()
    assert float(distance) < 0.05
    assert float(found.overlaps[0]) > 0.95
    assert found.margin > 0.5


def test_an_object_cut_off_by_the_frame() -> None:
    scene, truth = blobs(), camera(torch.tensor([0.3, 2.0, 0.2]), shift=(0.4, 0.3), focal=220.0)
    picture = photo(scene, truth)
    assert float(picture[-1, :, 3].max()) > 0.9
    found = search_pose(GaussianRenderer(scene), picture, truth.Ks[0], QUICK)
    assert error_deg(found, truth) < 1.5
    assert float(found.overlaps[0]) > 0.9


def test_the_world_may_have_any_scale() -> None:
    scene, truth = blobs(scale=20.0), camera(torch.tensor([0.3, 2.0, 0.2]), scale=20.0)
    found = search_pose(GaussianRenderer(scene), photo(scene, truth), truth.Ks[0], QUICK)
    assert error_deg(found, truth) < 1.0


def test_a_symmetric_object_is_ambiguous_and_both_modes_are_kept() -> None:
    half = blobs(seed=3)
    # The object and its copy turned by 180 degrees about its upright axis.
    middle = torch.tensor([0.3, -0.2, 0.1])
    opposite = (half.means - middle) * torch.tensor([-1.0, 1.0, -1.0]) + middle
    colors = half.base_colors
    scene = Gaussians.from_points(
        torch.cat([half.means, opposite]), torch.cat([colors, colors]), torch.full((300,), 0.07), opacity=0.9
    )
    truth = camera(torch.tensor([0.2, 0.9, 0.1]))
    found = search_pose(GaussianRenderer(scene), photo(scene, truth), truth.Ks[0], QUICK)
    assert found.margin < 0.3
    turned = so3_exp(torch.tensor([0.0, math.pi, 0.0]))
    errors = sorted([error_deg(found, truth, 0), error_deg(found, truth, 1)])
    assert errors[0] < 1.5
    assert errors[1] > 178.5
    # Modes are apart, in order, and the margin is about the first two.
    assert len(found) <= QUICK.modes
    assert (found.losses.diff() >= 0).all()
    apart = rotation_angles(found.viewmats[:, None, :3, :3] @ found.viewmats[None, :, :3, :3].mT)
    assert float((apart + 999 * torch.eye(len(found))).min()) > QUICK.mode_deg
    assert found.margin == pytest.approx(1 - float(found.losses[0] / found.losses[1]), abs=1e-6)
    other = max((0, 1), key=lambda i: error_deg(found, truth, i))
    back = rotation_angles(found.viewmats[other, :3, :3] @ turned @ truth.rotations[0].mT)
    assert float(back) < 1.5


def test_roll_can_be_limited() -> None:
    scene = blobs()
    upside_down = torch.tensor([0.0, 0.0, math.pi])
    truth = camera(upside_down)
    # `camera` with no turn has +y down in the world's +y, so that this one is upright.
    limited = SearchConfig(**{**QUICK.__dict__, "max_roll_deg": 30.0, "rolls": 8})
    found = search_pose(GaussianRenderer(scene), photo(scene, truth), truth.Ks[0], limited)
    assert error_deg(found, truth) < 1.0
    truth = camera(torch.zeros(3))
    found = search_pose(GaussianRenderer(scene), photo(scene, truth), truth.Ks[0], limited)
    assert error_deg(found, truth) > 30


def test_refinement_closes_in_and_never_makes_worse() -> None:
    scene, truth = blobs(), camera(torch.tensor([0.3, 2.0, 0.2]), shift=(0.1, 0.1))
    render = GaussianRenderer(scene)
    picture = centred_photo(photo(scene, truth), truth.Ks[0], 48)
    comparison = Comparison.at(render, picture, 48, QUICK)
    turned = picture.turn @ truth.rotations[0]
    place = picture.turn @ (truth.rotations[0] @ render.center + truth.viewmats[0, :3, 3])
    exact = Poses(turned[None].repeat(6, 1, 1), place[None].repeat(6, 1))
    start = exact.moved(
        torch.tensor([0.15] * 3 + [0.03, 0.03, 0.1])
        * torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    )
    poses, losses = refined(comparison, start, 6)
    assert (losses <= comparison.losses(start)).all()
    torch.testing.assert_close(losses, comparison.losses(poses), rtol=1e-3, atol=1e-6)
    before = rotation_angles(start.rotations @ exact.rotations.mT)
    after = rotation_angles(poses.rotations @ exact.rotations.mT)
    assert float(before.median()) > 8
    assert float(after.median()) < 0.5
    assert float((poses.positions - exact.positions).norm(dim=-1).median()) < 0.04


def test_centred_photo_looks_at_the_object() -> None:
    scene, truth = blobs(), camera(torch.tensor([0.3, 2.0, 0.2]), shift=(0.35, -0.3))
    centred = centred_photo(photo(scene, truth), truth.Ks[0], 64)
    center, spread = moments(centred.rgba[None, ..., 3])
    assert float(center.norm()) < 0.04
    assert float(spread[0]) * centred.half_width == pytest.approx(centred.spread, rel=0.08)
    torch.testing.assert_close(centred.turn @ centred.turn.mT, torch.eye(3), atol=1e-5, rtol=0)
    # The turned camera sees what the scene shows from the turned pose.
    viewmat = torch.eye(4)
    viewmat[:3, :3] = centred.turn
    seen = GaussianRenderer(scene)(viewmat @ truth.viewmats, centred.K(64), 64)[0]
    assert float((seen - centred.rgba).abs().mean()) < 0.02
    border = torch.cat([centred.rgba[0], centred.rgba[-1], centred.rgba[:, 0], centred.rgba[:, -1]])[:, 3]
    assert float(border.max()) < 0.5


def test_distinct_keeps_the_first_of_each_mode() -> None:
    angles = torch.tensor([0.0, 5.0, 30.0, 33.0, 90.0]).deg2rad()
    rotations = so3_exp(torch.stack([torch.zeros(5), angles, torch.zeros(5)], -1))
    assert distinct(rotations, 10.0, 9).tolist() == [0, 2, 4]
    assert distinct(rotations, 10.0, 2).tolist() == [0, 2]


def test_refusals() -> None:
    scene, truth = blobs(), camera(torch.zeros(3))
    render = GaussianRenderer(scene)
    with pytest.raises(ImageError, match="mask is empty"):
        search_pose(render, torch.zeros(SIZE, SIZE, 4), truth.Ks[0], QUICK)
    with pytest.raises(ShapeError, match=r"\[H, W, 4\]"):
        search_pose(render, torch.zeros(SIZE, SIZE, 3), truth.Ks[0], QUICK)
    with pytest.raises(OptionError, match="level"):
        SearchConfig(levels=())
    with pytest.raises(OptionError, match="max_roll_deg"):
        SearchConfig(max_roll_deg=0)
    with pytest.raises(OptionError, match="directions"):
        SearchConfig(directions=0)
