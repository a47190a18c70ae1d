"""Noise and paint: deterministic, in range, the right way round."""

import numpy as np
import pytest

from scripts.demo import noise, textures

POINTS = np.random.default_rng(0).uniform(-50.0, 50.0, (4000, 3))


def test_noise_is_deterministic_and_in_range() -> None:
    for values in (noise.value_noise(POINTS, 3), noise.fbm(POINTS, 4, 3), noise.cell_noise(POINTS, 3)[1]):
        assert values.min() >= 0.0 and values.max() < 1.0 and np.ptp(values) > 0.5
    np.testing.assert_array_equal(noise.fbm(POINTS, 4, 3), noise.fbm(POINTS, 4, 3))
    assert not np.allclose(noise.fbm(POINTS, 4, 3), noise.fbm(POINTS, 4, 4))


def test_hash_has_a_golden_value() -> None:
    """Demo data depends on these bits: a change here means regenerating it."""
    cells = np.array([[0, 0, 0], [1, -2, 3]])
    np.testing.assert_allclose(
        noise.hash_unit(cells, 7), [0.5253883206751198, 0.9815925534348935], atol=1e-12
    )


def test_noise_is_continuous_across_lattice_cells() -> None:
    x = np.array([[1.0 - 1e-7, 0.3, -2.0], [1.0 + 1e-7, 0.3, -2.0]])
    a, b = noise.value_noise(x, 1)
    assert a == pytest.approx(b, abs=1e-5)


def test_cell_noise_finds_the_nearest_point_by_brute_force() -> None:
    points = np.random.default_rng(1).uniform(-2.0, 2.0, (200, 3))
    distance, label = noise.cell_noise(points, 9)
    assert distance.max() < np.sqrt(3.0)
    nudged, same = noise.cell_noise(points + 1e-9, 9)
    np.testing.assert_allclose(distance, nudged, atol=1e-8)  # 1-Lipschitz, so no cell was missed
    assert (label == same).mean() > 0.99


def test_masks_have_known_values() -> None:
    t = np.array([0.0, 0.4, 0.6, 1.0, -0.1])
    np.testing.assert_array_equal(textures.stripes(t, 1.0), [1, 1, 0, 1, 0])
    np.testing.assert_array_equal(textures.checks(t, np.zeros(5), 1.0), [0, 0, 1, 0, 1])
    np.testing.assert_allclose(textures.band(t, 0.2, 0.5), [0, 1, 0, 0, 0])


def test_colours_are_linear() -> None:
    np.testing.assert_allclose(textures.color("#ffffff"), 1.0)
    np.testing.assert_allclose(textures.color("#808080"), 0.2158605, atol=1e-6)
    np.testing.assert_allclose(textures.mix("#000000", "#ffffff", np.array([0.25])), [[0.25] * 3])


def test_stamp_is_upright_and_leaves_the_rest_alone() -> None:
    image = np.zeros((4, 4, 4))
    image[0, 0] = 1.0, 0.0, 0.0, 1.0  # opaque red at the top left
    base = np.full((3, 3), 0.5)
    printed = textures.stamp(base, image, np.array([0.1, 0.9, 1.5]), np.array([0.1, 0.1, 0.1]))
    np.testing.assert_allclose(printed[0], [1.0, 0.0, 0.0])
    np.testing.assert_allclose(printed[1:], 0.5)
    np.testing.assert_allclose(textures.stamp(base, image, [0.1] * 3, [0.1] * 3, False), base)


def test_label_has_ink_where_the_text_is() -> None:
    label = textures.label_image((120, 40), [("HI", 0.25, 0.5, 0.8, "#000000")])
    assert label.shape == (40, 120, 4)
    assert label[:, :60, 3].max() == 1.0 and label[:, 60:, 3].max() == 0.0


@pytest.mark.parametrize("pattern", ["wood", "weave", "speckle", "grain"])
def test_patterns_are_finite_and_vary(pattern: str) -> None:
    p = POINTS / 25.0
    values = {
        "wood": lambda: textures.wood(p, "#f0cf95", "#b9803f", 5.0, 1),
        "weave": lambda: textures.weave(p[:, 0], p[:, 1], 0.1),
        "speckle": lambda: textures.speckle(p, 4.0, 0.4, 2),
        "grain": lambda: textures.grain(p, 4.0, 0.3, 2),
    }[pattern]()
    assert np.isfinite(values).all() and values.min() >= 0.0 and values.std() > 0.02
