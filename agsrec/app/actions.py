"""What a user can do, without a word about how the page looks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agsrec.app.course import STOPPED, Course
from agsrec.app.events import Done, Task
from agsrec.app.pictures import save_picture
from agsrec.app.sessions import Photo, Session, Video
from agsrec.app.tasks import CutOut, Reconstruct, TakeFrames
from agsrec.app.uploads import Limits
from agsrec.app.worker import Job
from agsrec.camera_files import FORMAT_SIZE, read_cameras_json
from agsrec.config import PRESETS, FitConfig, PresetName
from agsrec.embedded import EMBEDDED_PRIOR
from agsrec.errors import OptionError
from agsrec.files import folder_entries
from agsrec.images import load_image
from agsrec.mesh.config import MeshConfig
from agsrec.names import DeviceName
from agsrec.outliers import OutlierConfig
from agsrec.pipeline import Settings

__all__ = ["AppConfig", "choose_example", "cut_out", "examples", "reconstruct", "toggle"]

_MAX_SEED = 2**31 - 1
_NO_PHOTOS = "Choose an example, or upload photos or a video first."


@dataclass(frozen=True)
class AppConfig:
    """What the app offers.

    Attributes:
        data: Folder of the demo objects.
        limits: What an upload may be.
        presets: Schedules to choose from; the first is the default.
        resolution: Longer side in pixels of the pictures that fits end with; that of the preset by default.
        outliers: How badly posed photos are looked for.
        mesh: Size and effort of the meshes.
        prior: Diffusion model that judges views nobody photographed, or None.
        device: Where to compute.
        background_model: What cuts objects out of photos.
        concurrency: Reconstructions at the same time.
        idle_minutes: Sessions that nobody uses for so long are removed.
    """

    data: Path = Path("data/demo")
    limits: Limits = field(default_factory=Limits)
    presets: Mapping[PresetName, FitConfig] = field(
        default_factory=lambda: {"fast": PRESETS["fast"], "quality": PRESETS["quality"]}
    )
    resolution: int | None = None
    outliers: OutlierConfig = field(default_factory=OutlierConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    prior: str | None = EMBEDDED_PRIOR
    device: DeviceName = "auto"
    background_model: str = "auto"
    concurrency: int = 1
    idle_minutes: float = 60.0


# -------------------------------------------------------------------- choosing photos


def examples(data: Path) -> dict[str, Path]:
    """The demo objects: name and a cut-out photo of each."""
    found = {}
    for folder in folder_entries(data):
        photos = [f for f in folder_entries(folder / "processed") if f.name.endswith("_rgba.png")]
        if photos and os.path.isfile(folder / "cameras.json"):
            found[folder.name] = photos[0]
    return found


def choose_example(session: Session, data: Path, name: str) -> None:
    """Take the photos of a demo object, instead of those there are.

    Raises:
        OptionError: There is no such object.
    """
    known = examples(data)
    if name not in known:
        raise OptionError(f"There is no example {name!r}; there are {', '.join(known) or 'none'}.")
    with session.at_work():
        session.reset()
        folder = data.absolute() / name
        listed = read_cameras_json(folder / "cameras.json", FORMAT_SIZE, FORMAT_SIZE)
        pictures = session.new_folder(served=True)
        for view in listed.names:
            file = folder / "processed" / f"{view}_rgba.png"
            if not file.is_file():
                continue
            save_picture(pictures / f"{view}.jpg", load_image(file)[0])
            session.photos.append(Photo(view, "", pictures / f"{view}.jpg"))
        session.title, session.scene, session.posed = name, folder, True


def toggle(session: Session, index: int) -> None:
    """Leave a photo out, or take it in again."""
    with session.at_work():
        if 0 <= index < len(session.photos):
            photo = session.photos[index]
            photo.kept = not photo.kept


# -------------------------------------------------------------------- heavy work


def cut_out(session: Session, config: AppConfig) -> Iterator[Course]:
    """Cut the object out of all photos that take part, which a video gives first.

    Raises:
        OptionError: There are none, or the session is at work already.
    """
    _require_photos(session)
    course = Course(_stages_before(session))
    yield from _prepared(session, config, course)
    course.done = session.scene is not None
    yield course


def reconstruct(
    session: Session, config: AppConfig, *, preset: str, correct: bool, seed: int
) -> Iterator[Course]:
    """Reconstruct the object; `session.outcome` holds what came of it when the course is done.

    Raises:
        OptionError: There are no photos, an option cannot be used, or the session is at work already.
    """
    _require_photos(session)
    known: dict[str, PresetName] = {name: name for name in config.presets}
    chosen = known.get(preset)
    if chosen is None:
        raise OptionError(f"There is no preset {preset!r}; there are {', '.join(config.presets)}.")
    if not 0 <= seed <= _MAX_SEED:
        raise OptionError(f"The seed must be between 0 and {_MAX_SEED}, not {seed}.")
    poses = [] if session.posed or len(session.kept) == 1 else ["poses"]
    checked = ["outliers"] if correct else []
    course = Course((*_stages_before(session), *poses, *checked, "fit", "mesh", "export"))
    session.outcome = None
    yield from _prepared(session, config, course)
    if session.scene is None:
        return
    settings = Settings(
        preset=chosen,
        fit=None if config.presets[chosen] == PRESETS[chosen] else config.presets[chosen],
        resolution=config.resolution,
        prior=config.prior,
        seed=seed,
        device=config.device,
        outliers=config.outliers if correct else None,
        mesh=config.mesh,
    )
    task = Reconstruct(
        scene=session.scene,
        title=session.title,
        views=tuple(photo.name for photo in session.kept),
        posed=session.posed,
        work=session.new_folder(),
        served=session.new_folder(served=True),
        labels={photo.name: photo.label for photo in session.photos},
        settings=settings,
    )
    try:
        for outcome in _followed(session, task, course):
            if outcome is not None:
                session.outcome = outcome
            yield course
    finally:
        shutil.rmtree(task.work, ignore_errors=True)
        if session.outcome is None:
            shutil.rmtree(task.served, ignore_errors=True)


def _stages_before(session: Session) -> tuple[str, ...]:
    """What has to be done before there are cut-outs."""
    if session.video is not None:
        return "frames", "cutout"
    return () if session.scene is not None else ("cutout",)


def _prepared(session: Session, config: AppConfig, course: Course) -> Iterator[Course]:
    """Take photos from the video, cut the object out, as far as it is still to be done. `session.scene` is
    None afterwards if that ended early."""
    if session.video is not None:
        yield from _before(_followed(session, _frames_task(session, session.video, config), course), course)
        if session.video is not None:
            return
    if session.scene is None:
        yield from _before(_followed(session, _cut_out_task(session, config), course), course)


def _before(events: Iterator[Any], course: Course) -> Iterator[Course]:
    """The course of a first job, not yet done when that is."""
    for _ in events:
        course.done = False
        yield course


def _require_photos(session: Session) -> None:
    if not session.photos and session.video is None:
        raise OptionError(_NO_PHOTOS)
    if session.photos and not session.kept:
        raise OptionError("All photos are left out; click one to take it in again.")
    if session.job is not None:
        raise OptionError("This page is at work already; stop it first.")


def _frames_task(session: Session, video: Video, config: AppConfig) -> TakeFrames:
    folder, pictures = session.new_folder(), session.new_folder(served=True)
    return TakeFrames(video.file, video.label, folder, pictures, config.limits.photos)


def _cut_out_task(session: Session, config: AppConfig) -> CutOut:
    """The photos that take part, alone in a folder."""
    folder = session.new_folder()
    for photo in session.kept:
        assert photo.file is not None
        os.link(photo.file, folder / photo.file.name)
    labels = {photo.name: photo.label for photo in session.photos}
    return CutOut(folder, session.new_folder(served=True), labels, config.background_model)


def _followed(session: Session, task: Task, course: Course) -> Iterator[dict[str, Any] | None]:
    """Run a task for a session and follow it; gives what came of it once it is done. Leaving ends the job."""
    job = Job(task)
    session.job = job
    try:
        for event in job.events():
            if event is not None:
                course.apply(event)
            if isinstance(event, Done):
                if isinstance(task, TakeFrames):
                    _take_frames(session, task, event.outcome)
                if isinstance(task, CutOut):
                    _take_cut_outs(session, task, event.outcome)
                yield event.outcome
            else:
                yield None
        if job.stopped:
            course.failure = STOPPED
    finally:
        job.stop()
        session.job = None


def _take_frames(session: Session, task: TakeFrames, outcome: dict[str, Any]) -> None:
    with session.at_work():
        for file, seconds in zip(outcome["photos"], outcome["seconds"], strict=True):
            picture = task.pictures / file.name
            session.photos.append(Photo(file.stem, f"at {seconds:.1f} s", picture, file))
        session.video = None
        shutil.rmtree(task.video.parent, ignore_errors=True)


def _take_cut_outs(session: Session, task: CutOut, outcome: dict[str, Any]) -> None:
    with session.at_work():
        pictures = outcome["pictures"]
        session.photos = [photo for photo in session.photos if photo.name in pictures]
        for photo in session.photos:
            photo.picture = pictures[photo.name]
            photo.doubt = outcome["doubtful"].get(photo.name)
        session.scene = task.folder
