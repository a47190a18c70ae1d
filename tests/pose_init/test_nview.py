"""The all-views network's geometry: angles, agreement of pairs, crops, placement, symmetry under order."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.errors import CheckpointError
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init.nview import NView, NViewConfig, initialize_nview
from agsrec.pose_init.nview.angles import angles_from_rotations, rotations_from_angles, turned_about_up
from agsrec.pose_init.nview.consensus import agreed_azimuths, pair_energies
from agsrec.pose_init.nview.crops import network_crops
from agsrec.pose_init.nview.network import AZIMUTH_BINS, FIELD_BINS, FIELD_RANGE_DEG
from agsrec.pose_init.nview.placement import Sightings, place, search_focal
from agsrec.pose_init.nview.weights import load_nview, save_nview
from agsrec.synthetic import make_scene
from agsrec.views import Views

TINY = NViewConfig(image_size=32, tokens=10, width=32, heads=2, blocks="FGF", match_after=1, match_channels=8)


def tiny_network(seed: int = 0) -> NView:
    torch.manual_seed(seed)
    return NView(TINY).eval()


def scene(count: int, size: int = 48) -> tuple[Views, Cameras]:
    images, cameras, _ = make_scene(3, count, size)
    return Views(images, tuple(f"{v:03d}" for v in range(count))), cameras


# ---------------------------------------------------------------- angles


def test_angles_are_those_of_an_orbit() -> None:
    elevation, azimuth = torch.tensor([-30.0, 10.0, 60.0]), torch.tensor([20.0, 150.0, -80.0])
    orbit = Cameras.orbit(elevation, azimuth, 2.0, Ks=torch.eye(3).repeat(3, 1, 1), width=8, height=8)
    made = rotations_from_angles(elevation, azimuth, torch.zeros(3))
    assert torch.allclose(made, orbit.rotations, atol=1e-6)
    assert torch.allclose(
        turned_about_up(orbit.centers, azimuth)[:, 0], torch.zeros(3), atol=1e-5
    )  # all at azimuth 0: no x


def test_angles_there_and_back() -> None:
    angles = torch.tensor([[-70.0, 10.0, 3.0], [5.0, -170.0, 160.0], [40.0, 90.0, -25.0]]).double()
    rotations = rotations_from_angles(*angles.unbind(-1))
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(3).double())
    assert torch.allclose(torch.stack(angles_from_rotations(rotations), -1), angles)


# ---------------------------------------------------------------- agreement


def peaked(azimuths: torch.Tensor, width_deg: float) -> torch.Tensor:
    """Distributions [V, V, AZIMUTH_BINS] around the true differences."""
    centers = (torch.arange(AZIMUTH_BINS) + 0.5) * 360 / AZIMUTH_BINS
    away = (centers - (azimuths[None, :] - azimuths[:, None])[..., None] + 180) % 360 - 180
    return (-0.5 * (away / width_deg) ** 2).softmax(-1)


def test_pairs_agree_to_better_than_a_bin() -> None:
    truth = torch.tensor([0.0, 47.0, 93.0, 142.0, 221.0, 301.0])
    modes = agreed_azimuths(pair_energies(peaked(truth, 8.0)), modes=3)
    away = (modes.azimuths[0] - truth + 180) % 360 - 180
    assert float(away.abs().max()) <= 1.0


def test_a_wrong_pair_is_outvoted() -> None:
    truth = torch.tensor([0.0, 60.0, 120.0, 200.0, 290.0])
    bins = peaked(truth, 6.0)
    bins[1, 3] = peaked(truth + torch.tensor([0.0, 0, 0, 150, 0]), 6.0)[1, 3]
    bins[3, 1] = peaked(truth + torch.tensor([0.0, 0, 0, 150, 0]), 6.0)[3, 1]
    modes = agreed_azimuths(pair_energies(bins), modes=1)
    assert float(((modes.azimuths[0] - truth + 180) % 360 - 180).abs().max()) <= 3.0


def test_a_front_and_back_doubt_is_kept_as_a_second_mode() -> None:
    truth = torch.tensor([0.0, 80.0, 200.0])
    turned = truth + torch.tensor([0.0, 0.0, 180.0])
    bins = 0.6 * peaked(truth, 6.0) + 0.4 * peaked(turned, 6.0)
    modes = agreed_azimuths(pair_energies(bins), modes=2)
    first, second = ((m - truth + 180) % 360 - 180 for m in modes.azimuths)
    assert float(first.abs().max()) <= 2 and abs(abs(float(second[2])) - 180) <= 3
    assert modes.scores[0] > modes.scores[1]


# ---------------------------------------------------------------- crops and placement


def test_crops_hold_the_object_and_know_where_they_lie() -> None:
    images = torch.zeros(2, 40, 60, 4)
    images[0, 10:20, 5:45] = torch.tensor([0.2, 0.4, 0.6, 1.0])
    images[1, 30:40, 50:60, 3] = 1.0  # in the corner: the square reaches out of the picture
    crops = network_crops(Views(images, ("a", "b")), 32)
    assert crops.images.shape == (2, 4, 32, 32)
    for v, box in enumerate([(5, 10, 45, 20), (50, 30, 60, 40)]):
        solid = crops.images[v, 3] > 0.5
        rows, columns = solid.any(1).nonzero().flatten(), solid.any(0).nonzero().flatten()
        edges = torch.tensor([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]]).float()
        found = crops.to_views(edges[None].expand(2, -1, -1))[v].flatten()
        assert torch.allclose(found, torch.tensor(box).float(), atol=1.01 * float(crops.scales[v]))
    assert torch.allclose(crops.images[0, :3, 16, 16], torch.tensor([0.2, 0.4, 0.6]), atol=1e-5)


def sightings(focal: float) -> tuple[Sightings, Cameras]:
    rng = torch.Generator().manual_seed(1)
    angles = torch.tensor([-10.0, -40.0, 5.0]), torch.tensor([0.0, 100.0, 230.0])
    Ks = Cameras.intrinsics(torch.full((3,), focal), 256, 256)
    cameras = Cameras.orbit(*angles, torch.tensor([1.7, 2.0, 2.3]), Ks=Ks, width=256, height=256)
    points = torch.rand(300, 3, generator=rng) - 0.5
    local = (cameras.rotations[:, None] @ points[None, :, :, None])[..., 0]
    pixels, _ = cameras.project(points)
    return Sightings(local, pixels - 128, torch.ones(3, 300)), cameras


def test_known_points_give_positions_exactly_whatever_a_few_wrong_ones_say() -> None:
    seen, cameras = sightings(300.0)
    seen.pixels[:, :15] += 60.0
    centers, residuals = place(seen, torch.full((3,), 300.0))
    assert torch.allclose(centers, cameras.viewmats[:, :3, 3], atol=5e-3)
    assert float(residuals.max()) < 6.0  # a twentieth of the points is 85 pixels off


@pytest.mark.parametrize("focal", [220.0, 300.0, 420.0])
def test_focal_from_perspective(focal: float) -> None:
    seen, _ = sightings(focal)
    box = seen.pixels.abs().amax((1, 2)) * 2
    found = search_focal(seen, box.mean().expand(3))
    assert float((found / focal - 1).abs().max()) < 0.1


def test_focal_lengths_in_the_proportions_of_the_cut_outs() -> None:
    seen, _ = sightings(300.0)
    zooms = torch.tensor([1.0, 0.7, 1.5])
    enlarged = Sightings(seen.points, seen.pixels * zooms[:, None, None], seen.weights)
    box = seen.pixels.abs().amax((1, 2)).mean() * 2 * zooms
    found = search_focal(enlarged, box, zooms=2 * zooms)  # a common factor says nothing
    assert torch.allclose(found / found[0], zooms)
    assert float((found / (300 * zooms) - 1).abs().max()) < 0.1


def test_focal_as_pictures_tell_it() -> None:
    """Where points say nothing (seen from afar, all at one depth) what pictures tell decides."""
    seen, _ = sightings(300.0)
    flat = Sightings(torch.zeros_like(seen.points), torch.zeros_like(seen.pixels), seen.weights)
    spans = torch.full((3,), 200.0)
    low, high = (math.log(degrees) for degrees in FIELD_RANGE_DEG)
    centers = torch.exp(low + (high - low) * (torch.arange(FIELD_BINS) + 0.5) / FIELD_BINS)
    for field in (12.0, 25.0, 50.0):
        told = -0.5 * ((centers / field).log() / 0.1) ** 2
        found = search_focal(flat, spans, told.expand(3, -1))
        assert 2 * math.degrees(math.atan(100 / float(found[0]))) == pytest.approx(field, rel=0.1)


# ---------------------------------------------------------------- the whole


def test_an_object_that_looks_alike_is_said_to() -> None:
    torch.manual_seed(0)
    network = NView(replace(TINY, lens=True)).eval()
    images, _, _ = make_scene(0, 3, 64)
    views = Views(images, ("a", "b", "c"))
    weights = network.state_dict()
    for logit, said in ((4.0, True), (-4.0, False)):
        weights["lens_head.2.weight"][FIELD_BINS] = 0
        weights["lens_head.2.bias"][FIELD_BINS] = logit
        found = initialize_nview(views, model=network, device="cpu", refine=False)
        assert any("look the same from all around" in remark for remark in found.remarks) == said


def test_order_of_views_does_not_matter() -> None:
    views, _ = scene(5)
    network = tiny_network()
    straight = initialize_nview(views, model=network, device="cpu", refine=False)
    order = [3, 0, 4, 1, 2]
    shuffled = initialize_nview(views[order], model=network, device="cpu", refine=False)
    assert float(pairwise_rotation_errors(shuffled.cameras, straight.cameras[order]).max()) < 1.5
    assert torch.allclose(shuffled.confidence, straight.confidence[order], atol=1e-4)


def test_estimate_is_complete() -> None:
    views, _ = scene(4)
    found = initialize_nview(views, model=tiny_network(), device="cpu", focal=61.0, refine=False)
    assert found.placed.all() and len(found.cameras) == 4
    assert found.cameras.width == views.width and float(found.cameras.focal_lengths.mean()) == 61.0
    assert float(found.cameras.viewmats[:, :3, 3].norm(dim=1).mean()) == pytest.approx(
        CAMERA_DISTANCE, rel=1e-4
    )
    assert found.points is not None and len(found.points.points) > 100
    assert all(a.score <= found.score for a in found.alternatives)
    assert len({tuple(a.cameras.viewmats.flatten().tolist()) for a in found.alternatives}) == len(
        found.alternatives
    )


@pytest.mark.parametrize("count", [2, 12])
def test_few_and_many_views(count: int) -> None:
    views, _ = scene(count, 32)
    found = initialize_nview(views, model=tiny_network(), device="cpu", refine=count == 2)
    assert len(found.cameras) == count and bool(found.cameras.viewmats.isfinite().all())
    assert bool(((found.confidence > 0) & (found.confidence <= 1)).all())


# ---------------------------------------------------------------- on disk


def test_saved_and_loaded(tmp_path: Path) -> None:
    network = tiny_network()
    save_nview(network, tmp_path)
    loaded = load_nview(tmp_path)
    assert loaded.config == TINY
    for name, weight in loaded.state_dict().items():
        assert torch.equal(weight, network.state_dict()[name].half().float()), name


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        load_nview(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_nview(tmp_path)
    save_nview(tiny_network(), tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    for change, message in (
        ({"_class_name": "AsymmetricCroCo3DStereo"}, "not of NView"),
        ({"width": 64}, "do not belong to the settings"),
        ({"blocks": "FX"}, "unusable settings"),
        ({"colour": 1}, "unusable settings"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        with pytest.raises(CheckpointError, match=message):
            load_nview(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="no complete safetensors file"):
        load_nview(tmp_path)


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.position[0, 0] = np.nan
    save_nview(network, tmp_path)
    with pytest.raises(CheckpointError, match="NaN"):
        load_nview(tmp_path)
