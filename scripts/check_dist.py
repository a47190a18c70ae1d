"""Check what `python -m build` made: python scripts/check_dist.py dist. Exits with 1 on any fault.

A wheel must carry the package and every embedded model, byte for byte as the model's card says, and nothing
else; a source distribution all that it takes to build and to test.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from agsrec.embedded import EMBEDDED

MODELS = "agsrec/embedded_models"
MOST_BYTES = 95_000_000
NEEDED = ("agsrec/__init__.pyi", "agsrec/mesh/__init__.pyi", "agsrec/py.typed", "agsrec/app/page.css")
NEEDED += ("agsrec/batch/page.css", "agsrec/batch/page.js")
SOURCES = ("setup.py", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "run.py", "examples")
SOURCES += ("benchmarks", "scripts", "tests/conftest.py", "docs/conventions.md", "data/demo/jordan")
_ROW = re.compile(r"^\| (\S+) \| ([\d,]+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)


def wheel_faults(files: Mapping[str, bytes], size: int) -> list[str]:
    """What is wrong with a wheel of so many bytes, by its files."""
    faults = [f"{name} is missing" for name in NEEDED if name not in files]
    strangers = {top for name in files if (top := name.split("/")[0]) != "agsrec" and ".dist-info" not in top}
    faults += [f"{name} does not belong in a wheel" for name in sorted(strangers)]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in files):
        faults.append("the licence is missing")
    if size > MOST_BYTES:
        faults.append(f"{size / 1e6:.0f} MB are more than {MOST_BYTES / 1e6:.0f}")
    known = {name.split("/")[2] for name in files if name.startswith(f"{MODELS}/")}
    faults += [f"the model {name} is missing" for name in sorted(set(EMBEDDED) - known)]
    return faults + [fault for name in sorted(known) for fault in _model_faults(files, f"{MODELS}/{name}")]


def _model_faults(files: Mapping[str, bytes], folder: str) -> list[str]:
    """Files of a model that are not as its card says."""
    listed = _ROW.findall(files.get(f"{folder}/MODEL_CARD.md", b"").decode())
    if not listed:
        return [f"{folder}/MODEL_CARD.md lists no files"]
    return [
        f"{folder}/{name} is not what the card says"
        for name, _, digest in listed
        if hashlib.sha256(files.get(f"{folder}/{name}", b"")).hexdigest() != digest
    ]


def source_faults(names: set[str]) -> list[str]:
    """What a source distribution lacks."""
    needed = [*SOURCES, *(f"checkpoints/{model}/MODEL_CARD.md" for model in EMBEDDED)]
    return [f"{path} is missing" for path in needed if not any(f"{n}/".startswith(f"{path}/") for n in names)]


def main() -> None:
    """Check the one wheel and the one source distribution of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    (wheel,), (source,) = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    faults = [f"{wheel.name}: {fault}" for fault in wheel_faults(files, wheel.stat().st_size)]
    faults += [f"{source.name}: {fault}" for fault in source_faults(names)]
    print(*faults or [f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, complete"], sep="\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
