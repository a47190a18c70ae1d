"""Cameras of whole photos: which file beside them has them, and reading one of any kind."""

from __future__ import annotations

import os
from pathlib import Path

from agsrec.camera_files.colmap import read_colmap
from agsrec.camera_files.nerfstudio import read_transforms_json
from agsrec.camera_files.parsing import CameraFile, load_json_object
from agsrec.errors import CameraError, OptionError
from agsrec.files import contents_digest, folder_entries

__all__ = ["camera_file_digest", "find_photo_cameras", "is_of_photos", "read_photo_cameras"]

_MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0", ".")
_INSTANTSPLAT = "sparse_*/0"  # the number of its views, or 0 for all; `1` beside it has those held back
_COLMAP = (".txt", ".bin")
_NO_CAMERA_FILES = (".npz", ".npy", ".pt", ".pth", ".pkl", ".ply", ".glb")
_KINDS = "a transforms.json or a folder with a COLMAP model"


def find_photo_cameras(folder: str | Path) -> Path | None:
    """The `transforms.json` or else the folder of the COLMAP model that is with the photos of a folder.

    Raises:
        OptionError: There are several models, of different photos.
    """
    folder = Path(folder)
    if os.path.isfile(folder / "transforms.json"):
        return folder / "transforms.json"
    found = next((folder / place for place in _MODEL_FOLDERS if _is_model(folder / place)), None)
    if found is not None:
        return found
    several = sorted(place for place in folder.glob(_INSTANTSPLAT) if _is_model(place))
    if len(several) > 1:
        names = ", ".join(place.relative_to(folder).as_posix() for place in several)
        raise OptionError(f"{folder} has several COLMAP models ({names}); keep one of them there")
    return several[0] if several else None


def read_photo_cameras(file: str | Path) -> CameraFile:
    """The cameras of whole photos: a `transforms.json`, a COLMAP model, or a folder that has one of them.

    Raises:
        OptionError: There is nothing of the kind.
        CameraError: It cannot be used.
    """
    file = Path(file)
    if os.path.isdir(file):
        found = find_photo_cameras(file)
        if found is None:
            raise OptionError(f"{file} has no cameras; name {_KINDS}")
        return read_colmap(found) if os.path.isdir(found) else read_transforms_json(found)
    if not os.path.isfile(file):
        raise OptionError(f"{file} does not exist; name {_KINDS}")
    _refuse_arrays(file)
    if file.suffix.lower() in _COLMAP:
        return read_colmap(file.parent)
    return read_transforms_json(file)


def is_of_photos(file: str | Path) -> bool:
    """Whether a camera file is for whole photos, and no `cameras.json`, which is for cut-out views.

    Raises:
        OptionError: There is no such file.
        CameraError: It is JSON that cannot be read.
    """
    file = Path(file)
    if not os.path.exists(file):
        raise OptionError(f"{file} does not exist; name a cameras.json, {_KINDS}")
    if os.path.isdir(file) or file.suffix.lower() in _COLMAP:
        return True
    _refuse_arrays(file)
    return isinstance(load_json_object(file, f"a cameras.json or {_KINDS}").get("frames"), list)


def _refuse_arrays(file: Path) -> None:
    """Raise for what networks save beside cameras, or instead of them, in a layout of their own."""
    if file.suffix.lower() in _NO_CAMERA_FILES:
        raise CameraError(
            f"{file} is not a camera file that can be read; have the program that made it write {_KINDS}"
        )


def camera_file_digest(file: str | Path) -> str:
    """Digest of a camera file, or of the one that is in a folder."""
    file = Path(file)
    if not os.path.isdir(file):
        return contents_digest(file)
    place = find_photo_cameras(file) or file
    if not os.path.isdir(place):
        return contents_digest(place)
    parts = [f for f in folder_entries(place) if f.suffix in _COLMAP]
    return " ".join(f"{part.name}={contents_digest(part)}" for part in parts)


def _is_model(folder: Path) -> bool:
    files = [[folder / f"{name}.{kind}" for name in ("cameras", "images")] for kind in ("bin", "txt")]
    return any(all(os.path.isfile(file) for file in pair) for pair in files)
