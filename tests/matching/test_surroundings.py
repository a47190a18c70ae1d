"""Matches of what stood still: from any side of a table, in pixels of the views; not of a turntable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.matching import (
    Correspondences,
    Hypothesis,
    PairMatches,
    Rig,
    background_only,
    epipolar_distances,
    is_plain,
    match_wholes,
    pair_hypotheses,
    standing_features,
    stands_still,
)
from agsrec.matching.rays import centred_rays
from tests.matching.tabletop import (
    FOCAL,
    VIEW,
    cameras_around,
    photographed,
    turned_to_origin,
    view_box,
    wholes,
)

AZIMUTHS = [0.0, 50.0, 180.0]
SIZE = (VIEW, VIEW)


def seen(turntable: bool) -> tuple[Cameras, list[PairMatches], np.ndarray, np.ndarray]:
    """Cameras that look through the middles of their views, matches, focal lengths and masks."""
    cameras = cameras_around(AZIMUTHS)
    photos = photographed(cameras, turntable=turntable)
    sides = [view_box(photo[..., 3])[2] for photo in photos]
    focals = FOCAL * VIEW / np.asarray(sides)
    features = standing_features(wholes(photos), SIZE, focals.tolist(), [40.0] * 3)
    masks = np.zeros((3, VIEW, VIEW), bool)
    masks[:, 16:-16, 16:-16] = True
    viewmats = torch.stack([turned_to_origin(c) for c in cameras.viewmats])
    Ks = Cameras.intrinsics(torch.from_numpy(focals), *SIZE)
    return Cameras(viewmats, Ks, *SIZE), match_wholes(features), focals, masks


@pytest.fixture(scope="module")
def static() -> tuple[Cameras, list[PairMatches], np.ndarray, np.ndarray]:
    return seen(turntable=False)


def solver(focals: np.ndarray):
    def solve(f: PairMatches) -> list[Hypothesis]:
        return pair_hypotheses(f, focals[[f.first, f.second]], SIZE, np.full(2, 3.0))

    return solve


def test_rays_are_those_of_the_camera_turned_to_the_middle() -> None:
    camera = cameras_around([0.0])
    points = torch.tensor([[0.2, -0.1, 0.1], [-0.8, 0.3, 0.5], [0.0, 0.0, 0.0]]).double()
    pixels = camera.project(points)[0][0]
    middle = pixels[2]
    away = (camera.principal_points[0] - middle).expand(3, 2)
    slopes = centred_rays(pixels - middle, away, torch.full((3,), FOCAL).double())
    turned = turned_to_origin(camera.viewmats[0])
    there = points @ turned[:3, :3].T + turned[:3, 3]
    assert torch.allclose(slopes, there[:, :2] / there[:, 2:], atol=1e-9)


def test_a_table_is_matched_from_any_side(
    static: tuple[Cameras, list[PairMatches], np.ndarray, np.ndarray],
) -> None:
    cameras, found, _, _ = static
    rig = Rig(cameras.rotations, cameras.viewmats[:, :3, 3], cameras.focal_lengths.mean(1))
    assert [(f.first, f.second) for f in found] == [(0, 1), (0, 2), (1, 2)]
    for f in found:
        off = epipolar_distances(rig, Correspondences.of([f], *SIZE, most=len(f))).abs()
        assert int((off < 2.0).sum()) > 60, (f.first, f.second, len(f))


def test_hypotheses_of_a_table_hold_the_truth(
    static: tuple[Cameras, list[PairMatches], np.ndarray, np.ndarray],
) -> None:
    cameras, found, focals, _ = static
    for f in found:
        wanted = (cameras.rotations[f.second] @ cameras.rotations[f.first].mT).numpy()
        guesses = [h for h in solver(focals)(f) if h.belief > 0.9]
        cosines = [(float((h.rotation * wanted).sum()) - 1) / 2 for h in guesses]
        assert np.degrees(np.arccos(np.clip(max(cosines), -1, 1))) < 8.0


def test_a_background_that_was_walked_around_stands_still(
    static: tuple[Cameras, list[PairMatches], np.ndarray, np.ndarray],
) -> None:
    _, found, focals, masks = static
    off = [background_only(f, masks) for f in found]
    assert all(0 < len(o) <= len(f) for o, f in zip(off, found, strict=True))
    assert stands_still(off, [], solver(focals), focals, SIZE) is True


def test_on_a_turntable_the_background_does_not_move() -> None:
    _, found, focals, masks = seen(turntable=True)
    off = [background_only(f, masks) for f in found]
    assert stands_still(off, [], solver(focals), focals, SIZE) is False


def test_the_object_contradicts_a_background_that_moves_otherwise(
    static: tuple[Cameras, list[PairMatches], np.ndarray, np.ndarray],
) -> None:
    _, found, focals, _ = static
    pair = found[0]
    other = replace(pair, whole=False)
    solve = solver(focals)
    wrong = Hypothesis(other, np.diag([-1.0, 1.0, -1.0]), np.ones(len(other), bool))

    def told(f: PairMatches) -> list[Hypothesis]:
        return solve(f) if f.whole else [wrong]

    assert stands_still([pair], [other], told, focals, SIZE) is False
    same = replace(wrong, rotation=solve(pair)[0].rotation)
    assert stands_still([pair], [other], lambda f: solve(f) if f.whole else [same], focals, SIZE) is True


def test_a_plain_background_tells_nothing() -> None:
    photos = [np.full_like(photo, 90) for photo in photographed(cameras_around([0.0]))]
    photos[0][..., 3] = 0
    photos[0][150:250, 190:290, 3] = 255
    features = standing_features(wholes(photos), SIZE, [FOCAL], [40.0])
    assert is_plain(features, np.zeros((1, VIEW, VIEW), bool)) and match_wholes(features) == []
    assert stands_still([], [], lambda _: [], np.full(3, FOCAL), SIZE) is None
