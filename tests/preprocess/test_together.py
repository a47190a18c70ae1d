from __future__ import annotations

import cv2
import numpy as np
import pytest

from agsrec.preprocess.doubts import doubtful_cuts, unusable_cut
from agsrec.preprocess.looks import Look, color_tables, look_up
from agsrec.preprocess.matting import fit_within, foreground_colors
from agsrec.preprocess.network import Network, load_network
from agsrec.preprocess.parts import border_contact, foreign_parts, part_behind
from agsrec.preprocess.together import Mask, cut_out_together, soft_alpha

SIZE = (240, 320)
RED, BLUE, GREY, GREEN = (200, 40, 30), (30, 60, 200), (150, 150, 150), (40, 150, 60)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.hypot(columns - x, rows - y) < radius


def painted(*layers: tuple[np.ndarray, tuple[int, int, int]], seed: int = 0) -> np.ndarray:
    """Layers of colours, the later the nearer, on grey, with noise."""
    rgb = np.full((*SIZE, 3), GREY, dtype=np.float64)
    for mask, color in layers:
        rgb[mask] = color
    return (rgb + np.random.default_rng(seed).normal(0, 4, rgb.shape)).clip(0, 255).astype(np.uint8)


def busy(seed: int) -> np.ndarray:
    """A backdrop of many overlapping boxes of muted colours, as a crowded shelf."""
    rng = np.random.default_rng(seed)
    rgb = np.full((*SIZE, 3), 120, dtype=np.uint8)
    for _ in range(150):
        x, y, w, h = rng.integers([0, 0, 15, 15], [320, 240, 70, 70])
        cv2.rectangle(rgb, (int(x), int(y)), (int(x + w), int(y + h)), rng.integers(70, 190, 3).tolist(), -1)
    return cv2.GaussianBlur(rgb, (0, 0), 2.0)


def overlap(cut: np.ndarray, mask: np.ndarray) -> float:
    return float((cut & mask).sum() / (cut | mask).sum())


# ---------------------------------------------------------------- the whole


def test_drawn_photos_before_a_busy_background() -> None:
    photos, masks = [], []
    for k in range(4):
        x, y = 150 + 10 * k, 120 - 5 * k
        body, head = disc(x, y + 20, 55), disc(x + 5 * k, y - 45, 30)
        photo = busy(k)
        photo[body], photo[head] = (225, 60, 40), (245, 190, 40)
        photos.append(cv2.GaussianBlur(photo, (0, 0), 0.7))
        masks.append(body | head)
    cuts = cut_out_together(photos, load_network())
    overlaps = [overlap(soft_alpha(c, p) > 127, m) for c, p, m in zip(cuts, photos, masks, strict=True)]
    assert min(overlaps) > 0.93, overlaps


def network_seeing(*masks: np.ndarray) -> Network:
    """A network that finds these masks in whole photos, in turn, and in crops whatever is not grey."""
    left = list(masks)

    def run(rgb: np.ndarray) -> np.ndarray:
        if rgb.shape[:2] == SIZE and left:
            seen = left.pop(0).astype(np.float32)
        else:
            seen = (np.abs(rgb.astype(int) - GREY).max(-1) > 60).astype(np.float32)
        return cv2.resize(seen, (320, 320), interpolation=cv2.INTER_LINEAR)

    return run


def test_what_the_other_photos_do_not_show_is_left_out() -> None:
    thing = disc(120, 120, 50)
    beside = disc(230, 120, 45)
    photos = [painted((thing, RED), seed=k) for k in range(3)] + [painted((thing, RED), (beside, BLUE))]
    cuts = cut_out_together(photos, network_seeing(thing, thing, thing, thing | beside))
    assert overlap(soft_alpha(cuts[3], photos[3]) > 127, thing) > 0.95
    assert cuts[3].left_out > 0.3 and max(cut.left_out for cut in cuts[:3]) == 0
    doubts = doubtful_cuts(*described(photos, cuts))
    assert list(doubts) == ["3"] and "was left out" in doubts["3"]


