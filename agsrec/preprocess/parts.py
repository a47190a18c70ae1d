"""Parts of a mask that hang together by narrow necks, and which of them are not the object's."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["border_contact", "distant_pieces", "foreign_parts", "part_behind"]

# Lengths are shares of the mask's size, the square root of its area.
_NECK = 0.07  # half width of the necks between parts
_WIDE_NECKS = (0.07, 0.1, 0.13, 0.16, 0.2)  # the same, for what stands behind the object
_FOREIGN = 2.0  # log-odds by which a part's colours are less the object's than those of the main part
_MOST_BEHIND = 0.5  # of the mask's area
_NARROW = 0.3  # contact of a part with the photo's border
_GAP = 0.1  # between pieces that are not one object


def foreign_parts(mask: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """The parts [h, w] bool of a mask [h, w] bool whose colours are not those of its main part.

    Args:
        mask: What the network takes for the object.
        odds: Log-odds [h, w] that a pixel has the object's colours. The main part has most likely pixels.
    """
    parts, count = _parts(mask, _NECK)
    if count < 2:
        return np.zeros_like(mask)
    mean, main = _likely(parts, count, odds)
    drop = mean < mean[main] - _FOREIGN
    drop[0] = False
    return drop[parts]


def distant_pieces(mask: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """The pieces [h, w] bool of a mask that lie far from its main one, with nothing between.

    For photos of objects that are in one piece in the other photos. Arguments as of `foreign_parts`.
    """
    radius = max(1, round(_GAP / 2 * float(np.sqrt(mask.sum()))))
    count, labels = cv2.connectedComponents(cv2.dilate(mask.astype(np.uint8), _disc(radius)))
    if count < 3:  # the background and one piece
        return np.zeros_like(mask)
    pieces = np.where(mask, labels, 0)
    _, main = _likely(pieces, count - 1, odds)
    return mask & (pieces != main)


def _likely(parts: np.ndarray, count: int, odds: np.ndarray) -> tuple[np.ndarray, int]:
    """Mean odds of each of the parts, and which one has the most likely pixels; 0 is no part."""
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    mean = np.bincount(parts.ravel(), odds.ravel(), count + 1) / np.maximum(sizes, 1)
    return mean, 1 + int(np.argmax((sizes / (1 + np.exp(-mean)))[1:]))


def part_behind(mask: np.ndarray) -> np.ndarray:
    """The part [h, w] bool of a mask that seems to be another thing, which runs out of the photo.

    Where a mask is two lobes, the larger one clear of the photo's border, the other one touching it, but
    only narrowly: an object that the photo cuts is cut where it is wide. For photos of objects that the
    other photos show whole.
    """
    if border_contact(mask) > _NARROW:
        return np.zeros_like(mask)
    for neck in _WIDE_NECKS:
        parts, count = _parts(mask, neck)
        if count == 2:
            touching = [k for k in (1, 2) if border_contact(parts == k) > 0]
            if len(touching) == 1 and (parts == touching[0]).sum() < _MOST_BEHIND * mask.sum():
                return parts == touching[0]
    return np.zeros_like(mask)


def border_contact(mask: np.ndarray) -> float:
    """Length along which a mask [h, w] bool touches the photo's border, relative to the mask's size."""
    length = mask[0].sum() + mask[-1].sum() + mask[:, 0].sum() + mask[:, -1].sum()
    return float(length / max(np.sqrt(mask.sum()), 1.0))


def _parts(mask: np.ndarray, neck: float) -> tuple[np.ndarray, int]:
    """Labels [h, w] of the parts, from 1, 0 outside of the mask, and their number.

    Parts are what remains connected once the mask has been eroded, and what is nearest to it.
    """
    radius = max(1, round(neck * float(np.sqrt(mask.sum()))))
    core = cv2.erode(mask.astype(np.uint8), _disc(radius))
    count, components = cv2.connectedComponents(core)
    if count < 2:
        return mask.astype(int), int(mask.any())
    kind = cv2.DIST_LABEL_CCOMP
    _, closest = cv2.distanceTransformWithLabels(1 - core, cv2.DIST_L2, 5, labelType=kind)
    labels, nearest = components.astype(int), closest.astype(int)
    part_of = np.zeros(nearest.max() + 1, dtype=int)
    part_of[nearest[core > 0]] = labels[core > 0]
    return np.where(mask, part_of[nearest], 0), count - 1


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
