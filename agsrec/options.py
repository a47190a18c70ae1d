"""Options of the command line that several programs share: how one object is reconstructed, above all."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agsrec.config import PRESETS, RESOLUTIONS, FitConfig, PresetName
from agsrec.embedded import EMBEDDED_PRIOR
from agsrec.errors import OptionError
from agsrec.files import folder_entries
from agsrec.mesh.config import MeshConfig
from agsrec.names import BackgroundName, DeviceName, MeshFormat, MethodName, SplatFormat
from agsrec.pipeline import PhotoFolder, Posing, Settings

if TYPE_CHECKING:
    from agsrec.dataset import Scene

__all__ = [
    "ObjectOptions",
    "object_place",
    "prior_or_none",
    "refuse_to_overwrite",
    "scene_folder",
    "schedule_options",
]


@dataclass(frozen=True)
class ObjectOptions:
    """How to reconstruct one object; the fields are options of the commands that do."""

    num_views: int | None = None
    """Use the first so many views; all by default."""
    views: tuple[str, ...] | None = None
    """Use exactly these views, by name."""
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
    fit: FitConfig = field(default_factory=lambda: PRESETS["fast"])
    """Every detail of the schedule, from the preset unless given."""

    def settings(self, data: Path, category: str) -> Settings:
        """How to reconstruct the object of that name in a folder, as asked for.

        Raises:
            OptionError: An option cannot be used.
        """
        from agsrec.outliers import OutlierConfig

        file = self._camera_file(data / category)
        posing = Posing(
            self.init or ("auto" if file is None else "file"),
            self.init_model,
            file,
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

    def _camera_file(self, folder: Path) -> Path | None:
        """The camera file to start from: the one given, or else the one that is with the photos."""
        from agsrec.camera_files import find_photo_cameras

        if self.init_file is not None or self.init not in (None, "file"):
            return self.init_file
        return find_photo_cameras(folder)

    def what(self, data: Path, category: str, size: int) -> tuple[Scene | PhotoFolder, Path, str]:
        """What to reconstruct.

        Args:
            data: Folder of the objects.
            category: The object's name in it, or a photo's file; see `object_place`.
            size: Longer side of the views in pixels, at most.

        Returns:
            Views with cameras or a folder of photos, the folder its files are in, and its name.

        Raises:
            AgsrecError: The photos or what is with them cannot be used, or an option not with them.
        """
        from agsrec.dataset import load_scene
        from agsrec.single_photo import find_single_photo

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


def object_place(photos: Path, data: Path) -> tuple[Path, str]:
    """The folder that an object's photos are in, and its name there; or `data`, and a photo's file.

    Raises:
        OptionError: There is neither a folder nor an image of that name.
    """
    from agsrec.images import IMAGE_SUFFIXES

    is_image_name = photos.suffix.lower() in IMAGE_SUFFIXES
    if os.path.isfile(photos) or (is_image_name and not os.path.isdir(photos)):
        return data, str(photos)
    folder = scene_folder(photos)
    return folder.parent, folder.name


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


def schedule_options(preset: PresetName, fit: FitConfig, resolution: int | None) -> dict[str, Any]:
    """What `Settings` is told of the schedule: a preset with other details still ends as the preset does.

    Args:
        preset: Name of the preset.
        fit: Its schedule, with the details given.
        resolution: Where the fit is to end, if that was said.
    """
    known = PRESETS[preset]
    if fit == known:
        return {"preset": preset, "resolution": resolution}
    if resolution is None and fit.rounds == known.rounds:
        resolution = RESOLUTIONS[preset]
    return {"preset": preset, "fit": fit, "resolution": resolution}


def prior_or_none(name: str) -> str | None:
    """The value of --prior, None for "none"."""
    return None if name.lower() == "none" else name


def refuse_to_overwrite(given: Path, output: Path) -> None:
    """Raise if a result would be written onto a file or into a folder that was given to the command.

    Raises:
        OptionError: The two are the same.
    """
    if os.path.exists(output) and os.path.exists(given) and os.path.samefile(given, output):
        raise OptionError(f"--output: the result would overwrite what is in {given}; name another place")
