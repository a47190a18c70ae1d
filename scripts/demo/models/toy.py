"""A snake puzzle: 24 wooden wedges in a chain, folded into a ball, each with its own print.

Model frame: the legs of a wedge's cross-section are one unit long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scripts.demo import meshes, sdf
from scripts.demo.meshes import Mesh
from scripts.demo.rendering import Model, Part, Texture, build_model
from scripts.demo.textures import band, grain, label_image, mix, stamp, wood

Array = NDArray[np.float64]

__all__ = ["FOLDS", "build", "wedge_frames"]

FOLDS = (1, 1, 3, 1, 3, 3, 1, 3, 1, 1, 3, 1, 3, 3, 1, 3, 1, 1, 3, 1, 3, 3, 1)
"""Quarter turns at the 23 hinges: the ball."""

_WOODS = (("#f0cf95", "#b9803f"), ("#d84a32", "#8c2417"), ("#3f86c9", "#1d4c86"))
_INKS = ("#3a2412", "#ffe9b8", "#fff3d6")


def build() -> Model:
    """The folded ball."""
    wedge = _wedge()
    parts = [Part(meshes.place(wedge, frame), _paint(i)) for i, frame in enumerate(wedge_frames(FOLDS))]
    return build_model(parts)


def wedge_frames(folds: tuple[int, ...]) -> list[Array]:
    """4x4 placement of each wedge of a chain with the given quarter turns at its hinges.

    A wedge has a square face on its -x side and one on its -y side. The chain leaves through -y; the next
    wedge touches that square with its own -x face, turned about the common normal.
    """
    frames = [np.eye(4)]
    # Takes the next wedge's -x face onto this wedge's -y face.
    swing = meshes.translation(0, -1, 0) @ meshes.rotation([0, 0, 1], -90)
    for fold in folds:
        turn = meshes.rotation([1, 0, 0], 90.0 * fold)
        frames.append(frames[-1] @ swing @ turn)
    return frames


def _wedge() -> Mesh:
    inset, rounding = 0.018, 0.014
    low, tip = -0.5 + inset, 0.5 - (1.0 + 2.0**0.5) * inset
    outline = [[low, low], [tip, low], [low, tip]]
    return meshes.polygonise(sdf.extrude(outline, 0.496, rounding), [-0.56] * 3, [0.56] * 3, 0.028)


def _paint(index: int) -> Texture:
    kind = index % 3
    light, dark = _WOODS[kind]
    ink = _INKS[kind]
    mark = label_image((128, 128), [("ABCDEFGHJKLMNPQRSTUVWXYZ"[index], 0.5, 0.5, 0.8, ink)])
    number = label_image((128, 128), [(str(index + 1), 0.5, 0.5, 0.75, ink)])

    def texture(p: Array) -> Array:
        x, y, z = p.T
        base = wood(p + index * np.array([0.3, 0.71, 0.37]), light, dark, 5.0, index) * grain(
            p, 6.0, 0.1, index
        )
        slope = x + y > -0.12
        across = (x - y) / 1.3
        base = mix(
            base, ink, slope * band(np.abs(z), 0.36, 0.40, 0.004) * band(np.abs(across), -1, 0.40, 0.004)
        )
        base = stamp(base, mark, 0.5 - across, 0.5 - z, slope & (np.abs(z) < 0.36))
        base = stamp(base, number, (x + 0.5) / 0.55, (0.05 - y) / 0.55, z > 0.47)
        return stamp(base, number, (0.05 - x) / 0.55, (0.05 - y) / 0.55, z < -0.47)

    return texture
