"""Distance fields: known distances, and operators on them."""

import numpy as np
import pytest

from scripts.demo import sdf

ORIGIN = np.zeros((1, 3))


def at(field: sdf.Sdf, *point: float) -> float:
    return float(field(np.array([point], dtype=np.float64))[0])


def test_primitives_have_known_distances() -> None:
    assert at(sdf.sphere(0.5), 2.0, 0.0, 0.0) == pytest.approx(1.5)
    assert at(sdf.box([1.0, 2.0, 3.0]), 4.0, 6.0, 0.0) == pytest.approx(5.0)  # 3-4-5 triangle from the edge
    assert at(sdf.box([1.0, 2.0, 3.0]), 0.0, 0.0, 0.0) == pytest.approx(-1.0)
    assert at(sdf.box([1.0, 1.0, 1.0], 0.2), 1.5, 0.0, 0.0) == pytest.approx(0.5)
    assert at(sdf.cylinder(1.0, 2.0), 4.0, 6.0, 0.0) == pytest.approx(5.0)
    assert at(sdf.torus(1.0, 0.25), 0.0, 0.0, 0.0) == pytest.approx(0.75)
    assert at(sdf.capsule([0, 0, 0], [0, 1, 0], 0.2, 0.4), 1.0, 1.0, 0.0) == pytest.approx(0.6)
    assert at(sdf.ellipsoid([1.0, 2.0, 3.0]), 0.0, 2.0, 0.0) == pytest.approx(0.0, abs=1e-12)
    assert at(sdf.extrude([[0, 0], [1, 0], [1, 1], [0, 1]], 0.5), 0.5, 0.5, 1.5) == pytest.approx(1.0)


def test_polygon_distance_handles_both_windings_and_notches() -> None:
    notched = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [2.0, 1.0], [0.0, 4.0]])
    points = np.array([[2.0, 0.5], [2.0, 3.0], [5.0, 0.0], [0.5, 1.0]])
    forward = sdf.polygon_distance(points, notched)
    np.testing.assert_allclose(forward, sdf.polygon_distance(points, notched[::-1]))
    np.testing.assert_array_equal(np.sign(forward), [-1, 1, 1, -1])
    assert forward[0] == pytest.approx(-0.5) and forward[2] == pytest.approx(1.0)


def test_boolean_operators() -> None:
    a, b = sdf.sphere(1.0), sdf.translate(sdf.sphere(1.0), [1.5, 0.0, 0.0])
    assert at(sdf.union(a, b), 1.5, 0.0, 0.0) == pytest.approx(-1.0)
    assert at(sdf.intersect(a, b), 0.0, 0.0, 0.0) == pytest.approx(0.5)
    assert at(sdf.subtract(a, b), 0.75, 0.0, 0.0) == pytest.approx(0.25)
    assert at(sdf.shell(a, 0.1), 0.0, 0.0, 0.0) == pytest.approx(0.9)
    assert at(sdf.offset(a, 0.5), 2.0, 0.0, 0.0) == pytest.approx(0.5)


def test_smooth_operators_fill_the_crease_and_agree_far_away() -> None:
    a, b = sdf.sphere(1.0), sdf.translate(sdf.sphere(1.0), [2.0, 0.0, 0.0])
    smooth = sdf.smooth_union([a, b], 0.4)
    assert at(smooth, 1.0, 0.0, 0.0) == pytest.approx(-0.1)  # a quarter of the radius where both are zero
    assert at(smooth, -3.0, 0.0, 0.0) == pytest.approx(at(a, -3.0, 0.0, 0.0))
    carved = sdf.smooth_subtract(a, b, 0.4)
    assert at(carved, 1.0, 0.0, 0.0) > at(sdf.subtract(a, b), 1.0, 0.0, 0.0)
    assert at(carved, -1.0, 0.0, 0.0) == pytest.approx(0.0)


def test_placing_mirroring_and_repeating() -> None:
    quarter_turn = np.array([[0.0, -1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    turned = sdf.transform(sdf.box([2.0, 1.0, 1.0]), quarter_turn)
    assert at(turned, 1.0, 2.0, 0.0) == pytest.approx(0.0)
    assert at(turned, 3.0, 0.0, 0.0) == pytest.approx(1.0)
    pair = sdf.mirror(sdf.translate(sdf.sphere(0.5), [2.0, 0.0, 0.0]), 0)
    assert at(pair, -2.0, 0.0, 0.0) == pytest.approx(at(pair, 2.0, 0.0, 0.0)) == pytest.approx(-0.5)
    row = sdf.repeat(sdf.sphere(0.5), 2, 2.0, 4)
    for z in (-3.0, -1.0, 1.0, 3.0):
        assert at(row, 0.0, 0.0, z) == pytest.approx(-0.5)
    assert at(row, 0.0, 0.0, 5.0) == pytest.approx(1.5)


def test_projection_reaches_the_surface() -> None:
    field = sdf.smooth_union([sdf.sphere(1.0), sdf.translate(sdf.sphere(0.7), [1.0, 0.2, 0.0])], 0.3)
    points = np.random.default_rng(0).uniform(-2, 2, (50, 3))
    surface, normals = sdf.project_to_surface(field, points)
    np.testing.assert_allclose(field(surface), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)
    assert (field(surface + 0.01 * normals) > 0.005).all()
