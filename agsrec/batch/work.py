"""The work on one object, in a process that does many: photos in, a folder and a record out."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.batch.machine import reset_peak_memory
from agsrec.batch.places import Place
from agsrec.batch.record import RECORD, Job, Record, write_record
from agsrec.errors import AgsrecError
from agsrec.frames import photos_of
from agsrec.options import object_place, refuse_to_overwrite
from agsrec.pipeline import Listener
from agsrec.processes import peak_memory_mb

if TYPE_CHECKING:
    from agsrec.pipeline.run import Finished

__all__ = ["ERROR_LOG", "THUMBNAIL", "Compute", "Work", "reconstruct_object"]

THUMBNAIL = "thumbnail.jpg"
"""Small picture of an object in its folder."""
ERROR_LOG = "error.log"
"""File of an object's folder with what only a programmer understands."""

_STAGES = "stages"  # not copied: only the machine that goes on with an object needs it
_THUMBNAIL_SIZE = 256  # pixels

Compute = Callable[[Job, Path, Path, Listener], Mapping[str, Any]]
"""Makes an object from its photos (second) in a folder (third); returns values of its `Record`."""


def reconstruct_object(job: Job, photos: Path, folder: Path, listener: Listener) -> dict[str, Any]:
    """Do what `agsrec run` does, and a small picture of the object; the `Compute` of every batch.

    Raises:
        AgsrecError: See `agsrec.pipeline.run.run`.
    """
    from agsrec.device import resolve_device
    from agsrec.pipeline.run import run

    photos, taken = photos_of(photos)
    for sentence in () if taken is None else (*taken.said, *taken.remarks):
        listener.say(sentence)
    place = object_place(photos, photos.parent)
    settings = job.options.settings(*place)
    resolve_device(settings.device)
    what, source, _ = job.options.what(*place, settings.working_size)
    refuse_to_overwrite(source, folder)
    done = run(replace(what, name=job.name), folder, settings, listener)
    _write_thumbnail(done, folder / THUMBNAIL)
    return _figures(done, folder)


def _figures(done: Finished, folder: Path) -> dict[str, Any]:
    """What the record of an object says of a run."""
    metrics = done.metrics
    photos, novel = metrics["input"], metrics.get("novel", {})
    return {
        "views": len(metrics["views"]),
        "gaussians": metrics["gaussians"],
        "psnr": photos["psnr"],
        "worst_psnr": min(photos["by_view"]["psnr"]),
        "ssim": photos["ssim"],
        "novel_psnr": novel.get("psnr"),
        "confidence": _least_confidence(folder / "cameras_initial.json"),
        "has_mesh": done.mesh is not None,
    }


def _least_confidence(file: Path) -> float | None:
    """The least confidence in an estimated pose; None where none was estimated."""
    from agsrec.camera_files import FORMAT_SIZE, read_cameras_json

    if not file.is_file():
        return None
    extras = read_cameras_json(file, FORMAT_SIZE, FORMAT_SIZE).extras.values()
    return min((float(entry["confidence"]) for entry in extras if "confidence" in entry), default=None)


def _write_thumbnail(done: Finished, file: Path) -> None:
    """The scene from its first camera, over white."""
    from PIL import Image

    from agsrec.files import atomic_path
    from agsrec.metrics.evaluation import rendered_on_white

    result = done.result
    longer = max(result.cameras.width, result.cameras.height)
    size = [max(1, n * _THUMBNAIL_SIZE // longer) for n in (result.cameras.width, result.cameras.height)]
    picture = rendered_on_white(result.gaussians, result.cameras[[0]].resized(*size), result.fitted_size)[0]
    with atomic_path(file) as temporary:
        Image.fromarray((picture * 255).round().byte().numpy()).save(temporary, "JPEG", quality=85)


@dataclass(frozen=True)
class Work:
    """Makes objects, each wholly or not at all; called in the process of a worker.

    Attributes:
        output: Where the objects' folders are.
        compute: What is done with the photos of one.
    """

    output: Place
    compute: Compute = reconstruct_object

    def __call__(self, job: Job) -> Record:
        """Make an object and its record.

        Raises:
            OutputError: The record cannot be written: nothing else could be, either.
        """
        reset_peak_memory()
        clock = time.perf_counter()
        notes = _Notes()
        with _result_folder(self.output, job.name) as folder:
            state, values = self._made(job, folder, notes)
            record = Record.of(
                job,
                state,
                seconds=time.perf_counter() - clock,
                peak_memory_mb=peak_memory_mb(),
                warnings=tuple(notes.sentences),
                **values,
            )
            if self.output.path is None:
                self._replace(folder, record)
        write_record(self.output, record)
        return record

    def give_up(self, job: Job, sentence: str, seconds: float = 0.0) -> Record:
        """The record of an object whose process is no more."""
        record = Record.of(job, "failed", sentence=sentence, seconds=seconds)
        write_record(self.output, record)
        return record

    def _made(self, job: Job, folder: Path, notes: _Notes) -> tuple[Any, dict[str, Any]]:
        """How the object ended, and what its record says of that."""
        log = folder / ERROR_LOG
        try:
            folder.mkdir(parents=True, exist_ok=True)
            log.unlink(missing_ok=True)
            with _photos(job.photos) as photos, notes.listening():
                return "done", dict(self.compute(job, photos, folder, notes))
        except AgsrecError as error:
            return "failed", {"sentence": " ".join(str(error).split())}
        except MemoryError:
            return "failed", {"sentence": "there is not enough memory; take fewer workers"}
        except Exception as error:
            try:
                log.write_text(traceback.format_exc(), encoding="utf-8")
            except OSError:
                pass  # the record says that there is no space either
            kind = f"{type(error).__name__}: {error}".splitlines()[0][:120]
            return "failed", {
                "sentence": f"something that should not have went wrong ({kind}); see {ERROR_LOG}"
            }

    def _replace(self, folder: Path, record: Record) -> None:
        """Copy an object to where it belongs; its record goes first, and comes last."""
        target = self.output / record.name
        target.remove(RECORD)
        if record.state == "done":
            target.remove()
            target.put(folder, without=(_STAGES,))
        elif (folder / ERROR_LOG).is_file():
            target.write(ERROR_LOG, (folder / ERROR_LOG).read_bytes())


@contextmanager
def _result_folder(output: Place, name: str) -> Iterator[Path]:
    """Where an object is made: in its own folder, or in one of this machine that is removed afterwards."""
    if output.path is not None:
        yield output.path / name
        return
    with tempfile.TemporaryDirectory(prefix="agsrec-batch-") as folder:
        yield Path(folder) / name


@contextmanager
def _photos(where: str) -> Iterator[Path]:
    """The photos on this machine."""
    place = Place(where)
    if place.path is not None:
        yield place.path
        return
    folder = tempfile.mkdtemp(prefix="agsrec-photos-")
    try:
        yield place.get(Path(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Notes(Listener):
    """Keeps the sentences for which a result should be looked at, and the package's warnings."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def warn(self, text: str) -> None:
        """Keep a sentence, once."""
        if text not in self.sentences:
            self.sentences.append(text)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the package's warnings too, while this lasts."""
        handler, logger = _Handler(self), logging.getLogger("agsrec")
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


class _Handler(logging.Handler):
    """Passes warnings on."""

    def __init__(self, notes: _Notes) -> None:
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one on."""
        self._notes.warn(record.getMessage())