def test_two_photos_do_not_overrule_each_other() -> None:
    thing, beside = disc(120, 120, 50), disc(230, 120, 45)
    photos = [painted((thing, RED)), painted((thing, RED), (beside, BLUE))]
    cuts = cut_out_together(photos, network_seeing(thing, thing | beside))
    assert overlap(soft_alpha(cuts[1], photos[1]) > 127, thing | beside) > 0.95


def test_cuts_by_hand_help_the_others() -> None:
    thing, beside = disc(120, 120, 50), disc(230, 120, 45)
    known = [Look(painted((thing, RED), seed=k), thing.astype(np.float32)) for k in range(2)]
    photo = painted((thing, RED), (beside, BLUE))
    (cut,) = cut_out_together([photo], network_seeing(thing | beside), known=known)
    assert overlap(soft_alpha(cut, photo) > 127, thing) > 0.95


def test_part_that_runs_out_of_the_photo_is_left_out() -> None:
    thing, pot = disc(160, 140, 60), disc(160, 44, 42)
    stem = np.zeros(SIZE, dtype=bool)
    stem[:10, 155:165] = True
    photos = [painted((thing, RED), seed=k) for k in range(3)] + [painted((thing | pot | stem, RED))]
    cuts = cut_out_together(photos, network_seeing(thing, thing, thing, thing | pot | stem))
    assert overlap(soft_alpha(cuts[3], photos[3]) > 127, thing) > 0.9
    assert list(doubtful_cuts(*described(photos, cuts))) == ["3"]


def described(photos: list[np.ndarray], cuts: list[Mask]) -> tuple[dict[str, Look], dict[str, Mask]]:
    looks = [Look(p, soft_alpha(c, p).astype(np.float32) / 255) for p, c in zip(photos, cuts, strict=True)]
    return {str(k): look for k, look in enumerate(looks)}, {str(k): cut for k, cut in enumerate(cuts)}


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 200), (40, 3)])
def test_tiny_photos(shape: tuple[int, int]) -> None:
    photos = [np.random.default_rng(k).integers(0, 255, (*shape, 3), dtype=np.uint8) for k in range(3)]

    def everything(rgb: np.ndarray) -> np.ndarray:
        return np.ones((320, 320), dtype=np.float32)

    for cut, photo in zip(cut_out_together(photos, everything), photos, strict=True):
        assert soft_alpha(cut, photo).shape == shape


def test_nothing_seen_is_nothing_cut() -> None:
    def nothing(rgb: np.ndarray) -> np.ndarray:
        return np.zeros((320, 320), dtype=np.float32)

    photos = [painted(seed=k) for k in range(3)]
    for cut, photo in zip(cut_out_together(photos, nothing), photos, strict=True):
        assert not soft_alpha(cut, photo).any()


def test_pieces_far_from_the_rest_are_left_out_where_the_others_show_one() -> None:
    thing, far = disc(120, 130, 50), disc(250, 130, 40)
    photos = [painted((thing, RED), seed=k) for k in range(3)] + [painted((thing | far, RED))]
    cuts = cut_out_together(photos, network_seeing(thing, thing, thing, thing | far))
    assert overlap(soft_alpha(cuts[3], photos[3]) > 127, thing) > 0.95
    pairs = [painted((thing | far, RED), seed=k) for k in range(4)]
    for cut, photo in zip(cut_out_together(pairs, network_seeing(*[thing | far] * 4)), pairs, strict=True):
        assert overlap(soft_alpha(cut, photo) > 127, thing | far) > 0.95


def test_second_look_covers_what_continues_the_object() -> None:
    body, head = disc(160, 150, 60), disc(160, 60, 35)
    whole = body | head
    photos = [painted((whole, RED), seed=k) for k in range(4)]
    cuts = cut_out_together(photos, network_seeing(whole, whole, whole, head))
    assert overlap(soft_alpha(cuts[3], photos[3]) > 127, whole) > 0.95


# ---------------------------------------------------------------- its pieces


