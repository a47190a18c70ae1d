"""All photos of one object cut out together: the network looks twice, and the photos help each other.

The network knows what is salient, not what the object is: a mat under it, a wardrobe behind it come along in
one photo or the other. What it takes for the object in all other photos says which colours the object has.

1. The network looks at every whole photo.
2. Every photo's pixels are judged by the colours of the others, and parts of the mask whose colours do not
   belong are left out; so are parts that run out of the photo, and pieces far from the rest, where the
   object does not do so in the others.
3. The network looks again, at the part of the photo around what is left and what continues it in the
   object's colours: it sees 320 x 320 pixels, and the object now fills them.
4. Both looks and the colours, collected anew, decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from agsrec.preprocess.looks import ENOUGH, LOOK_SIZE, Look, color_tables, look_up
from agsrec.preprocess.matting import REFINE_SIZE, fit_within, follow_edges
from agsrec.preprocess.network import Network
from agsrec.preprocess.parts import border_contact, distant_pieces, foreign_parts, part_behind

__all__ = ["Mask", "cut_out_together", "soft_alpha"]

_MOST = 4.0  # log-odds that the network is taken to be sure of
_FIRST_LOOK = 0.3  # weight of the first look against the second
_MARGIN = 0.1  # around the object in the second look, as a share of its longer side
_SPECK = 0.1  # components smaller than this share of the largest do not widen the second look
_ALIKE = 1.5  # log-odds of colours that are worth a second look next to what the network saw
_CONTRAST = 3.0  # of the mask around its edge; its softness comes from the photo

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Mask:
    """A coarse cut.

    Attributes:
        box: Where the mask lies, x0, y0, x1, y1 as shares of the photo's width and height.
        chance: That a point of the box shows the object, [h, w] float32.
        left_out: Share of what the network took for the object that was left out.
        agreement: Of the network's first mask with this one, intersection over union.
    """

    box: _Box
    chance: np.ndarray
    left_out: float = 0.0
    agreement: float = 1.0


@dataclass(frozen=True)
class _SecondLook:
    """The box around the object: its pixels [h, w, 3], and the log-odds [h, w] of both looks."""

    box: _Box
    rgb: np.ndarray
    odds: np.ndarray
    left_out: float


def cut_out_together(
    photos: Sequence[np.ndarray],
    network: Network,
    *,
    known: Sequence[Look] = (),
    progress: Callable[[int], None] | None = None,
) -> list[Mask]:
    """Coarse cuts of photos [H, W, 3] uint8 of one object.

    Args:
        photos: At any size; more than about 1000 pixels are of no use.
        network: Finds what is salient.
        known: Further photos of the object whose cuts are right, such as those cut out by hand.
        progress: Called with the number of photos the network is done with.
    """
    first = [_first_look(photo, network) for photo in photos]
    tables = color_tables([*first, *known])
    usual = _Usual.of([*first, *known], tables)
    seconds: list[_SecondLook] = []
    better: list[Look] = []
    for photo, look, table in zip(photos, first, tables, strict=False):
        second = _second_look(photo, look, table, network, usual)
        seconds.append(second)
        better.append(_pasted(look, second, _chance(second, table)[0]))
        if progress:
            progress(len(seconds))
    tables = color_tables([*better, *known])
    masks = []
    for look, second, table in zip(first, seconds, tables, strict=False):
        chance, left_out = _chance(second, table)
        sharp = ((chance - 0.5) * _CONTRAST + 0.5).clip(0, 1).astype(np.float32)
        agreement = _overlap(look.chance > 0.5, _pasted(look, second, chance).chance > 0.5)
        masks.append(Mask(second.box, sharp, max(left_out, second.left_out), agreement))
    return masks


def soft_alpha(mask: Mask, rgb: np.ndarray) -> np.ndarray:
    """Alpha [H, W] uint8 of a photo [H, W, 3] uint8 from its coarse cut, soft where its edges are."""
    out = np.zeros(rgb.shape[:2], dtype=np.uint8)
    x0, y0, x1, y1 = _pixels(mask.box, rgb)
    alpha = follow_edges(mask.chance, fit_within(rgb[y0:y1, x0:x1], REFINE_SIZE))
    levels = (alpha * 255).round().astype(np.uint8)
    out[y0:y1, x0:x1] = cv2.resize(levels, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    return out


# ---------------------------------------------------------------- steps


def _first_look(photo: np.ndarray, network: Network) -> Look:
    small = fit_within(photo, LOOK_SIZE)
    return Look(small, _resized(network(photo), small))


@dataclass(frozen=True)
class _Usual:
    """How most of the photos show the object: clear of their borders, in one piece. False if they are few."""

    whole: bool
    one_piece: bool

    @classmethod
    def of(cls, looks: Sequence[Look], tables: Sequence[np.ndarray]) -> _Usual:
        """By the first looks and the tables of colours made of them."""
        masks = [look.chance > 0.5 for look in looks]
        touching = sum(border_contact(mask) > 0 for mask in masks)
        colors = [look_up(table, look.rgb) for table, look in zip(tables, looks, strict=True)]
        broken = sum(bool(distant_pieces(*pair).any()) for pair in zip(masks, colors, strict=True))
        enough = len(looks) >= ENOUGH
        return cls(enough and 2 * touching < len(looks), enough and 2 * broken < len(looks))


def _second_look(
    photo: np.ndarray, look: Look, table: np.ndarray, network: Network, usual: _Usual
) -> _SecondLook:
    """The network's odds around what remains of the first look without the parts that do not belong."""
    colors = look_up(table, look.rgb)
    chance = _to_chance(_log_odds(look.chance) + colors)
    seen = chance > 0.5
    drop = foreign_parts(seen, colors)
    if usual.one_piece:
        drop |= distant_pieces(seen & ~drop, colors)
    if usual.whole:
        drop |= part_behind(seen & ~drop)
    box = _around(_with_alike(seen & ~drop, colors))
    x0, y0, x1, y1 = _pixels(box, photo)
    small = fit_within(photo[y0:y1, x0:x1], LOOK_SIZE)
    before, hidden = (_resized(_cropped(each, box), small) for each in (look.chance, drop.astype(np.float32)))
    odds = _FIRST_LOOK * _log_odds(before) + (1 - _FIRST_LOOK) * _log_odds(_resized(network(small), small))
    return _SecondLook(
        box, small, np.where(hidden > 0.5, -2 * _MOST, odds), float(drop.sum() / max(seen.sum(), 1))
    )


