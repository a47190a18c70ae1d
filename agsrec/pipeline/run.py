"""The order of a run, and nothing else: cut out, pose, correct outliers, fit, mesh, export.

Every stage is a function from values to a value in a room of its own, knows no other stage, and is computed
once (`Desk.once`). Whoever runs stages, the command line, the app, the evaluation or a program, does it here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.dataset import Scene, posed_scene
from agsrec.errors import OptionError, ShapeError
from agsrec.export.spz import require_spz
from agsrec.files import remove_leftovers
from agsrec.fit.seeds import MIN_SEEDS
from agsrec.locks import locked
from agsrec.pipeline.checking import OthersInScene
from agsrec.pipeline.desk import Desk
from agsrec.pipeline.finishing import Export, make_textured_mesh
from agsrec.pipeline.fitting import correct_poses, fit_scene, resolved_options
from agsrec.pipeline.judge import Judge
from agsrec.pipeline.listener import STAGES, Listener
from agsrec.pipeline.photos import (
    Posed,
    cut_out_photos,
    pose_in_memory,
    pose_photos,
    say_what_nobody_saw,
)
from agsrec.pipeline.settings import PhotoFolder, Settings
from agsrec.reconstruction import Reconstruction
from agsrec.store import Kept, Unfinished
from agsrec.view_files import find_view_files

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.matching import Correspondences
    from agsrec.point_map import PointMap
    from agsrec.views import Views

__all__ = ["Finished", "explain", "pose", "reconstruct", "run"]


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


# -------------------------------------------------------------------- the order of a run


def run(
    what: Scene | PhotoFolder,
    folder: Path,
    settings: Settings | None = None,
    listener: Listener | None = None,
    *,
    again: Collection[str] = (),
) -> Finished:
    """Reconstruct an object and write everything about it into a folder.

    Args:
        what: Views with cameras, or a folder of photos.
        folder: Folder of the results. What an earlier run finished there is used where it depends on nothing
            that has changed; what it began is continued.
        settings: How.
        listener: Told what is being done.
        again: Stages to compute in any case.

    Raises:
        AgsrecError: See `reconstruct`; `OutputError` where the folder cannot be written, `MissingExtraError`
            where what writes the splat's format is not installed; `OptionError` where another process is
            writing into the folder.
    """
    desk = Desk.at(folder, settings or Settings(), listener, again)
    if desk.settings.splat_format == "spz":
        require_spz()  # before the long part
    with locked(folder):
        remove_leftovers(folder)
        return _whole(desk, what, folder)


def _whole(desk: Desk, what: Scene | PhotoFolder, folder: Path) -> Finished:
    """All stages, one after the other."""
    scene, posed = (what, None) if isinstance(what, Scene) else _posed_scene(desk, what)
    _require_enough(scene.views, guided=desk.settings.prior is not None)
    if posed is None:
        say_what_nobody_saw(desk, scene.cameras)
    result = _reconstruction(desk, scene.views, scene.cameras, scene.focal_known, posed)
    others = None
    if posed is not None and posed.others is not None:
        others = OthersInScene(result, posed.others, desk.device)
    export = Export(result, folder, scene, posed, others)
    with export.begun(desk) as begun:
        mesh = make_textured_mesh(desk, result, scene.full_size, others, meanwhile=begun)
        exported = export.finished(desk, mesh, begun)
    return Finished(result, exported.metrics, None if exported.mesh is None else folder / exported.mesh)


def pose(desk: Desk, photos: PhotoFolder) -> Posed:
    """The first two stages alone: cut out, and pose."""
    cut_out_photos(desk, photos.folder)
    return pose_photos(desk, photos)


def _posed_scene(desk: Desk, photos: PhotoFolder) -> tuple[Scene, Posed]:
    posed = pose(desk, photos)
    files = find_view_files(photos.folder, num_views=photos.num_views, views=photos.views)
    scene = posed_scene(photos.folder, posed.views, posed.estimate.cameras, files=files)
    return (scene if photos.name is None else replace(scene, name=photos.name)), posed


def _reconstruction(
    desk: Desk,
    views: Views,
    cameras: Cameras,
    focal_known: bool,
    posed: Posed | None,
    matches: Correspondences | None = None,
    points: PointMap | None = None,
) -> Reconstruction:
    """The middle stages: outliers, and fit."""
    settings = desk.settings
    _require_match(views, cameras)
    judge = Judge(settings.prior, desk.device)
    if posed is not None:
        focal_known, matches = posed.estimate.focal_known, posed.estimate.matches
    size = max(views.width, views.height)
    config = settings.schedule(views=len(views), focal_known=focal_known, size=size)
    if settings.init_points:
        points, config = _points_of(posed), replace(config, rounds=config.rounds[-1:])
    correction = correct_poses(desk, views, cameras, judge)
    given, start = cameras, cameras
    if correction is not None:
        used = correction.used
        views, given, start = views[used], cameras[used], correction.start
        matches = None if matches is None else matches.renumbered(used)
        points = None  # they went with the old cameras
    fitted = fit_scene(desk, views, start, config, judge, matches, points)
    seconds = {
        "poses": None if posed is None else posed.seconds,
        "prior": fitted.prior_seconds,
        "outliers": None if correction is None else correction.seconds,
        "fit": fitted.seconds,
    }
    return Reconstruction(
        views=views,
        initial_cameras=given,
        cameras=fitted.result.cameras,
        gaussians=fitted.result.gaussians,
        fitted_size=fitted.result.fitted_size,
        exposures=fitted.result.exposures,
        history=fitted.result.history,
        timings={stage: value for stage, value in seconds.items() if value is not None},
        options=resolved_options(desk, config, judge, posed=posed is not None),
        glimpses=fitted.glimpses,
        correction=correction,
    )


def _points_of(posed: Posed | None) -> PointMap:
    """The surface as the initialiser sees it, in the world of its cameras."""
    if posed is None:
        raise OptionError(
            "--init-points: these photos have cameras, so no initialiser looks for points; name one with "
            "--init, or leave it out"
        )
    points = posed.estimate.points
    if points is None or len(points.points) < MIN_SEEDS:
        raise OptionError(
            "--init-points: this initialiser found no surface points, or too few; choose another --init, or "
            "leave it out"
        )
    return points


# -------------------------------------------------------------------- for programs


def reconstruct(
    views: Views,
    cameras: Cameras | None = None,
    settings: Settings | None = None,
    *,
    focal_known: bool = True,
    matches: Correspondences | None = None,
    points: PointMap | None = None,
    listener: Listener | None = None,
    keep: str | Path | None = None,
) -> Reconstruction:
    """Refine rough cameras and fit a scene of 3D Gaussians to the photos of one object.

    Args:
        views: V cut-out photos. One is enough where something judges novel views (`Settings.prior`); the
            schedule is then made into that of `agsrec.single_photo.single_photo_schedule`.
        cameras: Their rough cameras; without them they are estimated (`Settings.posing`), and views that
            cannot be placed are left out. Of more than 12 views a few are posed then, the others registered
            to them, and the 12 farthest apart fitted, as of a folder; given cameras are all fitted.
        settings: How; its mesh is not made.
        focal_known: Whether the focal lengths of the cameras are to be relied on; they are refined otherwise,
            unless the schedule says what to do with them.
        matches: What holds given cameras at first: see `agsrec.pose_init.PoseEstimate.matches`.
        points: Surface points in the world of given cameras, such as `agsrec.PoseEstimate.points`: the first
            scene of the fit, instead of the visual hull, where outliers are not looked for.
        listener: Told what is being done; an exception from it ends the run.
        keep: Folder to keep finished stages and the state of unfinished ones in; a run that was interrupted
            at any point continues from there, if photos, cameras and options are the same.

    Raises:
        OptionError, DeviceError: An option cannot be used.
        ShapeError: Photos and cameras do not match.
        CameraError, SceneError: The cameras do not fit the photos at all.
        CheckpointError: The prior cannot be used.
    """
    desk = Desk.at(None if keep is None else Path(keep), settings or Settings(), listener)
    _require_enough(views, guided=desk.settings.prior is not None)
    if cameras is not None:
        return _reconstruction(desk, views, cameras, focal_known, None, matches, points)
    if points is not None:
        raise OptionError("points go with cameras: give the cameras in whose world they are, or no points")
    posed = pose_in_memory(desk, views)
    return _reconstruction(desk, posed.views, posed.estimate.cameras, focal_known, posed)


def explain(
    what: Scene | PhotoFolder, folder: Path, settings: Settings, *, again: Collection[str] = ()
) -> list[Kept]:
    """What a run would find of every stage, and why; nothing is computed or written.

    Args:
        what: As for `run`.
        folder: As for `run`.
        settings: As for `run`.
        again: As for `run`.
    """
    desk = Desk.at(folder, settings, again=again, look=True)
    try:
        _whole(desk, what, folder)
    except Unfinished:
        pass
    seen = {kept.stage: kept for kept in desk.store.seen}
    missing = next((kept.stage for kept in seen.values() if kept.state != "finished"), None)
    if missing is not None:
        later = STAGES[STAGES.index(missing) + 1 :]  # pyright: ignore[reportArgumentType]
        wanted = [s for s in later if _takes_place(s, settings)]
        seen |= {stage: Kept(stage, "missing", f"depends on {missing}") for stage in wanted}
    return [seen[stage] for stage in STAGES if stage in seen]


def _takes_place(stage: str, settings: Settings) -> bool:
    """Whether a stage after the poses is part of a run."""
    return {"outliers": settings.outliers is not None, "mesh": settings.mesh is not None}.get(stage, True)


# -------------------------------------------------------------------- what can be wrong


def _require_enough(views: Views, *, guided: bool) -> None:
    """Raise if photos are too few: the far side of a single one is for a prior to make up."""
    if len(views) == 0 or (len(views) == 1 and not guided):
        raise OptionError(
            f"a reconstruction without a prior needs at least 2 views, not {len(views)}; "
            "name a prior with --prior"
        )


def _require_match(views: Views, cameras: Cameras) -> None:
    if len(views) != len(cameras):
        raise ShapeError(f"{len(views)} views but {len(cameras)} cameras")
    if (views.width, views.height) != (cameras.width, cameras.height):
        raise ShapeError(
            f"photos are {views.width}x{views.height} pixels but cameras {cameras.width}x{cameras.height}; "
            "use Cameras.resized"
        )
