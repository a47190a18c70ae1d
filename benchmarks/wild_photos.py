"""Photos as people take them, with true cameras: some of a folder, cut out in a copy of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from agsrec import Cameras, Views
from agsrec.camera_files import read_photo_cameras
from agsrec.images import has_photos
from agsrec.preprocess import carry_intrinsics, process, read_crops
from agsrec.view_files import load_views

__all__ = ["Wild", "cut_out_copy", "is_wild", "spread"]


@dataclass(frozen=True)
class Wild:
    """Cut-outs of photos.

    Attributes:
        folder: Copy of the photos, with what processing wrote.
        views: V cut-outs.
        cameras: True cameras [V], in pixels of the cut-outs.
    """

    folder: Path
    views: Views
    cameras: Cameras


def is_wild(folder: Path) -> bool:
    """Whether a folder has photos with their background and cameras of them, and no cut-outs."""
    cut_out = (folder / "processed").exists() or any(folder.glob("images/*.png"))
    return not cut_out and has_photos(folder) and (folder / "transforms.json").exists()


def spread(available: int, count: int, first: int) -> list[int]:
    """Indices of `count` photos at even steps from `first` on, all of them if there are no more."""
    if available <= count:
        return list(range(available))
    return [(first + k * available // count) % available for k in range(count)]


def cut_out_copy(folder: Path, copy: Path, count: int, first: int) -> Wild:
    """Photos of a folder at even steps, copied without their cameras and cut out there.

    Masks beside the photos are used where there are some.

    Raises:
        AgsrecError: Something is missing, or no object is found.
    """
    listed = read_photo_cameras(folder / "transforms.json")
    files = sorted(f for f in (folder / "images").iterdir() if f.stem in listed.names)
    chosen = [files[k] for k in spread(len(files), count, first)]
    (copy / "images").mkdir(parents=True)
    (copy / "masks").mkdir()
    for file in chosen:
        shutil.copy(file, copy / "images")
        for mask in folder.glob(f"masks/{file.stem}.*"):
            shutil.copy(mask, copy / "masks")
    process(copy)
    crops = read_crops(copy / "processed" / "crops.json")
    names = [file.stem for file in chosen if file.stem in crops]
    views = load_views(copy, names)
    cameras = listed.cameras[[listed.names.index(name) for name in names]]
    shown = [replace(crops[name], size=views.width) for name in names]
    Ks = torch.stack([carry_intrinsics(K, crop) for K, crop in zip(cameras.Ks, shown, strict=True)])
    return Wild(copy, views, replace(cameras, Ks=Ks, width=views.width, height=views.height))
