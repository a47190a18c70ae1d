"""Things as people photograph them: sound, varied, of glossy and matte materials, equal for equal seeds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.synthetic import RandomObject, random_cameras, random_good, render_views
from agsrec.synthetic.random_objects import OBJECT_RADIUS

SEEDS = range(16)
EVEN = np.concatenate([np.zeros((2, 3)), np.full((2, 3), 0.8)], 1)  # light from everywhere: no shading


def ring(count: int, elevation: float = -20.0) -> Cameras:
    Ks = Cameras.intrinsics(torch.full((count,), 80.0, dtype=torch.float64), 64, 64)
    azimuth = torch.arange(count, dtype=torch.float64) * 360 / count
    return Cameras.orbit(elevation, azimuth, 1.85, Ks=Ks, width=64, height=64)


def pictures(obj: RandomObject, count: int = 4) -> np.ndarray:
    images = render_views(obj, ring(count)).images
    return images[..., :3] * images[..., 3:]


@pytest.mark.parametrize("seed", SEEDS)
def test_things_are_sound(seed: int) -> None:
    obj = random_good(seed)
    assert np.linalg.norm(obj.vertices, axis=1).max() == pytest.approx(OBJECT_RADIUS)
    np.testing.assert_allclose(np.linalg.norm(obj.normals, axis=1), 1, atol=1e-6)
    assert obj.part_ids.max() < len(obj.paints)
    a, b, c = (obj.vertices[obj.faces[:, i]] for i in range(3))
    areas = np.cross(b - a, c - a)
    agreement = (areas * obj.normals[obj.faces].mean(axis=1)).sum(axis=1)
    assert (agreement[np.linalg.norm(areas, axis=1) > 1e-9] > 0).mean() > 0.95
    alpha = render_views(obj, ring(4)).images[..., 3]
    assert (alpha.max((1, 2)) == 1).all()


def test_equal_seeds_are_equal_things() -> None:
    first, second, other = random_good(3), random_good(3), random_good(4)
    for name in ("vertices", "faces", "part_ids", "paints", "coords", "lights"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.vertices.shape != other.vertices.shape or not np.array_equal(first.vertices, other.vertices)


def test_what_is_said_to_look_alike_does() -> None:
    things = [random_good(seed) for seed in range(150)]
    alike = [replace(obj, lights=EVEN) for obj in things if obj.alike]
    assert 2 <= len(alike) <= 15
    for obj in alike:
        shown = pictures(obj)
        assert np.abs(shown - shown[:1]).mean() < 0.02
    others = [pictures(replace(obj, lights=EVEN)) for obj in things[:40] if not obj.alike]
    different = [np.abs(shown - shown[:1]).mean() > 0.02 for shown in others]
    assert np.mean(different) > 0.7


def test_a_vessel_is_open_above() -> None:
    """Its inside is seen from above, where a closed body has a lid at the height of its rim."""
    from agsrec.synthetic.goods import _mug, _painted, _Parts

    chance, parts = np.random.default_rng(0), _Parts()
    _mug(parts, chance)
    obj = _painted(parts, chance, shaded=True)
    above = ring(1, elevation=-88.0)
    depths = render_views(obj, above).depths[0]
    middle, rim = depths[30:34, 30:34], depths[depths > 0].min()
    assert middle.min() > rim + 0.1


def test_gloss_moves_with_the_eye() -> None:
    """A highlight is elsewhere on the surface from elsewhere; matte paint keeps its colour."""
    obj = next(o for o in map(random_good, range(50)) if (o.paints[:, 17] > 0.3).any())
    matte = obj.paints.copy()
    matte[:, 17] = 0
    still = replace(obj, paints=matte)

    def seen(thing: RandomObject) -> np.ndarray:
        """Colours of one point from two cameras, for many points."""
        cameras = ring(24)[[0, 1]]
        views = render_views(thing, cameras, supersampling=1)
        rows, columns = np.nonzero(views.masks[0])
        uv, depth = cameras[1].project(torch.from_numpy(views.points[0][rows, columns]).double())
        column, row = uv[0].floor().long().clamp(0, 63).T.numpy()
        both = np.abs(views.depths[1][row, column] - depth[0].numpy()) < 5e-3
        there, here = views.images[1][row, column, :3], views.images[0][rows, columns, :3]
        return np.abs(there - here)[both].mean()

    assert seen(obj) > 1.5 * seen(still)


@pytest.mark.parametrize("layout", ["ring", "scattered", "front"])
def test_sets_of_cameras(layout: str) -> None:
    obj = random_good(1)
    chance = np.random.default_rng(0)
    cameras = [random_cameras(obj.vertices, 8, 64, chance, layout=layout) for _ in range(6)]  # type: ignore[arg-type]
    azimuths = torch.stack([c.spherical()[1] for c in cameras]).sort(1).values
    gaps = torch.cat([azimuths.diff(dim=1), 360 + azimuths[:, :1] - azimuths[:, -1:]], 1)
    widest = gaps.amax(1)
    if layout == "front":
        assert bool((widest > 200).all())
    elif layout == "ring":
        assert bool((widest < 80).all())


def test_what_fills_more_than_the_picture_is_cut() -> None:
    obj = random_good(1)
    cameras = random_cameras(obj.vertices, 8, 64, np.random.default_rng(0), fill_range=(1.2, 1.3))
    alpha = render_views(obj, cameras).images[..., 3]
    edges = np.stack([alpha[:, 0].max(1), alpha[:, -1].max(1), alpha[:, :, 0].max(1), alpha[:, :, -1].max(1)])
    assert (edges.max(0) > 0.5).all()
