"""Meshes as files: GLB with the texture inside, or OBJ with a material and a PNG beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from agsrec.errors import OptionError
from agsrec.files import atomic_write
from agsrec.mesh.normals import point_normals
from agsrec.names import MeshFormat

if TYPE_CHECKING:
    from agsrec.mesh.textured import TexturedMesh

__all__ = ["MeshFormat", "write_mesh"]

# OpenGL's numbers, by which glTF names things.
_VERTICES, _INDICES = 34962, 34963  # ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER
_LINEAR, _MIPMAPS, _CLAMP = 9729, 9987, 33071  # LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE


def write_mesh(folder: Path, mesh: TexturedMesh, *, kind: MeshFormat = "glb") -> Path:
    """Write `mesh.glb`, or `mesh.obj` with `mesh.mtl` and `mesh.png`, into a folder.

    World units, +y up, front towards +z where the first camera stood, as glTF wants it. The material is
    unlit in effect: fully rough, no metal; the photos' light is in the texture.

    Raises:
        OptionError: There is no such format.
        OutputError: A file cannot be written.
    """
    from trimesh.visual.material import PBRMaterial, SimpleMaterial

    texture = Image.fromarray((mesh.texture * 255 + 0.5).astype(np.uint8))
    if kind == "glb":
        material: Any = PBRMaterial(
            name="object", baseColorTexture=texture, metallicFactor=0.0, roughnessFactor=1.0
        )
        content = _assembled(mesh, material).export(
            file_type="glb", include_normals=True, tree_postprocessor=_complete
        )
        atomic_write(folder / "mesh.glb", content)
        return folder / "mesh.glb"
    if kind != "obj":
        raise OptionError(f"--mesh_format must be glb or obj, not {kind}")
    material = SimpleMaterial(
        image=texture, diffuse=(255, 255, 255, 255), ambient=(255, 255, 255, 255), specular=(0, 0, 0, 255)
    )
    material.name = "mesh"
    from trimesh.exchange.obj import export_obj

    text, others = export_obj(
        _assembled(mesh, material), return_texture=True, mtl_name="mesh.mtl", include_normals=True
    )
    for name, content in others.items():
        atomic_write(folder / name, content)
    atomic_write(folder / "mesh.obj", text)
    return folder / "mesh.obj"


def _complete(tree: dict[str, Any]) -> None:
    """Add to a glTF tree what trimesh leaves open: what buffers are for, and how the texture is looked up."""
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            for accessor in primitive["attributes"].values():
                tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = _VERTICES
            tree["bufferViews"][tree["accessors"][primitive["indices"]]["bufferView"]]["target"] = _INDICES
    # By default it would repeat, and its edges would take colour from the opposite side.
    tree["samplers"] = [{"magFilter": _LINEAR, "minFilter": _MIPMAPS, "wrapS": _CLAMP, "wrapT": _CLAMP}]
    for texture in tree["textures"]:
        texture["sampler"] = 0


def _assembled(mesh: TexturedMesh, material: Any) -> Any:
    import trimesh
    from trimesh.visual import TextureVisuals

    # Corners that a seam of the texture separates have one normal, or the seams would show.
    points, place = np.unique(mesh.vertices, axis=0, return_inverse=True)
    place = place.ravel()
    normals = point_normals(points, place[mesh.faces])
    normals = np.where(normals.any(axis=1, keepdims=True), normals, (0.0, 1.0, 0.0))[place]
    visual = TextureVisuals(uv=mesh.uvs, material=material)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=normals, visual=visual, process=False)
