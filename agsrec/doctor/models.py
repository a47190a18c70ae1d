"""The models that a reconstruction uses by default."""

from __future__ import annotations

from pathlib import Path

from agsrec.doctor.check import Check
from agsrec.embedded import EMBEDDED, embedded_folder, faults

__all__ = ["background", "embedded"]

_AGAIN = "install agsrec again, or fetch the folder from the project's repository"


def embedded() -> list[Check]:
    """Whether the models that come with the package are there and whole."""
    return [_embedded(name) for name in EMBEDDED]


def _embedded(name: str) -> Check:
    label = f"model {name}"
    own = Path("checkpoints", name)
    folder = embedded_folder(name)
    if own.is_dir() and (folder is None or not own.samefile(folder)):
        return Check(label, "ok", f"the one in {own} here is used, whose files are not checked")
    remedy = f"{_AGAIN}, or {EMBEDDED[name]}"
    if folder is None:
        return Check(label, "problem", f"missing: neither in the package nor in {own.parent} here", remedy)
    found = faults(folder)
    if found:
        return Check(label, "problem", "; ".join(found), remedy)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Check(label, "ok", f"{size / 1e6:.0f} MB, checksums right, {folder}")


def background() -> list[Check]:
    """Which model cuts objects out by default."""
    from agsrec.preprocess.remover import default_model

    return [Check("background model", "ok", default_model())]
