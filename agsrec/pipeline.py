"""A whole run, one stage after the other: what the command line and the app both call.

Nothing here prints. Whoever calls listens: to stages, sentences, and the progress of fits.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agsrec.config import PRESETS, FitConfig, PresetName
from agsrec.errors import SceneError
from agsrec.files import folder_entries
from agsrec.mesh.config import MeshConfig
from agsrec.names import DeviceName, MeshFormat, MethodName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agsrec.cameras import Cameras
    from agsrec.dataset import Scene
    from agsrec.fit import FitProgress
    from agsrec.outliers import OutlierConfig
    from agsrec.pose_init import PoseEstimate
    from agsrec.reconstruction import Reconstruction
    from agsrec.views import Views

__all__ = [
    "Finished",
    "Listener",
    "Posed",
    "Settings",
    "StageName",
    "cut_out_if_needed",
    "has_photos",
    "pose_extras",
    "pose_folder",
    "reconstruct_into",
]

_MOST_UNSUPPORTED = 0.2  # of a mask: double what good masks reach with poses that are 8 degrees off

StageName = Literal["cut out", "poses", "fit", "results", "mesh"]
"""The fit's stage includes the looking for badly posed views, which `Listener.outliers` tells of."""


class Listener:
    """Told what a run does; by itself it ignores everything. An exception from any method ends the run."""

    def stage(self, name: StageName, text: str) -> AbstractContextManager[object]:
        """A stage that lasts as long as the returned context."""
        return nullcontext()

    def say(self, text: str) -> None:
        """A sentence that the user should read."""

    def outliers(self, text: str) -> None:
        """What the search for badly posed views does next."""

    def watch(self, progress: FitProgress) -> None:
        """A step of one of the fits by which badly posed views are judged."""

    def step(self, progress: FitProgress) -> None:
        """A step of the fit."""

    def saved(self, metrics: dict[str, Any]) -> None:
        """The results are written, except for the mesh."""

    def meshed(self, file: Path, figures: dict[str, Any]) -> None:
        """The mesh is written."""


@dataclass(frozen=True)
class Settings:
    """How to reconstruct.

    Attributes:
        preset: Name of the schedule.
        fit: The schedule itself.
        prior: Diffusion model that judges views nobody photographed; see `reconstruct`.
        seed: Seed of everything random.
        device: Where to compute.
        outliers: Look for badly posed views so; None does not.
        mesh: Size and effort of the mesh; None makes none.
        mesh_format: Its file's format.
        init: What to store with the results about how the cameras were estimated, where they were.
    """

    preset: PresetName = "fast"
    fit: FitConfig = field(default_factory=lambda: PRESETS["fast"])
    prior: str | None = None
    seed: int = 0
    device: DeviceName = "auto"
    outliers: OutlierConfig | None = None
    mesh: MeshConfig | None = field(default_factory=MeshConfig)
    mesh_format: MeshFormat = "glb"
    init: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finished:
    """A run that has ended.

    Attributes:
        result: The reconstruction.
        metrics: Its figures, as stored.
        mesh: File of the mesh, if there is one.
    """

    result: Reconstruction
    metrics: dict[str, Any]
    mesh: Path | None


# -------------------------------------------------------------------- photos and poses


@dataclass(frozen=True)
class Posed:
    """Outcome of an initialiser on a folder.

    Attributes:
        views: The P views that could be placed.
        estimate: Their cameras, and more.
        seconds: Time it took.
    """

    views: Views
    estimate: PoseEstimate
    seconds: float


def cut_out_if_needed(
    folder: Path, background_model: str, listener: Listener, cameras: Path | None = None
) -> None:
    """Cut the photos of a folder out, as `agsrec process` does, unless it has cut-out ones already.

    Args:
        folder: Folder of photos, or one with an `images/`.
        background_model: What removes the background.
        listener: Told what is done.
        cameras: Camera file by which photos are undistorted, instead of the one in the folder.
    """
    places = (folder, folder / "processed")
    if any(f.name.endswith("_rgba.png") for place in places for f in folder_entries(place)):
        return
    if not has_photos(folder):
        return  # whoever needs photos says so
    from agsrec.camera_files import is_of_photos
    from agsrec.preprocess import process

    if cameras is not None and not is_of_photos(cameras):
        cameras = None  # for the cut-out views, not for the photos
    with listener.stage("cut out", "cutting the object out of the photos"):
        done = process(folder, model=background_model, cameras=cameras)
    undistorted = ", undistorted" if done.lenses else ""
    listener.say(f"Cut {len(done.files)} photos out{undistorted} into {folder / 'processed'}")
    for remark in done.remarks():
        listener.say(remark)


def has_photos(folder: Path) -> bool:
    """Whether there are images in a folder or in its `images/`."""
    from agsrec.images import IMAGE_SUFFIXES

    files = [*folder_entries(folder), *folder_entries(folder / "images")]
    return any(f.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(f) for f in files)


