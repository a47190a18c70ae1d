"""From photo files to `processed/*_rgba.png`: the only part of preprocessing that touches the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agsrec.errors import ImageError, OptionError, OutputError
from agsrec.files import atomic_write, folder_entries, is_plain_name, remove_leftovers
from agsrec.frames import RECORD
from agsrec.images import IMAGE_SUFFIXES, encode_png, frame_count
from agsrec.lenses import Lens
from agsrec.locks import locked
from agsrec.photos import Known, Photo, known_photos, read_photo
from agsrec.preprocess.crops import write_crops
from agsrec.preprocess.cuts import Cuts, look_at, prepare_cuts
from agsrec.preprocess.doubts import doubtful_cuts, unusable_cut
from agsrec.preprocess.exif import exif_focal
from agsrec.preprocess.looks import Look
from agsrec.preprocess.matting import foreground_colors
from agsrec.preprocess.recenter import Crop, crop_rgba, object_box, square_crop
from agsrec.preprocess.remover import AUTO, require_model
from agsrec.views import view_name

__all__ = ["FULL_SIZE", "Processed", "find_photos", "is_unfinished", "process"]

FULL_SIZE = 2048
"""Side in pixels that results have at most, unless told otherwise."""

_LONGEST_NAME = 255  # bytes, on all common file systems
_EFFORT = 3  # of packing; more takes as long as all the rest
_INSTEAD = "copy the photos to another folder"
_UNFINISHED = ".unfinished"  # in `processed/` while files are being written there


@dataclass(frozen=True)
class Processed:
    """What `process` wrote.

    Attributes:
        files: The cut-out images, one per photo that could be used.
        crops: By view name, the piece of the photo that the image shows.
        focals: By view name, the focal length in pixels of the photo, where its EXIF data or its lens tell.
        lenses: By view name, the lens whose distortion was taken out of the photo.
        doubtful: By view name, why the cut should be looked at; only where there is a reason.
        skipped: By view name, why a photo could not be used; there are no files of it.
        frames: By view name, how many pictures follow each other in a file; only where the first is not all.
    """

    files: tuple[Path, ...]
    crops: Mapping[str, Crop]
    focals: Mapping[str, float] = field(default_factory=dict)
    lenses: Mapping[str, Lens] = field(default_factory=dict)
    doubtful: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    frames: Mapping[str, int] = field(default_factory=dict)

    def remarks(self) -> list[str]:
        """Sentences that a user should read: which photos were skipped, which cuts to look at, and why."""
        skipped = [f"Photo {name} is skipped: {reason}" for name, reason in self.skipped.items()]
        several = [
            f"The file of {name} holds {count} pictures, of which the first is used; save others as files of "
            "their own"
            for name, count in self.frames.items()
        ]
        doubtful = [
            f"The cut-out of {name} is doubtful: {reason}; look at it"
            for name, reason in self.doubtful.items()
        ]
        return [*skipped, *several, *doubtful]


def is_unfinished(folder: Path) -> bool:
    """Whether the writing of cut-out photos into a folder's `processed/` was interrupted."""
    return os.path.exists(folder / "processed" / _UNFINISHED)


def process(
    path: str | Path,
    *,
    size: int = FULL_SIZE,
    model: str = AUTO,
    border_ratio: float = 0.2,
    recenter: bool = True,
    cameras: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    patience: float = 0.0,
) -> Processed:
    """Cut out and centre the object in a photo, or in every photo of a folder.

    Results are squares with the photo's own pixels, as many as the square around the object has there, and at
    most `size` wide; those of one folder may differ in size. One photo is in memory at a time, a few hundred
    megabytes and 15 bytes per pixel: less than 1 GiB for 48 megapixels.

    Writes `processed/<name>_rgba.png`, `source/<name>.png` (the same crop with its background) and
    `processed/crops.json` into the folder, or into the folder that holds the photo. A folder without photos
    of its own but with an `images/` or a `source/` is processed from there, and its `source/` is left alone.
    A photo without an object is skipped, and files of an earlier run of it are removed; if any photo cannot
    be read, or none shows an object, nothing is written.

    Photos of a folder are taken to show one object: the embedded model compares them. Photos whose cameras
    are known are undistorted first, and cut out by their masks where there are some; see `agsrec.photos`.

    Args:
        path: Photo, or folder of photos.
        size: Side of the square results in pixels, at most; larger squares are made smaller.
        model: One of `BACKGROUND_MODELS`. Transparent images keep their own alpha.
        border_ratio: Share of the result's side left free around the object's longest side.
        recenter: Centre and scale the object; otherwise the whole photo is fitted into the square.
        cameras: Camera file of the photos: nerfstudio's `transforms.json` or a COLMAP model. By default the
            one in the folder, unless the photos are those in `source/`, which it may not be for.
        progress: Called with the number of photos done and their total.
        patience: Seconds to wait for another process that is cutting out there.

    Raises:
        OptionError: An option is out of range, there is nothing to process, or another process is cutting out
            there.
        CameraError: The camera file cannot be used.
        ImageError: A photo cannot be read, none shows an object, or two photos share a name.
        OutputError: The results cannot be written.
    """
    _check_options(size, model, border_ratio)
    folder, photos, write_source = find_photos(Path(path))
    known = known_photos(folder, cameras) if write_source or cameras is not None else {}
    with locked(folder / "processed", patience=patience, instead=_INSTEAD):
        cuts = prepare_cuts(photos, known, model, progress)
        shape = size, border_ratio, recenter
        return _written(folder, photos, known, cuts, shape, progress, write_source=write_source)


