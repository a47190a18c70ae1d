"""The models that a reconstruction uses by default."""

from __future__ import annotations

from pathlib import Path

from agsrec.doctor.check import Check
from agsrec.embedded import EMBEDDED, embedded_folder, faults

__all__ = ["background", "embedded"]

_DEFAULT_BACKGROUND = "u2net"
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
    """Whether a learned model that cuts objects out is on this machine."""
    from agsrec.preprocess.background import present_models

    present = present_models()
    if _DEFAULT_BACKGROUND in present:
        return [Check("background model", "ok", ", ".join(present))]
    others = f"; there are {', '.join(present)}" if present else ""
    detail = f"{_DEFAULT_BACKGROUND} is not on this machine{others}"
    remedy = "nothing: the first photos fetch it; without a network GrabCut is used, which is less exact"
    return [Check("background model", "optional", detail, remedy)]