def pose_folder(
    folder: Path,
    method: MethodName,
    listener: Listener,
    *,
    num_views: int | None = None,
    views: Sequence[str] | None = None,
    device: DeviceName = "auto",
    **options: Any,
) -> Posed:
    """Estimate the cameras of a folder's cut-out photos; says what was placed and what was not."""
    from agsrec.dataset import load_unposed_views
    from agsrec.kernels import announced
    from agsrec.pose_init import initialize

    loaded = load_unposed_views(folder, num_views=num_views, views=views)
    clock = time.perf_counter()
    stage = listener.stage("poses", f"estimating the cameras of {len(loaded)} views")
    with stage, announced(listener.say, device):
        estimate = initialize(loaded, method, folder=folder, device=device, **options)
    seconds = time.perf_counter() - clock
    focal = float(estimate.cameras.focal_lengths.mean())
    source = f"{method} ({options['file']})" if options.get("file") else method
    listener.say(
        f"{source} placed {len(estimate.cameras)} of {len(loaded)} views in {seconds:.1f} s, "
        f"focal length {focal:.0f} pixels of {loaded.width}"
    )
    lost = [name for name, placed in zip(loaded.names, estimate.placed.tolist(), strict=True) if not placed]
    if lost:
        listener.say(f"Left out, because their poses could not be found: {', '.join(lost)}")
    placed = loaded[estimate.indices]
    _say_what_does_not_fit(placed, estimate.cameras, listener)
    return Posed(placed, estimate, seconds)


def _say_what_does_not_fit(views: Views, cameras: Cameras, listener: Listener) -> None:
    """Name the photos whose masks the other photos contradict, now that their poses are known."""
    from agsrec.fit.support import unsupported_shares

    for name, share in zip(views.names, unsupported_shares(views, cameras).tolist(), strict=True):
        if share > _MOST_UNSUPPORTED:
            listener.say(
                f"The cut-out of {name} is doubtful: {share:.0%} of it lies where the other photos show "
                "nothing of the object, or its pose is wrong; look at it"
            )


def pose_extras(posed: Posed) -> dict[str, dict[str, Any]]:
    """What `cameras.json` stores of each placed view besides its camera."""
    values = posed.estimate.confidence[posed.estimate.placed].tolist()
    focal = {} if posed.estimate.focal_known else {"focal_estimated": True}
    return {
        name: {"confidence": round(v, 4), **focal} for name, v in zip(posed.views.names, values, strict=True)
    }


# -------------------------------------------------------------------- reconstruction


def reconstruct_into(
    folder: Path, scene: Scene, settings: Settings, listener: Listener, posed: Posed | None = None
) -> Finished:
    """Reconstruct a scene and write everything about it into a folder.

    Args:
        folder: Folder of the results; a run that was interrupted there is continued.
        scene: Views and cameras.
        settings: How.
        listener: Told what is being done.
        posed: What the initialiser said, where the cameras come from one.

    Raises:
        AgsrecError: See `reconstruct`; `OutputError` where the folder cannot be written.
    """
    from agsrec.camera_files import write_cameras_json
    from agsrec.export.results import prepare_folder
    from agsrec.kernels import announced
    from agsrec.reconstruction import reconstruct, require_enough_views

    require_enough_views(scene.views, guided=settings.prior is not None)
    prepare_folder(folder)
    if posed is not None:
        file = folder / "cameras_initial.json"
        write_cameras_json(file, scene.cameras, scene.views.names, extras=pose_extras(posed))
    with listener.stage("fit", "fitting"), announced(listener.say, settings.device):
        result = reconstruct(
            scene.views,
            scene.cameras,
            preset=settings.preset,
            config=settings.fit,
            focal_known=scene.focal_known if posed is None else posed.estimate.focal_known,
            seed=settings.seed,
            device=settings.device,
            prior=settings.prior,
            progress=listener.step,
            checkpoint=folder / "checkpoint.pt",
            outliers=settings.outliers,
            report=listener.outliers,
            watch=listener.watch,
        )
    if posed is not None:
        timings = {"poses": posed.seconds} | result.timings
        result = replace(result, options=result.options | settings.init, timings=timings)
    with listener.stage("results", "writing the results"):
        metrics = result.save(folder, scene)
    listener.saved(metrics)
    return Finished(result, metrics, _mesh(folder, result, settings, listener))


def _mesh(folder: Path, result: Reconstruction, settings: Settings, listener: Listener) -> Path | None:
    """The mesh, where one is wanted and the scene has a surface; the splat is there anyway."""
    from agsrec.export.mesh_results import save_mesh

    if settings.mesh is None:
        return None
    scene = folder, result.gaussians, result.views, result.cameras
    try:
        with listener.stage("mesh", "making the mesh"):
            file, figures = save_mesh(*scene, settings.mesh, kind=settings.mesh_format)
    except SceneError as error:
        listener.say(f"No mesh: {error}")
        return None
    listener.meshed(file, figures)
    return file
