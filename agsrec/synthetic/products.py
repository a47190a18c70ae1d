"""Things from a shelf: cans, bottles, boxes and mugs, with a printed label around them or without any print.

Their shape says little about where a photo was taken from; what is printed on them says nearly everything.
"""

from __future__ import annotations

import numpy as np

from agsrec.synthetic.paint_kernels import FAMILIES, PAINT_WIDTH
from agsrec.synthetic.random_objects import (
    ROWS,
    SHAPE_WIDTH,
    SIDES,
    RandomObject,
    assemble_parts,
    random_lights,
)

__all__ = ["PRODUCTS", "product_object"]

PRODUCTS = ("can", "bottle", "box", "mug")
"""The kinds, in the order in which seeds go through them."""

_BOX, _CYLINDER, _TORUS = 1, 2, 3
_LABEL_ROWS = range(4, 10)  # of a body's rows from bottom to top
_GRAPHICS = ("print", "patches", "speckle")


def product_object(seed: int, *, printed: bool = True) -> RandomObject:
    """The product of a seed, one kind after the other; equal seeds give equal products.

    Args:
        seed: Which one.
        printed: Whether it has a label; without, it is of plain colours.
    """
    chance = np.random.default_rng((7, seed))
    shapes, frames = _parts(PRODUCTS[seed % len(PRODUCTS)], chance)
    bare = assemble_parts(shapes, frames, chance)
    paints = np.stack([_plain(chance), _label(chance) if printed else _plain(chance)])
    part_ids = np.zeros(len(bare.faces), dtype=np.int32)
    part_ids[_label_faces()] = 1
    return RandomObject(
        vertices=bare.vertices,
        faces=bare.faces,
        normals=bare.normals,
        coords=_unrolled(bare),
        part_ids=part_ids,
        paints=paints,
        lights=random_lights(chance),
    )


def _parts(kind: str, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shape rows [P, SHAPE_WIDTH] and placements [P, 3, 4]; the first part is the one with the label."""
    radius, height = chance.uniform(0.25, 0.4), chance.uniform(0.4, 0.6)
    depth = radius * chance.uniform(0.4, 0.9) if kind == "box" else radius
    shapes, places = [_shape(_BOX if kind == "box" else _CYLINDER, radius, height, depth)], [np.zeros(3)]
    if kind == "bottle":
        neck = chance.uniform(0.3, 0.45) * radius
        shapes.append(_shape(_CYLINDER, neck, 0.25 * height, neck))
        places.append(np.array([0.0, 1.15 * height, 0.0]))
    if kind == "mug":
        shapes.append(_shape(_TORUS, 0.7 * height, 0.7 * height, 0.7 * height, bend=0.2))
        places.append(np.array([1.2 * radius, 0.0, 0.0]))
    frames = np.zeros((len(shapes), 3, 4))
    frames[:, :, :3] = np.eye(3)
    frames[:, :, 3] = places
    if kind == "mug":  # the handle stands
        frames[1, :, :3] = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]
    return np.stack(shapes), frames


def _shape(kind: int, width: float, height: float, depth: float, *, bend: float = 0.0) -> np.ndarray:
    row = np.zeros(SHAPE_WIDTH)
    row[:4] = kind, width, height, depth
    row[4] = bend
    return row


def _label_faces() -> np.ndarray:
    """Faces of the first part that the label covers."""
    quads = np.concatenate([np.arange(row * SIDES, (row + 1) * SIDES) for row in _LABEL_ROWS])
    return np.concatenate([quads, quads + ROWS * SIDES])


def _unrolled(bare: RandomObject) -> np.ndarray:
    """Paint coordinates [N, 3]: around the body, as on a sheet of paper, and up."""
    side = np.arange(len(bare.vertices)) % (SIDES + 1)
    angle = 2 * np.pi * side / SIDES - np.pi
    radius = np.linalg.norm(bare.vertices[: (ROWS + 1) * (SIDES + 1), ::2], axis=1).max()
    return np.stack([radius * angle, np.zeros_like(angle), -bare.vertices[:, 1]], axis=1)


def _plain(chance: np.random.Generator) -> np.ndarray:
    row = np.zeros(PAINT_WIDTH)
    row[1:10] = np.tile(chance.uniform(0.05, 0.9, 3), 3)
    row[10], row[12] = 1.0, 1.0
    return row


def _label(chance: np.random.Generator) -> np.ndarray:
    row = np.zeros(PAINT_WIDTH)
    row[0] = FAMILIES.index(str(chance.choice(_GRAPHICS)))
    light, dark = chance.uniform(0.5, 0.95, 3), chance.uniform(0.02, 0.3, 3)
    row[1:10] = np.concatenate([light, dark, chance.uniform(0.05, 0.9, 3)])
    row[10] = chance.uniform(6.0, 12.0)
    row[11] = chance.uniform(0.3, 0.7)
    row[12] = 1.0
    row[15] = chance.integers(0, 1 << 20)
    return row
