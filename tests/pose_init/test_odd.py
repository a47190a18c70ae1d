"""Views set right, left out or copied: their cameras see points where the photos as they came show them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agsrec.matching import Correspondences, Oddity
from agsrec.pose_init.estimate import Alternative, PoseEstimate
from agsrec.pose_init.odd import left_in, set_right, with_oddities
from agsrec.pose_init.spread import for_all
from agsrec.views import Views
from tests.matching.scenes import SIZE, exact_matches, ring

POINTS = torch.tensor([[0.2, 0.3, -0.1], [-0.4, 0.1, 0.3], [0.1, -0.5, 0.2]], dtype=torch.float64)


def estimate(count: int) -> PoseEstimate:
    cameras = ring(count)
    everyone = torch.ones(count)
    found = exact_matches(cameras)
    matches = Correspondences.of(found, SIZE, SIZE) if found else None
    return PoseEstimate(cameras, everyone > 0, 0.1 * torch.arange(1.0, count + 1), matches=matches)


def drawn(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """A picture [H, W, 4] with a dot at each pixel [N, 2]."""
    image = torch.zeros(size, size, 4)
    at = pixels.floor().long()
    image[at[:, 1], at[:, 0]] = 1.0
    return image


@pytest.mark.parametrize("turned_deg", [90, 180, 270])
def test_the_camera_of_a_turned_view_sees_what_the_turned_picture_shows(turned_deg: int) -> None:
    upright = estimate(4)
    odd = (Oddity(2, "turned", turned_deg),)
    pixels = upright.cameras.project(POINTS)[0]
    images = torch.stack([drawn(p, SIZE) for p in pixels])
    images[2] = images[2].rot90(turned_deg // 90, (0, 1))
    views = Views(images, ("a", "b", "c", "d"))
    right = set_right(views, odd)
    assert torch.equal(right.images[2], drawn(pixels[2], SIZE)) and torch.equal(views.images, images)
    found = with_oddities(upright, 4, odd)
    assert found.placed.all() and found.oddities == odd
    now = found.cameras.project(POINTS)[0]
    assert all(torch.equal(drawn(p, SIZE), image) for p, image in zip(now, images, strict=True))


@pytest.mark.parametrize("turned_deg", [90, 180, 270])
def test_matches_turn_with_their_view(turned_deg: int) -> None:
    upright = estimate(4)
    found = with_oddities(upright, 4, (Oddity(2, "turned", turned_deg),))
    assert found.matches is not None and upright.matches is not None
    quarters = turned_deg // 90
    turned = upright.matches.points.clone()
    for side, view in enumerate((upright.matches.first, upright.matches.second)):
        for _ in range(quarters):
            x, y = turned[view == 2, side].unbind(1)
            turned[view == 2, side] = torch.stack([y, SIZE - x], 1)
    assert torch.allclose(found.matches.points, turned, atol=1e-3)


def test_what_does_not_belong_has_no_camera_and_a_copy_its_originals() -> None:
    odd = (
        Oddity(0, "mirrored"),
        Oddity(3, "copy", of=1, scale=0.5, shift=(20.0, 30.0)),
        Oddity(4, "foreign"),
    )
    assert left_in(6, odd) == [1, 2, 5]
    few = estimate(3)
    found = with_oddities(few, 6, odd)
    assert found.placed.tolist() == [False, True, True, True, False, True]
    assert found.confidence.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.1, 0.0, 0.3])
    pixels = few.cameras.project(POINTS)[0]
    seen = found.cameras.project(POINTS)[0]
    assert torch.allclose(seen[[0, 1, 3]], pixels[[0, 1, 2]])
    assert torch.allclose(seen[2], 0.5 * pixels[0] + torch.tensor([20.0, 30.0]), atol=1e-3)


def test_a_copy_of_a_turned_view_is_turned_too() -> None:
    odd = (Oddity(1, "turned", 90), Oddity(3, "copy", 90, of=1))
    found = with_oddities(estimate(3), 4, odd)
    assert torch.allclose(found.cameras.viewmats[3], found.cameras.viewmats[1])


def test_oddities_follow_their_views_into_another_order() -> None:
    found = with_oddities(estimate(2), 4, (Oddity(0, "foreign"), Oddity(3, "copy", of=2)))
    moved = for_all(found, [3, 1, 0, 2])
    assert {(o.view, o.kind, o.of) for o in moved.oddities} == {(2, "foreign", None), (0, "copy", 3)}
    assert moved.placed.tolist() == [True, True, False, True]
    assert torch.equal(moved.cameras.viewmats[0], moved.cameras.viewmats[2])


def test_alternatives_are_turned_as_well() -> None:
    both = estimate(3)
    both = replace(both, alternatives=(Alternative(both.cameras, 0.0),))
    found = with_oddities(both, 3, (Oddity(1, "turned", 180),))
    assert torch.equal(found.alternatives[0].cameras.viewmats, found.cameras.viewmats)
