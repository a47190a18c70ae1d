"""Where a new photo was taken from, in a finished reconstruction."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from agsrec.camera_files import FORMAT_SIZE, read_cameras_json
from agsrec.cameras import Cameras
from agsrec.config import Stage
from agsrec.device import resolve_device
from agsrec.errors import ImageError, OptionError, SceneError
from agsrec.images import load_image
from agsrec.match_localization import posed_by_matches
from agsrec.names import LocalizerName
from agsrec.outliers import polish_poses
from agsrec.pose_search import GaussianRenderer, SearchConfig, search_pose
from agsrec.preprocess import make_remover, object_box
from agsrec.preprocess.exif import exif_focal
from agsrec.result_files import fitted_size, load_splat
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.gaussians import Gaussians
    from agsrec.names import DeviceName
    from agsrec.pose_init.dust3r.initializer import PairModel
    from agsrec.pose_search import FoundPoses

__all__ = ["Located", "localize"]

_LONGEST = 512  # pixels; the search looks at far fewer
_POLISH = Stage(96, 40), Stage(192, 40)
_AMBIGUOUS = 0.1
_MIN_OVERLAP = 0.75  # of the silhouettes; below, it is another object, or the mask is wrong
_SURE_OVERLAP = 0.8  # the same where the answer is ambiguous: all poses are alike, and none good


@dataclass(frozen=True)
class Located:
    """Poses that explain a photo.

    Attributes:
        image: The photo cut out, RGBA [h, w, 4] in [0, 1], at most 512 wide and high.
        cameras: The candidates, best first, in pixels of that image and in the world of the reconstruction.
        found: What the search says of them.
        gaussians: The reconstruction.
        size: Width and height of the photo itself.
        focal_source: Where its focal length is from, in words.
    """

    image: Tensor
    cameras: Cameras
    found: FoundPoses
    gaussians: Gaussians
    size: tuple[int, int]
    focal_source: str

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values; cameras in pixels of the photo."""
        return _record(self.found, self.cameras.resized(*self.size), self.focal_source)


def localize(
    result: Path,
    photo: Path,
    *,
    method: LocalizerName = "search",
    model: str | Path | PairModel | None = None,
    focal: float | None = None,
    max_roll_deg: float = 45.0,
    background_model: str = "auto",
    device: DeviceName = "auto",
    searching: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Located:
    """Find the pose of a photo from nothing.

    `search` looks at the scene from all around. `mast3r` matches the photo to the reconstruction's photos,
    and the depth of the scene there tells where the matching points are.

    Args:
        result: Folder of the reconstruction.
        photo: The photo; its transparency is used, or else its background removed.
        method: How.
        model: For `mast3r`: its checkpoint, the published one by default.
        focal: Its focal length in pixels; by default from its EXIF data, or else as the field of view of the
            reconstruction's own photos.
        max_roll_deg: Largest in-plane rotation against the reconstruction's upright, at most 180.
        background_model: What removes the background; see `agsrec.preprocess.process`.
        device: Where to compute.
        searching: Entered while poses are searched for.

    Raises:
        OptionError: An option is out of range, or there is no such folder.
        SceneError: The reconstruction cannot be used, or no pose explains the photo.
        CameraError, ImageError, DeviceError: As the message says.
    """
    if focal is not None and not (math.isfinite(focal) and focal > 0):
        raise OptionError(f"--focal must be a positive number of pixels, not {focal}")
    if not 0 < max_roll_deg <= 180:
        raise OptionError(f"--roll must be above 0 and at most 180 degrees, not {max_roll_deg:g}")
    if method not in get_args(LocalizerName):
        raise OptionError(f"--method must be {' or '.join(get_args(LocalizerName))}, not {method!r}")
    if model is not None and method != "mast3r":
        raise OptionError(f"--model: the method {method} has no model; leave it out")
    target = resolve_device(device)
    gaussians = load_splat(result, "cameras.json")
    known = read_cameras_json(result / "cameras.json", FORMAT_SIZE, FORMAT_SIZE).cameras
    image, size = _cut_out(photo, background_model)
    height, width = image.shape[:2]
    focal, source = _focal_of(photo, focal, known, size)
    K = Cameras.intrinsics(focal * width / size[0], width, height)[0]
    fitted_focal = _fitted_focal(known, fitted_size(result))
    with searching():
        if method == "search":
            render = GaussianRenderer(gaussians.to(target), focal=fitted_focal)
            config = SearchConfig(max_roll_deg=max_roll_deg)
            found = search_pose(render, image.to(target), K.to(target), config)
        else:
            found = posed_by_matches(result, photo, image.to(target), K.to(target), model, target)
    overlap = float(found.overlaps[0])
    if overlap < (_SURE_OVERLAP if found.margin < _AMBIGUOUS else _MIN_OVERLAP):
        raise SceneError(
            f"{photo}: no pose explains it (the best silhouettes overlap by {overlap:.0%}); is it a "
            "photo of this object, cut out properly?"
        )
    start = Cameras(found.viewmats.cpu(), K.expand(len(found), 3, 3), width, height)
    cameras = _polished(gaussians.to(target), image.to(target), start, fitted_focal)
    return Located(image, cameras, found, gaussians, size, source)


def _focal_of(photo: Path, given: float | None, known: Cameras, size: tuple[int, int]) -> tuple[float, str]:
    """Focal length in pixels of the photo of a size (width, height), and where it is from."""
    if given is not None:
        return given, "given"
    from_exif = exif_focal(photo, *size)
    if from_exif is not None:
        return from_exif, "from the photo's EXIF data"
    share = float(known.focal_lengths.mean(1).median()) / max(known.width, known.height)
    return share * max(size), "taken from the reconstruction's photos"


def _cut_out(path: Path, background_model: str) -> tuple[Tensor, tuple[int, int]]:
    """The photo, RGBA [h, w, 4] in [0, 1], at most `_LONGEST` wide and high; its own width and height."""
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


def _fitted_focal(known: Cameras, size: int | None) -> float | None:
    """Focal length in pixels of the pictures that the reconstruction was fitted to, where that is known."""
    if size is None:
        return None
    return float(known.focal_lengths.mean(1).median()) * size / max(known.width, known.height)


def _polished(gaussians: Gaussians, image: Tensor, cameras: Cameras, fitted_focal: float | None) -> Cameras:
    """The candidates, the first one refined at higher resolution than the search's, where that helps."""
    photo = Views(image[None], ("photo",))
    first = cameras[[0]].to(image.device)
    fitted = None  # size at which the photo has the pixels of the fit
    if fitted_focal is not None:
        fitted = fitted_focal * max(first.width, first.height) / float(first.focal_lengths.mean())
    better = polish_poses(gaussians, photo, first, fitted_size=fitted, stages=_POLISH)
    return Cameras.cat([better.to("cpu"), cameras[1:]])


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