def test_a_photos_own_object_has_no_say_about_it() -> None:
    thing = disc(160, 120, 60)
    looks = [Look(painted((thing, color)), thing.astype(np.float32)) for color in (RED, RED, BLUE)]
    odds = [look_up(t, look.rgb)[thing].mean() for t, look in zip(color_tables(looks), looks, strict=True)]
    assert odds[0] > 1.5 and odds[1] > 1.5 and abs(odds[2]) < 0.5  # blue was never seen: nothing is known
    background = [
        look_up(t, look.rgb)[~thing].mean() for t, look in zip(color_tables(looks), looks, strict=True)
    ]
    assert max(background) < -2
    assert not any(table.any() for table in color_tables(looks[:2]))


def test_parts_hang_together_by_their_colors() -> None:
    left, right = disc(100, 120, 50), disc(210, 120, 50)
    bridge = np.zeros(SIZE, dtype=bool)
    bridge[115:125, 100:210] = True
    mask = left | right | bridge
    drop = foreign_parts(mask, np.where(np.mgrid[: SIZE[0], : SIZE[1]][1] < 155, 2.0, -2.0))
    assert overlap(drop, mask & (np.mgrid[: SIZE[0], : SIZE[1]][1] >= 155)) > 0.97
    assert not foreign_parts(mask, np.full(SIZE, 1.0)).any()
    assert not foreign_parts(np.zeros(SIZE, dtype=bool), np.zeros(SIZE)).any()


def test_an_object_that_the_photo_cuts_is_no_part_behind() -> None:
    head, body = disc(160, 20, 45), disc(160, 130, 70)
    assert border_contact(head | body) > 0.3
    assert not part_behind(head | body).any()
    assert not part_behind(disc(160, 120, 60)).any()


def test_doubts_name_what_is_odd() -> None:
    thing = disc(160, 120, 60)
    low = disc(160, 190, 60)
    looks = {str(k): Look(painted((thing, RED), seed=k), thing.astype(np.float32)) for k in range(4)}
    assert doubtful_cuts(looks, {}) == {}
    looks["blue"] = Look(painted((thing, BLUE)), thing.astype(np.float32))
    looks["low"] = Look(painted((low, RED)), low.astype(np.float32))
    looks["both"] = Look(painted((low, GREEN)), low.astype(np.float32))
    doubts = doubtful_cuts(looks, {"0": Mask((0, 0, 1, 1), thing.astype(np.float32), agreement=0.5)})
    assert list(doubts) == ["0", "blue", "low", "both"]
    assert doubts["0"] == "a second look changed the cut much"
    assert "colours differ" in doubts["blue"] and "border" not in doubts["blue"]
    assert "border" in doubts["low"] and "colours" not in doubts["low"]
    assert "border" in doubts["both"] and "colours" in doubts["both"]


def test_cuts_that_are_none() -> None:
    alpha = np.zeros((50, 50), dtype=np.uint8)
    assert unusable_cut(alpha) == "no object found in it"
    alpha[10:20] = 255
    assert unusable_cut(alpha) is None
    alpha[:] = 255
    assert unusable_cut(alpha) == "the whole photo was taken for the object"
    assert unusable_cut(alpha, by_hand=True) is None


def test_colors_at_soft_edges_carry_no_background() -> None:
    alpha = cv2.GaussianBlur(disc(160, 120, 60).astype(np.float32), (0, 0), 3.0)
    mixed = alpha[..., None] * np.array(RED) + (1 - alpha[..., None]) * np.array(GREEN)
    stored = (255 * alpha).round().astype(np.uint8)
    colors = foreground_colors(mixed.round().astype(np.uint8), stored)
    soft = (stored > 25) & (stored < 230)
    assert np.abs(mixed[soft] - RED).max(-1).mean() > 60
    assert np.abs(colors[soft].astype(int) - RED).max(-1).mean() < 6
    solid = (stored == 255) | (stored == 0)
    np.testing.assert_array_equal(colors[solid], mixed.round().astype(np.uint8)[solid])


def test_fit_within_only_shrinks() -> None:
    image = np.zeros((100, 50, 3), dtype=np.uint8)
    assert fit_within(image, 200) is image
    assert fit_within(image, 20).shape == (20, 10, 3)
    assert fit_within(np.zeros((1000, 1), dtype=np.uint8), 10).shape == (10, 1)
