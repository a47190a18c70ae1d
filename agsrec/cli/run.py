"""`agsrec run`: one object, from photos to cameras and a scene."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from agsrec.cli.listening import ConsoleListener
from agsrec.cli.options import prior_or_none, refuse_to_overwrite, schedule_options
from agsrec.cli.posing import scene_folder
from agsrec.cli.printing import print_finished, say
from agsrec.config import PRESETS, FitConfig, PresetName
from agsrec.embedded import EMBEDDED_PRIOR
from agsrec.errors import OptionError
from agsrec.mesh.config import MeshConfig
from agsrec.names import BackgroundName, DeviceName, MeshFormat, MethodName, SplatFormat
from agsrec.pipeline import PhotoFolder, Posing, Settings, StageName

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.dataset import Scene

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    """Reconstruct one object: refined cameras and a 3D Gaussian scene."""

    photos: tyro.conf.Positional[Path | None] = None
    """Folder of photos of one object, or of a scene, or of nerfstudio or COLMAP; photos are cut out first if
    need be. Or one photo."""
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
    resolution: int | None = None
    """Longer side in pixels of the pictures that the fit ends with, 32 to 2048; 256 by
    default, or what the photos have if that is less. More makes the scene sharper and takes longer."""
    num_pts: int | None = None
    """Gaussians to grow to, instead of the schedule's number."""
    prior: str = EMBEDDED_PRIOR
    """Diffusion model that judges views nobody photographed: a folder, a name in checkpoints/, a hub id, or
    none."""
    init: MethodName | None = None
    """Initialiser that estimates the cameras: auto, nview, dust3r, mast3r, leap, noposplat, ace0, colmap or
    file. By default, and only where there is no cameras.json: file where there is a transforms.json or a
    COLMAP model, else auto; which with more than 12 photos is ace0: a few are posed, the others registered
    to them, and the 12 farthest apart are fitted."""
    init_model: str | None = None
    """Checkpoint of the initialiser: a folder, a name in checkpoints/, or a hub id."""
    init_file: Path | None = None
    """Camera file for --init file: a cameras.json, a transforms.json or a folder with a COLMAP model."""
    init_focal: float | None = None
    """Focal length in pixels of the views (the cut-out images, 512 wide if they are wider), if known."""
    init_points: bool = False
    """Start the fit from the surface points of the initialiser, not from the hull of the masks, and with its
    last round alone: for poses that are right to some degrees."""
    background: BackgroundName | None = None
    """For --init auto and ace0: static if what is around the object stood still with it, as where you walked
    around a table, and is to be matched too; moving if not, as on a turntable; or auto, the default, to find
    out."""
    fov: float | None = None
    """One photo without cameras.json: field of view of the square around the object in degrees; 40 by
    default."""
    elevation: float | None = None
    """One photo without cameras.json: degrees it was taken from above the object; 10 by default."""
    background_model: str = "auto"
    """What cuts the object out of photos: "auto" (BiRefNet if its file is here, else the embedded model),
    "u2netp" (the embedded model), another model of rembg, or "grabcut"."""
    mesh_format: MeshFormat | Literal["none"] = "glb"
    """Textured mesh beside the splat: glb (one file), obj (with mtl and png), or none."""
    splat_format: SplatFormat = "ply"
    """ply; or spz, for a compressed splat.spz beside splat.ply."""
    faces: int = MeshConfig.faces
    """Triangles of the mesh, at most; more options with `agsrec mesh`."""
    enable_loop: bool = False
    """Look for badly posed photos, pose them again by search, and leave out those that no pose explains."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    seed: int = 0
    """Seed of everything random."""
    again: tuple[StageName, ...] = ()
    """Stages to compute in any case, though the result folder has them: cutout, poses, outliers, fit, mesh or
    export. What depends on them follows where they come out otherwise."""
    explain: bool = False
    """Only list which stages the result folder has, and why they would be used or computed again."""
    fit: FitConfig = field(default_factory=lambda: PRESETS["fast"])
    """Every detail of the schedule, from the preset unless given."""

    def main(self, console: Console) -> None:
        """Reconstruct, save, and print what was measured."""
        from agsrec.device import resolve_device
        from agsrec.pipeline.run import run

        settings = self._settings()
        resolve_device(self.device)
        what, source, name = self._what(settings.working_size)
        folder = self.output / name
        refuse_to_overwrite(source, folder)
        if self.explain:
            self._explain(console, what, folder, settings)
            return
        listener = ConsoleListener(console, self.fit.iterations)
        done = run(what, folder, settings, listener, again=self.again)
        print_finished(console, done)
        say(console, f"Results are in {folder}; open report.html")

    def _explain(self, console: Console, what: Scene | PhotoFolder, folder: Path, settings: Settings) -> None:
        """Print what there is of every stage, and why it would be used or not."""
        from agsrec.pipeline.run import explain

        words = {"finished": "is there", "begun": "was begun", "missing": "to be computed"}
        for kept in explain(what, folder, settings, again=self.again):
            say(console, f"{kept.stage:9} {words[kept.state]:15} {kept.why}")

    def _settings(self) -> Settings:
        """How to reconstruct, as asked for."""
        from agsrec.outliers import OutlierConfig

        posing = Posing(
            self._method(),
            self.init_model,
            self._camera_file(),
            self.init_focal,
            self.background or "auto",
        )
        return Settings(
            **schedule_options(self.preset, self.fit, self.resolution),
            num_points=self.num_pts,
            prior=prior_or_none(self.prior),
            seed=self.seed,
            device=self.device,
            posing=posing,
            init_points=self.init_points,
            background_model=self.background_model,
            outliers=OutlierConfig() if self.enable_loop else None,
            mesh=None if self.mesh_format == "none" else MeshConfig(faces=self.faces),
            mesh_format="glb" if self.mesh_format == "none" else self.mesh_format,
            splat_format=self.splat_format,
        )

    def _method(self) -> MethodName:
        """The initialiser, where one is needed."""
        return self.init or ("auto" if self._camera_file() is None else "file")

    def _camera_file(self) -> Path | None:
        """The camera file to start from: the one given, or else the one that is with the photos."""
        from agsrec.camera_files import find_photo_cameras

        if self.init_file is not None or self.init not in (None, "file"):
            return self.init_file
        data, category = self._place()
        return find_photo_cameras(data / category)

    def _place(self) -> tuple[Path, str]:
        """Folder of the objects, and the object's name in it; or any folder, and a photo's file."""
        if self.photos is None:
            if self.category is None:
                raise OptionError("nothing to reconstruct; give a folder of photos, or --category NAME")
            return self.data, self.category
        if self.category is not None:
            raise OptionError(f"give {self.photos} or --category {self.category}, not both")
        from agsrec.images import IMAGE_SUFFIXES

        is_image_name = self.photos.suffix.lower() in IMAGE_SUFFIXES
        if os.path.isfile(self.photos) or (is_image_name and not os.path.isdir(self.photos)):
            return self.data, str(self.photos)
        folder = scene_folder(self.photos)
        return folder.parent, folder.name

    def _what(self, size: int) -> tuple[Scene | PhotoFolder, Path, str]:
        """What to reconstruct in views of at most that size, the folder its files are in, and its name."""
        from agsrec.dataset import load_scene
        from agsrec.single_photo import find_single_photo

        data, category = self._place()
        photo = find_single_photo(data, category, num_views=self.num_views, views=self.views)
        if photo is not None:
            return self._photo(photo, data, category, size)
        self._refuse("fov", "elevation", why="for one photo without cameras.json")
        folder = data / category
        if self._needs_poses(folder, category):
            return PhotoFolder(folder, self.num_views, self.views), folder, folder.name
        why = "there is a cameras.json, and without --init METHOD its cameras are used"
        self._refuse("init_model", "init_focal", "background", why=why)
        scene = load_scene(data, category, num_views=self.num_views, views=self.views, size=size)
        return scene, folder, scene.name

    def _photo(self, photo: Path, data: Path, category: str, size: int) -> tuple[Scene, Path, str]:
        """The same for one photo."""
        from agsrec.single_photo import photo_scene

        why = "one photo has no other to relate it to"
        self._refuse("init", "init_model", "init_file", "init_focal", "background", why=why)
        camera = {"fov_deg": self.fov, "elevation_deg": self.elevation}
        given = {name: value for name, value in camera.items() if value is not None}
        scene = photo_scene(photo, background_model=self.background_model, size=size, **given)
        if photo == Path(category):
            return scene, photo.parent, scene.name
        return replace(scene, name=category), data / category, category

    def _needs_poses(self, folder: Path, category: str) -> bool:
        """Whether the initialiser is asked: there are photos, and no cameras or the wish for others."""
        if Path(category).name != category or category in ("", "..") or not os.path.isdir(folder):
            return False  # loading the scene says what is wrong
        if self.init is not None or self.init_file is not None:
            return True
        if os.path.exists(folder / "cameras.json"):
            return False
        from agsrec.images import has_photos

        return os.path.isdir(folder / "processed") or has_photos(folder)

    def _refuse(self, *names: str, why: str) -> None:
        """Raise if one of the options is given."""
        for name in names:
            if getattr(self, name) is not None:
                raise OptionError(f"--{name.replace('_', '-')}: {why}; leave it out")
