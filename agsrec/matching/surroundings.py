"""What stands around an object that was walked around: matches of photos with their backgrounds.

A table seen from two sides looks too different for any matcher, but photographed from straight above it would
not: features are sought in the photos as they are, and in pictures of the ground as if seen from above, which
SIFT matches whichever way they are turned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from agsrec.matching.matches import PairMatches, SiftFeatures, matched_sift, sift_features

__all__ = ["Standing", "Whole", "background_only", "is_plain", "match_wholes", "standing_features"]

_LONGER_SIDE = 1024  # of the pictures in which features are sought
_FEATURES = 3000  # of a picture
_RATIO = 0.85
_REACH = 3.0  # half a side of the picture from above, in sides of what the view shows
_EDGE = 9  # pixels along the border of a picture in which no feature may lie
_GRAIN = 1.25  # pixels of the picture that points are off
_PLAIN = 60  # features of a photo's background that tell nothing
_APART = 1 << 20  # between the numbers of features of different pictures, and from those of cut-outs
_STEEPEST_DEG, _FLATTEST_DEG = 65.0, 25.0  # elevations at which the ground is drawn


@dataclass(frozen=True)
class Whole:
    """The photo that a view is a piece of.

    Attributes:
        rgb: [H, W, 3] uint8.
        shown: [H, W] bool, where that is a photo, not what was put around one.
        scale: Pixels of the view per pixel of this.
        corner: Upper left corner of the view (x, y), in pixels of this.
        principal: The camera's principal point (x, y), in pixels of this.
        reach: Longer side of all that the camera saw, in pixels of this, if known.
    """

    rgb: NDArray[np.uint8]
    shown: NDArray[np.bool_]
    scale: float
    corner: tuple[float, float]
    principal: tuple[float, float]
    reach: float | None

    def to_view(self, points: NDArray[np.float64]) -> NDArray[np.float32]:
        """Points [N, 2] of this in pixels of the view."""
        return ((points - np.asarray(self.corner)) * self.scale).astype(np.float32)

    def away(self, middle: NDArray[np.float64]) -> NDArray[np.float64]:
        """The principal point from the middle of the view [2], pixels of the view."""
        return (np.asarray(self.principal) - np.asarray(self.corner)) * self.scale - middle


@dataclass(frozen=True)
class Standing:
    """Features of one photo: in the photo as it is, and in the ground from above.

    Attributes:
        kinds: Points in pixels of the view, and descriptors, by kind of picture.
        away: The principal point from the middle of the view [2], pixels of the view.
        grain: Pixels of the view that points are off.
    """

    kinds: tuple[SiftFeatures, ...]
    away: NDArray[np.float64]
    grain: float


def standing_features(
    photos: Sequence[Whole], size: tuple[int, int], focals: Sequence[float], elevations: Sequence[float]
) -> list[Standing]:
    """Features of everything in V photos.

    Args:
        photos: The photos.
        size: Width and height of the views.
        focals: Focal lengths in pixels of the views, to a quarter.
        elevations: How many degrees the cameras look down, to some fifteen.
    """
    return [_standing(*each, size) for each in zip(photos, focals, elevations, strict=True)]


def match_wholes(
    features: Sequence[Standing], pairs: Iterable[tuple[int, int]] | None = None
) -> list[PairMatches]:
    """Matches of pairs of photos, where there are any; all pairs by default."""
    found = []
    for i, j in combinations(range(len(features)), 2) if pairs is None else pairs:
        a, b = features[i], features[j]
        parts = [matched_sift(*kinds, _RATIO) for kinds in zip(a.kinds, b.kinds, strict=True)]
        points = np.concatenate([points for points, _, _ in parts])
        ids = np.concatenate([ids + k * _APART for k, (_, ids, _) in enumerate(parts, 1)])
        scores = np.concatenate([scores for _, _, scores in parts])
        if len(points):
            away, grain = np.stack([a.away, b.away]), 0.5 * (a.grain + b.grain)
            found.append(PairMatches(i, j, points, ids, scores, True, away, grain))
    return found


def background_only(found: PairMatches, masks: NDArray[np.bool_]) -> PairMatches:
    """The matches that are off the object in both views, whose masks are [V, H, W]."""
    first, second = masks[found.first], masks[found.second]
    return found.only(_off(found.points[:, 0], first) & _off(found.points[:, 1], second))


def is_plain(features: Sequence[Standing], masks: NDArray[np.bool_]) -> bool:
    """Whether there is next to nothing to match off the objects, whose masks are [V, H, W]."""
    counts = [
        sum(int(_off(kind.points, mask).sum()) for kind in one.kinds)
        for one, mask in zip(features, masks, strict=True)
    ]
    return float(np.median(counts)) < _PLAIN


def _off(points: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which points [N, 2] of a view are not in its mask [H, W], or beyond the view."""
    height, width = mask.shape
    x, y = np.floor(points).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return ~(inside & mask[y.clip(0, height - 1), x.clip(0, width - 1)])


