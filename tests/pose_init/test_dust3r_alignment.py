"""The spanning tree and the global alignment: the public code's numbers, and exact scenes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import CameraError, OptionError
from agsrec.lie import so3_exp
from agsrec.metrics.poses import pairwise_rotation_errors, umeyama
from agsrec.pose_init.dust3r.alignment import (
    AlignOptions,
    Targets,
    Unknowns,
    align,
    alignment_loss,
    loss_backward,
)
from agsrec.pose_init.dust3r.pairs import Pairs, complete_graph
from agsrec.pose_init.dust3r.placement import Placement, place_views
from agsrec.pose_init.dust3r.registration import rotation_to_quaternion
from agsrec.pose_init.dust3r.spanning_tree import TreeStart, spanning_tree_start
from agsrec.pose_init.stereo.model import PairPrediction
from tests.exact_dust3r import ExactScene, exact_maps, exact_scene

RAW = {
    "poses": "im_poses",
    "focals": "im_focals",
    "centers": "im_pp",
    "depths": "im_depthmaps",
    "pair_poses": "pw_poses",
}


@dataclass
class Published:
    """A run of the public code: its pairs, its numbers by name, and our start from the same pairs."""

    pairs: Pairs
    out: dict[str, Tensor]
    start: TreeStart

    def raw(self) -> Unknowns:
        """The public code's own parameters after the spanning tree."""
        return Unknowns(**{k: self.out[f"init.raw_{v}"].clone() for k, v in RAW.items()})


@pytest.fixture(scope="module", params=["exact", "pp", "noisy"])
def published(request: pytest.FixtureRequest, shared_dir: Path) -> tuple[str, Published]:
    return request.param, _published(shared_dir, request.param)


def _published(shared_dir: Path, name: str) -> Published:
    path = shared_dir / "parity" / f"dust3r_global_align_{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"no parity fixture dust3r_global_align_{name}")
    data = load_file(path)
    maps = PairPrediction(
        points1=data["in.pred1_pts3d"],
        confidence1=data["in.pred1_conf"],
        points2=data["in.pred2_pts3d_in_other_view"],
        confidence2=data["in.pred2_conf"],
    )
    assert torch.equal(data["in.edges"], complete_graph(4))
    pairs = Pairs.from_maps(data["in.edges"], maps, torch.ones(4, *maps.points1.shape[1:3]))
    start = spanning_tree_start(pairs, pairs.scores, stale_focals=True)
    return Published(pairs, {k[4:]: v for k, v in data.items() if k.startswith("out.")}, start)


