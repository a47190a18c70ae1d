"""How good the meshes are: surface, silhouettes, pictures, time and memory, on scenes with true cameras.

python benchmarks/mesh.py FOLDER... [--noise 8 0] [--views 8] [--size 512] [--fits FOLDER]
    [--prior none] [--texture-prior none]

Each scene is fitted from its true poses disturbed by --noise degrees r.m.s. The surface is compared with the
true points that some camera sees, after the similarity alignment of `agsrec.metrics.align_scene`; lengths are
in object radii. Splat and mesh are compared with the photos, each as bright as its photo, and with test
views, which the fit never saw. Textures are made from the photos at the sizes of their files, where these are
larger than --size. The second table is what the mesh alone costs: seconds on the wall, of the processor and
of that by step, and the peak of the process's memory. With --fits, another run measures another way to make
meshes on equal fits.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from machine import description, heading
from torch import Tensor

from agsrec import Reconstruction, Scene, Settings, load_gt_scene, reconstruct
from agsrec.cameras import Cameras
from agsrec.config import WORKING_SIZE
from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.mesh import MeshConfig, TexturedMesh, make_mesh
from agsrec.mesh.textured import render_mesh
from agsrec.metrics.alignment import align_scene, scene_starts
from agsrec.metrics.evaluation import input_quality, novel_quality
from agsrec.metrics.geometry import surface_accuracy
from agsrec.metrics.images import ImageQuality, image_quality
from agsrec.metrics.poses import Similarity
from agsrec.pipeline.desk import Desk
from agsrec.views import Views

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


def mesh_quality(
    mesh: TexturedMesh, cameras: Cameras, views: Views, exposures: Tensor | None = None
) -> ImageQuality:
    """Agreement of the mesh with photos over white, each as bright as its exposure [V, 3] says."""
    rgba = render_mesh(mesh, cameras.to(dtype=torch.float32))
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    if exposures is not None:
        rgb = (rgb * exposures[:, None, None]).minimum(alpha)
    return image_quality((rgb + 1 - alpha).clamp(0, 1), views.composited(torch.ones(3)))


def fitted(scene: Scene, noise: float, prior: str | None, kept: Path | None) -> Reconstruction:
    """A fit from disturbed poses, that of an earlier run where it was kept."""
    assert scene.truth is not None
    start = scene.truth.perturbed(noise, torch.Generator().manual_seed(1000))
    settings = Settings(prior=prior)
    desk = Desk.at(None if kept is None else kept / f"{scene.name}_{noise:g}", settings)
    request = desk.request("fit", {"photos": scene.views, "start": start}, prior=prior)
    return desk.once(request, "fitting", lambda _: reconstruct(scene.views, start, settings))


def measured(
    scene: Scene, noise: float, result: Reconstruction, texture_prior: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """How good the mesh of a fit is, and what it costs."""
    gaussians, cameras, size = result.gaussians, result.cameras, result.fitted_size
    views = result.views
    forget_peak()
    clock, processor = time.perf_counter(), time.process_time()
    made = make_mesh(gaussians, views, cameras, MeshConfig(), prior=texture_prior, photos=scene.full_size)
    seconds, busy = time.perf_counter() - clock, time.process_time() - processor
    which = {"Scene": scene.name, "Noise (°)": noise}
    memory = peak_memory()
    steps = {f"{step} (s)": lap for step, lap in made.metrics["processor_seconds"].items()}
    cost = which | {"Wall (s)": seconds, "Processor (s)": busy} | steps | {"Peak (MB)": memory}
    photos = {
        "splat": input_quality(gaussians, cameras, views, size, result.exposures),
        "mesh": mesh_quality(made.mesh, cameras, views, torch.tensor(made.metrics["exposures"])),
    }
    quality = _columns("photos", photos)
    if scene.truth is not None:
        starts = scene_starts(gaussians, cameras, scene.truth)
        to_truth = align_scene(gaussians, starts, scene.truth, scene.views, fitted_size=size)
        quality |= beside_truth(scene, result, made.mesh, to_truth)
    about = {"Silhouettes (IoU)": made.metrics["silhouette_iou"], "Closed": made.metrics["watertight"]}
    return which | quality | about, cost


def beside_truth(
    scene: Scene, result: Reconstruction, mesh: TexturedMesh, to_truth: Similarity
) -> dict[str, Any]:
    """Figures at the views never shown to the fit, and of the surface."""
    columns: dict[str, Any] = {}
    splat = novel_quality(result.gaussians, to_truth, scene, fitted_size=result.fitted_size)
    if splat is not None and scene.test_views is not None and scene.test_cameras is not None:
        seen = to_truth.inverse().cameras(scene.test_cameras)
        tests = {"splat": splat, "mesh": mesh_quality(mesh, seen, scene.test_views)}
        columns |= _columns("test views", tests)
    if scene.points is not None:
        visible = scene.points if scene.points_visible is None else scene.points[scene.points_visible]
        surface = surface_accuracy(to_truth.points(surface_points(mesh, _SAMPLES)), visible)
        columns |= {"Chamfer": surface.chamfer, "F1": surface.f1}
    return columns


def _columns(where: str, qualities: dict[str, ImageQuality]) -> dict[str, Any]:
    """PSNR and SSIM by what was drawn."""
    means = {what: quality.means() for what, quality in qualities.items()}
    return {
        f"{where}, {what} ({unit})": mean[name]
        for what, mean in means.items()
        for name, unit in (("psnr", "dB"), ("ssim", "SSIM"))
    }


def forget_peak() -> None:
    """Let the peak of this process's memory begin anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> float | None:
    """Most memory of this process since then, MB; None where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None


def mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over scenes."""
    shared = [k for k in rows[0] if all(isinstance(row.get(k), float) for row in rows)]
    return {"Scene": f"mean of {len(rows)}"} | {k: fmean(row[k] for row in rows) for k in shared}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--noise", type=float, nargs="+", default=[8.0, 0.0], help="degrees r.m.s.")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=WORKING_SIZE, help="longer side of the views in pixels")
    parser.add_argument("--fits", type=Path, help="folder to keep fits in, for another run")
    parser.add_argument("--prior", default="none")
    parser.add_argument("--texture-prior", default="none")
    options = parser.parse_args(argv)
    print(heading(description()), flush=True)
    priors = [None if name == "none" else name for name in (options.prior, options.texture_prior)]
    tables: tuple[list[dict[str, Any]], ...] = [], []
    try:
        scenes = [load_gt_scene(folder, options.views, size=options.size) for folder in options.folders]
        for noise in options.noise:
            fits = [(scene, fitted(scene, noise, priors[0], options.fits)) for scene in scenes]
            found = [measured(scene, noise, fit, priors[1]) for scene, fit in fits]
            for table, group in zip(tables, zip(*found, strict=True), strict=True):
                table += [*group, mean_row(group)]
    except AgsrecError as error:
        parser.error(str(error))
    for table in tables:
        print(text_table(table), end="\n\n")


if __name__ == "__main__":
    main()
