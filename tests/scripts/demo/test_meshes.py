"""Tessellated shapes: closed, turned outwards, of known volume."""

import numpy as np
import pytest

from scripts.demo import meshes, sdf
from scripts.demo.meshes import Mesh


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6.0)


def face_normals(mesh: Mesh) -> np.ndarray:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def assert_normals_agree_with_faces(mesh: Mesh) -> None:
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-6)
    areas = face_normals(mesh)
    agreement = (areas * mesh.normals[mesh.faces].mean(axis=1)).sum(axis=1)
    assert (agreement >= -1e-6 * np.abs(areas).sum(1)).mean() > 0.99


PATH = meshes.smooth_path([[0, 0, 0], [0, 1, 0.2], [0.3, 2, 0]], 60)
ROUND = np.linspace(0.0, np.pi, 60)
SHAPES = {
    "ball": (meshes.polygonise(sdf.sphere(0.5), [-0.6] * 3, [0.6] * 3, 0.03), 4 / 3 * np.pi * 0.125),
    "box": (meshes.box([0.3, 0.2, 0.4], 0.01, 0.02), 8 * 0.3 * 0.2 * 0.4),
    "lathe up": (meshes.lathe(np.stack([np.sin(ROUND), -np.cos(ROUND)], 1), 96), 4 / 3 * np.pi),
    "lathe down": (meshes.lathe(np.stack([np.sin(ROUND), np.cos(ROUND)], 1), 96), 4 / 3 * np.pi),
    "can": (meshes.lathe([[0.5, 0.0], [0.5, 1.0]], 96), np.pi * 0.25),
    "tube": (
        meshes.tube(PATH, 0.1, sides=48),
        np.pi * 0.01 * np.linalg.norm(np.diff(PATH, axis=0), axis=1).sum(),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_volume_and_orientation(name: str) -> None:
    mesh, expected = SHAPES[name]
    assert volume(mesh) == pytest.approx(expected, rel=0.02)
    assert_normals_agree_with_faces(mesh)


@pytest.mark.parametrize("name", SHAPES)
def test_mirrored_copies_stay_turned_outwards(name: str) -> None:
    mesh, _ = SHAPES[name]
    copy = meshes.place(mesh, np.diag([-1.0, 1.0, 2.0, 1.0]))
    assert volume(copy) == pytest.approx(2.0 * volume(mesh))
    assert_normals_agree_with_faces(copy)
    assert copy.coords is mesh.coords


def test_blade_is_thin_and_closed() -> None:
    path = np.linspace([0, 0, 0], [0, 1, 0], 20)
    leaf = meshes.blade(path, np.sin(np.linspace(0, np.pi, 20)) * 0.2, 0.01, [1, 0, 0])
    extent = leaf.vertices.max(axis=0) - leaf.vertices.min(axis=0)
    np.testing.assert_allclose(extent, [0.4, 1.0, 0.02], rtol=0.02)
    assert volume(leaf) > 0


def test_rotation_is_right_handed_and_joining_keeps_everything() -> None:
    turned = meshes.rotation([0, 0, 1], 90.0) @ [1.0, 0.0, 0.0, 1.0]
    np.testing.assert_allclose(turned, [0.0, 1.0, 0.0, 1.0], atol=1e-12)
    ball, _ = SHAPES["ball"]
    pair = meshes.join([ball, meshes.place(ball, meshes.translation(2.0, 0.0, 0.0))])
    assert volume(pair) == pytest.approx(2.0 * volume(ball))


def test_smooth_path_passes_through_its_controls() -> None:
    controls = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])
    path = meshes.smooth_path(controls, 5)
    np.testing.assert_allclose(path[[0, 2, 4]], controls)
