"""What the commands share that start from photos without cameras."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.cli.printing import say
from agsrec.errors import OptionError
from agsrec.files import folder_entries
from agsrec.images import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from agsrec.pose_init import MethodName, PoseEstimate
    from agsrec.views import Views

__all__ = ["Posed", "confidences", "cut_out_if_needed", "pose_folder", "scene_folder"]


@dataclass(frozen=True)
class Posed:
    """Outcome of an initialiser on a folder.

    Attributes:
        views: The P views that could be placed.
        estimate: Their cameras, and more.
        seconds: Time it took.
    """

    views: Views
    estimate: PoseEstimate
    seconds: float


def scene_folder(path: Path) -> Path:
    """The folder of an object: `path` itself, or the one around it where it is the `processed/` of one.

    Raises:
        OptionError: It is no folder.
    """
    if not os.path.isdir(path):
        raise OptionError(f"{path} is not a folder; give a folder of photos, or of a scene")
    folder = Path(os.path.abspath(path))
    inside = folder.name == "processed" and any(f.name.endswith("_rgba.png") for f in folder_entries(folder))
    return folder.parent if inside else folder


def cut_out_if_needed(console: Console, folder: Path, background_model: str) -> None:
    """Cut the photos of a folder out, as `agsrec process` does, unless it has cut-out ones already."""
    places = (folder, folder / "processed")
    if any(f.name.endswith("_rgba.png") for place in places for f in folder_entries(place)):
        return
    if not any(f.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(f) for f in folder_entries(folder)):
        return  # whoever needs photos says so
    from agsrec.preprocess import process

    with console.status("cutting the object out of the photos"):
        done = process(folder, model=background_model)
    say(console, f"Cut {len(done.files)} photos out into {folder / 'processed'}")


def pose_folder(
    console: Console,
    folder: Path,
    method: MethodName,
    *,
    num_views: int | None = None,
    views: Sequence[str] | None = None,
    **options: Any,
) -> Posed:
    """Estimate the cameras of a folder's cut-out photos; says what was placed and what was not."""
    from agsrec.dataset import load_unposed_views
    from agsrec.pose_init import initialize

    loaded = load_unposed_views(folder, num_views=num_views, views=views)
    clock = time.perf_counter()
    with console.status(f"estimating the cameras of {len(loaded)} views"):
        estimate = initialize(loaded, method, folder=folder, **options)
    seconds = time.perf_counter() - clock
    focal = float(estimate.cameras.focal_lengths.mean())
    say(
        console,
        f"{method} placed {len(estimate.cameras)} of {len(loaded)} views in {seconds:.1f} s, "
        f"focal length {focal:.0f} pixels of {loaded.width}",
    )
    lost = [name for name, placed in zip(loaded.names, estimate.placed.tolist(), strict=True) if not placed]
    if lost:
        say(console, f"Left out, because their poses could not be found: {', '.join(lost)}")
    return Posed(loaded[estimate.indices], estimate, seconds)


def confidences(posed: Posed) -> dict[str, dict[str, float]]:
    """What `cameras.json` stores of each placed view besides its camera."""
    values = posed.estimate.confidence[posed.estimate.placed].tolist()
    return {name: {"confidence": round(v, 4)} for name, v in zip(posed.views.names, values, strict=True)}
