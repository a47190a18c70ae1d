"""From Gaussians and photos to a textured triangle mesh: surface, unwrapping, baking, refinement, files."""

from agsrec.mesh.config import MeshConfig
from agsrec.mesh.stage import MeshResult, make_mesh
from agsrec.mesh.textured import TexturedMesh

__all__ = ["MeshConfig", "MeshResult", "TexturedMesh", "make_mesh"]