def _standing(photo: Whole, focal: float, elevation: float, size: tuple[int, int]) -> Standing:
    middle = 0.5 * np.asarray(size, float)
    plain, ratio = _bounded(photo)
    drawn = [(plain, np.diag([ratio, ratio, 1.0]))]
    drawn.append(_from_above(photo, focal / photo.scale, elevation, middle))
    kinds = tuple(_features(whole, picture) for whole, picture in ((photo, d) for d in drawn))
    return Standing(kinds, photo.away(middle), max(1.0, _GRAIN * photo.scale / ratio))


Drawn = tuple[tuple[NDArray[np.uint8], NDArray[np.bool_]], NDArray[np.float64]]
"""A picture [H, W, 3], where it shows anything [H, W], and the homography [3, 3] of the photo onto it."""


def _bounded(photo: Whole) -> tuple[tuple[NDArray[np.uint8], NDArray[np.bool_]], float]:
    """The photo and where it is one, at most so large, and the factor."""
    import cv2

    height, width = photo.shown.shape
    ratio = min(1.0, _LONGER_SIDE / max(height, width))
    if ratio == 1:
        return (photo.rgb, photo.shown), 1.0
    size = (round(ratio * width), round(ratio * height))
    rgb = cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA)
    shown = cv2.resize(photo.shown.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return (np.asarray(rgb, np.uint8), shown > 0), ratio


def _from_above(photo: Whole, focal: float, elevation: float, middle: NDArray[np.float64]) -> Drawn:
    """The ground about the object as a camera would see it that looks straight down from the same place."""
    import cv2

    tilt = math.radians(min(max(elevation, _FLATTEST_DEG), _STEEPEST_DEG))
    K = np.array([[focal, 0, photo.principal[0]], [0, focal, photo.principal[1]], [0, 0, 1.0]])
    target = np.asarray(photo.corner) + middle / photo.scale
    forward = np.linalg.inv(K) @ [*target, 1.0]
    forward = forward / np.linalg.norm(forward)
    # Down is below where the object is seen, as far as the camera looks down on it.
    below = np.array([0.0, 1.0, 0.0]) - forward[1] * forward
    below = below / np.linalg.norm(below)
    down = math.cos(tilt) * below + math.sin(tilt) * forward
    across = np.cross(below, forward)
    turn = np.stack([across, np.cross(down, across), down])
    turned = turn @ np.linalg.inv(K)  # of pixels of the photo onto the ground, at unit distance
    height, width = photo.shown.shape
    ground = turned @ [*target, 1.0]
    ground = ground[:2] / ground[2]
    half = _REACH * 2 * middle.max() / photo.scale / focal / math.sin(tilt)
    low, high = _extent(turned, photo.shown, ground - half, ground + half)
    side = _LONGER_SIDE / float((high - low).max())
    onto = np.array([[side, 0, -side * low[0]], [0, side, -side * low[1]], [0, 0, 1.0]]) @ turned
    width, height = (int(v) for v in np.ceil(side * (high - low)))
    rgb = cv2.warpPerspective(photo.rgb, onto, (width, height), flags=cv2.INTER_LINEAR)
    shown = cv2.warpPerspective(photo.shown.astype(np.uint8), onto, (width, height), flags=cv2.INTER_NEAREST)
    x, y, z = np.linalg.inv(onto)[2]
    depth = x * np.arange(width)[None] + y * np.arange(height)[:, None] + z  # of the ground before the camera
    return (np.asarray(rgb, np.uint8), (shown > 0) & (depth > 0)), onto


def _extent(
    turned: NDArray[np.float64],
    shown: NDArray[np.bool_],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The part of a box on the ground that the photo shows: its corners [2]."""
    height, width = shown.shape
    x, y = np.meshgrid(np.linspace(0, width - 1, 65), np.linspace(0, height - 1, 65))
    seen = shown[y.astype(int), x.astype(int)]
    rays = np.stack([x[seen], y[seen], np.ones(int(seen.sum()))], 1) @ turned.T
    rays = rays[rays[:, 2] > 1e-3]
    at = rays[:, :2] / rays[:, 2:]
    at = at[((at > low) & (at < high)).all(1)]
    if len(at) < 2 or np.ptp(at, axis=0).min() <= 0:
        return low, high
    return at.min(0), at.max(0)


def _features(photo: Whole, drawn: Drawn) -> SiftFeatures:
    """Features of a picture of the photo, in pixels of the view."""
    import cv2

    (rgb, shown), onto = drawn
    inside = cv2.erode(shown.astype(np.uint8), np.ones((_EDGE, _EDGE), np.uint8), borderValue=0)
    at, descriptors = sift_features(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), inside, _FEATURES)
    if not len(at):
        return SiftFeatures(at, descriptors)
    back = np.c_[at, np.ones(len(at))] @ np.linalg.inv(onto).T
    return SiftFeatures(photo.to_view(back[:, :2] / back[:, 2:]), descriptors)
