"""The folder of one result: everything a user, another tool or a later run may want."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agsrec.camera_files import CameraCourse, write_camera_course, write_cameras_json
from agsrec.export.camera_export import ExportInput, save_camera_exports
from agsrec.export.decisions import decision_record
from agsrec.export.mesh_results import add_mesh
from agsrec.export.overview import Figures, Outcome, reconstruction_report
from agsrec.export.report import write_report
from agsrec.export.spz import write_spz
from agsrec.export.viewer_splat import thickened_for_viewers
from agsrec.figures.turntable import save_turntable
from agsrec.files import atomic_write, prepare_folder
from agsrec.images import save_png
from agsrec.metrics.evaluation import evaluate, rendered_on_white
from agsrec.ply import write_ply
from agsrec.result_files import FITTED_SPLAT, SHOWN_SPLAT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from agsrec.dataset import Scene
    from agsrec.mesh import MeshResult
    from agsrec.metrics.evaluation import Evaluation
    from agsrec.names import MeshFormat, SplatFormat
    from agsrec.outliers import Correction
    from agsrec.reconstruction import Reconstruction
    from agsrec.view_files import FullSizeViews
    from agsrec.views import Views

__all__ = ["WrittenScene", "save_results", "save_scene"]


@dataclass(frozen=True)
class WrittenScene:
    """What a result folder holds when everything but mesh, video, figures and report is there.

    Attributes:
        metrics: The figures so far.
        inputs: The photos over white [V, H, W, 3].
        renders: The scene from their cameras, likewise.
        evaluation: The scene against what is known of the object, if anything is.
        figures: The report's.
        seconds: Time it took.
    """

    metrics: dict[str, Any]
    inputs: Tensor
    renders: Tensor
    evaluation: Evaluation | None
    figures: Figures
    seconds: float


def save_results(
    result: Reconstruction,
    folder: str | Path,
    scene: Scene | None = None,
    mesh: MeshResult | None = None,
    *,
    mesh_format: MeshFormat = "glb",
    written: WrittenScene | None = None,
) -> dict[str, Any]:
    """Write cameras (for other programs too), splat, video, pictures, metrics, options and the report.

    Args:
        result: The reconstruction.
        folder: Folder to write into; it is made if need be.
        scene: What it was made from: with ground truth, pose errors and novel-view quality are measured too.
        mesh: Its mesh, if there is one; see `agsrec.export.mesh_results.save_mesh` for its files.
        mesh_format: Format of the mesh's file.
        written: What `save_scene` has written there already of the same result.

    Returns:
        The metrics, as stored.

    Raises:
        OutputError: A file cannot be written.
    """
    folder = Path(folder)
    clock = time.perf_counter()
    before = 0.0 if written is None else written.seconds
    written = save_scene(result, folder, scene) if written is None else written
    all_truth = None if scene is None else scene.truth
    used = None if scene is None else _used_part(scene, result)
    video = folder / "turntable.mp4"
    save_turntable(video, result.gaussians, result.cameras, None if mesh is None else mesh.mesh)
    timings = result.timings | {"export": before + time.perf_counter() - clock}
    metrics = dict(written.metrics)
    if result.correction is not None:
        metrics["outliers"] = decision_record(result.correction, all_truth)
    metrics |= {"timings": timings, "seconds": sum(timings.values()), "history": _told(result.history)}
    _write_json(folder / "config.json", result.options)
    _write_json(folder / "metrics.json", metrics)
    evaluation = written.evaluation
    outcome = Outcome(
        name="object" if used is None else used.name,
        preset=result.options["preset"],
        seconds=metrics["seconds"],
        num_gaussians=len(result.gaussians),
        view_names=result.views.names,
        inputs=written.inputs,
        renders=written.renders,
        initial=result.initial_cameras,
        final=result.cameras,
        truth=None if used is None else used.truth,
        history=result.history,
        timings=timings,
        config=result.options,
        novel=None if evaluation is None else evaluation.novel,
        video=video,
        glimpses=result.glimpses,
        correction=result.correction,
        all_truth=all_truth,
        figures=written.figures,
    )
    write_report(folder / "report.html", reconstruction_report(outcome))
    if mesh is not None:
        _, metrics["mesh"] = add_mesh(folder, mesh, result.views, result.cameras, kind=mesh_format)
    return metrics


def save_scene(
    result: Reconstruction,
    folder: str | Path,
    scene: Scene | None = None,
    *,
    splat_format: SplatFormat = "ply",
) -> WrittenScene:
    """Write what needs no mesh: cameras, splat, photos and pictures; and measure the scene.

    Args:
        result: The reconstruction.
        folder: Folder to write into; it is made if need be.
        scene: What it was made from.
        splat_format: Format of a second file with the splat for viewers, where it is not the PLY.

    Raises:
        MissingExtraError: What writes the format of the splat is not installed.
        OutputError: A file cannot be written.
    """
    folder, clock = Path(folder), time.perf_counter()
    prepare_folder(folder)
    names = result.views.names
    course = _course(result, scene)
    scene = None if scene is None else _used_part(scene, result)
    write_cameras_json(folder / "cameras.json", result.cameras, names, extras=_extras(result, scene))
    write_camera_course(folder / "cameras_rounds.json", course)
    _write_splats(result, folder, splat_format)
    files = _write_views(result.views, folder / "views")
    _write_full_size(names, None if scene is None else scene.full_size, folder / "photos")
    save_camera_exports(folder / "export", ExportInput(result.cameras, files, result.gaussians))
    if result.correction is not None:
        _write_rounds(result.correction, folder / "rounds")
    inputs = result.views.composited(torch.ones(3))
    renders = rendered_on_white(result.gaussians, result.cameras, exposures=result.exposures)
    truth = None if scene is None else scene.truth
    cameras = result.initial_cameras, result.cameras, truth
    figures = Figures.of(names, inputs, renders, *cameras, _told(result.history), result.glimpses)
    save_png(folder / "comparison.png", figures.comparison)
    save_png(folder / "cameras.png", figures.cameras)
    evaluation = None if scene is None else _evaluation(result, scene)
    metrics: dict[str, Any] = {"views": list(names), "gaussians": len(result.gaussians)}
    metrics["fitted_size"] = result.fitted_size
    if result.exposures is not None:
        metrics["exposures"] = dict(zip(names, result.exposures.tolist(), strict=True))
    if evaluation is not None:
        metrics |= evaluation.as_dict()
    return WrittenScene(metrics, inputs, renders, evaluation, figures, time.perf_counter() - clock)


def _evaluation(result: Reconstruction, scene: Scene) -> Evaluation:
    """The scene against what is known of the object."""
    return evaluate(
        result.gaussians,
        result.cameras,
        result.initial_cameras,
        scene,
        fitted_size=result.fitted_size,
        exposures=result.exposures,
        realign=False,
    )


def _write_splats(result: Reconstruction, folder: Path, kind: SplatFormat) -> None:
    """The scene as it was fitted, and as viewers should show it."""
    write_ply(folder / FITTED_SPLAT, result.gaussians)
    shown = thickened_for_viewers(result.gaussians, result.cameras, result.fitted_size)
    write_ply(folder / SHOWN_SPLAT, shown)
    if kind == "spz":
        write_spz(folder / "splat.spz", shown)


def _used_part(scene: Scene, result: Reconstruction) -> Scene:
    """The scene without the views that the result leaves out."""
    used = [scene.views.names.index(name) for name in result.views.names]
    if len(used) == len(scene.views):
        return scene
    truth = None if scene.truth is None else scene.truth[used]
    full_size = None if scene.full_size is None else scene.full_size.select(result.views.names)
    return replace(
        scene, views=scene.views[used], cameras=scene.cameras[used], truth=truth, full_size=full_size
    )


def _extras(result: Reconstruction, scene: Scene | None) -> dict[str, dict[str, Any]]:
    """What `cameras.json` holds of each view besides its camera: what was there, and what was decided."""
    extras = {name: dict(values) for name, values in ({} if scene is None else scene.extras).items()}
    if result.correction is None:
        return extras
    decision = result.correction
    verdicts = dict(zip(decision.views.names, decision.verdicts, strict=True))
    return {
        name: extras.get(name, {}) | {"branch": decision.branch, "pose": verdicts[name]}
        for name in result.views.names
    }


def _course(result: Reconstruction, scene: Scene | None) -> CameraCourse:
    """The cameras of all photos as given and as known, and those of the used ones through the fit."""
    correction, used = result.correction, result.views.names
    views = used if correction is None else correction.views.names
    given = result.initial_cameras if correction is None else correction.given
    start = result.initial_cameras if correction is None else correction.start
    truth = None
    if scene is not None and scene.truth is not None:
        truth = scene.truth.viewmats[[scene.views.names.index(name) for name in views]]
    records = [record for record in result.history if "viewmats" in record]
    moments = [start.viewmats.float(), *(torch.tensor(record["viewmats"]) for record in records)]
    return CameraCourse(
        views=views,
        given=given.viewmats,
        truth=truth,
        used=used,
        iterations=(0, *(record["iteration"] for record in records)),
        rounds=(0, *(record["round"] for record in records)),
        viewmats=torch.stack(moments),
    )


def _write_rounds(correction: Correction, folder: Path) -> None:
    """The fits that decisions rest on, each in a folder of its name."""
    names = correction.views.names
    for name, result in correction.fits.items():
        chosen = correction.trusted if name == "trusted" else correction.contests[-1].views
        file = folder / name / "cameras.json"
        write_cameras_json(file, result.cameras, [names[view] for view in chosen])
        shown = thickened_for_viewers(result.gaussians, result.cameras, result.fitted_size)
        write_ply(folder / name / SHOWN_SPLAT, shown)


def _write_views(views: Views, folder: Path) -> list[str]:
    """The cut-out photos, so that the result can be worked on further; returns the files' names."""
    pixels = (views.images * 255 + 0.5).byte().cpu().numpy()
    files = [f"{name}_rgba.png" for name in views.names]
    for file, image in zip(files, pixels, strict=True):
        save_png(folder / file, image)
    return files


def _write_full_size(names: Sequence[str], full_size: FullSizeViews | None, folder: Path) -> None:
    """The same at their own sizes, where these are larger, for meshes that are made later."""
    files = [folder / f"{name}_rgba.png" for name in names]
    if full_size is not None:
        for index, file in enumerate(files):
            atomic_write(file, full_size.png(index))
        return
    for file in files:  # of an earlier run
        file.unlink(missing_ok=True)


def _told(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The course of a fit without the cameras, which have a file of their own."""
    return [{k: v for k, v in record.items() if k != "viewmats"} for record in history]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    atomic_write(path, json.dumps(content, indent=2, default=str) + "\n")
