from .config import MeshConfig as MeshConfig
from .stage import MeshResult as MeshResult
from .stage import make_mesh as make_mesh
from .textured import TexturedMesh as TexturedMesh

__all__: list[str]
