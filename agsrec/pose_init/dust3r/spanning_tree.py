"""The start of the alignment: views are joined along the maximum spanning tree of the pairs' scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from agsrec.pose_init.dust3r.focal import estimate_focal, estimate_intrinsics
from agsrec.pose_init.dust3r.pairs import Pairs
from agsrec.pose_init.dust3r.registration import apply_similarity, register

__all__ = ["TreeStart", "resect", "spanning_tree_start"]

Known = Literal["neither", "first", "second"]

_FOCAL_LIMITS = (0.2, 10.0)  # of the focal length with which the picture's longer side spans 60 degrees
_REPROJECTION = 5.0  # pixels
_ROUNDS = 10
_MIN_INLIERS = 0.2  # of the points; fewer are an accident


@dataclass(frozen=True)
class TreeStart:
    """Views in the frame of the first view of the strongest pair.

    Attributes:
        edges: Ordered pairs of the tree in the order of use [V - 1, 2].
        points: World points of all pixels [V, K, 3].
        c2w: Camera-to-world transforms [V, 4, 4], OpenCV axes; undefined where not placed.
        focals: [V], pixels.
        centers: Principal points [V, 2], pixels counted from 0 at the first pixel's centre.
        placed: [V], whether a camera was found.
    """

    edges: Tensor
    points: Tensor
    c2w: Tensor
    focals: Tensor
    centers: Tensor
    placed: Tensor

    def of(self, views: Tensor) -> TreeStart:
        """The start of some of the views (indices)."""
        names = ("points", "c2w", "focals", "centers", "placed")
        return replace(self, **{n: getattr(self, n)[views] for n in names})


def spanning_tree_start(
    pairs: Pairs,
    scores: Tensor,
    *,
    min_confidence: float = 3.0,
    focals: Tensor | None = None,
    shared_focal: bool = False,
    estimate_centers: bool = False,
    stale_focals: bool = False,
) -> TreeStart:
    """Points, focal lengths and cameras of views that their pairs connect (public: `minimum_spanning_tree`).

    The first view of a tree's pair gets its camera from the pair, other views by resection of their points.

    Args:
        pairs: All V views must be connected.
        scores: [P], positive.
        min_confidence: Points take part in a resection from this on, and in any case the better half.
        focals: Known focal lengths [V] in pixels; estimated from the point maps if not given.
        shared_focal: All views have one focal length, the median of the estimates.
        estimate_centers: Take principal points from the point maps too, rather than the middle.
        stale_focals: Estimate a focal length from the pair used before, as the public code does. Right only
            where all views have one focal length; needed to reproduce that code's numbers.
    """
    walk = _walk(pairs.index.cpu(), scores.cpu(), pairs.num_views)
    sources = _own_maps(pairs, walk if stale_focals else [], scores)
    middle = pairs.pixels.new_tensor([pairs.width / 2, pairs.height / 2])
    centers = middle.repeat(pairs.num_views, 1)
    if focals is None:
        focals = _focals(pairs, sources, centers, free_centers=estimate_centers)
        focals = focals.median().expand_as(focals).clone() if shared_focal else focals
    if estimate_centers:
        centers = _centers(pairs, sources, focals, middle)
    points = torch.zeros_like(pairs.points1[:1]).repeat(pairs.num_views, 1, 1)
    c2w = torch.eye(4, dtype=points.dtype, device=points.device).repeat(pairs.num_views, 1, 1)
    placed = torch.zeros(pairs.num_views, dtype=torch.bool, device=points.device)
    edges = []
    for pair, known in walk:
        if known is None:
            continue
        first, second = pairs.index[pair].tolist()
        edges.append((first, second))
        if known == "neither":
            points[first], points[second] = pairs.points1[pair], pairs.points2[pair]
            placed[first] = True
            continue
        old, source, confidence = (
            (first, pairs.points1[pair], pairs.confidence1[pair])
            if known == "first"
            else (second, pairs.points2[pair], pairs.confidence2[pair])
        )
        to_world = register(source[None], points[old][None], confidence[None])
        new, extra = (second, pairs.points2) if known == "first" else (first, pairs.points1)
        points[new] = apply_similarity(to_world, extra[pair][None])[0]
        if not placed[first]:
            c2w[first, :3, :3], c2w[first, :3, 3], placed[first] = to_world[1][0], to_world[2][0], True
    confidence = pairs.view_confidence
    for view in (~placed).nonzero()[:, 0].tolist():
        inside = confidence[view][confidence[view] > 0]
        # Of an unsure network's points, take the better half.
        level = min(min_confidence, float(inside.median())) if len(inside) else min_confidence
        chosen = pairs.valid[view] & (confidence[view] >= level)
        pose = resect(points[view][chosen], pairs.pixels[view][chosen], focals[view], centers[view])
        if pose is not None:
            c2w[view], placed[view] = pose.to(c2w), True
    return TreeStart(torch.tensor(edges), points, c2w, focals, centers, placed)


def resect(
    points: Tensor, pixels: Tensor, focal: Tensor, center: Tensor, *, rounds: int = _ROUNDS
) -> Tensor | None:
    """Camera-to-world transform [4, 4] of a camera that sees points [N, 3] at pixels [N, 2], or none.

    SQPnP (Terzakis & Lourakis 2020) within RANSAC, by default 10 rounds, and 5 pixels as in the public code.
    """
    import cv2

    if len(points) < 4:
        return None
    f, cx, cy = float(focal), float(center[0]), float(center[1])
    K = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]], dtype=np.float32)
    try:
        found, rotation, translation, inliers = cv2.solvePnPRansac(
            points.cpu().numpy(),
            pixels.cpu().numpy(),
            K,
            None,
            iterationsCount=rounds,
            reprojectionError=_REPROJECTION,
            flags=cv2.SOLVEPNP_SQPNP,
        )
    except cv2.error:  # points on a line, or all in one place
        return None
    if not found or inliers is None or len(inliers) < _MIN_INLIERS * len(points):
        return None
    if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return None
    R = torch.from_numpy(cv2.Rodrigues(rotation)[0])
    c2w = torch.eye(4, dtype=torch.float64)
    c2w[:3, :3], c2w[:3, 3] = R.T, -(R.T @ torch.from_numpy(translation)[:, 0])
    return c2w


def _walk(index: Tensor, scores: Tensor, num_views: int) -> list[tuple[int, Known | None]]:
    """Pairs (their number) in the order of the walk over the tree, and which view is known by then.

    The strongest comes first; a pair of which neither view is known yet comes up again later (None).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    rows, cols = index.numpy().T
    weights = -scores.double().numpy()
    tree = minimum_spanning_tree(
        coo_array((weights, (rows, cols)), shape=(num_views, num_views)).tocsr()
    ).tocoo()
    number = {(i, j): p for p, (i, j) in enumerate(index.tolist())}
    todo = sorted(zip((-tree.data).tolist(), tree.row.tolist(), tree.col.tolist(), strict=True))
    _, i, j = todo.pop()
    steps: list[tuple[int, Known | None]] = [(number[i, j], "neither")]
    done = {i, j}
    while todo:
        edge = todo.pop()
        _, i, j = edge
        if i in done or j in done:
            steps.append((number[i, j], "first" if i in done else "second"))
            done |= {i, j}
        else:
            steps.append((number[i, j], None))
            todo.insert(0, edge)
    return steps