def _close(found: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(found, expected.reshape(found.shape).to(found), atol=atol, rtol=0)


def test_published_spanning_tree(published: tuple[str, Published]) -> None:
    _, run = published
    assert run.start.edges.tolist() == run.out["mst.edges"].tolist()
    assert run.start.placed.all()
    _close(run.start.focals, run.out["mst.focals"], 1e-4)
    _close(run.start.c2w, run.out["mst.im_poses"], 1e-4)
    _close(run.start.points, run.out["mst.pts3d"], 1e-4)


def test_published_start(published: tuple[str, Published]) -> None:
    name, run = published
    unknowns = Unknowns.from_start(run.pairs, run.start, AlignOptions())
    for ours, theirs in RAW.items():
        _close(getattr(unknowns, ours), run.out[f"init.raw_{theirs}"], 1e-4)
    _close(unknowns.c2w(), run.out["init.im_poses"], 1e-4)
    _close(unknowns.focal_lengths(), run.out["init.focals"], 1e-4)
    _close(unknowns.depths.exp(), run.out["init.depthmaps"], 1e-4)
    _close(unknowns.pair_transforms(0.5), run.out["init.pw_poses"][:, :3], 1e-4)
    _close(unknowns.pair_scales(0.5), run.out["init.pw_scale"], 1e-4)
    if name != "exact":  # starts at a loss of zero, whose gradient is rounding noise
        for tensor in (unknowns.poses, unknowns.focals, unknowns.depths, unknowns.pair_poses):
            tensor.requires_grad_()
        loss = loss_backward(unknowns, run.pairs, Targets.from_pairs(run.pairs), 0.5).sum()
        assert loss.item() == pytest.approx(run.out["init.loss"].item(), abs=1e-5)
        for ours in ("poses", "focals", "depths", "pair_poses"):
            tolerance = 1e-3 if name == "pp" else 2e-2
            _close(getattr(unknowns, ours).grad, run.out[f"init.grad_{RAW[ours]}"], tolerance)


@pytest.mark.parametrize("steps", [1, 10])
def test_published_first_steps(published: tuple[str, Published], steps: int) -> None:
    name, run = published
    if name == "exact":
        return  # not reproducible, as above
    unknowns = run.raw()
    # The first steps of 300, not a schedule of so few.
    rates = AlignOptions(optimize_pp=name == "pp")
    options = _FirstSteps(steps, rates)
    found = align(run.pairs, unknowns, options)
    tolerance = {"pp": {1: 1e-4, 10: 1e-3}, "noisy": {1: 1e-4, 10: 5e-3}}[name][steps]
    _close(found.c2w, run.out[f"iter{steps}.im_poses"], tolerance)
    _close(found.focals, run.out[f"iter{steps}.focals"], tolerance)
    assert found.losses == pytest.approx(run.out["losses"][:steps].tolist(), abs=1e-4)


class _FirstSteps(AlignOptions):
    def __init__(self, steps: int, whole: AlignOptions) -> None:
        super().__init__(iterations=steps, optimize_pp=whole.optimize_pp, keep_better_start=False)
        object.__setattr__(self, "whole", whole)

    def rate_at(self, share: float) -> float:
        whole: AlignOptions = self.whole  # type: ignore[attr-defined]
        return whole.rate_at(share * self.iterations / whole.iterations)


def test_published_result(published: tuple[str, Published]) -> None:
    name, run = published
    options = AlignOptions(optimize_pp=name == "pp", keep_better_start=False)
    found = align(run.pairs, run.raw(), options)
    if name == "exact":
        truth = run.out["gt.c2w"].float()
        cameras, expected = (_cameras(c2w, run.pairs) for c2w in (found.c2w, truth))
        assert pairwise_rotation_errors(cameras, expected).max() < 0.2
        to_truth = umeyama(found.c2w[:, :3, 3], truth[:, :3, 3])
        centers, size = truth[:, :3, 3], (truth[:, :3, 3] - truth[:, :3, 3].mean(0)).norm(dim=-1).max()
        assert (to_truth.points(found.c2w[:, :3, 3]) - centers).norm(dim=-1).max() < 0.02 * size
        _close(found.focals, run.out["gt.focals"], 0.5)
        return
    _close(found.c2w, run.out["final.im_poses"], 3e-3 if name == "pp" else 1e-2)
    _close(found.focals, run.out["final.focals"], 0.1)
    _close(found.centers, run.out["final.pp"], 0.05)
    _close(found.points, run.out["final.pts3d"], 1e-2)
    assert found.loss == pytest.approx(run.out["losses"][-1].item(), rel=5e-3)
    _close(run.pairs.view_confidence, run.out["final.im_conf"], 0)


def test_own_focal_rather_than_the_stale_one(shared_dir: Path) -> None:
    run = _published(shared_dir, "noisy")
    truth = run.out["gt.focals"].float()
    ours = spanning_tree_start(run.pairs, run.pairs.scores)
    assert ((run.start.focals - truth).abs() / truth).max() > 0.1
    assert ((ours.focals - truth).abs() / truth).max() < 0.02


# ---------------------------------------------------------------- pieces


def test_gradient_is_that_of_the_written_sum() -> None:
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    world, transforms = randn(3, 3, 7).requires_grad_(), randn(4, 3, 4).requires_grad_()
    views, pairs = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]), torch.arange(4).repeat(2)
    targets = Targets(views, pairs, randn(8, 3, 7), randn(8, 7).abs())

    def written(world: Tensor, transforms: Tensor) -> Tensor:
        moved = transforms[pairs, :, :3] @ targets.points + transforms[pairs, :, 3:]
        return ((world[views] - moved).norm(dim=1) * targets.weights).sum()

    losses, to_world, to_transforms = alignment_loss(world.detach(), transforms.detach(), targets)
    expected = written(world, transforms)
    assert losses.sum().item() == pytest.approx(expected.item(), rel=1e-10)
    by_autograd = torch.autograd.grad(expected, [world, transforms])
    torch.testing.assert_close(to_world, by_autograd[0])
    torch.testing.assert_close(to_transforms, by_autograd[1])


def test_schedules() -> None:
    cosine, linear = AlignOptions(), AlignOptions(schedule="linear")
    assert cosine.rate_at(0) == linear.rate_at(0) == 0.01
    assert cosine.rate_at(0.25) == pytest.approx(0.00853567, abs=1e-6)
    assert linear.rate_at(0.25) == pytest.approx(0.00750025, abs=1e-7)
    assert cosine.rate_at(1) == linear.rate_at(1) == pytest.approx(1e-6)
    with pytest.raises(OptionError, match="cosine or linear"):
        AlignOptions(schedule="steps").rate_at(0.5)  # type: ignore[arg-type]


# ---------------------------------------------------------------- exact scenes


def _cameras(c2w: Tensor, pairs: Pairs) -> Cameras:
    Ks = Cameras.intrinsics(torch.ones(len(c2w)), pairs.width, pairs.height)
    return Cameras(torch.linalg.inv(c2w.double()).float(), Ks, pairs.width, pairs.height)


def _pairs(scene: ExactScene) -> Pairs:
    index = complete_graph(len(scene.views))
    return Pairs.from_maps(index, exact_maps(scene, index), scene.views.masks)


