"""The readers of the package, each with small valid files."""

from __future__ import annotations

import io
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import torch
import trimesh
from PIL import Image

from agsrec.batch.listing import faults, listed_jobs, read_list
from agsrec.batch.places import Place
from agsrec.batch.record import Record, read_record
from agsrec.camera_files import (
    CameraCourse,
    read_camera_course,
    read_cameras_json,
    read_colmap,
    read_photo_cameras,
    read_transforms_json,
    write_camera_course,
    write_cameras_json,
    write_colmap,
    write_transforms_json,
)
from agsrec.cameras import Cameras
from agsrec.cli.batch import _with_own
from agsrec.dataset import load_gt_scene, load_scene
from agsrec.errors import ImageError
from agsrec.gaussians import Gaussians
from agsrec.images import encode_png, load_image, save_png
from agsrec.options import ObjectOptions
from agsrec.photos import known_photos, read_photo
from agsrec.ply import read_ply, write_ply
from agsrec.preprocess import process
from agsrec.preprocess.crops import read_crops, read_focals, read_lenses
from agsrec.preprocess.exif import exif_focal
from agsrec.store import Request, Store
from agsrec.viewer.result import _mesh, _metrics
from agsrec.weights import read_weights

__all__ = ["TARGETS", "Target"]

Files = dict[str, bytes]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        name: What it is called.
        make: Writes valid files into a folder.
        read: Reads them from there.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]

    def files(self) -> Files:
        """The valid files, by their names."""
        return _files(self.make)


@cache
def _files(make: Callable[[Path], None]) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        found = sorted(f for f in Path(folder).rglob("*") if f.is_file())
        return {f.relative_to(folder).as_posix(): f.read_bytes() for f in found}


# -------------------------------------------------------------------- photos

_FORMATS = ("png", "jpeg", "gif", "tiff", "bmp", "webp", "jpeg2000", "avif", "heif", "ppm", "mpo")


def _picture() -> np.ndarray:
    """RGBA [24, 32, 4] uint8, its object in the middle."""
    rgba = np.random.default_rng(0).integers(50, 250, (24, 32, 4), dtype=np.uint8)
    rgba[..., 3] = 0
    rgba[6:18, 8:24, 3] = 255
    return rgba


def _photos(folder: Path) -> None:
    pillow_heif.register_heif_opener()
    rgba = Image.fromarray(_picture())
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8769] = {0xA405: 26, 0xA001: 65535, 0xA005: {1: "R03"}}
    for kind in _FORMATS:
        keeps = kind in ("png", "tiff", "webp", "avif", "heif", "jpeg2000")
        noted: dict[str, Any] = {"exif": exif} if kind in ("png", "jpeg", "webp", "avif", "heif") else {}
        (rgba if keeps else rgba.convert("RGB")).save(folder / f"{kind}.x", kind.upper(), **noted)
    profile = _srgb_profile()
    rgba.save(folder / "profile.x", "PNG", icc_profile=profile)
    rgba.convert("CMYK").save(folder / "cmyk.x", "JPEG")
    rgba.convert("RGB").save(folder / "icc.x", "JPEG", icc_profile=profile)
    rgba.quantize(8).save(folder / "palette.x", "PNG", transparency=1)
    Image.fromarray(np.arange(768, dtype=np.uint16).reshape(24, 32)).save(folder / "deep.x", "TIFF")
    frames = [rgba, rgba.rotate(90)]
    rgba.save(folder / "frames.x", "PNG", save_all=True, append_images=frames)


def _srgb_profile() -> bytes:
    """That of littleCMS, under another name, so that it is used and not passed over."""
    from PIL import ImageCms

    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be")).replace(b"sRGB", b"xRGB")


def _read_photos(folder: Path) -> None:
    """All of them, also where one is refused."""
    refused = None
    for file in sorted(folder.iterdir()):
        try:
            rgba, _ = load_image(file)
        except ImageError as error:
            refused = error
        else:
            assert rgba.ndim == 3 and rgba.shape[2] == 4
        exif_focal(file, 32, 24)
    if refused is not None:
        raise refused


def _folder(folder: Path) -> None:
    for name in ("a.png", "b.png", "masks/b.png"):
        save_png(folder / name, _picture())
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(_picture()[..., :3]).save(folder / "b.png", exif=exif)
    cameras = _cameras()[[0, 1]]
    write_transforms_json(folder / "transforms.json", cameras, ["a.png", "b.png"])


def _process(folder: Path) -> None:
    done = process(folder, model="grabcut", size=16)
    for name in done.crops:
        read_photo(folder / f"{name}.png", known_photos(folder).get(name))
    done.remarks()


# -------------------------------------------------------------------- cameras


