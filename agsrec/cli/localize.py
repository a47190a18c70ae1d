"""`agsrec localize`: where a new photo was taken from, in a finished reconstruction."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from agsrec.cli.options import refuse_to_overwrite
from agsrec.cli.printing import say
from agsrec.errors import ImageError, OptionError, SceneError
from agsrec.names import DeviceName

if TYPE_CHECKING:
    from rich.console import Console
    from torch import Tensor

    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.pose_search import FoundPoses

__all__ = ["Localize"]

_LONGEST = 512  # pixels; the search looks at far fewer
_POLISH = ((96, 40), (192, 40))  # pixels, steps
_AMBIGUOUS = 0.1
_MIN_OVERLAP = 0.75  # of the silhouettes; below, it is another object, or the mask is wrong
_SURE_OVERLAP = 0.8  # the same where the answer is ambiguous: all poses are alike, and none good


@dataclass(frozen=True)
class Localize:
    """Find the pose of a photo in a finished reconstruction, from nothing."""

    result: tyro.conf.Positional[Path]
    """Folder of the reconstruction, with its splat.ply and cameras.json."""
    photo: tyro.conf.Positional[Path]
    """The photo; its transparency is used, or else its background removed."""
    output: Path | None = None
    """JSON file for the pose; beside the photo by default. The picture goes beside it."""
    focal: float | None = None
    """Focal length in pixels of the photo. By default from its EXIF data, or else the field of view of the
    reconstruction's own photos."""
    roll: float = 45.0
    """Largest in-plane rotation against the reconstruction's upright, degrees; 180 for any."""
    background_model: str = "auto"
    """What removes the background: "auto" (BiRefNet if its file is here, else the embedded model), "u2netp"
    (the embedded model), another model of rembg, or "grabcut"."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA where there is one."""

    def main(self, console: Console) -> None:
        """Search, print the pose, and write it with a picture."""
        from agsrec.camera_files import FORMAT_SIZE, read_cameras_json
        from agsrec.device import resolve_device
        from agsrec.files import atomic_write
        from agsrec.images import save_png
        from agsrec.kernels import announced
        from agsrec.pose_search import GaussianRenderer, SearchConfig, search_pose
        from agsrec.result_files import fitted_size, load_splat

        if self.focal is not None and not (math.isfinite(self.focal) and self.focal > 0):
            raise OptionError(f"--focal must be a positive number of pixels, not {self.focal}")
        if not 0 < self.roll <= 180:
            raise OptionError(f"--roll must be above 0 and at most 180 degrees, not {self.roll:g}")
        output, picture = self._outputs()
        device = resolve_device(self.device)
        gaussians = load_splat(self.result, "cameras.json")
        known = read_cameras_json(self.result / "cameras.json", FORMAT_SIZE, FORMAT_SIZE).cameras
        image, size = _cut_out(self.photo, self.background_model)
        height, width = image.shape[:2]
        focal, source = self._focal_of(known, size)
        scaled = focal * width / size[0]
        K = _intrinsics(scaled, width, height)
        fitted_focal = _fitted_focal(known, fitted_size(self.result))
        render = GaussianRenderer(gaussians.to(device), focal=fitted_focal)
        with console.status("searching"), announced(partial(say, console), self.device):
            found = search_pose(render, image.to(device), K.to(device), SearchConfig(max_roll_deg=self.roll))
        overlap = float(found.overlaps[0])
        if overlap < (_SURE_OVERLAP if found.margin < _AMBIGUOUS else _MIN_OVERLAP):
            raise SceneError(
                f"{self.photo}: no pose explains it (the best silhouettes overlap by {overlap:.0%}); is it a "
                "photo of this object, cut out properly?"
            )
        start = _cameras(found, K, width, height)
        cameras = _polished(gaussians.to(device), image.to(device), start, fitted_focal)
        record = _record(found, cameras.resized(*size), source) | {"photo": str(self.photo)}
        record["result"] = str(self.result)
        atomic_write(output, json.dumps(record, indent=2) + "\n")
        save_png(picture, _overlay(gaussians, cameras, image, found))
        say(console, _sentence(self.photo.name, record))
        say(console, f"Pose: {output}; picture: {picture}")

    def _outputs(self) -> tuple[Path, Path]:
        """The JSON file and the picture."""
        if self.output is None:
            output = self.photo.with_name(f"{self.photo.stem.removesuffix('_rgba')}_pose.json")
        elif self.output.suffix.lower() != ".json":
            raise OptionError(f"--output: {self.output} must end in .json")
        else:
            output = self.output
        picture = output.with_suffix(".png")
        for file in (output, picture):
            refuse_to_overwrite(self.photo, file)
        return output, picture

    def _focal_of(self, known: Cameras, size: tuple[int, int]) -> tuple[float, str]:
        """Focal length in pixels of the photo of a size (width, height), and where it is from."""
        from agsrec.preprocess.exif import exif_focal

        if self.focal is not None:
            return self.focal, "given"
        from_exif = exif_focal(self.photo, *size)
        if from_exif is not None:
            return from_exif, "from the photo's EXIF data"
        share = float(known.focal_lengths.mean(1).median()) / max(known.width, known.height)
        return share * max(size), "taken from the reconstruction's photos"


