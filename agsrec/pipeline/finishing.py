"""The last stages, from a scene to files: mesh, and export."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.camera_files import write_cameras_json
from agsrec.errors import SceneError
from agsrec.files import contents_digest
from agsrec.locks import LOCK_FILES
from agsrec.pipeline.ahead import Ahead
from agsrec.pipeline.checking import OthersInScene, checked_sentence, forget_others
from agsrec.pipeline.desk import STORE_FOLDER, Desk

if TYPE_CHECKING:
    from agsrec.dataset import Scene
    from agsrec.export.results import WrittenScene
    from agsrec.mesh import MeshResult
    from agsrec.pipeline.photos import Posed
    from agsrec.pipeline.settings import Settings
    from agsrec.reconstruction import Reconstruction
    from agsrec.store import Request
    from agsrec.view_files import FullSizeViews

__all__ = ["Export", "Exported", "make_textured_mesh", "save_results"]

_CLOCKS = 10**9  # nanoseconds by which the clocks of files and of programs may differ


def make_textured_mesh(
    desk: Desk,
    result: Reconstruction,
    full_size: FullSizeViews | None = None,
    others: OthersInScene | None = None,
    meanwhile: Ahead[Any] | None = None,
) -> MeshResult | None:
    """The mesh, where one is wanted and the scene has a surface.

    Args:
        desk: Settings, listener and store.
        result: What it is made of.
        full_size: Its photos, and perhaps others, at their own sizes, where these are larger.
        others: Photos that the fit was not given: some of them give the texture what they show.
        meanwhile: What is to be done beside it, where the mesh is really made.
    """
    from agsrec.mesh import make_mesh

    config = desk.settings.mesh
    if config is None:
        return None
    gaussians, views, cameras = result.gaussians, result.views, result.cameras
    photos = None if full_size is None else full_size.select(views.names)
    inputs = {"scene": gaussians, "photos": views, "cameras": cameras}
    if photos is not None:
        inputs["photos at full size"] = photos.contents()
    if others is not None:
        inputs["further photos"] = others.contents()
    request = desk.request("mesh", inputs, mesh=config)

    def made(_: object) -> MeshResult:
        more = None if others is None else others.farthest()  # placed now, not by what is done meanwhile, too
        if meanwhile is not None:
            meanwhile.begin()
        return make_mesh(gaussians, views, cameras, config, photos=photos, others=more)

    try:
        return desk.once(request, "making the mesh", made)
    except SceneError as error:
        desk.listener.warn(f"No mesh: {error}")
        return None


@dataclass(frozen=True)
class Exported:
    """What was written of a result.

    Attributes:
        metrics: Its figures, as stored.
        files: Digests of the files by name.
        mesh: Name of the mesh's file, if there is one.
    """

    metrics: dict[str, Any]
    files: Mapping[str, str]
    mesh: str | None


@dataclass(frozen=True)
class Begun:
    """What was written before the mesh.

    Attributes:
        scene: The files, and what was measured.
        since: When that began, in nanoseconds of the clock of files.
    """

    scene: WrittenScene
    since: int


@dataclass(frozen=True)
class Export:
    """What a result folder is to hold, but for the mesh.

    Attributes:
        result: The reconstruction.
        folder: The folder.
        scene: What it was made from.
        posed: The photos whose poses were estimated, if they were.
        others: Those that the fit was not given, if there are any.
    """

    result: Reconstruction
    folder: Path
    scene: Scene
    posed: Posed | None
    others: OthersInScene | None

    def begun(self, desk: Desk) -> Ahead[Begun]:
        """All that needs no mesh, to be written and measured in a thread of its own."""
        return Ahead(partial(self._begin, desk.settings))

    def finished(self, desk: Desk, mesh: MeshResult | None, begun: Ahead[Begun]) -> Exported:
        """Write all files of a result, unless exactly these are there already."""
        from agsrec.export import results

        request = self._request(desk, mesh)
        before = desk.store.latest("export")
        if before is not None and any(
            contents_digest(self.folder / f) != known for f, known in before.files.items()
        ):
            desk.store.distrust("export", "files of the result were changed or removed")

        def written(_: object) -> Exported:
            first = begun.value()
            metrics = results.save_results(
                self.result,
                self.folder,
                self.scene,
                mesh,
                mesh_format=desk.settings.mesh_format,
                written=replace(first.scene, seconds=begun.waited),
            )
            return Exported(metrics, _files(self.folder, first.since), metrics.get("mesh", {}).get("file"))

        exported = desk.once(request, "writing the results", written)
        if "others" in exported.metrics:
            desk.listener.say(checked_sentence(exported.metrics["others"]))
        return exported

    def _request(self, desk: Desk, mesh: MeshResult | None) -> Request:
        shown = replace(self.scene, full_size=None)  # not where its files are, but what is in them
        extras = {} if self.posed is None else self.posed.extras()
        inputs = {"result": self.result, "scene": shown, "mesh": mesh, "what is known of the cameras": extras}
        if self.scene.full_size is not None:
            inputs["photos at full size"] = self.scene.full_size.contents()
        if self.others is not None:
            inputs["photos that the fit was not given"] = self.others.contents()
        formats = {"mesh_format": desk.settings.mesh_format, "splat_format": desk.settings.splat_format}
        return desk.request("export", inputs, **formats)

    def _begin(self, settings: Settings) -> Begun:
        from agsrec.export import results

        result, folder, posed = self.result, self.folder, self.posed
        since = time.time_ns() - _CLOCKS
        scene = results.save_scene(result, folder, self.scene, splat_format=settings.splat_format)
        if posed is not None:
            file = folder / "cameras_initial.json"
            write_cameras_json(file, posed.estimate.cameras, posed.views.names, extras=posed.extras())
        if self.others is None:
            forget_others(folder)
        else:
            scene = replace(scene, metrics=scene.metrics | {"others": self.others.check(folder)})
        return Begun(scene, since)


def _files(folder: Path, since: int) -> dict[str, str]:
    """Digests of the files in a result folder that were written since a moment, nanoseconds."""
    found, apart = {}, {STORE_FOLDER, *LOCK_FILES}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if name.parts[0] not in apart and file.is_file() and file.stat().st_mtime_ns >= since:
            found[name.as_posix()] = contents_digest(file)
    return found


# -------------------------------------------------------------------- for programs


def save_results(result: Reconstruction, folder: str | Path, scene: Scene | None = None) -> dict[str, Any]:
    """Write a reconstruction into a folder, all but the mesh.

    Args:
        result: The reconstruction.
        folder: Folder to write into; it is made if need be.
        scene: What it was made from: with ground truth, pose errors and novel-view quality are measured too.

    Returns:
        The metrics, as stored in `metrics.json`.

    Raises:
        OutputError: A file cannot be written.
    """
    from agsrec.export import results

    return results.save_results(result, folder, scene)
