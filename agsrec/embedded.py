"""The models that come with the project: where they are, and whether their files are whole.

Their home is `checkpoints/` in the repository; a wheel carries them inside the package. A folder of the same
name in `checkpoints/` beside the user wins over both.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from agsrec.errors import CheckpointError

__all__ = [
    "EMBEDDED",
    "EMBEDDED_MATCHER",
    "EMBEDDED_PRIOR",
    "ListedFile",
    "embedded_folder",
    "faults",
    "find_checkpoint",
]

EMBEDDED_PRIOR = "zero123-6dof-mini"
"""The prior that comes with the project."""

EMBEDDED_MATCHER = "disk-lightglue"
"""The matcher of photos that comes with the project."""

EMBEDDED = {
    "u2netp": "name another background model, such as grabcut",
    EMBEDDED_PRIOR: "go without with --prior none",
    "nview-mini": "name another initialiser with --init",
    EMBEDDED_MATCHER: "pose without matches with --init nview",
}
"""Every model that comes with the project, and what to do without it."""

_CARD = "MODEL_CARD.md"
_ROW = re.compile(r"^\| (\S+) \| ([\d,]+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)
_REPOSITORY = Path(__file__).parents[1] / "checkpoints"
_AGAIN = "install agsrec again, or fetch it from the project's repository"


@dataclass(frozen=True)
class ListedFile:
    """A file as a model card lists it.

    Attributes:
        name: Path in the model's folder.
        size: Bytes.
        sha256: Checksum, hexadecimal.
    """

    name: str
    size: int
    sha256: str


def find_checkpoint(name: str | Path) -> str | Path:
    """The folder of a model: a folder, or a name in `checkpoints/`; anything else may be a hub id.

    Raises:
        CheckpointError: It is a model of the project's own, and not there or damaged.
    """
    for folder in (Path(name), Path("checkpoints", name)):
        if folder.is_dir():
            return _whole(folder) if _is_shipped(folder) else folder
    if str(name) in EMBEDDED:
        folder = embedded_folder(str(name))
        if folder is None:
            raise CheckpointError(
                f"the embedded model {name} is missing: neither in {_inside()} nor in checkpoints/ here; "
                f"{_AGAIN}, or {EMBEDDED[str(name)]}"
            )
        return _whole(folder)
    beside = _REPOSITORY / name
    return beside if beside.is_dir() else name


def embedded_folder(name: str) -> Path | None:
    """The folder of an embedded model in the installed package, or else in the repository around it."""
    places = (_inside() / name, _REPOSITORY / name)
    return next((folder for folder in places if folder.is_dir()), None)


def faults(folder: Path) -> list[str]:
    """What is wrong with a model's files, going by its card; each names the file.

    Reads all of them: some 0.1 s for 50 MB.
    """
    try:
        rows = _ROW.findall((folder / _CARD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        rows = []
    if not rows:
        return [f"{folder / _CARD}, which lists the files, is missing or damaged"]
    listed = (ListedFile(name, int(size.replace(",", "")), digest) for name, size, digest in rows)
    return [fault for file in listed if (fault := _fault(folder, file))]


def _fault(folder: Path, listed: ListedFile) -> str | None:
    path = folder / listed.name
    try:
        size = path.stat().st_size
        if size != listed.size:
            return f"{path} has {size:,} bytes instead of {listed.size:,}"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return None if digest == listed.sha256 else f"{path} is not as it was shipped: its checksum differs"


def _whole(folder: Path) -> Path:
    """The folder of an embedded model, once its files were found to be as they were shipped.

    Raises:
        CheckpointError: They are not.
    """
    found = faults(folder)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise CheckpointError(
            f"the embedded model {folder.name} is damaged: {found[0]}{more}; {_AGAIN}, "
            f"or {EMBEDDED[folder.name]}"
        )
    return folder


def _is_shipped(folder: Path) -> bool:
    """Whether a folder is that of an embedded model, and not one of the user's own of that name."""
    here = folder.resolve()
    return here.name in EMBEDDED and here.parent in (_inside().resolve(), _REPOSITORY.resolve())


def _inside() -> Path:
    """Where an installed package has its models."""
    return Path(str(resources.files("agsrec") / "embedded_models"))
