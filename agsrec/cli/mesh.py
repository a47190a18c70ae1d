"""`agsrec mesh`: the textured mesh of a finished reconstruction, once more and otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from agsrec.cli.options import prior_or_none
from agsrec.cli.printing import say
from agsrec.mesh.config import MeshConfig
from agsrec.names import DeviceName, MeshFormat

if TYPE_CHECKING:
    from typing import Any

    from rich.console import Console


__all__ = ["Mesh", "mesh_sentence"]


@dataclass(frozen=True)
class Mesh:
    """Make the textured mesh of a finished reconstruction."""

    result: tyro.conf.Positional[Path]
    """Folder of the reconstruction, with its splat.ply, cameras.json and views/."""
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
        from agsrec.export.results import prepare_folder
        from agsrec.result_files import load_fitted

        gaussians, views, cameras = load_fitted(self.result)
        folder = self.result if self.output is None else self.output
        prepare_folder(folder)
        with console.status("making the mesh"):
            file, figures = save_mesh(
                folder,
                gaussians,
                views,
                cameras,
                self.mesh,
                kind=self.mesh_format,
                prior=prior_or_none(self.prior),
                device=self.device,
            )
        say(console, mesh_sentence(file, figures))


def mesh_sentence(file: Path, figures: dict[str, Any]) -> str:
    """What to tell about a mesh."""
    closed = "closed" if figures["watertight"] else "not closed"
    return (
        f"Mesh: {file}, {figures['faces']} triangles, {closed}; PSNR at the photos {figures['psnr']:.1f} dB, "
        f"silhouettes agree to {figures['silhouette_iou']:.0%}"
    )
