"""Cameras that took the photos, from cameras that look through the middles of cut-outs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.lenses import Lens
from agsrec.lie import so3_exp
from agsrec.matching import Correspondences, PairMatches
from agsrec.pose_init.estimate import Alternative, PoseEstimate
from agsrec.pose_init.principal import as_photographed, principal_offsets
from agsrec.preprocess.crops import write_crops
from agsrec.preprocess.recenter import Crop, carry_intrinsics

SIZE = 200
PHOTO = (640, 480)
FOCAL = 500.0
# How the photos' cameras were turned away from the object, radians.
TURNS = torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.25, 0.0], [-0.15, -0.3, 0.02]])


def photographed() -> tuple[Cameras, list[Crop]]:
    """Cameras that took photos with the object off the middle, in pixels of the photos, and square crops."""
    Ks = Cameras.intrinsics(torch.full((3,), FOCAL), *PHOTO)
    cameras = Cameras.orbit(
        10.0, torch.tensor([0.0, 60.0, 150.0]), 1.9, Ks=Ks, width=PHOTO[0], height=PHOTO[1]
    )
    viewmats = cameras.viewmats.clone()
    viewmats[:, :3] = so3_exp(TURNS) @ viewmats[:, :3]
    cameras = replace(cameras, viewmats=viewmats)
    at = cameras.project(torch.zeros(1, 3))[0][:, 0]
    side = 220
    corners = (at - side / 2).round().int().tolist()
    return cameras, [Crop(*PHOTO, x, y, side, SIZE) for x, y in corners]


def cut_out(cameras: Cameras, crops: list[Crop]) -> Cameras:
    """The same cameras in pixels of the cut-outs: the truth."""
    Ks = torch.stack([carry_intrinsics(K, crop) for K, crop in zip(cameras.Ks, crops, strict=True)])
    return replace(cameras, Ks=Ks, width=SIZE, height=SIZE)


def as_found(truth: Cameras) -> Cameras:
    """What an initialiser finds: turned in place, without roll, principal points in the middle."""
    away = (truth.principal_points - SIZE / 2) / truth.focal_lengths
    through = torch.nn.functional.normalize(torch.cat([-away, torch.ones(len(away), 1)], 1), dim=1)
    forward = torch.tensor([0.0, 0.0, 1.0]).expand_as(through)
    axis = torch.linalg.cross(through, forward)
    angle = (through * forward).sum(1).clamp(-1, 1).acos()
    turn = so3_exp(angle[:, None] * torch.nn.functional.normalize(axis, dim=1))
    viewmats = truth.viewmats.clone()
    viewmats[:, :3] = turn @ viewmats[:, :3]
    Ks = Cameras.intrinsics(truth.focal_lengths.mean(1), SIZE, SIZE)
    return Cameras(viewmats, Ks, SIZE, SIZE)


def written(folder: Path, crops: list[Crop], lenses: dict[str, Lens] | None = None) -> Path:
    (folder / "processed").mkdir()
    named = {f"{k:03d}": crop for k, crop in enumerate(crops)}
    write_crops(folder / "processed" / "crops.json", named, {}, lenses or {})
    return folder


def test_rays_are_those_of_the_photos(tmp_path: Path) -> None:
    cameras, crops = photographed()
    truth = cut_out(cameras, crops)
    found = as_found(truth)
    offsets = principal_offsets(written(tmp_path, crops), ["000", "001", "002"], SIZE)
    assert offsets is not None and float(offsets.abs().max()) > 100
    estimate = PoseEstimate(
        found, torch.ones(3, dtype=torch.bool), torch.ones(3), alternatives=(Alternative(found, 0.0),)
    )
    exact = as_photographed(estimate, offsets)
    points = 0.3 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    for after in (exact.cameras, exact.alternatives[0].cameras):
        torch.testing.assert_close(after.project(points)[0], truth.project(points)[0], atol=2e-2, rtol=0)
        torch.testing.assert_close(after.centers, truth.centers, atol=1e-5, rtol=0)
    assert float((found.project(points)[0] - truth.project(points)[0]).abs().max()) > 3


def test_the_other_way_round() -> None:
    truth = cut_out(*photographed())
    found, wanted = truth.centred(), as_found(truth)
    torch.testing.assert_close(found.viewmats, wanted.viewmats, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.Ks, wanted.Ks)


def test_matches_are_of_the_cameras_that_took_the_photos() -> None:
    _, crops = photographed()
    found = as_found(cut_out(*photographed()))
    pair = PairMatches(
        0, 1, torch.rand(9, 2, 2).numpy(), torch.zeros(9, 2, dtype=torch.long).numpy(), torch.ones(9).numpy(),
        away=torch.full((2, 2), 7.0).double().numpy(),
    )  # fmt: skip
    matches = Correspondences.of([pair], SIZE, SIZE)
    estimate = PoseEstimate(found, torch.ones(3, dtype=torch.bool), torch.ones(3), matches=matches)
    after = as_photographed(estimate, torch.full((3, 2), 7.0)).matches
    assert after is not None and float(after.away.abs().max()) == 0 and len(crops) == 3


def test_views_without_a_camera_and_copies_cut_otherwise() -> None:
    found = as_found(cut_out(*photographed()))[[0, 2]]
    Ks = found.Ks.clone()
    Ks[1, 0, 2] += 11
    placed = torch.tensor([True, False, True])
    estimate = PoseEstimate(replace(found, Ks=Ks), placed, placed.float())
    after = as_photographed(estimate, torch.tensor([[5.0, 0.0], [50.0, 50.0], [9.0, 9.0]])).cameras
    middle = SIZE / 2
    torch.testing.assert_close(
        after.principal_points, torch.tensor([[middle + 5, middle], [middle + 11, middle]])
    )
    torch.testing.assert_close(after.viewmats[1], found.viewmats[1])


def test_the_lens_says_where_the_principal_point_is(tmp_path: Path) -> None:
    _, crops = photographed()
    lens = Lens("perspective", (0.0,) * 8, (FOCAL, FOCAL), (330.0, 200.0), *PHOTO)
    with_lens = principal_offsets(written(tmp_path, crops, {"001": lens}), ["000", "001"], SIZE)
    (tmp_path / "other").mkdir()
    without = principal_offsets(written(tmp_path / "other", crops), ["000", "001"], SIZE)
    assert with_lens is not None and without is not None
    scale = SIZE / crops[0].side
    wanted = torch.tensor([[0.0, 0.0], [10 * scale, -40 * scale]])
    torch.testing.assert_close(with_lens - without, wanted, atol=0.5, rtol=0)


@pytest.mark.parametrize("what", ["nothing", "another view", "damaged"])
def test_where_it_is_not_known(tmp_path: Path, what: str) -> None:
    if what != "nothing":
        written(tmp_path, photographed()[1][:1])
    if what == "damaged":
        (tmp_path / "processed" / "crops.json").write_text("{")
    assert principal_offsets(tmp_path, ["000", "001"], SIZE) is None