def _cameras() -> Cameras:
    Ks = Cameras.intrinsics(torch.full((3,), 40.0), 32, 24)
    return Cameras.orbit(torch.zeros(3), torch.arange(3) * 40.0, 2.0, Ks=Ks, width=32, height=24)


_NAMES = ("a", "b", "c")


def _cameras_json(folder: Path) -> None:
    write_cameras_json(folder / "cameras.json", _cameras(), _NAMES, extras={"a": {"confidence": 0.5}})


def _transforms(folder: Path) -> None:
    file = folder / "transforms.json"
    write_transforms_json(file, _cameras(), [f"images/{n}.png" for n in _NAMES])
    content = json.loads(file.read_text())
    content |= {"camera_model": "OPENCV", "k1": 0.01, "k2": -0.02, "p1": 0.001, "p2": 0.0}
    file.write_text(json.dumps(content))


def _blender(folder: Path) -> None:
    _transforms(folder)
    file = folder / "transforms.json"
    content = json.loads(file.read_text())
    frames = content["frames"]
    kept = ("transform_matrix", "file_path")
    content = {"camera_angle_x": 0.7, "frames": [{k: f[k] for k in kept} for f in frames]}
    file.write_text(json.dumps(content))
    for name in _NAMES:
        save_png(folder / "images" / f"{name}.png", _picture())


def _colmap(folder: Path) -> None:
    write_colmap(folder, _cameras(), [f"{n}.png" for n in _NAMES], points=torch.arange(12.0).view(4, 3))
    (folder / "cameras.txt").write_text(
        "1 PINHOLE 32 24 40 40 16 12\n2 OPENCV 32 24 40 40 16 12 0.01 0 0 0\n"
        "3 SIMPLE_RADIAL 32 24 40 16 12 0.1\n"
    )


def _colmap_binary(folder: Path) -> None:
    cameras = [struct.pack("<iiQQ4d", 1, 1, 32, 24, 40, 40, 16, 12)]
    cameras.append(struct.pack("<iiQQ8d", 2, 4, 32, 24, 40, 40, 16, 12, 0.1, 0, 0, 0))
    images = [
        struct.pack("<i7di", k, 1, 0, 0, 0, 0.1 * k, 0, 2, 1 + k % 2)
        + f"{name}.png\0".encode()
        + struct.pack("<Qddq", 1, 1.0, 2.0, -1)
        for k, name in enumerate(_NAMES)
    ]
    for file, parts in (("cameras.bin", cameras), ("images.bin", images)):
        (folder / file).write_bytes(struct.pack("<Q", len(parts)) + b"".join(parts))


def _course(folder: Path) -> None:
    poses = _cameras().viewmats
    course = CameraCourse(_NAMES, poses, poses, _NAMES, (0, 5), (0, 1), torch.stack([poses, poses]))
    write_camera_course(folder / "course.json", course)


def _crops(folder: Path) -> None:
    crop = {"width": 32, "height": 24, "x0": 2, "y0": -3, "side": 30, "size": 30, "scale": 1.0}
    lens = {"kind": "perspective", "coefficients": [0.1, *[0.0] * 7], "focal": [40.0, 40.0]}
    lens |= {"center": [16.0, 12.0], "width": 32, "height": 24}
    content = {"a": crop | {"focal_length": 40.0}, "b": crop | {"lens": lens}}
    (folder / "crops.json").write_text(json.dumps(content))


def _read_crops(folder: Path) -> None:
    for reader in (read_crops, read_focals, read_lenses):
        reader(folder / "crops.json")


# -------------------------------------------------------------------- scenes and results


def _scene(folder: Path) -> None:
    for name in _NAMES:
        square = np.pad(_picture(), ((4, 4), (0, 0), (0, 0)))
        save_png(folder / "mug" / "processed" / f"{name}_rgba.png", square)
    for file in ("cameras.json", "cameras_gt.json"):
        write_cameras_json(folder / "mug" / file, _cameras(), _NAMES)


def _read_scene(folder: Path) -> None:
    load_scene(folder, "mug")
    load_gt_scene(folder / "mug")


def _truth(folder: Path) -> None:
    _transforms(folder)
    for name in _NAMES:
        save_png(folder / "images" / f"{name}.png", _picture())
    np.save(folder / "points.npy", np.random.default_rng(0).random((9, 3), dtype=np.float32))
    np.save(folder / "points_visible.npy", np.ones(9, dtype=bool))


def _gaussians() -> Gaussians:
    made = torch.Generator().manual_seed(0)
    parts = [torch.rand(5, n, generator=made) for n in (3, 4, 3)]
    return Gaussians(
        parts[0], parts[1], parts[2], torch.rand(5, generator=made), torch.rand(5, 4, 3, generator=made)
    )


