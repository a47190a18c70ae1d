"""A surface moved onto the photos: its outlines onto the masks', its points to where the colours agree.

Depth maps of a splat are right to about a pixel. Each point of the surface is moved along its normal: by the
distance of an outline to the mask's edge where it lies on an outline, by what makes the photos' colours of it
agree elsewhere (in the manner of Vu et al., "High accuracy and visibility-consistent dense multiview stereo",
2012), and with its neighbours. All of that is one sparse linear system, set up and solved a few times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.sparse.linalg import cg

from agsrec.mesh.agreement import Glimpse, agreement, glimpsed
from agsrec.mesh.normals import corner_normals
from agsrec.mesh.outline import Contour, Pulls, outline_pulls
from agsrec.mesh.sheet import Eye, Sheet
from agsrec.mesh.textured import mesh_fragments

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.cameras import Cameras
    from agsrec.views import Views

__all__ = ["fitted_to_photos"]

Array = NDArray[np.float64]
Faces = NDArray[np.int32]

_ROUNDS = 6
_RENDERED = 512  # pixels along the renders that outlines are taken from, at least
_BLURS = 2.0, 1.0  # of the photos' colours, standard deviation in pixels of the first and the last round
_COLORS = 0.01, 0.0008  # weight of colours in the first and the last round; that of outlines is 1
_TOGETHER, _EVENLY = 0.05, 15.0  # weights of neighbours that move by the same, and by the mean of theirs
_STAY = 0.01  # weight of no move
_STEP = 0.5  # edges: most that a point is moved by in a round
_SHORT = 0.3  # mean edges: shorter ones do not tie their ends any more
_EXACT, _MOST = 1e-4, 500  # error of a solution as a share of the right side, and steps to get there
_TURN, _TRIES = 0.2, 8  # cosine of the turn of a triangle that is too much, and how often its move is halved


def fitted_to_photos(
    vertices: Array, faces: Faces, views: Views, cameras: Cameras, gains: Tensor | None = None
) -> Array:
    """Vertices [N, 3] of a closed mesh, moved so that it looks as in the photos; triangles stay as they are.

    Args:
        vertices: World positions [N, 3].
        faces: Corner indices [F, 3], anticlockwise seen from outside.
        views: V photos.
        cameras: Their cameras.
        gains: Factors of the photos' colours [V, 3] that make them agree; 1 by default.
    """
    factors = torch.ones(len(views), 3) if gains is None else gains
    photos = _Photo.all_of(views, cameras, factors)
    ties = _Ties.of(vertices, faces)
    for blur, trust in zip(np.linspace(*_BLURS, _ROUNDS), np.geomspace(*_COLORS, _ROUNDS), strict=True):
        sheet = Sheet.of(vertices, faces, ties.edge)
        matrix, right, glimpses = ties.matrix, np.zeros(len(vertices)), []
        for photo in photos:
            pulls, glimpse = photo.shown(sheet, float(blur))
            weighted = pulls.shares.multiply(pulls.weights[:, None]).tocsr()
            matrix = matrix + pulls.shares.T @ weighted
            right += weighted.T @ pulls.wanted
            glimpses.append(glimpse)
        colors = agreement(glimpses)
        moves = _solved(matrix + diags(trust * colors.weights), right + trust * colors.pulls)
        vertices = _moved(sheet, np.clip(moves, -_STEP, _STEP))
    return vertices


@dataclass(frozen=True)
class _Photo:
    """What a surface is fitted to.

    Attributes:
        camera: The camera [1].
        eye: The same.
        rgba: [H, W, 4], straight alpha, balanced.
        contour: Edge of its mask.
    """

    camera: Cameras
    eye: Eye
    rgba: NDArray[np.float32]
    contour: Contour

    @staticmethod
    def all_of(views: Views, cameras: Cameras, gains: Tensor) -> list[_Photo]:
        images = views.images.detach().cpu().float()
        balanced = torch.cat([images[..., :3] * gains[:, None, None], images[..., 3:]], dim=-1).numpy()
        contours = [Contour.of(image[..., 3]) for image in balanced]
        kept = zip(Eye.all_of(cameras), balanced, contours, strict=True)
        return [_Photo(cameras[[view]], *photo) for view, photo in enumerate(kept)]

    def shown(self, sheet: Sheet, blur: float) -> tuple[Pulls, Glimpse]:
        """How the surface's outline wants to move, and the colours of its points, blurred so many pixels."""
        finer = max(1, round(_RENDERED / max(self.rgba.shape)))
        seen = mesh_fragments(sheet.vertices, sheet.faces, self.camera, supersampling=finer)
        ids, shares, depths = seen.face_ids[0], seen.barycentrics[0], seen.depths[0]
        pulls = outline_pulls(sheet, self.eye, self.contour, ids, shares, depths)
        return pulls, glimpsed(sheet, self.eye, self.rgba, blur, ids, depths)


@dataclass(frozen=True)
class _Ties:
    """What holds the points of a mesh together.

    Attributes:
        matrix: Of the quadratic form [N, N] that says what moves cost.
        edge: Mean length of an edge, world units.
    """

    matrix: csr_matrix
    edge: float

    @staticmethod
    def of(vertices: Array, faces: Faces) -> _Ties:
        pairs = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
        lengths = np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1)
        edge, count = float(lengths.mean()), len(vertices)
        near = np.tile(1 / np.maximum(lengths / edge, _SHORT), 2)
        both = np.concatenate([pairs, pairs[:, ::-1]])
        beside = coo_matrix((near, (both[:, 0], both[:, 1])), shape=(count, count)).tocsr()
        degrees = np.asarray(beside.sum(axis=1)).ravel()
        apart = diags(degrees) - beside
        uneven = diags(1 / np.maximum(degrees, 1e-9)) @ apart  # move of a point less the mean of those around
        form = _TOGETHER * apart + _EVENLY * (uneven.T @ uneven) + _STAY * diags(np.ones(count))
        return _Ties(form.tocsr(), edge)


def _solved(matrix: csr_matrix, right: Array) -> Array:
    """The solution [N] of a system, to far less than a point's place is known; in memory of its own size."""
    return cg(matrix, right, rtol=_EXACT, maxiter=_MOST, M=diags(1 / matrix.diagonal()))[0]


def _moved(sheet: Sheet, moves: Array) -> Array:
    """Vertices moved along their normals by so many edges [N]; less where a triangle would turn over."""
    before = corner_normals(sheet.vertices, sheet.faces)
    moved, moves = sheet.vertices, moves.copy()
    for _ in range(_TRIES):
        moved = sheet.vertices + sheet.edge * moves[:, None] * sheet.normals
        after = corner_normals(moved, sheet.faces)
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        turned = (before * after).sum(axis=1) < _TURN * lengths
        if not turned.any():
            break
        moves[np.unique(sheet.faces[turned])] *= 0.5
    return moved
