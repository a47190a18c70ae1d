"""`agsrec mesh`: the textured mesh of a finished reconstruction, once more and otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from agsrec.cli.printing import mesh_sentence, say
from agsrec.mesh.config import MeshConfig
from agsrec.names import DeviceName, MeshFormat
from agsrec.options import prior_or_none

if TYPE_CHECKING:
    from rich.console import Console


__all__ = ["Mesh"]


@dataclass(frozen=True)
class Mesh:
    """Make the textured mesh of a finished reconstruction."""

    result: tyro.conf.Positional[Path]
    """Folder of the reconstruction, with its splat, cameras.json, views/ and, where it has them, photos/ and
    photos_others/."""
    mesh_format: MeshFormat = "glb"
    """glb: one file, the texture inside; obj: mesh.obj, mesh.mtl and mesh.png."""
    output: Path | None = None
    """Folder to write into; that of the reconstruction by default."""
    prior: str = "none"
    """Diffusion model that has its say about the texture from where no photo was taken: a folder, a name in
    checkpoints/, a hub id, or none; the embedded one changes little (docs/meshes.md)."""
    device: DeviceName = "auto"
    """Where the prior computes; auto takes CUDA where there is one."""
    mesh: tyro.conf.OmitArgPrefixes[MeshConfig] = field(default_factory=MeshConfig)
    """Size and effort."""

    def main(self, console: Console) -> None:
        """Make it, write it, and say how good it is."""
        from agsrec.export.mesh_results import save_mesh
        from agsrec.locks import locked
        from agsrec.mesh import make_mesh
        from agsrec.result_files import load_fitted, load_full_size, load_others

        gaussians, views, cameras = load_fitted(self.result)
        photos = load_full_size(self.result, views)
        folder = self.result if self.output is None else self.output
        prior = prior_or_none(self.prior)
        with locked(folder), console.status("making the mesh"):
            made = make_mesh(
                gaussians,
                views,
                cameras,
                self.mesh,
                prior=prior,
                device=self.device,
                photos=photos,
                others=load_others(self.result, views),
            )
            file, figures = save_mesh(folder, made, gaussians, views, cameras, kind=self.mesh_format)
        say(console, mesh_sentence(file, figures))
