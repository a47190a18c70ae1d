"""How good the meshes are: surface, silhouettes, pictures and time, on scenes with ground truth.

python benchmarks/mesh.py FOLDER... [--noise 8 0] [--views 8] [--prior none] [--texture-prior none]

Each scene is fitted from its true poses disturbed by --noise degrees r.m.s. The surface is compared with the
true points that some camera sees, after the similarity alignment of `agsrec.metrics.align_scene`; lengths are
in object radii. Test views are those never shown to the fit, from the splat and from the mesh. Seconds are
those of the mesh alone, on the wall and of the processor.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from machine import description, heading

from agsrec import Reconstruction, Scene, Settings, load_gt_scene, reconstruct
from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.mesh import MeshConfig, TexturedMesh, make_mesh
from agsrec.mesh.textured import render_mesh
from agsrec.metrics.alignment import align_scene
from agsrec.metrics.evaluation import novel_quality
from agsrec.metrics.geometry import surface_accuracy
from agsrec.metrics.images import image_quality
from agsrec.metrics.poses import Similarity, align_cameras

_SAMPLES = 20_000


def surface_points(mesh: TexturedMesh, count: int, seed: int = 0) -> torch.Tensor:
    """Points [count, 3] evenly over the surface."""
    rng = np.random.default_rng(seed)
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    pick = rng.choice(len(area), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, (1 - u, 1 - v), (u, v))
    return torch.from_numpy(a[pick] + u * (b - a)[pick] + v * (c - a)[pick])


def test_view_psnr(mesh: TexturedMesh, to_truth: Similarity, scene: Scene) -> float:
    """Mean PSNR in dB of the mesh at the test views, over white."""
    assert scene.test_views is not None and scene.test_cameras is not None
    rgba = render_mesh(mesh, to_truth.inverse().cameras(scene.test_cameras).to(dtype=torch.float32))
    images = (rgba[..., :3] + 1 - rgba[..., 3:]).clamp(0, 1)
    return image_quality(images, scene.test_views.composited(torch.ones(3))).means()["psnr"]


def measured(scene: Scene, noise: float, prior: str | None, texture_prior: str | None) -> dict[str, Any]:
    """One fit, its mesh, and their figures."""
    assert scene.truth is not None
    start = scene.truth.perturbed(noise, torch.Generator().manual_seed(1000))
    result = reconstruct(scene.views, start, Settings(prior=prior))
    row = {"Scene": scene.name, "Noise (°)": noise}
    return row | mesh_figures(scene, result, texture_prior)


def mesh_figures(scene: Scene, result: Reconstruction, texture_prior: str | None) -> dict[str, Any]:
    """The mesh of a fit, measured."""
    assert scene.truth is not None and scene.points is not None
    gaussians, cameras, size = result.gaussians, result.cameras, result.fitted_size
    clock, processor = time.perf_counter(), time.process_time()
    made = make_mesh(gaussians, scene.views, cameras, MeshConfig(), prior=texture_prior)
    seconds, busy = time.perf_counter() - clock, time.process_time() - processor
    start = align_cameras(cameras, scene.truth)
    to_truth = align_scene(gaussians, start, scene.truth, scene.views, fitted_size=size)
    visible = scene.points if scene.points_visible is None else scene.points[scene.points_visible]
    surface = surface_accuracy(to_truth.points(surface_points(made.mesh, _SAMPLES)), visible)
    splat = novel_quality(gaussians, to_truth, scene, fitted_size=size)
    return {
        "Chamfer": surface.chamfer,
        "F1": surface.f1,
        "Silhouettes (IoU)": made.metrics["silhouette_iou"],
        "Splat, test views (dB)": None if splat is None else splat.means()["psnr"],
        "Mesh, test views (dB)": test_view_psnr(made.mesh, to_truth, scene),
        "Photos, baked (dB)": made.metrics["psnr_baked"],
        "Photos, refined (dB)": made.metrics["psnr"],
        "Closed": made.metrics["watertight"],
        "Seconds": seconds,
        "Processor (s)": busy,
    }


def mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over scenes."""
    numbers = {k: fmean(r[k] for r in rows) for k, v in rows[0].items() if isinstance(v, float)}
    return {"Scene": f"mean of {len(rows)}"} | numbers | {"Closed": all(r["Closed"] for r in rows)}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--noise", type=float, nargs="+", default=[8.0, 0.0], help="degrees r.m.s.")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--prior", default="none")
    parser.add_argument("--texture-prior", default="none")
    options = parser.parse_args(argv)
    print(heading(description()), flush=True)
    priors = [None if name == "none" else name for name in (options.prior, options.texture_prior)]
    rows: list[dict[str, Any]] = []
    try:
        scenes = [load_gt_scene(folder, options.views) for folder in options.folders]
        for noise in options.noise:
            group = [measured(scene, noise, *priors) for scene in scenes]
            rows += [*group, mean_row(group)]
    except AgsrecError as error:
        parser.error(str(error))
    print(text_table(rows))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
