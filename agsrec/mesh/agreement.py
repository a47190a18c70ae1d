"""Where on its normal a point of the surface should be: where the photos show the same colour of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agsrec.mesh.outline import sampled_at

if TYPE_CHECKING:
    from agsrec.mesh.sheet import Eye, Sheet

__all__ = ["Agreement", "Glimpse", "agreement", "glimpsed"]

Array = NDArray[np.float64]
Picture = NDArray[np.float32]

_SOLID = 0.9  # alpha from which a pixel is the object's
_LIMB, _FRONTAL = 0.2, 0.6  # cosines from which a photo counts, and counts fully
_BEHIND = 1.0  # edges: a point so much behind the surface is not seen
_ODD = 0.1  # difference of colour from which a photo is doubted
_NOISE = 0.02  # of colours: what a difference counts as one edge
_ENOUGH = 0.3  # weight of the photos of a point below which they say nothing


@dataclass(frozen=True)
class Glimpse:
    """What one photo shows of N points.

    Attributes:
        colors: [N, 3].
        slopes: How they change as the points move along their normals, per edge [N, 3].
        weights: How much the photo counts [N], 0 where it does not show the point.
    """

    colors: Array
    slopes: Array
    weights: Array


@dataclass(frozen=True)
class Agreement:
    """How far N points want to move along their normals, in edges, as least squares has it.

    Attributes:
        weights: How much it counts [N].
        pulls: That times how far [N].
    """

    weights: Array
    pulls: Array


def glimpsed(
    sheet: Sheet, eye: Eye, photo: Picture, blur: float, face_ids: NDArray[np.int32], depths: Picture
) -> Glimpse:
    """What a photo shows of the points of a surface.

    Args:
        sheet: The surface.
        eye: The photo's camera.
        photo: RGBA [H, W, 4], straight alpha.
        blur: Standard deviation in pixels by which it is blurred first.
        face_ids: Triangles at the pixels of a render [t H, t W], -1 where there is none.
        depths: z of the surface [t H, t W].
    """
    height, width = photo.shape[:2]
    places, local = eye.project(sheet.vertices)
    values = sampled_at(_with_slopes(photo, blur), places)
    colors, across, down, inside = np.split(values, [3, 6, 9], axis=1)
    motion = sheet.edge * sheet.normals @ eye.rotation.T
    steps = (motion[:, :2] - local[:, :2] / local[:, 2:] * motion[:, 2:]) / local[:, 2:] * eye.focal
    finer = face_ids.shape[1] / width
    x, y = np.clip((places * finer).astype(np.intp), 0, np.array(face_ids.shape[::-1]) - 1).T
    shown = (face_ids[y, x] >= 0) & (local[:, 2] < depths[y, x] + _BEHIND * sheet.edge)
    shown &= (inside[:, 0] > 0.99) & ((places > 0) & (places < (width, height))).all(axis=1)
    ramp = np.clip((eye.facing(sheet) - _LIMB) / (_FRONTAL - _LIMB), 0, 1)
    return Glimpse(colors, across * steps[:, :1] + down * steps[:, 1:], shown * ramp)


def agreement(glimpses: list[Glimpse]) -> Agreement:
    """How points want to move so that the photos' colours come to agree, by one step of Gauss and Newton.

    Colours are compared with their mean, which moves too; photos far off it are doubted (Geman and McClure).
    """
    colors, slopes = (np.stack([getattr(g, name) for g in glimpses]) for name in ("colors", "slopes"))
    weights = np.stack([g.weights for g in glimpses])
    off = colors - _mean(colors, weights)
    weights = weights / (1 + (off**2).sum(axis=-1) / _ODD**2)
    off, steep = colors - _mean(colors, weights), slopes - _mean(slopes, weights)
    known = ((weights > 0).sum(axis=0) > 1) & (weights.sum(axis=0) > _ENOUGH)
    scaled = weights[..., None] * known[:, None] / _NOISE**2
    return Agreement((scaled * steep**2).sum(axis=(0, 2)), -(scaled * steep * off).sum(axis=(0, 2)))


def _mean(values: Array, weights: Array) -> Array:
    """Weighted mean over photos [N, D] of values [V, N, D] with weights [V, N]."""
    total = np.maximum(weights.sum(axis=0), 1e-9)
    return (weights[..., None] * values).sum(axis=0) / total[:, None]


def _with_slopes(photo: Picture, blur: float) -> Picture:
    """Blurred colours, their slopes along x and y per pixel, and whether all that was blurred is the object's
    [H, W, 3 + 3 + 3 + 1]."""
    import cv2

    rgb, alpha = photo[..., :3], photo[..., 3]
    rgba = cv2.GaussianBlur(np.dstack([rgb * alpha[..., None], alpha]), (0, 0), blur)
    smooth = rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-3)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, dx, 1 - dx, ksize=3, scale=1 / 8) for dx in (1, 0))
    solid = (alpha > _SOLID).astype(np.float32)
    inside = cv2.erode(solid, np.ones((3, 3), np.uint8), iterations=round(blur + 1))
    return np.concatenate([smooth, across, down, inside[..., None]], axis=-1).astype(np.float32)
