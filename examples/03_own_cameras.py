"""Teaches camera files: bring poses of COLMAP or nerfstudio to cut-out photos, as `cameras.json`.

python process.py photos/mug
python examples/03_own_cameras.py --source colmap/text --folder photos/mug
python run.py --data photos --category mug --output output/own
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import tyro

from agsrec.camera_files import FORMAT_SIZE, read_photo_cameras, write_cameras_json
from agsrec.errors import CameraError
from agsrec.preprocess import carry_intrinsics, read_crops


def main(source: Path, folder: Path) -> None:
    """Write `cameras.json` into a folder of photos that `process.py` has cut out.

    Args:
        source: Folder of a COLMAP model or nerfstudio's transforms.json, of the photos before cropping.
        folder: Folder of the photos.
    """
    listed = read_photo_cameras(source)
    if any(listed.lenses):
        raise CameraError(f"{source} has lenses that distort; use agsrec poses {folder} --file {source}")
    crops = read_crops(folder / "processed" / "crops.json")
    names = [name for name in listed.names if name in crops]
    if len(names) < 2:
        raise CameraError(f"{source} and {folder} share {len(names)} view names; at least 2 are needed")
    chosen = listed.cameras[[listed.names.index(name) for name in names]]

    # The poses may have been made at another resolution; then the crop changes the intrinsics.
    # Crops have as many pixels as their photos had there; one size for all is as good.
    Ks = []
    for index, name in enumerate(names):
        crop = replace(crops[name], size=FORMAT_SIZE)
        photo = chosen[index].resized(crop.width, crop.height)
        Ks.append(carry_intrinsics(photo.Ks[0], crop))
    cropped = replace(chosen, Ks=torch.stack(Ks), width=FORMAT_SIZE, height=FORMAT_SIZE)

    # Object at the origin, +y up, mean distance 1.85; the pictures stay the same.
    write_cameras_json(folder / "cameras.json", cropped.normalized(), names)
    missing = sorted(set(crops) - set(names))
    print(f"{len(names)} cameras in {folder / 'cameras.json'}" + (f"; none for {missing}" if missing else ""))


if __name__ == "__main__":
    tyro.cli(main)