def _ply(folder: Path) -> None:
    write_ply(folder / "splat.ply", _gaussians())


def _ascii_ply(folder: Path) -> None:
    _ply(folder)
    data = (folder / "splat.ply").read_bytes()
    head, body = data.split(b"end_header\n", 1)
    rows = np.frombuffer(body, "<f4").reshape(5, -1)
    text = "\n".join(" ".join(f"{v:.5g}" for v in row) for row in rows)
    head = head.replace(b"binary_little_endian", b"ascii")
    (folder / "splat.ply").write_bytes(head + b"end_header\n" + text.encode() + b"\n")


def _glb(folder: Path) -> None:
    trimesh.creation.box().export(folder / "mesh.glb")
    (folder / "metrics.json").write_text('{"psnr": 30.0, "views": ["a"], "fitted_size": 64}')


def _obj(folder: Path) -> None:
    lines = ["mtllib mesh.mtl", "usemtl m", "v 0 0 0", "v 1 0 0", "v 0 1 0", "vt 0 0", "vt 1 0", "vt 0 1"]
    (folder / "mesh.obj").write_text("\n".join([*lines, "f 1/1 2/2 3/3"]) + "\n")
    (folder / "mesh.mtl").write_text("newmtl m\nKd 1 1 1\nmap_Kd mesh.png\n")
    (folder / "mesh.png").write_bytes(encode_png(_picture()))


def _read_mesh(folder: Path) -> None:
    _mesh(folder)
    _metrics(folder / "metrics.json")


def _request() -> Request:
    return Request.of("cutout", 1, {"photos": torch.zeros(3)}, {"model": "u2netp", "size": 8})


def _store(folder: Path) -> None:
    Store(folder).keep(_request(), {"cameras": _cameras(), "said": ("a", "b"), "count": 3})


def _read_store(folder: Path) -> None:
    """A damaged entry is as good as none."""
    Store(folder).find(_request())
    Store(folder).find(Request.of("cutout", 2, {}, {"model": "u2netp"}))
    Store(folder).latest("cutout")


def _weights(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a.weight": torch.rand(2, 3)}, folder / "model.safetensors")
    buffer = io.BytesIO()
    torch.save({"state_dict": {"a.weight": torch.rand(2, 3)}}, buffer)
    (folder / "model.ckpt").write_bytes(buffer.getvalue())


def _read_weights(folder: Path) -> None:
    for name in ("model.safetensors", "model.ckpt"):
        read_weights(folder / name)


# -------------------------------------------------------------------- batches


def _list(folder: Path) -> None:
    (folder / "mug").mkdir()
    (folder / "mug" / "a.png").write_bytes(encode_png(_picture()))
    text = "photos,name,preset,num_views,resolution,views\nmug,first,fast,3,64,a b\nmug,,quality,,,\n"
    (folder / "list.csv").write_text(text)


def _read_list(folder: Path) -> None:
    jobs = listed_jobs(read_list(folder / "list.csv"), ObjectOptions(), _with_own)
    faults(jobs, Place(str(folder / "out")))
    _ = [job.made_with for job in jobs]


def _record(folder: Path) -> None:
    record = Record("mug", "photos/mug", "0" * 16, "done", psnr=30.0, worst_psnr=12.0, warnings=("Look",))
    (folder / "mug").mkdir()
    (folder / "mug" / "object.json").write_bytes(record.to_json())


def _read_record(folder: Path) -> None:
    record = read_record(Place(str(folder)), "mug")
    if record is not None:
        _ = record.doubts(), record.concern


TARGETS = {
    target.name: target
    for target in (
        Target("photos", _photos, _read_photos),
        Target("process", _folder, _process),
        Target("cameras.json", _cameras_json, lambda f: read_cameras_json(f / "cameras.json", 32, 24)),
        Target("transforms.json", _transforms, lambda f: read_transforms_json(f / "transforms.json")),
        Target("blender", _blender, read_photo_cameras),
        Target("colmap", _colmap, read_colmap),
        Target("colmap-binary", _colmap_binary, read_colmap),
        Target("course", _course, lambda f: read_camera_course(f / "course.json")),
        Target("crops.json", _crops, _read_crops),
        Target("scene", _scene, _read_scene),
        Target("truth", _truth, load_gt_scene),
        Target("ply", _ply, lambda f: read_ply(f / "splat.ply")),
        Target("ply-ascii", _ascii_ply, lambda f: read_ply(f / "splat.ply")),
        Target("glb", _glb, _read_mesh),
        Target("obj", _obj, _read_mesh),
        Target("store", _store, _read_store),
        Target("weights", _weights, _read_weights),
        Target("list.csv", _list, _read_list),
        Target("record", _record, _read_record),
    )
}
"""By name, all of them."""