def _written(
    folder: Path,
    photos: Mapping[str, Path],
    known: Mapping[str, Known],
    cuts: Cuts,
    shape: tuple[int, float, bool],
    progress: Callable[[int, int], None] | None,
    *,
    write_source: bool,
) -> Processed:
    """What `process` writes.

    Args:
        folder: Folder with `processed/` and `source/`.
        photos: Photos by name of the view.
        known: What is known of them.
        cuts: How their object is found.
        shape: `size`, `border_ratio` and `recenter` of `process`.
        progress: As there.
        write_source: Whether `source/` is to be written.
    """
    place = folder / "processed"
    crops: dict[str, Crop] = {}
    focals: dict[str, float] = {}
    lenses: dict[str, Lens] = {}
    looks: dict[str, Look] = {}
    skipped: dict[str, str] = {}
    for done, (name, file) in enumerate(photos.items(), 1):
        made = _made(name, file, known.get(name), cuts, shape)
        if isinstance(made, str):
            skipped[name] = made
        else:
            if not crops:
                _begin(place)
            atomic_write(place / f"{name}_rgba.png", made.cut)
            if write_source:
                atomic_write(folder / "source" / f"{name}.png", made.source)
            crops[name], looks[name] = made.crop, made.look
            focals |= {} if made.focal is None else {name: made.focal}
            lenses |= {} if made.lens is None else {name: made.lens}
        if progress and not cuts.masks:
            progress(done, len(photos))
    if not crops:
        raise ImageError(_nothing_found(photos, skipped, filmed=os.path.exists(folder / RECORD)))
    for name in skipped:
        _forget(folder, name, source=write_source)
    write_crops(place / "crops.json", crops, focals, lenses, without=skipped)
    (place / _UNFINISHED).unlink(missing_ok=True)
    files = tuple(place / f"{name}_rgba.png" for name in crops)
    frames = {name: count for name in crops if (count := frame_count(photos[name])) > 1}
    return Processed(files, crops, focals, lenses, doubtful_cuts(looks, cuts.masks), skipped, frames)


def _begin(place: Path) -> None:
    """From now on files are written; `is_unfinished` tells until all of them are there."""
    atomic_write(place / _UNFINISHED, b"")
    remove_leftovers(place)


def _nothing_found(photos: Mapping[str, Path], skipped: Mapping[str, str], *, filmed: bool) -> str:
    remedy = "cut it out by hand (PNG with alpha) or remove it"
    found = [f"{photo}: {skipped[name]}" for name, photo in photos.items()]
    if len(found) == 1:
        return f"{found[0]}; {remedy}"
    if filmed:
        return (
            f"no frame of the video can be used ({'; '.join(found[:3])}); film one object, whole in the "
            "picture and clear of what is around it, or cut it out of the frames by hand (PNG with alpha)"
        )
    return f"no photo can be used ({'; '.join(found[:3])}); cut the object out by hand (PNG with alpha)"


def _forget(folder: Path, name: str, *, source: bool) -> None:
    """Remove what an earlier run wrote of a photo that is now skipped."""
    stale = [
        folder / "processed" / f"{name}_rgba.png",
        *([folder / "source" / f"{name}.png"] if source else []),
    ]
    for file in stale:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot remove {file} of an earlier run ({error.strerror}); do so by hand"
            ) from error


@dataclass(frozen=True)
class _Made:
    """What was made of one photo: two PNG files, and what is known of it."""

    cut: bytes
    source: bytes
    crop: Crop
    look: Look
    focal: float | None
    lens: Lens | None


