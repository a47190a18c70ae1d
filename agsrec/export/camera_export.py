"""The folder `export/` of a result: its cameras and points, as other programs want them.

It lies beside `views/`, whose pictures its files name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.camera_files import write_colmap, write_transforms_json
from agsrec.files import atomic_write

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians

__all__ = ["EXPORTERS", "ExportInput", "save_camera_exports"]

_SOLID = 0.3  # opacity of a Gaussian that counts as a point of the object


@dataclass(frozen=True)
class ExportInput:
    """What an exporter is given.

    Attributes:
        cameras: V refined cameras.
        files: Names of their pictures in `views`, which lies beside the folder that is written to.
        gaussians: The scene.
    """

    cameras: Cameras
    files: Sequence[str]
    gaussians: Gaussians


def save_camera_exports(folder: Path, exported: ExportInput) -> None:
    """Write cameras for other programs into a folder, such as `export`; see `EXPORTERS`.

    Raises:
        OutputError: A file cannot be written.
    """
    for name, write in EXPORTERS.items():
        write(folder / name, exported)


def _nerfstudio(path: Path, exported: ExportInput) -> None:
    write_transforms_json(path, exported.cameras, [f"../views/{file}" for file in exported.files])


def _colmap(path: Path, exported: ExportInput) -> None:
    g = exported.gaussians
    solid = g.opacities > _SOLID
    write_colmap(path, exported.cameras, exported.files, points=g.means[solid], colors=g.base_colors[solid])


def _blender(path: Path, exported: ExportInput) -> None:
    atomic_write(path, _BLENDER)


EXPORTERS: dict[str, Callable[[Path, ExportInput], None]] = {
    "transforms.json": _nerfstudio,
    "sparse/0": _colmap,
    "blender.py": _blender,
}
"""By file or folder: nerfstudio and instant-ngp; a COLMAP model with the centres of solid Gaussians as its
points; a script that sets up cameras, photos and mesh in Blender."""


# Blender's glTF importer turns +y up into +z up; the cameras must do the same. Shifts are in widths, since
# the sensor is fitted horizontally; +y is down in a photo and up in Blender.
_BLENDER = '''"""Cameras of a reconstruction in Blender, the photos behind them, and the mesh if there is one.

Run it from the command line, `blender --python blender.py`, or open it in the Scripting workspace and press
Run. Cameras look through the same pinhole as the photos: focal length and lens shift are theirs.
"""

import json
from pathlib import Path

import bpy
from mathutils import Matrix

SENSOR = 36.0  # mm
TO_Z_UP = Matrix([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def here():
    text = getattr(bpy.context.space_data, "text", None)  # run from the text editor
    return Path(bpy.path.abspath(text.filepath) if text else __file__).resolve().parent


def add_camera(folder, frame, width, height):
    photo = folder / frame["file_path"]
    data = bpy.data.cameras.new(photo.stem)
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR
    data.lens = SENSOR * frame["fl_x"] / width
    data.shift_x = 0.5 - frame["cx"] / width
    data.shift_y = (frame["cy"] - 0.5 * height) / width
    if photo.exists():
        data.show_background_images = True
        background = data.background_images.new()
        background.image = bpy.data.images.load(str(photo.resolve()))
    camera = bpy.data.objects.new(photo.stem, data)
    camera.matrix_world = TO_Z_UP @ Matrix(frame["transform_matrix"])
    bpy.context.scene.collection.objects.link(camera)
    return camera


def main():
    folder = here()
    content = json.loads((folder / "transforms.json").read_text())
    width, height = content["w"], content["h"]
    mesh = folder.parent / "mesh.glb"
    if mesh.exists():
        bpy.ops.import_scene.gltf(filepath=str(mesh))
    cameras = [add_camera(folder, frame, width, height) for frame in content["frames"]]
    scene = bpy.context.scene
    scene.camera = cameras[0]
    scene.render.resolution_x, scene.render.resolution_y = width, height


main()
'''