def _own_maps(pairs: Pairs, walk: list[tuple[int, Known | None]], scores: Tensor) -> dict[int, int]:
    """The pair whose first point map settles a view's intrinsics: the strongest in which the view is first.

    Steps of a walk given come before: each settles the first view's, if they are still open, by the pair of
    the last step that joined a view.
    """
    source: dict[int, int] = {}
    previous = walk[0][0] if walk else -1
    for pair, known in walk:
        source.setdefault(int(pairs.index[pair, 0]), previous)
        previous = previous if known is None else pair
    for pair in scores.argsort(descending=True, stable=True).tolist():
        source.setdefault(int(pairs.index[pair, 0]), pair)
    return source


def _focals(pairs: Pairs, sources: dict[int, int], centers: Tensor, *, free_centers: bool) -> Tensor:  # [V]
    typical = max(pairs.width, pairs.height) * 3**0.5 / 2
    focals = pairs.points1.new_full((pairs.num_views,), typical)
    for view, pair in sources.items():
        owner = pairs.index[pair, 0]  # another view's, if the source is stale
        points, pixels = pairs.points1[pair], pairs.pixels[owner]
        weights = (pairs.confidence1[pair] > 0).to(focals)
        if free_centers:
            focal, _ = estimate_intrinsics(points, pixels, weights)
        else:
            focal = estimate_focal(points, pixels - centers[view], weights)
        if bool(focal.isfinite()):
            focals[view] = focal.clamp(_FOCAL_LIMITS[0] * typical, _FOCAL_LIMITS[1] * typical)
    return focals


def _centers(pairs: Pairs, sources: dict[int, int], focals: Tensor, middle: Tensor) -> Tensor:  # [V, 2]
    """Principal points that go with the focal lengths; the middle where they come out off the picture."""
    centers = middle.repeat(pairs.num_views, 1)
    for view, pair in sources.items():
        weights = (pairs.confidence1[pair] > 0).to(focals)
        pixels = pairs.pixels[pairs.index[pair, 0]]
        _, center = estimate_intrinsics(pairs.points1[pair], pixels, weights, focals[view])
        if bool(((center - middle).abs() < middle).all()):
            centers[view] = center
    return centers
