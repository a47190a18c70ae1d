"""Which points of two photos are the same point of the object: learned matches, and SIFT's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agsrec.matching.pictures import Picture, object_pictures

if TYPE_CHECKING:
    from agsrec.matching.networks import Matcher
    from agsrec.store import Memory
    from agsrec.views import Views

__all__ = [
    "Features",
    "PairMatches",
    "describe_views",
    "likeness",
    "match_features",
    "match_views",
    "mutual_nearest",
]

_FEATURES = 1024  # of a picture, the strongest
_SIFT_FEATURES = 2048
_SIFT_RATIO = 0.8
_SIFT_CONTRAST = 0.01
_LIKE_RATIO = 0.9  # of the distances to the best and the next descriptor, for a rough look


@dataclass(frozen=True)
class PairMatches:
    """Points that two views share, by one kind of features.

    Attributes:
        first: Index of a view.
        second: Index of another, greater than the first.
        points: Where each point is seen in the first and in the second [M, 2, 2], pixels of the views.
        ids: Which feature of the first and of the second view it is [M, 2]; features of one view have
            different numbers.
        scores: [M] in [0, 1].
        whole: Whether they are points of all that stood still, not of the object alone.
        away: Of the photos' principal points from the middles of the views [2, 2], pixels of the views.
        grain: Pixels of the views that points are off, where those of a cut-out are off one.
    """

    first: int
    second: int
    points: NDArray[np.float32]
    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    whole: bool = False
    away: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 2)))
    grain: float = 1.0

    def __len__(self) -> int:
        return len(self.points)

    def only(self, chosen: NDArray[np.bool_]) -> PairMatches:
        """Those matches alone [M]."""
        return replace(self, points=self.points[chosen], ids=self.ids[chosen], scores=self.scores[chosen])


@dataclass(frozen=True)
class _Learned:
    """DISK features of one picture: in it [N, 2] and in the view [N, 2], descriptors [N, D]."""

    local: Tensor
    points: NDArray[np.float32]
    descriptors: Tensor
    size: Tensor


@dataclass(frozen=True)
class SiftFeatures:
    """SIFT features of one view: where [N, 2], and unit descriptors [N, 128]."""

    points: NDArray[np.float32]
    descriptors: NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """What is matched of one view: learned features, where there is a matcher, and SIFT's.

    Attributes:
        digest: Of the view.
    """

    learned: _Learned | None
    sift: SiftFeatures
    digest: str = ""


def match_views(
    views: Views, matcher: Matcher | None, pairs: Iterable[tuple[int, int]] | None = None
) -> list[PairMatches]:
    """Matches of pairs of views, on the object alone.

    Args:
        views: V cut-outs.
        matcher: Learned features and matches; SIFT alone where there is none.
        pairs: Which pairs, the lower index first; all by default.

    Returns:
        One entry per pair and kind of features, where there are any, in order of the pairs: the kinds are
        right on different objects, and wrong in different ways.
    """
    return match_features(describe_views(views, matcher), matcher, pairs)


def describe_views(views: Views, matcher: Matcher | None, memory: Memory | None = None) -> list[Features]:
    """Features of each of V cut-outs, for `match_features`; those in the memory are not computed again."""
    from agsrec.store import Memory, digest

    memory = Memory() if memory is None else memory
    learned = matcher is not None
    digests = [digest((image, learned)) for image in views.images]
    return [
        memory.once(("features", name), partial(_described, views[[k]], matcher, name))
        for k, name in enumerate(digests)
    ]


def _described(view: Views, matcher: Matcher | None, name: str) -> Features:
    picture = object_pictures(view)[0]
    learned = None if matcher is None else _disk(matcher, picture)
    return Features(learned, _enlarged_sift(picture), name)


def match_features(
    features: Sequence[Features],
    matcher: Matcher | None,
    pairs: Iterable[tuple[int, int]] | None = None,
    memory: Memory | None = None,
) -> list[PairMatches]:
    """The same as `match_views`, of views that are described already, or that the memory has matches of."""
    from agsrec.store import Memory

    memory = Memory() if memory is None else memory
    found: list[PairMatches] = []
    for i, j in combinations(range(len(features)), 2) if pairs is None else pairs:
        a, b = features[i], features[j]
        both = memory.once(("matches", a.digest, b.digest), partial(_both_kinds, a, b, matcher))
        found += [replace(f, first=i, second=j) for f in both]
    return [f for f in found if len(f)]


def _both_kinds(a: Features, b: Features, matcher: Matcher | None) -> tuple[PairMatches, ...]:
    """Matches of two views, called 0 and 1."""
    sift = PairMatches(0, 1, *matched_sift(a.sift, b.sift))
    if matcher is None or a.learned is None or b.learned is None:
        return (sift,)
    ids, scores = _matched(matcher, a.learned, b.learned)
    shown = np.stack([a.learned.points[ids[:, 0]], b.learned.points[ids[:, 1]]], 1)
    return (PairMatches(0, 1, shown, ids + 2 * _SIFT_FEATURES, scores), sift)


def likeness(a: Features, b: Features) -> int:
    """How many learned features of two views are each other's nearest by far: a rough look at once."""
    if a.learned is None or b.learned is None:
        return 0
    return len(mutual_nearest(a.learned.descriptors, b.learned.descriptors, _LIKE_RATIO)[0])


