"""`agsrec run`: one object, from photos to cameras and a scene."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from agsrec.cli.mesh import mesh_sentence
from agsrec.cli.options import prior_or_none, refuse_to_overwrite
from agsrec.cli.posing import Posed, confidences, cut_out_if_needed, pose_folder, scene_folder
from agsrec.cli.printing import FitBar, print_metrics, say
from agsrec.config import PRESETS, FitConfig, PresetName
from agsrec.device import DeviceName
from agsrec.errors import OptionError, SceneError
from agsrec.files import folder_entries
from agsrec.images import IMAGE_SUFFIXES
from agsrec.mesh.config import MeshConfig
from agsrec.mesh.files import MeshFormat
from agsrec.pose_init import MethodName
from agsrec.prior import EMBEDDED_PRIOR

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.dataset import Scene
    from agsrec.reconstruction import Reconstruction

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    """Reconstruct one object: refined cameras and a 3D Gaussian scene."""

    photos: tyro.conf.Positional[Path | None] = None
    """Folder of photos of one object, or of a scene; photos are cut out first if need be. Or one photo."""
    category: str | None = None
    """Instead: name of the object, a folder in --data. Or one photo, as a file."""
    num_views: int | None = None
    """Use the first so many views; all by default."""
    views: tuple[str, ...] | None = None
    """Use exactly these views, by name."""
    data: Path = Path("data/demo")
    """Folder of the objects."""
    output: Path = Path("output/demo")
    """Results go into a folder of the object's name in here."""
    preset: PresetName = "fast"
    """Schedule: fast, quality, or paper (as published)."""
    num_pts: int | None = None
    """Gaussians to grow to, instead of the preset's number."""
    prior: str = EMBEDDED_PRIOR
    """Diffusion model that judges views nobody photographed: a folder, a name in checkpoints/, a hub id, or
    none."""
    init: MethodName | None = None
    """Initialiser that estimates the cameras: nview, dust3r, leap, colmap or file. By default nview, and only
    where there is no cameras.json."""
    init_model: str | None = None
    """Checkpoint of the initialiser: a folder, a name in checkpoints/, or a hub id."""
    init_file: Path | None = None
    """Camera file for --init file."""
    init_focal: float | None = None
    """Focal length in pixels of the cut-out images, for the initialiser, if known."""
    fov: float | None = None
    """One photo without cameras.json: field of view of the square around the object in degrees; 40 by
    default."""
    elevation: float | None = None
    """One photo without cameras.json: degrees it was taken from above the object; 10 by default."""
    background_model: str = "u2net"
    """Photos with their background: model of rembg that cuts the object out, or "grabcut"."""
    mesh_format: MeshFormat | Literal["none"] = "glb"
    """Textured mesh beside the splat: glb (one file), obj (with mtl and png), or none."""
    faces: int = MeshConfig.faces
    """Triangles of the mesh, at most; more options with `agsrec mesh`."""
    enable_loop: bool = False
    """Look for badly posed photos, pose them again by search, and leave out those that no pose explains."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    seed: int = 0
    """Seed of everything random."""
    fit: FitConfig = field(default_factory=lambda: PRESETS["fast"])
    """Every detail of the schedule, from the preset unless given."""

    def config(self) -> FitConfig:
        """The schedule with `num_pts` worked in."""
        if self.num_pts is None:
            return self.fit
        if self.num_pts < 1:
            raise OptionError(f"--num_pts must be at least 1, not {self.num_pts}")
        last = self.fit.rounds[-1]
        last = replace(last, num_points=min(last.num_points, self.num_pts), max_points=self.num_pts)
        return replace(self.fit, rounds=(*self.fit.rounds[:-1], last))

    def main(self, console: Console) -> None:
        """Reconstruct, save, and print what was measured."""
        from agsrec.camera_files import write_cameras_json
        from agsrec.device import resolve_device
        from agsrec.export.decisions import decision_sentences
        from agsrec.export.results import prepare_folder
        from agsrec.outliers import OutlierConfig
        from agsrec.reconstruction import reconstruct, require_enough_views

        config, mesh = self.config(), MeshConfig(faces=self.faces)
        resolve_device(self.device)
        scene, source, posed = self._scene(console)
        prior = prior_or_none(self.prior)
        require_enough_views(scene.views, guided=prior is not None)
        folder = self.output / scene.name
        refuse_to_overwrite(source, folder)
        prepare_folder(folder)
        if posed is not None:
            file = folder / "cameras_initial.json"
            write_cameras_json(file, scene.cameras, scene.views.names, extras=confidences(posed))
        with FitBar(console, config.iterations) as advance:
            result = reconstruct(
                scene.views,
                scene.cameras,
                preset=self.preset,
                config=config,
                seed=self.seed,
                device=self.device,
                prior=prior,
                progress=advance,
                checkpoint=folder / "checkpoint.pt",
                outliers=OutlierConfig() if self.enable_loop else None,
                report=lambda text: say(console, text),
            )
        if posed is not None:
            options = {"init": self._method(), "init_model": self.init_model}
            timings = {"poses": posed.seconds} | result.timings
            result = replace(result, options=result.options | options, timings=timings)
        metrics = result.save(folder, scene)
        print_metrics(console, metrics)
        self._make_mesh(console, folder, result, mesh)
        if result.correction is not None:
            say(console, " ".join(decision_sentences(result.correction)))
        say(console, f"Results are in {folder}; open report.html")

    def _make_mesh(self, console: Console, folder: Path, result: Reconstruction, config: MeshConfig) -> None:
        """The mesh, where one is wanted and the scene has a surface; the splat is there anyway."""
        from agsrec.export.mesh_results import save_mesh

        if self.mesh_format == "none":
            return
        scene = folder, result.gaussians, result.views, result.cameras
        try:
            with console.status("making the mesh"):
                file, figures = save_mesh(*scene, config, kind=self.mesh_format)
        except SceneError as error:
            say(console, f"No mesh: {error}")
        else:
            say(console, mesh_sentence(file, figures))

    def _method(self) -> MethodName:
        """The initialiser, where one is needed."""
        return self.init or ("nview" if self.init_file is None else "file")

    def _place(self) -> tuple[Path, str]:
        """Folder of the objects, and the object's name in it; or any folder, and a photo's file."""
        if self.photos is None:
            if self.category is None:
                raise OptionError("nothing to reconstruct; give a folder of photos, or --category NAME")
            return self.data, self.category
        if self.category is not None:
            raise OptionError(f"give {self.photos} or --category {self.category}, not both")
        is_image_name = self.photos.suffix.lower() in IMAGE_SUFFIXES
        if os.path.isfile(self.photos) or (is_image_name and not os.path.isdir(self.photos)):
            return self.data, str(self.photos)
        folder = scene_folder(self.photos)
        return folder.parent, folder.name

    def _scene(self, console: Console) -> tuple[Scene, Path, Posed | None]:
        """The scene, the folder its files are in, and the initialiser's answer where one was asked."""
        from agsrec.dataset import load_scene, posed_scene
        from agsrec.single_photo import find_single_photo, photo_scene

        data, category = self._place()
        photo = find_single_photo(data, category, num_views=self.num_views, views=self.views)
        if photo is not None:
            self._refuse(
                "init", "init_model", "init_file", "init_focal", why="one photo has no other to relate it to"
            )
            camera = {"fov_deg": self.fov, "elevation_deg": self.elevation}
            given = {name: value for name, value in camera.items() if value is not None}
            scene = photo_scene(photo, background_model=self.background_model, **given)
            if photo == Path(category):
                return scene, photo.parent, None
            return replace(scene, name=category), data / category, None
        self._refuse("fov", "elevation", why="for one photo without cameras.json")
        folder = data / category
        if not self._needs_poses(folder, category):
            why = "there is a cameras.json, and without --init METHOD its cameras are used"
            self._refuse("init_model", "init_focal", why=why)
            scene = load_scene(data, category, num_views=self.num_views, views=self.views)
            return scene, folder, None
        refuse_to_overwrite(folder, self.output / folder.name)
        cut_out_if_needed(console, folder, self.background_model)
        posed = pose_folder(
            console,
            folder,
            self._method(),
            num_views=self.num_views,
            views=self.views,
            model=self.init_model,
            device=self.device,
            focal=self.init_focal,
            file=self.init_file,
            seed=self.seed,
        )
        return posed_scene(folder, posed.views, posed.estimate.cameras), folder, posed

    def _needs_poses(self, folder: Path, category: str) -> bool:
        """Whether the initialiser is asked: there are photos, and no cameras or the wish for others."""
        if Path(category).name != category or category in ("", "..") or not os.path.isdir(folder):
            return False  # loading the scene says what is wrong
        if self.init is not None or self.init_file is not None:
            return True
        if os.path.exists(folder / "cameras.json"):
            return False
        suffixes = {f.suffix.lower() for f in folder_entries(folder) if os.path.isfile(f)}
        return os.path.isdir(folder / "processed") or not suffixes.isdisjoint(IMAGE_SUFFIXES)

    def _refuse(self, *names: str, why: str) -> None:
        """Raise if one of the options is given."""
        for name in names:
            if getattr(self, name) is not None:
                raise OptionError(f"--{name.replace('_', '-')}: {why}; leave it out")
