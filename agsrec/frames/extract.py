"""From a video to a folder of photos."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.errors import ImageError, OptionError, OutputError
from agsrec.files import atomic_path, atomic_write, contents_digest, folder_entries, prepare_folder
from agsrec.frames.choice import Choice, choose_frames, longest_shot
from agsrec.frames.film import Film, is_video, videos_in
from agsrec.frames.motion import Small, step_between
from agsrec.frames.survey import NEW, Survey, surveyed
from agsrec.images import has_photos

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agsrec.frames.film import Frame

__all__ = ["FRAMES", "RECORD", "Extracted", "extract_frames", "photos_of", "usual_folder"]

FRAMES = 24
"""Frames that are taken from a video, at most, unless told otherwise."""
RECORD = "video.json"
"""File beside frames that says which video they are from."""

_RANGE = 3, 300  # frames that may be asked for
_FEWEST = 3
_QUALITY = 95
_OURS = re.compile(r"frame_\d{6}\.jpg")
_FOUND = 0.9  # share of a frame found again in another from which they may be the same, and their likeness
_INCOMPLETE = 0.9  # share of the frames that a file says it has
_FILLED = 0.8  # share of the frames asked for with which no more are looked for

Report = Callable[[str], object]


@dataclass(frozen=True)
class Extracted:
    """Frames of a video in a folder, as its `video.json` has them.

    Attributes:
        video: Name of the video's file.
        digest: Of its contents.
        asked: Frames that were asked for.
        files: Names of the photos.
        seconds: When each is shown.
        said: What was chosen, and what was left out, in sentences.
        remarks: What a user should look at, likewise.
    """

    video: str
    digest: str
    asked: int
    files: tuple[str, ...]
    seconds: tuple[float, ...]
    said: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def usual_folder(video: Path) -> Path:
    """The folder beside a video that its frames go into."""
    return video.with_suffix("")


def photos_of(
    path: Path, report: Report = lambda _: None, *, look: bool = False
) -> tuple[Path, Extracted | None]:
    """The folder of photos of an object, and what was taken from a video for it, if there is one.

    A video's frames go into a folder of its name beside it; those of the only video in a folder without
    photos go into that folder. Frames that are there are used as they are. Other paths are returned as they
    are.

    Args:
        path: A video, a folder, or anything else.
        report: Told what is being done.
        look: Whether nothing is to be written.

    Raises:
        AgsrecError: As `extract_frames`.
    """
    if is_video(path):
        video, folder = path, usual_folder(path)
    else:
        there = videos_in(path)
        if not there or _has_other_photos(path):
            return path, None
        if len(there) > 1:
            raise OptionError(
                f"{path} has no photos but {len(there)} videos ({there[0].name}, {there[1].name}); "
                "give one of them"
            )
        video, folder = there[0], path
    known = _read(folder)
    if known is None or known.digest != contents_digest(video) or not has_photos(folder):
        if look:
            raise OptionError(f"no frames of {video} have been chosen yet; do so with: agsrec video {video}")
        known = extract_frames(video, folder, report=report)
    return folder, known


def _has_other_photos(folder: Path) -> bool:
    """Whether a folder has anything to reconstruct that does not come from a video."""
    scene = ("processed", "cameras.json", "transforms.json")
    if os.path.exists(folder / RECORD):
        return False
    return has_photos(folder) or any(os.path.exists(folder / name) for name in scene)


def extract_frames(
    video: str | Path,
    folder: str | Path | None = None,
    *,
    count: int = FRAMES,
    report: Report = lambda _: None,
) -> Extracted:
    """Choose sharp frames of a video that show an object from sides far apart, and write them as photos.

    The video is decoded twice, one frame at a time is in memory: first to see how sharp each frame is and
    how the view moves, then for those chosen. Writes `frame_<number>.jpg` at the video's own size, turned as
    it is meant to be seen, and `video.json`. The same video gives the same frames.

    Args:
        video: File of a video that FFmpeg decodes.
        folder: Folder for the photos; by default one of the video's name beside it.
        count: Frames to take, at most.
        report: Told what is being done.

    Raises:
        OptionError: A number is out of range, or the folder has photos already that are not these.
        ImageError: The video cannot be used: it cannot be decoded, the camera stood still, nothing is sharp.
        OutputError: The photos cannot be written.
    """
    low, high = _RANGE
    if not low <= count <= high:
        raise OptionError(f"--frames must be between {low} and {high}, not {count}")
    video = Path(video)
    folder = usual_folder(video) if folder is None else Path(folder)
    film = Film.of(video)
    digest = contents_digest(video)
    known = _read(folder)
    if known is not None and (known.digest, known.asked) == (digest, count) and _all_there(folder, known):
        return known
    _require_empty(folder)
    survey = surveyed(film, lambda seconds: report(f"looking at {video.name}: {seconds:.0f} s"))
    shots = survey.shots()
    longest = longest_shot(survey, shots)
    shot = survey.part(longest)
    choice = choose_frames(shot, count)
    _require_enough(film, survey, shots, shot, choice)
    prepare_folder(folder)
    atomic_write(folder / RECORD, json.dumps({"video": video.name, "unfinished": True}))
    kept = _written(film, folder, shot, choice, report)
    if choice.stretches == count and len(kept) < _FILLED * count:
        # The way leads past the same sides more than once: what is between the frames was seen from fewer.
        choice = choose_frames(shot, min(high, math.ceil(count * len(choice.rows) / len(kept))))
        kept = _written(film, folder, shot, choice, report)
    same = len(choice.rows) - len(kept)
    kept = _thinned(folder, kept, count)
    if len(kept) < _FEWEST:
        _forget(folder)
        raise ImageError(
            f"{video}: only {len(kept)} of its frames show the object from different sides; "
            "walk around the object while you film, or take photos"
        )
    done = Extracted(
        video.name,
        digest,
        count,
        tuple(_name(frame) for frame in kept),
        tuple(round(when, 3) for when in kept.values()),
        _sentences(film, folder, survey, shot, choice, len(kept), same),
        _remarks(film, survey, shots, longest),
    )
    atomic_write(folder / RECORD, json.dumps(asdict(done), indent=2) + "\n")
    return done


def _written(film: Film, folder: Path, shot: Survey, choice: Choice, report: Report) -> dict[int, float]:
    """When each chosen frame is shown, by its number, without those that show what one before shows; the
    others are written, and are the only ones in the folder."""
    wanted = frozenset(int(shot.index[row]) for row in choice.rows)
    kept: dict[int, float] = {}
    seen: list[Small] = []
    for frame in film.frames(wanted.__contains__, last=max(wanted)):
        small = Small.of(frame.picture)
        if any(_is_same(other, small) for other in seen):
            continue
        report(f"writing {_name(frame.index)}")
        _save(folder / _name(frame.index), frame)
        seen.append(small)
        kept[frame.index] = frame.seconds
    _remove(file for file in _ours(folder) if file.name not in map(_name, kept))
    return kept


def _thinned(folder: Path, kept: dict[int, float], count: int) -> dict[int, float]:
    """At most that many of the frames, spread evenly; the others are removed."""
    if len(kept) <= count:
        return kept
    numbers = list(kept)
    left = {numbers[round(k * (len(numbers) - 1) / (count - 1))]: None for k in range(count)}
    _remove(folder / _name(number) for number in numbers if number not in left)
    return {number: kept[number] for number in left}


def _is_same(first: Small, second: Small) -> bool:
    """Whether a frame shows nothing that another does not."""
    if first.likeness(second) < _FOUND:
        return False
    step = step_between(first, second)
    return step.parallax < NEW and step.known > _FOUND


def _save(path: Path, frame: Frame) -> None:
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(frame.picture[..., ::-1]).save(temporary, "JPEG", quality=_QUALITY, subsampling=0)


def _name(index: int) -> str:
    return f"frame_{index:06d}.jpg"


# -------------------------------------------------------------------- what is there already


def _read(folder: Path) -> Extracted | None:
    """What a folder's `video.json` says; None where there is none, or an unfinished one."""
    stored = _stored(folder)
    try:
        return Extracted(
            str(stored["video"]),
            str(stored["digest"]),
            int(stored["asked"]),
            *(tuple(stored[name]) for name in ("files", "seconds", "said", "remarks")),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _stored(folder: Path) -> dict[str, Any]:
    try:
        stored = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _all_there(folder: Path, known: Extracted) -> bool:
    return all(os.path.isfile(folder / file) for file in known.files)


def _require_empty(folder: Path) -> None:
    """Raise if photos are in a folder, or cut-outs of some; what an interrupted choice left is removed."""
    if _stored(folder).get("unfinished"):
        _forget(folder)
    if has_photos(folder) or os.path.isdir(folder / "processed"):
        other = _read(folder)
        what = "photos" if other is None else f"frames of {other.video} (--frames {other.asked})"
        raise OptionError(
            f"{folder} has {what} already; remove the folder, or name another --output of agsrec video"
        )


def _forget(folder: Path) -> None:
    """Remove frames that were written."""
    _remove([*_ours(folder), folder / RECORD])


def _ours(folder: Path) -> list[Path]:
    """Frames in a folder."""
    return [file for file in folder_entries(folder) if _OURS.fullmatch(file.name)]


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot remove {file} ({error.strerror}); do so by hand") from error


# -------------------------------------------------------------------- what is said


def _require_enough(film: Film, survey: Survey, shots: list[slice], shot: Survey, choice: Choice) -> None:
    """Raise unless a shot gives enough frames."""
    if len(choice.rows) >= _FEWEST:
        return
    seconds = f"{shot.seconds[-1] - shot.seconds[0]:.1f} s"
    where = f"the longest of {len(shots)} shots ({seconds})" if len(shots) > 1 else f"it ({seconds})"
    if len(shot) < _FEWEST:
        raise ImageError(
            f"{film.path}: {where} has {len(shot)} frames, and at least {_FEWEST} are needed; film longer, "
            "or take photos"
        )
    if choice.stretches < _FEWEST:
        raise ImageError(
            f"{film.path}: nothing comes to be seen from another side in {where}: the camera stands still, "
            "or only turns; walk around the object while you film, or take photos"
        )
    raise ImageError(
        f"{film.path}: only {len(choice.rows)} frames of {where} are sharp; film more slowly and with more "
        "light, or take photos"
    )


def _sentences(
    film: Film, folder: Path, survey: Survey, shot: Survey, choice: Choice, kept: int, same: int
) -> tuple[str, ...]:
    looked = f"{len(survey)} frames" if survey.index[-1] < len(survey) else f"{len(survey)} frames looked at"
    said = [
        f"{kept} of {looked} of {film.path.name} are photos in {folder}: the sharpest of {choice.stretches} "
        f"stretches in which the view moves alike, from {shot.seconds[0]:.1f} to {shot.seconds[-1]:.1f} s"
    ]
    if choice.blurred:
        said.append(f"{_counted(choice.blurred, 'stretch')} left out, because no frame there is sharp")
    jumped = choice.stretches - choice.blurred - len(choice.rows)
    if jumped:
        said.append(f"{_counted(jumped, 'stretch')} left out, because no frame is there: the view moved fast")
    if same:
        said.append(f"{_counted(same, 'frame')} left out that show what another shows")
    return tuple(said)


def _counted(count: int, what: str) -> str:
    many = f"{what}es" if what.endswith("ch") else f"{what}s"
    return f"1 {what} was" if count == 1 else f"{count} {many} were"


def _remarks(film: Film, survey: Survey, shots: list[slice], longest: slice) -> tuple[str, ...]:
    remarks = []
    if len(shots) > 1:
        rest = ", ".join(
            f"{survey.seconds[s][0]:.1f}-{survey.seconds[s][-1]:.1f} s" for s in shots if s != longest
        )
        remarks.append(
            f"{film.path.name} has {len(shots)} shots; the longest is used, and left out are {rest}: cut the "
            "video where that is not the object"
        )
    if film.count and survey.index[-1] + 1 < _INCOMPLETE * film.count:
        remarks.append(
            f"{film.path.name} is incomplete: it can be decoded up to {survey.seconds[-1]:.1f} s, "
            f"{survey.index[-1] + 1} of {film.count} frames; copy it again if the rest matters"
        )
    return tuple(remarks)