def mutual_nearest(a: Tensor, b: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Pairs of descriptors that are each other's nearest, by far (Lowe 2004, section 7.1).

    Args:
        a: Of length one [N, C].
        b: Likewise [M, C].
        ratio: The nearest is at most at this share of the next one's distance.

    Returns:
        Their indices [P, 2], and how far below one that share is [P]; none where there is no next one.
    """
    if min(len(a), len(b)) < 2:
        return torch.zeros(0, 2, dtype=torch.long, device=a.device), a.new_zeros(0)
    similar = a @ b.mT
    best, nearest = similar.topk(2, dim=1)
    column = nearest[:, 0]
    mutual = similar.argmax(0)[column] == torch.arange(len(a), device=a.device)
    one, two = (2 - 2 * best).clamp_min(1e-9).sqrt().unbind(1)
    rows = (mutual & (one < ratio * two)).nonzero()[:, 0]
    return torch.stack([rows, column[rows]], 1), 1 - one[rows] / two[rows]


# -------------------------------------------------------------------- learned


@torch.inference_mode()
def _disk(matcher: Matcher, picture: Picture) -> _Learned:
    rgb = torch.from_numpy(picture.rgb).to(matcher.device).permute(2, 0, 1)[None].float() / 255
    found = matcher.disk(rgb, n=2 * _FEATURES)[0]
    at = found.keypoints.cpu().numpy()
    inside = picture.inside[at[:, 1].astype(int), at[:, 0].astype(int)]
    order = found.detection_scores.cpu().numpy()
    kept = np.nonzero(inside)[0]
    kept = np.sort(kept[np.argsort(-order[kept], kind="stable")[:_FEATURES]])
    index = torch.from_numpy(kept).to(matcher.device)
    size = torch.tensor([[picture.rgb.shape[1], picture.rgb.shape[0]]], device=matcher.device)
    middle = at[kept] + np.float32(0.5)  # the networks count from pixel centres
    return _Learned(found.keypoints[index], picture.to_view(middle), found.descriptors[index], size)


@torch.inference_mode()
def _matched(matcher: Matcher, a: _Learned, b: _Learned) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Indices [M, 2] of matching features, and scores [M]."""
    if not len(a.points) or not len(b.points):
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    said = matcher.lightglue(
        {
            f"image{k}": {
                "keypoints": f.local[None],
                "descriptors": f.descriptors[None],
                "image_size": f.size,
            }
            for k, f in enumerate((a, b))
        }
    )
    return said["matches"][0].cpu().numpy(), said["scores"][0].float().cpu().numpy()


# -------------------------------------------------------------------- SIFT


def _enlarged_sift(picture: Picture) -> SiftFeatures:
    """Features of a picture at twice its size: a cut-out is small."""
    import cv2

    grey = cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    mask = cv2.resize(picture.inside.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    at, descriptors = sift_features(np.asarray(grey), np.asarray(mask), _SIFT_FEATURES)
    return SiftFeatures(picture.to_view(at / np.float32(2)), descriptors)


def sift_features(
    grey: NDArray[Any], mask: NDArray[Any], most: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The strongest features of a picture [H, W] uint8 where the mask [H, W] is not 0: points, RootSIFT."""
    import cv2

    detector = cv2.SIFT.create(most, contrastThreshold=_SIFT_CONTRAST)
    keypoints, descriptors = detector.detectAndCompute(grey, mask)
    keypoints = keypoints[:most]
    if not keypoints:
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
    at = np.asarray([k.pt for k in keypoints], dtype=np.float32) + np.float32(0.5)
    root = descriptors[: len(keypoints)]
    root = np.sqrt(root / np.maximum(root.sum(1, keepdims=True), 1e-9))
    return at, root.astype(np.float32)


def matched_sift(
    a: SiftFeatures, b: SiftFeatures, most_ratio: float = _SIFT_RATIO
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Points [M, 2, 2], indices [M, 2] and scores [M]: mutual neighbours, nearer than the next by far."""
    if len(a.points) < 2 or len(b.points) < 2:
        return np.zeros((0, 2, 2), np.float32), np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    similar = torch.from_numpy(a.descriptors) @ torch.from_numpy(b.descriptors).T
    two, nearest = (t.numpy() for t in similar.topk(2, dim=1))
    best = nearest[:, 0]
    mutual = similar.argmax(0).numpy()[best] == np.arange(len(best))
    near = np.sqrt(np.maximum(2 - 2 * two, 1e-9))
    ratio = near[:, 0] / near[:, 1]
    rows = np.nonzero(mutual & (ratio < most_ratio))[0]
    points = np.stack([a.points[rows], b.points[best[rows]]], 1)
    return points, np.stack([rows, best[rows]], 1), (1 - ratio[rows]).astype(np.float32)
