"""Python, the packages that are needed, and those that are not."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import agsrec
from agsrec.doctor.check import Check, first_line

__all__ = ["extras", "ffmpeg", "packages", "unmet"]

_SHOWN = ("torch", "numba", "gsplat", "diffusers", "transformers")
_LOADED = ("torch", "numba", "cv2")  # parts in other languages, which may be there and not fit the machine
_PURPOSES = {
    "colmap": "poses by COLMAP",
    "lpips": "perceptual scores",
    "ray": "many objects on several machines",
    "spz": "compressed splats",
    "viewer": "agsrec view",
    "xformers": "large priors in less memory",
}


def packages() -> list[Check]:
    """Versions, whether every package that is needed is there in a version that will do, and loads."""
    program = f"agsrec {agsrec.__version__}, Python {platform.python_version()}"
    checks = [Check("version", "ok", f"{program}, {platform.platform(terse=True)}")]
    lacking = unmet(_requirements())
    shown = ", ".join(f"{name} {version}" for name in _SHOWN if (version := _version(name)))
    if lacking:
        told = ", ".join(f"{r} ({_version(r.name) or 'not installed'})" for r in lacking)
        names = " ".join(f"'{r}'" for r in lacking)
        return [*checks, Check("packages", "problem", f"not as needed: {told}", f"pip install {names}")]
    broken = [fault for name in _LOADED if (fault := _import_fault(name))]
    if broken:
        remedy = "install the package again, for this Python and this machine"
        return [*checks, Check("packages", "problem", "; ".join(broken), remedy)]
    return [*checks, Check("packages", "ok", shown)]


def unmet(requirements: list[Requirement]) -> list[Requirement]:
    """Those of which no version that will do is installed."""
    return [
        wanted
        for wanted in requirements
        if (found := _version(wanted.name)) is None or not wanted.specifier.contains(found, prereleases=True)
    ]


def extras() -> list[Check]:
    """Which optional packages there are."""
    checks = []
    for name, purpose in _PURPOSES.items():
        wanted = _requirements(name)
        if not wanted:
            continue
        lacking = unmet(wanted)
        if lacking:
            command = f"pip install 'agsrec[{name}]'"
            checks.append(Check(f"extra {name}", "optional", f"not installed ({purpose})", command))
        else:
            found = ", ".join(f"{r.name} {_version(r.name)}" for r in wanted)
            checks.append(Check(f"extra {name}", "ok", found))
    return checks


def ffmpeg() -> list[Check]:
    """Whether turntable videos can be written."""
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
        return [Check("ffmpeg", "ok", f"{imageio_ffmpeg.get_ffmpeg_version()}, {program}")]
    except (RuntimeError, OSError) as error:
        named = os.environ.get("IMAGEIO_FFMPEG_EXE")
        if named is not None and not Path(named).is_file():
            remedy = "IMAGEIO_FFMPEG_EXE names no file: correct or unset it"
        else:
            remedy = "pip install --force-reinstall imageio-ffmpeg, or let IMAGEIO_FFMPEG_EXE name an ffmpeg"
        return [Check("ffmpeg", "problem", f"no ffmpeg ({first_line(error)})", remedy)]


def _requirements(extra: str = "") -> list[Requirement]:
    """What the package asks for here, without extras or for one alone; nothing where it is not installed."""
    try:
        lines = metadata.requires("agsrec") or []
    except metadata.PackageNotFoundError:
        return []
    return list(_chosen(map(Requirement, lines), extra))


def _chosen(requirements: Iterator[Requirement], extra: str) -> Iterator[Requirement]:
    for wanted in requirements:
        always = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if always != bool(extra) and (always or (wanted.marker and wanted.marker.evaluate({"extra": extra}))):
            wanted.marker = None
            yield wanted


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _import_fault(module: str) -> str | None:
    """Why a module does not load."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        return f"{module} does not load ({first_line(error)})"
    return None