def _chance(second: _SecondLook, table: np.ndarray) -> tuple[np.ndarray, float]:
    """The chance [h, w] in the box by network and colours, and the share left out for its colours."""
    colors = look_up(table, second.rgb)
    chance = _to_chance(second.odds + colors)
    seen = chance > 0.5
    drop = foreign_parts(seen, colors)
    return np.where(drop, 0, chance), float(drop.sum() / max(seen.sum(), 1))


def _pasted(look: Look, second: _SecondLook, chance: np.ndarray) -> Look:
    """The whole photo with what is known by now."""
    x0, y0, x1, y1 = _pixels(second.box, look.rgb)
    out = np.zeros_like(look.chance)
    out[y0:y1, x0:x1] = _resized(chance, look.rgb[y0:y1, x0:x1])
    return Look(look.rgb, out)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


# ---------------------------------------------------------------- boxes and odds


def _with_alike(mask: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """A mask [h, w] bool with what is connected to it and has the object's colours."""
    alike = (
        cv2.morphologyEx((colors > _ALIKE).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    )
    _, labels = cv2.connectedComponents((mask | alike).astype(np.uint8))
    return (labels > 0) & np.isin(labels, labels[mask])


def _around(mask: np.ndarray) -> _Box:
    """The box around a mask [h, w] bool without its specks, with a margin; the whole where there is none."""
    height, width = mask.shape
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return 0.0, 0.0, 1.0, 1.0
    areas = stats[1:, cv2.CC_STAT_AREA]
    left, top, wide, high = stats[1:][areas > _SPECK * areas.max(), :4].T
    x0, y0, x1, y1 = left.min(), top.min(), (left + wide).max(), (top + high).max()
    pad = _MARGIN * max(x1 - x0, y1 - y0)
    low = max(0.0, float(x0 - pad) / width), max(0.0, float(y0 - pad) / height)
    return *low, min(1.0, float(x1 + pad) / width), min(1.0, float(y1 + pad) / height)


def _pixels(box: _Box, image: np.ndarray) -> tuple[int, int, int, int]:
    """A box in pixels of an image, at least one wide and high."""
    height, width = image.shape[:2]
    x0, y0 = min(int(box[0] * width), width - 1), min(int(box[1] * height), height - 1)
    return x0, y0, max(x0 + 1, round(box[2] * width)), max(y0 + 1, round(box[3] * height))


def _cropped(values: np.ndarray, box: _Box) -> np.ndarray:
    x0, y0, x1, y1 = _pixels(box, values)
    return values[y0:y1, x0:x1]


def _resized(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    size = like.shape[1], like.shape[0]
    shrinks = values.shape[0] > size[1] or values.shape[1] > size[0]
    return cv2.resize(values, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _log_odds(chance: np.ndarray) -> np.ndarray:
    safe = chance.clip(1e-4, 1 - 1e-4)
    return np.log(safe / (1 - safe)).clip(-_MOST, _MOST)


def _to_chance(odds: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-odds))).astype(np.float32)
