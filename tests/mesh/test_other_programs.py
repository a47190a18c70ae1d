"""Meshes in programs of others, where they are installed: Blender and MeshLab as modules for Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agsrec.mesh.files import MeshFormat, write_mesh
from tests.mesh.painting import BALL_RADIUS, ball, painted


@pytest.fixture(params=["glb", "obj"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A ball with a texture of 64 x 64 pixels."""
    kind: MeshFormat = request.param
    return write_mesh(tmp_path, painted(ball(64)[0]), kind=kind)


def test_blender(file: Path) -> None:
    bpy = pytest.importorskip("bpy", reason="Blender's module is not installed")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    read = {".glb": bpy.ops.import_scene.gltf, ".obj": bpy.ops.wm.obj_import}[file.suffix]
    assert read(filepath=str(file)) == {"FINISHED"}
    (found,) = [item for item in bpy.data.objects if item.type == "MESH"]
    corners = np.array([found.matrix_world @ vertex.co for vertex in found.data.vertices])
    np.testing.assert_allclose(np.abs(corners).max(0), BALL_RADIUS, rtol=0.02)
    nodes = found.data.materials[0].node_tree.nodes
    (picture,) = [node.image for node in nodes if node.type == "TEX_IMAGE"]
    assert tuple(picture.size) == (64, 64) and len(found.data.uv_layers) == 1


def test_meshlab(file: Path) -> None:
    pymeshlab = pytest.importorskip("pymeshlab", reason="MeshLab's module is not installed")
    meshes = pymeshlab.MeshSet()
    meshes.load_new_mesh(str(file))
    found = meshes.current_mesh()
    assert found.texture_number() == 1 and found.has_wedge_tex_coord()
    np.testing.assert_allclose(found.bounding_box().max(), BALL_RADIUS, rtol=0.02)