def _cut_out(path: Path, background_model: str) -> tuple[Tensor, tuple[int, int]]:
    """The photo, RGBA [h, w, 4] in [0, 1], at most `_LONGEST` wide and high; its own width and height."""
    import cv2
    import numpy as np
    import torch

    from agsrec.images import load_image
    from agsrec.preprocess import make_remover, object_box

    rgba, has_alpha = load_image(path)
    if not has_alpha:
        alpha = make_remover(background_model)(np.ascontiguousarray(rgba[..., :3]))
        rgba = np.dstack([rgba[..., :3], alpha])
    if object_box(rgba[..., 3]) is None:
        raise ImageError(f"{path}: no object found in it; cut it out by hand (PNG with alpha)")
    height, width = rgba.shape[:2]
    scale = min(1.0, _LONGEST / max(width, height))
    values = rgba.astype(np.float32) / 255
    if scale < 1:
        values[..., :3] *= values[..., 3:]
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        values = cv2.resize(values, shape, interpolation=cv2.INTER_AREA)
        values[..., :3] /= np.maximum(values[..., 3:], 1e-6)
    return torch.from_numpy(values).clamp(0, 1), (width, height)


def _intrinsics(focal: float, width: int, height: int) -> Tensor:
    from agsrec.cameras import Cameras

    return Cameras.intrinsics(focal, width, height)[0]


def _cameras(found: FoundPoses, K: Tensor, width: int, height: int) -> Cameras:
    from agsrec.cameras import Cameras

    return Cameras(found.viewmats.cpu(), K.expand(len(found), 3, 3), width, height)


def _fitted_focal(known: Cameras, size: int | None) -> float | None:
    """Focal length in pixels of the pictures that the reconstruction was fitted to, where that is known."""
    if size is None:
        return None
    return float(known.focal_lengths.mean(1).median()) * size / max(known.width, known.height)


def _polished(gaussians: Gaussians, image: Tensor, cameras: Cameras, fitted_focal: float | None) -> Cameras:
    """The candidates, the first one refined at higher resolution than the search's, where that helps."""
    from agsrec.cameras import Cameras
    from agsrec.config import Stage
    from agsrec.fit.refine import refine_poses
    from agsrec.outliers import view_errors
    from agsrec.views import Views

    photo = Views(image[None], ("photo",))
    first = cameras[[0]].to(image.device)
    stages = tuple(Stage(size, steps) for size, steps in _POLISH)
    fitted = None  # size at which the photo has the pixels of the fit
    if fitted_focal is not None:
        fitted = fitted_focal * max(first.width, first.height) / float(first.focal_lengths.mean())
    rates = {"rate_rotation": 5e-3, "rate_translation": 1e-2}
    better = refine_poses(gaussians, photo, first, fitted_size=fitted, stages=stages, **rates)
    size = _POLISH[-1][0]
    old, new = (
        float(view_errors(photo, gaussians, each, size, fitted_size=fitted)) for each in (first, better)
    )
    return Cameras.cat([better.to("cpu"), cameras[1:]]) if new < old else cameras


def _record(found: FoundPoses, cameras: Cameras, source: str) -> dict[str, Any]:
    """What the JSON file says; cameras in pixels of the photo."""
    elevation, azimuth, radius = (values.tolist() for values in cameras.spherical())
    candidates = [
        {
            "viewmat": cameras.viewmats[k].tolist(),
            "elevation_deg": elevation[k],
            "azimuth_deg": azimuth[k],
            "distance": radius[k],
            "loss": float(found.losses[k]),
            "overlap": float(found.overlaps[k]),
        }
        for k in range(len(cameras))
    ]
    return {
        "convention": "world-to-camera, OpenCV axes (x right, y down, z forward), pixel centres at +0.5",
        "width": cameras.width,
        "height": cameras.height,
        "K": cameras.Ks[0].tolist(),
        "focal_length": source,
        **candidates[0],
        "margin": found.margin,
        "ambiguous": found.margin < _AMBIGUOUS,
        "runners_up": candidates[1:],
    }


def _sentence(name: str, record: dict[str, Any]) -> str:
    text = (
        f"{name} was taken from azimuth {record['azimuth_deg']:.1f}, elevation {record['elevation_deg']:.1f} "
        f"degrees (-90 is above), distance {record['distance']:.2f}; silhouettes overlap by "
        f"{record['overlap']:.0%}, focal length {record['K'][0][0]:.0f} pixels, {record['focal_length']}."
    )
    if record["ambiguous"]:
        text += f" Ambiguous: another pose explains it nearly as well (margin {record['margin']:.2f})."
    return text


def _overlay(gaussians: Gaussians, cameras: Cameras, image: Tensor, found: FoundPoses) -> Any:
    """The photo, both in one picture, and the scene from the best and the next pose, uint8 [h, w, 3]."""
    import torch

    from agsrec.figures.panels import tiles_figure
    from agsrec.metrics.evaluation import rendered_on_white

    photo = image[..., :3] * image[..., 3:] + 1 - image[..., 3:]
    renders = rendered_on_white(gaussians, cameras[: min(2, len(cameras))])
    tiles = torch.cat([photo[None], (photo[None] + renders[:1]) / 2, renders])
    titles = ["Photo", "Photo and scene", "Scene", "Next best pose"][: len(tiles)]
    notes = ["", f"margin {found.margin:.2f}"]
    notes += [f"overlap {100 * float(overlap):.0f} %" for overlap in found.overlaps[:2]]
    return tiles_figure(titles, tiles, notes[: len(tiles)])
