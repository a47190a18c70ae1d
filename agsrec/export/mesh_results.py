"""The mesh of a result, written beside its scene, cameras and photos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agsrec.export.report import Picture, Section, Table, Text, Video, put_section
from agsrec.figures.panels import comparison_figure
from agsrec.figures.turntable import save_turntable
from agsrec.files import atomic_write
from agsrec.images import save_png
from agsrec.mesh.files import write_mesh
from agsrec.mesh.textured import render_mesh
from agsrec.names import MeshFormat

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.mesh import MeshResult
    from agsrec.views import Views

__all__ = ["add_mesh", "save_mesh"]


def save_mesh(
    folder: Path,
    made: MeshResult,
    gaussians: Gaussians,
    views: Views,
    cameras: Cameras,
    *,
    kind: MeshFormat = "glb",
) -> tuple[Path, dict[str, Any]]:
    """Write a mesh, and put it into the video, the report and the figures of the result in a folder.

    Files: `mesh.glb` (or `mesh.obj`, `mesh.mtl` and `mesh.png`), `mesh_comparison.png`, `turntable.mp4` with
    splat and mesh side by side, and the figures as `mesh` in `metrics.json`. A `report.html` gets the same.

    Returns:
        The mesh's file and the figures: those of `agsrec.mesh.MeshResult`, `file` and `bytes`.

    Raises:
        OutputError: A file cannot be written.
    """
    save_turntable(folder / "turntable.mp4", gaussians, cameras, made.mesh)
    return add_mesh(folder, made, views, cameras, kind=kind)


def add_mesh(
    folder: Path, made: MeshResult, views: Views, cameras: Cameras, *, kind: MeshFormat = "glb"
) -> tuple[Path, dict[str, Any]]:
    """Everything that `save_mesh` does but the video, which shows the mesh already."""
    file = write_mesh(folder, made.mesh, kind=kind)
    rgba = render_mesh(made.mesh, cameras)
    renders = rgba[..., :3] + 1 - rgba[..., 3:]
    comparison = comparison_figure(views.names, views.composited(torch.ones(3)), renders)
    save_png(folder / "mesh_comparison.png", comparison)
    parts = [file, *(f for f in (folder / "mesh.mtl", folder / "mesh.png") if kind == "obj")]
    figures = made.metrics | {"file": file.name, "bytes": sum(part.stat().st_size for part in parts)}
    _add_to_metrics(folder / "metrics.json", figures)
    _put_into_report(folder, figures, comparison)
    return file, figures


def _put_into_report(folder: Path, figures: dict[str, Any], comparison: np.ndarray) -> None:
    """The mesh's section of the report, and the video that shows the mesh too."""
    report = folder / "report.html"
    caption = "The Gaussian scene (left) and the mesh (right) from all around."
    video = Video(folder / "turntable.mp4", caption, wide=True)
    put_section(report, Section("Turntable", [video]), after="Photos and model")
    caption = "Each photo, the mesh rendered from the same camera, and where the two differ."
    section = Section("Mesh", [Text(_sentence(figures)), Picture(comparison, caption), _table(figures)])
    put_section(report, section, after="Turntable")


def _sentence(figures: dict[str, Any]) -> str:
    closed = "closed" if figures["watertight"] else "not closed everywhere"
    size = figures["texture_size"]
    return (
        f"{figures['file']} ({figures['bytes'] / 2**20:.1f} MiB) holds {figures['faces']:,} triangles, "
        f"{closed}, with a texture of {size} x {size} pixels; +y is up. Its silhouettes agree with the "
        f"photos' masks to {figures['silhouette_iou']:.0%}."
    )


def _table(figures: dict[str, Any]) -> Table:
    seconds = figures["seconds"]
    refined = [{"": "PSNR at the photos, texture refined (dB)", "Mesh": f"{figures['psnr']:.2f}"}]
    refined = refined if figures["psnr"] != figures["psnr_baked"] else []
    rows = [
        {"": "PSNR at the photos, texture as baked (dB)", "Mesh": f"{figures['psnr_baked']:.2f}"},
        *refined,
        {"": "Prior on novel views", "Mesh": "yes" if figures["prior"] else "no"},
        {"": "Vertices", "Mesh": f"{figures['vertices']:,}"},
        {"": "Seconds, " + ", ".join(seconds), "Mesh": ", ".join(f"{s:.1f}" for s in seconds.values())},
    ]
    return Table(rows)


def _add_to_metrics(path: Path, figures: dict[str, Any]) -> None:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metrics = {}
    atomic_write(path, json.dumps({**metrics, "mesh": figures}, indent=2) + "\n")
