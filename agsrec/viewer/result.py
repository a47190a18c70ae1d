"""What a folder of results holds that can be shown, read and checked before any window opens."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.camera_files import read_camera_course, read_cameras_json
from agsrec.errors import CameraError, SceneError
from agsrec.files import folder_entries, read_bytes
from agsrec.ply import read_ply
from agsrec.result_files import SHOWN_SPLAT, load_shown

if TYPE_CHECKING:
    from agsrec.camera_files import CameraCourse
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = ["ShownResult", "load_result"]

_MAX_BYTES = 2**30


@dataclass(frozen=True)
class ShownResult:
    """A finished reconstruction as far as a viewer needs it.

    Attributes:
        name: Name of its folder.
        gaussians: The scene.
        views: The photos that were used.
        cameras: Their cameras.
        course: Where the cameras came from and how they moved, where the result has kept that.
        metrics: What was measured and decided; empty where the result has no such file.
        mesh: The textured mesh as GLB, where there is one.
        fits: Earlier fits that decisions about badly posed photos rest on, by name, with the cameras of
            their photos by name.
    """

    name: str
    gaussians: Gaussians
    views: Views
    cameras: Cameras
    course: CameraCourse | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    mesh: bytes | None = None
    fits: Mapping[str, tuple[Gaussians, Cameras, tuple[str, ...]]] = field(default_factory=dict)


def load_result(folder: str | Path) -> ShownResult:
    """Everything in a folder of results that can be shown.

    Raises:
        OptionError: There is no such folder.
        SceneError, CameraError, ImageError: A file in it is missing or unusable.
    """
    folder = Path(folder)
    gaussians, views, cameras = load_shown(folder)
    return ShownResult(
        name=folder.resolve().name,
        gaussians=gaussians,
        views=views,
        cameras=cameras,
        course=_course(folder / "cameras_rounds.json", views.names),
        metrics=_metrics(folder / "metrics.json"),
        mesh=_mesh(folder),
        fits=_fits(folder / "rounds", views),
    )


def _course(path: Path, names: tuple[str, ...]) -> CameraCourse | None:
    if not os.path.exists(path):
        return None
    course = read_camera_course(path)
    if set(course.used) != set(names):
        raise CameraError(
            f"{path} is about other views than cameras.json beside it; remove it, or reconstruct again"
        )
    return course


def _metrics(path: Path) -> Mapping[str, Any]:
    """Figures are an extra: what cannot be read as an object is refused, what is missing in it left out."""
    if not os.path.exists(path):
        return {}
    data = read_bytes(path, error=SceneError, what="the metrics of a result", limit=_MAX_BYTES)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{path} is not valid JSON; remove it, or reconstruct the object again") from error
    return content if isinstance(content, dict) else {}


def _mesh(folder: Path) -> bytes | None:
    """The mesh as GLB: as it is, or made from the OBJ."""
    import trimesh

    kind = next((kind for kind in ("glb", "obj") if os.path.exists(folder / f"mesh.{kind}")), None)
    if kind is None:
        return None
    path = folder / f"mesh.{kind}"
    data = read_bytes(path, error=SceneError, what="a mesh", limit=_MAX_BYTES)
    try:
        if kind == "glb":
            scene: Any = trimesh.load_scene(io.BytesIO(data), file_type="glb")
        else:
            scene = trimesh.load_scene(path)
        if not scene.geometry:
            raise ValueError("no triangles")
        return data if kind == "glb" else scene.export(file_type="glb")
    except Exception as error:  # trimesh meets damaged files with many types of exception
        raise SceneError(
            f"{path} cannot be read as a mesh; make it again with: agsrec mesh {folder}"
        ) from error


def _fits(folder: Path, views: Views) -> dict[str, tuple[Gaussians, Cameras, tuple[str, ...]]]:
    """The fits in the folder `rounds`, by name."""
    fits = {}
    for part in folder_entries(folder):
        if os.path.exists(part / SHOWN_SPLAT) and os.path.exists(part / "cameras.json"):
            listed = read_cameras_json(part / "cameras.json", views.width, views.height)
            fits[part.name] = (read_ply(part / SHOWN_SPLAT), listed.cameras, listed.names)
    return fits
