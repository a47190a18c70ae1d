"""How good the cut-outs are, on photos with masks.

python benchmarks/cutouts.py FOLDER... [--methods grabcut plain default] [--without NAME...] [--half odd]

Every folder is one object: photos in `images/`, masks of the same names in `masks/`, white on the object.
Methods: grabcut; plain, the embedded network's first look alone; default, what `agsrec process` does without
any further model; or any background model by name. IoU is that of alpha above one half. Boundary is the F
measure of its outline, within 0.5 % of the photo's diagonal of the mask's one. Seconds are per photo, with
reading it, on a warmed-up network. `--half` takes every second photo, the first one is even.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
from machine import description, heading

from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.images import IMAGE_SUFFIXES, load_image
from agsrec.photos import read_photo
from agsrec.preprocess import EMBEDDED
from agsrec.preprocess.cuts import look_at, prepare_cuts
from agsrec.preprocess.doubts import doubtful_cuts
from agsrec.preprocess.network import load_network

_TOLERANCE = 0.005  # of the diagonal

Alphas = dict[str, np.ndarray]
Method = Callable[[dict[str, Path]], tuple[Alphas, dict[str, str]]]


def photos_and_masks(folder: Path, without: Sequence[str], half: str) -> dict[str, tuple[Path, Path]]:
    """Photos that have a mask, and the mask, by name."""
    found = {}
    files = [file for file in sorted((folder / "images").iterdir()) if file.suffix.lower() in IMAGE_SUFFIXES]
    kept = {"all": files, "even": files[::2], "odd": files[1::2]}[half]
    for photo in kept:
        masks = [m for m in (folder / "masks").glob(f"{photo.stem}.*") if m.suffix.lower() in IMAGE_SUFFIXES]
        if masks and photo.stem not in without:
            found[photo.stem] = (photo, masks[0])
    return found


def plain(photos: dict[str, Path]) -> tuple[Alphas, dict[str, str]]:
    """The network's own mask, enlarged."""
    network = load_network()
    alphas = {}
    for name, photo in photos.items():
        rgb = np.ascontiguousarray(load_image(photo)[0][..., :3])
        chance = cv2.resize(network(rgb), rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        alphas[name] = (255 * chance).round().astype(np.uint8)
    return alphas, {}


def by_model(model: str) -> Method:
    """What `agsrec process` does, but for centring and writing."""

    def run(photos: dict[str, Path]) -> tuple[Alphas, dict[str, str]]:
        cuts = prepare_cuts(photos, {}, model)
        alphas, looks = {}, {}
        for name, file in photos.items():
            photo = read_photo(file)
            alphas[name] = cuts.alpha(name, photo)
            looks[name] = look_at(photo.rgba, alphas[name])
        return alphas, doubtful_cuts(looks, cuts.masks)

    return run


def overlap(alpha: np.ndarray, mask: np.ndarray) -> float:
    """Intersection over union."""
    cut = alpha > 127
    return float((cut & mask).sum() / max((cut | mask).sum(), 1))


def boundary_f(alpha: np.ndarray, mask: np.ndarray) -> float:
    """Harmonic mean of the shares of either outline that lie near the other one."""
    outlines = [_outline(alpha > 127), _outline(mask)]
    if not all(outline.any() for outline in outlines):
        return 0.0
    reach = _TOLERANCE * float(np.hypot(*mask.shape))
    near = [cv2.distanceTransform(1 - outline, cv2.DIST_L2, 5) <= reach for outline in outlines]
    precision = float(near[1][outlines[0] > 0].mean())
    recall = float(near[0][outlines[1] > 0].mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _outline(mask: np.ndarray) -> np.ndarray:
    inside = mask.astype(np.uint8)
    return inside - cv2.erode(inside, np.ones((3, 3), np.uint8), borderValue=0)


def measured(name: str, method: Method, folder: Path, pairs: dict[str, tuple[Path, Path]]) -> dict[str, Any]:
    """One method on one object."""
    clock = time.perf_counter()
    alphas, doubtful = method({key: photo for key, (photo, _) in pairs.items()})
    seconds = (time.perf_counter() - clock) / len(pairs)
    overlaps, outlines = {}, []
    for key, (photo, mask_file) in pairs.items():
        mask = load_image(mask_file)[0][..., 0] > 127
        if mask.shape != alphas[key].shape:
            raise AgsrecError(f"{mask_file} has not the size of {photo}")
        overlaps[key] = overlap(alphas[key], mask)
        outlines.append(boundary_f(alphas[key], mask))
    worst = min(overlaps, key=lambda key: overlaps[key])
    return {
        "Object": folder.name,
        "Photos": len(pairs),
        "Method": name,
        "IoU": fmean(overlaps.values()),
        "Worst": overlaps[worst],
        "Worst photo": worst,
        "Boundary": fmean(outlines),
        "Seconds": seconds,
        "Doubtful": ", ".join(f"{key} ({overlaps[key]:.2f})" for key in doubtful),
        "overlaps": overlaps,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--methods", nargs="+", default=["grabcut", "plain", "default"])
    parser.add_argument("--without", nargs="*", default=[], help="photos to leave out, by name")
    parser.add_argument("--half", choices=("all", "even", "odd"), default="all")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(argv)
    about = description()
    print(heading(about))
    load_network()(np.zeros((64, 64, 3), np.uint8))  # warm
    rows = []
    for method in options.methods:
        run = plain if method == "plain" else by_model(EMBEDDED if method == "default" else method)
        for folder in options.folders:
            pairs = photos_and_masks(folder, options.without, options.half)
            if not pairs:
                raise SystemExit(f"{folder} has no images/ with masks/ of the same names")
            rows.append(measured(method, run, folder, pairs))
        mine = [row for row in rows if row["Method"] == method]
        every = [value for row in mine for value in row["overlaps"].values()]
        rows.append(
            {
                "Object": "mean of objects",
                "Photos": len(every),
                "Method": method,
                **{key: fmean(row[key] for row in mine) for key in ("IoU", "Boundary", "Seconds")},
                "Worst": min(every),
                "overlaps": {},
            }
        )
    columns = ["Object", "Photos", "Method", "IoU", "Worst", "Worst photo", "Boundary", "Seconds", "Doubtful"]
    print(text_table([{column: row.get(column, "") for column in columns} for row in rows]))
    if options.json:
        import json

        atomic_write(options.json, json.dumps(about | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