def _made(
    name: str, file: Path, known: Known | None, cuts: Cuts, options: tuple[int, float, bool]
) -> _Made | str:
    """What one photo gives, or why it cannot be used; the photo itself is forgotten again.

    Args:
        name: Name of the view.
        file: The photo.
        known: What is known of it.
        cuts: How its object is found.
        options: `size`, `border_ratio` and `recenter` of `process`.
    """
    photo = read_photo(file, known)
    alpha = cuts.alpha(name, photo)
    reason = unusable_cut(alpha, by_hand=photo.cut_out)
    if reason is not None:
        return reason
    look = look_at(photo.rgba, alpha)
    cut, source, crop = _pictures(photo, alpha, *options)
    if photo.lens is not None:
        focal = float(photo.lens.pinhole[[0, 1], [0, 1]].mean())
    else:
        focal = exif_focal(file, crop.width, crop.height)
    files = encode_png(cut, effort=_EFFORT), encode_png(source, effort=_EFFORT)
    return _Made(*files, crop, look, focal, photo.lens)


def _pictures(
    photo: Photo, alpha: np.ndarray, size: int, border_ratio: float, recenter: bool
) -> tuple[np.ndarray, np.ndarray, Crop]:
    """The object [s, s, 4], black where transparent, the same with its background, and the crop."""
    height, width = alpha.shape
    crop = square_crop(
        width, height, size, box=object_box(alpha) if recenter else None, border_ratio=border_ratio
    )
    cut = crop_rgba(photo.rgba, crop, extend=False, alpha=alpha)
    if not photo.background:
        source = crop_rgba(photo.rgba, crop, extend=False)
    else:
        # Beyond an undistorted photo its border goes on, as it does beyond any other.
        opaque = np.broadcast_to(np.uint8(255), alpha.shape)
        source = crop_rgba(photo.rgba, crop, extend=True, alpha=opaque)[..., :3]
        cut[..., :3] = foreground_colors(source, cut[..., 3])
    cut[cut[..., 3] == 0] = 0
    return cut, source, crop


def _check_options(size: int, model: str, border_ratio: float) -> None:
    if not 16 <= size <= 4096:
        raise OptionError(f"size must be between 16 and 4096 pixels, not {size}")
    if not 0 <= border_ratio < 0.9:
        raise OptionError(f"border_ratio must be at least 0 and below 0.9, not {border_ratio}")
    require_model(model)


def find_photos(path: Path) -> tuple[Path, dict[str, Path], bool]:
    """Folder for the results, photos by view name, and whether `source/` is to be written.

    Raises:
        OptionError: There is no such file or folder, or there are no photos in it.
        ImageError: Two photos share a name.
    """
    if os.path.isfile(path):
        return path.parent, _by_name([path]), True
    if not os.path.isdir(path):
        remedy = "give a photo or a folder of photos"
        if os.path.lexists(path):
            raise OptionError(f"{path} is a pipe, a device or a link to nothing; {remedy}")
        raise OptionError(f"{path} does not exist; {remedy}")
    for folder, write_source in ((path, True), (path / "images", True), (path / "source", False)):
        photos = _photos_in(folder)
        if photos:
            return path, _by_name(photos), write_source
    entries = [f for place in (path, path / "images") for f in folder_entries(place) if f.name != "masks"]
    below = [f.name for f in entries if _photos_in(f)]
    if below:
        raise OptionError(
            f"{path} has photos only in its folders {', '.join(below[:4])}; give one of them, or put the "
            "photos of one object together, under different names"
        )
    raise OptionError(
        f"{path} has no photos ({', '.join(s[1:] for s in IMAGE_SUFFIXES)}); give another folder"
    )


def _photos_in(folder: Path) -> list[Path]:
    """Photos directly in a folder, by name; neither our results nor hidden files."""
    return [
        f
        for f in folder_entries(folder)
        if f.suffix.lower() in IMAGE_SUFFIXES
        and not f.name.startswith(".")
        and not f.name.endswith("_rgba.png")
        and not os.path.isdir(f)  # what is no file either is not passed over in silence
    ]


def _require_usable_name(photo: Path, name: str) -> None:
    """Raise unless files can be named after a photo, and lines of text can hold its name.

    Raises:
        ImageError: They cannot.
    """
    if not name.strip() or not is_plain_name(name):
        raise ImageError(f"{photo}: its name has characters that cannot be printed; rename the file")
    if len(os.fsencode(f"{name}_rgba.png")) > _LONGEST_NAME:
        raise ImageError(f"{photo}: its name is too long to be a part of others; rename the file")


def _by_name(photos: Sequence[Path]) -> dict[str, Path]:
    out: dict[str, Path] = {}
    for photo in photos:
        name = view_name(photo.name)
        _require_usable_name(photo, name)
        if name in out:
            raise ImageError(
                f"{out[name]} and {photo.name} would both become {name}_rgba.png; rename one of them"
            )
        out[name] = photo
    return out