def _placed(pairs: Pairs, **options) -> Placement:
    found = place_views(pairs, AlignOptions(optimize_pp=True, **options))
    assert found is not None
    assert len(found.views) == pairs.num_views
    return found


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("num_views", [4, 7, 10])
def test_exact_scenes_are_recovered(num_views: int, shared: bool) -> None:
    scene = exact_scene(num_views, seed=2, shared=shared)
    pairs = _pairs(scene)
    found = _placed(pairs, shared_focal=shared, iterations=100).alignment
    assert pairwise_rotation_errors(_cameras(found.c2w, pairs), scene.cameras).max() < 0.2
    truth = scene.cameras.Ks[:, 0, 0]
    torch.testing.assert_close(found.focals, truth, rtol=5e-3, atol=0)
    torch.testing.assert_close(found.centers + 0.5, scene.cameras.principal_points, rtol=0, atol=0.2)
    if shared:
        assert found.focals.unique().numel() == 1


def _disturbed(start: Unknowns, degrees: float) -> Unknowns:
    generator = torch.Generator().manual_seed(3)
    omega = torch.deg2rad(degrees * torch.randn(len(start.poses), 3, generator=generator))
    rotation = so3_exp(omega) @ start.c2w()[:, :3, :3]
    poses = torch.cat([rotation_to_quaternion(rotation), start.poses[:, 4:]], -1)
    depths = start.depths + 0.05 * torch.randn(start.depths.shape, generator=generator)
    return replace(start, poses=poses, depths=depths)


def test_alignment_repairs_a_rough_start() -> None:
    scene = exact_scene(6)
    pairs = _pairs(scene)
    options = AlignOptions()
    tree = spanning_tree_start(pairs, pairs.scores, estimate_centers=True)
    start = _disturbed(Unknowns.from_start(pairs, tree, options), 5.0)
    before = pairwise_rotation_errors(_cameras(start.c2w(), pairs), scene.cameras).max()
    found = align(pairs, start, options)
    after = pairwise_rotation_errors(_cameras(found.c2w, pairs), scene.cameras).max()
    assert before > 5
    assert after < 0.7
    assert found.loss < 0.02 * found.losses[0]
    for f in fields(start):  # untouched
        assert not getattr(start, f.name).requires_grad


def test_known_focals_stay() -> None:
    scene = exact_scene(4, shared=False)
    pairs, truth = _pairs(scene), scene.cameras.Ks[:, 0, 0]
    options = AlignOptions(optimize_pp=True, optimize_focal=False, iterations=40)
    found = place_views(pairs, options, focals=truth)
    assert found is not None
    torch.testing.assert_close(found.alignment.focals, truth, rtol=1e-6, atol=0)
    assert pairwise_rotation_errors(_cameras(found.alignment.c2w, pairs), scene.cameras).max() < 0.2


def test_pixels_outside_the_masks_change_nothing() -> None:
    scene, index = exact_scene(4), complete_graph(4)
    maps = exact_maps(scene, index)
    outside = scene.views.masks <= 0.5
    other = replace(maps, points1=maps.points1.clone(), points2=maps.points2.clone(),
                    confidence1=maps.confidence1.clone(), confidence2=maps.confidence2.clone())  # fmt: skip
    for row, (i, j) in enumerate(index.tolist()):
        other.points1[row][outside[i]], other.points2[row][outside[j]] = 100.0, -50.0
        other.confidence1[row][outside[i]], other.confidence2[row][outside[j]] = 1000.0, 1000.0
    one, two = (_placed(Pairs.from_maps(index, m, scene.views.masks), iterations=20) for m in (maps, other))
    assert torch.equal(one.alignment.c2w, two.alignment.c2w)
    assert torch.equal(one.alignment.focals, two.alignment.focals)
    assert torch.equal(one.confidence, two.confidence)


def test_a_group_apart_and_an_unsure_view_are_left_out() -> None:
    scene = exact_scene(7)
    group = {0: 0, 1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 0}
    index = complete_graph(7)
    index = index[torch.tensor([group[i] == group[j] for i, j in index.tolist()])]
    maps = exact_maps(scene, index)
    for row, pair in enumerate(index.tolist()):
        if 6 in pair:
            maps.confidence1[row] = maps.confidence2[row] = 1.0
    found = place_views(Pairs.from_maps(index, maps, scene.views.masks), AlignOptions(iterations=10))
    assert found is not None
    assert found.views.tolist() == [0, 1, 2, 3]
    maps.confidence1.fill_(1.0)
    assert place_views(Pairs.from_maps(index, maps, scene.views.masks)) is None


def test_an_alignment_that_diverges_is_refused() -> None:
    pairs = _pairs(exact_scene(4))
    start = Unknowns.from_start(pairs, spanning_tree_start(pairs, pairs.scores), AlignOptions())
    with pytest.raises(CameraError, match="finite"):
        align(pairs, start, AlignOptions(iterations=3, rate=1e30))
