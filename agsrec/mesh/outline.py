"""Where a surface's outlines should be: as the photos' masks have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from agsrec.mesh.sheet import Eye, Sheet

__all__ = ["Contour", "Pulls", "outline_pulls", "sampled_at"]

Array = NDArray[np.float64]
Picture = NDArray[np.float32]
Index = NDArray[np.intp]

_FINEST = 1024  # pixels along a picture at which its mask's edge is looked for
_FURTHEST = 0.015  # of the picture: most that an outline is moved by at a time
_DOUBTED = 0.03  # of the picture: distance to the mask's edge from which the two may not belong together
_SIDEWAYS = 0.3  # cosine between normal and the way to the mask's edge below which a move does not help
_STEPS_PER_LENGTH = 0.78  # pixels along an outline per step between pixels across it, mean over directions


@dataclass(frozen=True)
class Contour:
    """The edge of a photo's mask, between pixels.

    Attributes:
        distances: Pixels of the photo to where alpha is a half [s H, s W], positive within the object.
        finer: s.
    """

    distances: Picture
    finer: int

    @staticmethod
    def of(mask: Picture) -> Contour:
        """That of a mask [H, W] with values in [0, 1]."""
        import cv2

        height, width = mask.shape
        finer = max(1, round(_FINEST / max(height, width)))
        large = cv2.resize(mask, (width * finer, height * finer), interpolation=cv2.INTER_LINEAR)
        inside = (large > 0.5).astype(np.uint8)
        within, beside = (cv2.distanceTransform(side, cv2.DIST_L2, 5) for side in (inside, 1 - inside))
        # Distances to the other side's pixel centres: the edge is half a pixel nearer.
        signed = np.where(inside > 0, within - 0.5, 0.5 - beside)
        return Contour((signed / finer).astype(np.float32), finer)

    @property
    def size(self) -> float:
        """Longer side of the photo in pixels."""
        return max(self.distances.shape) / self.finer

    def at(self, places: Array) -> tuple[Array, Array]:
        """Distances [M] at pixels [M, 2], and unit directions [M, 2] away from the object."""
        sides = [(1, 0), (-1, 0), (0, 1), (0, -1)]
        right, left, below, above = (self._sampled(places + np.array(side)) for side in sides)
        slope = np.stack([left - right, above - below], axis=1)
        return self._sampled(places), slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)

    def _sampled(self, places: Array) -> Array:
        return sampled_at(self.distances[..., None], places * self.finer)[:, 0]


@dataclass(frozen=True)
class Pulls:
    """Wishes of M places on a surface about how far its points move along their normals, in edges.

    Attributes:
        shares: What a move of each of N points moves each place by [M, N].
        wanted: How far the places should move [M].
        weights: How much that counts [M].
    """

    shares: csr_matrix
    wanted: Array
    weights: Array


def sampled_at(picture: Picture, places: Array) -> Array:
    """Values [M, D] of a picture [H, W, D] at pixels [M, 2], bilinear, its border continued."""
    height, width = picture.shape[:2]
    x = np.clip(places[:, 0] - 0.5, 0, width - 1)
    y = np.clip(places[:, 1] - 0.5, 0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left)[:, None], (y - top)[:, None]
    upper = (1 - u) * picture[top, left] + u * picture[top, right]
    lower = (1 - u) * picture[below, left] + u * picture[below, right]
    return (1 - v) * upper + v * lower


def outline_pulls(
    sheet: Sheet,
    eye: Eye,
    contour: Contour,
    face_ids: NDArray[np.int32],
    barycentrics: Picture,
    depths: Picture,
) -> Pulls:
    """How the outline of a surface wants to move onto that of a photo.

    Each step from a pixel that shows the surface to one beside it that does not is a place of its outline.
    It should move by the distance to the mask's edge, which at an outline is along the surface's normal.

    Args:
        sheet: The surface.
        eye: The photo's camera.
        contour: Its mask's edge.
        face_ids: Triangles at the pixels of a render [t H, t W], -1 where there is none.
        barycentrics: Weights of their corners [t H, t W, 3].
        depths: z of the surface [t H, t W].
    """
    finer = face_ids.shape[1] * contour.finer / contour.distances.shape[1]
    rows, columns, places = _crossings(face_ids >= 0)
    distance, outwards = contour.at(places / finer)
    corners = sheet.faces[face_ids[rows, columns]]
    direction = outwards @ eye.rotation[:2]  # in the plane of the picture, world axes
    moves = barycentrics[rows, columns] * np.einsum("mkc,mc->mk", sheet.normals[corners], direction)
    pixel = depths[rows, columns] / (eye.focal[0] * sheet.edge)  # its size in edges
    most = _FURTHEST * contour.size
    sure = (moves.sum(axis=1) > _SIDEWAYS) / (1 + (distance / (_DOUBTED * contour.size)) ** 2)
    shape = len(rows), len(sheet.vertices)
    where = np.repeat(np.arange(len(rows)), 3), corners.ravel()
    return Pulls(
        csr_matrix((moves.ravel(), where), shape=shape),
        np.clip(distance, -most, most) * pixel,
        _STEPS_PER_LENGTH * sure * pixel / finer,
    )


def _crossings(seen: NDArray[np.bool_]) -> tuple[Index, Index, Array]:
    """Rows [M] and columns [M] of pixels that see something beside one that does not, and the places [M, 2]
    half-way between the two. A picture's border is no such place."""
    found = []
    for down, right in ((0, 1), (1, 0)):
        first, second = seen[: len(seen) - down, : seen.shape[1] - right], seen[down:, right:]
        for rows, columns, ahead in ((*np.nonzero(first & ~second), 1), (*np.nonzero(second & ~first), 0)):
            places = np.stack([columns + 0.5 + 0.5 * right, rows + 0.5 + 0.5 * down], axis=1)
            back = 1 - ahead  # the pixel that sees something is the second one
            found.append((rows + back * down, columns + back * right, places))
    rows, columns, places = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, columns, places
