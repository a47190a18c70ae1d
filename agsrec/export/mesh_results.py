"""The mesh of a result: made from its scene, cameras and photos, and written beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agsrec.export.figures import comparison_figure
from agsrec.files import atomic_write
from agsrec.images import save_png
from agsrec.mesh import MeshConfig, make_mesh
from agsrec.mesh.files import MeshFormat, write_mesh
from agsrec.mesh.textured import render_mesh

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import GuidanceConfig
    from agsrec.fit import Guidance
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = ["save_mesh"]


def save_mesh(
    folder: Path,
    gaussians: Gaussians,
    views: Views,
    cameras: Cameras,
    config: MeshConfig,
    *,
    kind: MeshFormat = "glb",
    guidance: Guidance | None = None,
    guidance_config: GuidanceConfig | None = None,
    seed: int = 0,
) -> tuple[Path, dict[str, Any]]:
    """Make a mesh and write it with a picture of photos and mesh side by side, and its figures.

    Files: `mesh.glb` (or `mesh.obj`, `mesh.mtl` and `mesh.png`), `mesh_comparison.png`, and the figures as
    `mesh` in `metrics.json`.

    Returns:
        The mesh's file and the figures; see `agsrec.mesh.MeshResult`.

    Raises:
        SceneError: The scene has no surface.
        OutputError: A file cannot be written.
    """
    made = make_mesh(
        gaussians,
        views,
        cameras,
        config,
        guidance=guidance,
        guidance_config=guidance_config,
        seed=seed,
    )
    file = write_mesh(folder, made.mesh, kind=kind)
    rgba = render_mesh(made.mesh, cameras)
    renders = rgba[..., :3] + 1 - rgba[..., 3:]
    inputs = views.composited(torch.ones(3))
    save_png(folder / "mesh_comparison.png", comparison_figure(views.names, inputs, renders))
    _add_to_metrics(folder / "metrics.json", made.metrics)
    return file, made.metrics


def _add_to_metrics(path: Path, figures: dict[str, Any]) -> None:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metrics = {}
    atomic_write(path, json.dumps({**metrics, "mesh": figures}, indent=2) + "\n")
