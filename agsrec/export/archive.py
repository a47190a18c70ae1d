"""All results in one file."""

from __future__ import annotations

import zipfile
from pathlib import Path

from agsrec.files import atomic_path

__all__ = ["write_archive"]

_LEFT_OUT = ("stages", "checkpoint*.pt", ".*", "rounds")
"""What runs keep, of older versions too, and the fits that decisions rest on."""

_PACKED = (".png", ".jpg", ".mp4", ".glb")
"""Compressed already."""


def write_archive(path: Path, folder: Path, title: str) -> None:
    """Write the results in a folder as a ZIP file, in which they lie in a folder of that title.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for file in sorted(folder.rglob("*")):
            inside = file.relative_to(folder)
            if not file.is_file() or any(Path(part).match(p) for part in inside.parts for p in _LEFT_OUT):
                continue
            packed = zipfile.ZIP_STORED if file.suffix in _PACKED else zipfile.ZIP_DEFLATED
            archive.write(file, f"{title}/{inside.as_posix()}", compress_type=packed)
