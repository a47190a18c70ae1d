"""Things from a shelf: whole, of the size of other objects, printed all around or plain."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.synthetic import PRODUCTS, product_object, render_views
from agsrec.synthetic.random_objects import OBJECT_RADIUS, ROWS, SIDES


def around(count: int) -> Cameras:
    Ks = Cameras.intrinsics(torch.full((count,), 120.0, dtype=torch.float64), 96, 96)
    azimuth = torch.arange(count, dtype=torch.float64) * 360 / count
    return Cameras.orbit(-15.0, azimuth, 1.85, Ks=Ks, width=96, height=96)


@pytest.mark.parametrize("seed", range(len(PRODUCTS)))
def test_products_are_seen_from_all_sides(seed: int) -> None:
    obj = product_object(seed)
    assert np.linalg.norm(obj.vertices, axis=1).max() == pytest.approx(OBJECT_RADIUS)
    assert np.allclose(np.linalg.norm(obj.normals, axis=1), 1)
    images = render_views(obj, around(4)).images
    shares = (images[..., 3] > 0.5).mean((1, 2))
    assert (shares > 0.05).all() and (shares < 0.6).all()


def test_a_label_looks_different_from_every_side() -> None:
    """Unlike the shape of a can, which does not."""
    even = np.zeros((2, 6))
    even[:, 3:] = 0.8  # light from everywhere: no shading
    objects = (replace(product_object(0, printed=p), lights=even) for p in (True, False))
    printed, plain = (render_views(obj, around(4)).images for obj in objects)
    silhouettes = printed[..., 3]
    assert np.abs(silhouettes - silhouettes[:1]).mean() < 0.02

    def differences(images: np.ndarray) -> list[float]:
        rgb = images[..., :3] * images[..., 3:]
        return [float(np.abs(rgb[i] - rgb[j]).mean()) for i, j in combinations(range(len(rgb)), 2)]

    assert min(differences(printed)) > 0.02
    assert max(differences(plain)) < 0.25 * min(differences(printed))


def test_equal_seeds_are_equal_objects() -> None:
    first, second, other = product_object(5), product_object(5), product_object(9)
    assert np.array_equal(first.vertices, second.vertices) and np.array_equal(first.paints, second.paints)
    assert not np.array_equal(first.paints, other.paints)


def test_the_label_is_on_the_first_part() -> None:
    obj = product_object(3)  # a mug: a body and a handle
    labelled = np.flatnonzero(obj.part_ids == 1)
    assert len(labelled) and labelled.max() < 2 * ROWS * SIDES < len(obj.faces)
