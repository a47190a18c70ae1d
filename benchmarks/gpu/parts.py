"""A folder as parts of bounded size, with their checksums and the line that joins them again."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO

from agsrec.files import atomic_write

__all__ = ["split_folder"]

_CHUNK = 2**20


def split_folder(folder: Path, target: Path, part_mib: float) -> list[Path]:
    """Pack a folder into numbered parts of at most `part_mib` MiB, replacing earlier ones.

    Beside the parts lie `SHA256SUMS`, as sha256sum reads it, and `JOIN.txt` with the line that unpacks them.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    archive = target / f"{folder.name}.tar"
    with tarfile.open(archive, "w") as packed:
        packed.add(folder, folder.name)
    parts = _parts(archive, int(part_mib * 2**20))
    archive.unlink()
    sums = "".join(f"{hashlib.sha256(part.read_bytes()).hexdigest()}  {part.name}\n" for part in parts)
    atomic_write(target / "SHA256SUMS", sums)
    atomic_write(target / "JOIN.txt", f"sha256sum -c SHA256SUMS && cat {archive.name}.* | tar x\n")
    return parts


def _parts(file: Path, size: int) -> list[Path]:
    """A file's bytes in parts of at most `size`, numbered in order."""
    parts: list[Path] = []
    with open(file, "rb") as whole:
        while True:
            part = file.with_name(f"{file.name}.{len(parts):03d}")
            if not _copied(whole, part, size):
                part.unlink()
                return parts
            parts.append(part)


def _copied(source: BinaryIO, part: Path, size: int) -> int:
    """Bytes that were copied, `size` unless the source ends before."""
    left = size
    with open(part, "wb") as target:
        while left and (chunk := source.read(min(left, _CHUNK))):
            target.write(chunk)
            left -= len(chunk)
    return size - left


def main() -> None:
    """Split a folder: parts.py FOLDER TARGET MIB."""
    folder, target, part_mib = sys.argv[1:]
    for part in split_folder(Path(folder), Path(target), float(part_mib)):
        print(part)


if __name__ == "__main__":
    main()
