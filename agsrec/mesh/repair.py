"""Closed meshes stay closed: what simplification folds onto itself is taken apart again.

Collapsing edges can fold two triangles flat onto each other, or bring two parts of a surface together along
an edge, between four triangles then. Each edge still has as many triangles on one side as on the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_closed", "taken_apart"]

Array = NDArray[np.float64]
Faces = NDArray[np.int32]


def is_closed(faces: Faces) -> bool:
    """Whether every edge of the triangles [F, 3] lies between exactly two of them."""
    return bool((np.unique(_edges(faces), axis=0, return_counts=True)[1] == 2).all())


def taken_apart(vertices: Array, faces: Faces) -> tuple[Array, Faces]:
    """The same surface without folded triangles and with two triangles at every edge.

    Pairs of triangles that cancel are dropped. Of an edge between four, the triangles that bound the same
    part of the inside stay neighbours; one pair of them gets a corner of its own in the middle of the edge,
    so that the edges differ even for programs that merge equal corners.

    Args:
        vertices: Positions [N, 3].
        faces: Corner indices [F, 3], each edge running as often one way as the other.
    """
    faces = _without_folds(faces)
    while True:
        crowded = _crowded_edges(faces)
        if not crowded:
            break
        vertices, faces = _parted(vertices, faces, crowded)
    used, faces_of_used = np.unique(faces, return_inverse=True)
    return vertices[used], faces_of_used.reshape(-1, 3).astype(np.int32)


def _edges(faces: Faces) -> Faces:
    """Both ends [3 F, 2] of all sides of the triangles, the lower first, triangle by triangle."""
    return np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)


def _without_folds(faces: Faces) -> Faces:
    """The triangles without those that lie on another with the opposite orientation."""
    _, group = np.unique(np.sort(faces, axis=1), axis=0, return_inverse=True)
    group = group.ravel()
    shared = np.flatnonzero(np.bincount(group)[group] > 1)
    open_: dict[tuple[int, bool], list[int]] = {}
    dropped = []
    for f in shared.tolist():
        a, b, c = faces[f].tolist()
        even = (a < b) + (b < c) + (c < a) == 2  # an even permutation of the sorted corners
        partner = open_.get((int(group[f]), not even))
        if partner:
            dropped += [f, partner.pop()]
        else:
            open_.setdefault((int(group[f]), even), []).append(f)
    return np.delete(faces, dropped, axis=0)


def _crowded_edges(faces: Faces) -> list[tuple[int, int, list[int]]]:
    """Edges with an even number of triangles above two, half of them each way: both ends, the triangles."""
    edges, group, counts = np.unique(_edges(faces), axis=0, return_inverse=True, return_counts=True)
    group = group.ravel()
    out = []
    for e in np.flatnonzero((counts > 2) & (counts % 2 == 0)).tolist():
        a, b = edges[e].tolist()
        around = (np.flatnonzero(group == e) // 3).tolist()
        if 2 * sum(_runs(faces[f].tolist(), a, b) for f in around) == len(around):
            out.append((a, b, around))
    return out


def _runs(corners: list[int], a: int, b: int) -> bool:
    """Whether a triangle's boundary goes from a to b."""
    return corners[(corners.index(a) + 1) % 3] == b


def _parted(vertices: Array, faces: Faces, crowded: list[tuple[int, int, list[int]]]) -> tuple[Array, Faces]:
    """The mesh with a pair of triangles less at some of the crowded edges: those that share no triangle."""
    corners, added, touched = [vertices], [], set[int]()
    faces = faces.copy()
    for a, b, around in crowded:
        if not touched.isdisjoint(around):
            continue
        touched |= set(around)
        middle = len(vertices) + len(corners) - 1
        corners.append((vertices[[a]] + vertices[[b]]) / 2)
        for f in _neighbours(vertices, faces, a, b, around):
            start, end = (a, b) if _runs(faces[f].tolist(), a, b) else (b, a)
            (apex,) = set(faces[f].tolist()) - {a, b}
            faces[f] = start, middle, apex
            added.append([middle, end, apex])
    return np.concatenate(corners), np.concatenate([faces, np.array(added, dtype=faces.dtype)])


def _neighbours(vertices: Array, faces: Faces, a: int, b: int, around: list[int]) -> tuple[int, int]:
    """Two of the triangles around an edge with nothing but the inside between them.

    Seen along the edge from a to b, the inside is before a triangle that runs from a to b, and after one that
    runs from b to a.
    """
    axis = vertices[b] - vertices[a]
    length = max(float(np.linalg.norm(axis)), 1e-20)
    right = np.linalg.svd(axis[None] / length)[2][1]
    up = np.cross(axis / length, right)

    def angle(f: int) -> float:
        (apex,) = set(faces[f].tolist()) - {a, b}
        out = vertices[apex] - vertices[a]
        return float(np.arctan2(out @ up, out @ right))

    order = sorted(around, key=angle)
    ahead = [_runs(faces[f].tolist(), a, b) for f in order]
    k = next(k for k in range(len(order)) if not ahead[k - 1] and ahead[k])
    return order[k - 1], order[k]
