"""Turntable videos: cameras on an orbit and an H.264 file every browser plays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import OptionError, OutputError, ShapeError
from agsrec.files import atomic_path

__all__ = ["framed", "orbit_cameras", "write_turntable", "write_video"]

_CONSTANT_RATE_FACTOR = 20  # x264: 18 is visually lossless, 23 its default
_RENDER_BATCH = 6


def orbit_cameras(
    like: Cameras,
    *,
    frames: int = 90,
    elevation_deg: float = -15.0,
    radius: float | None = None,
) -> Cameras:
    """Cameras on a full circle around the origin, one per video frame, that frame the object as `like` does.

    The circle starts at the first camera's azimuth and stops one step before closing, so that the video
    loops without a stutter.

    Args:
        like: Cameras whose image size, typical focal length and distance are taken over.
        frames: Number of cameras.
        elevation_deg: Elevation, degrees; negative is above the object.
        radius: Distance from the origin, world units; the median of `like` by default.
    """
    if frames < 1 or (radius is not None and not radius > 0):
        raise OptionError(f"an orbit needs at least 1 frame and a positive radius, not {frames} and {radius}")
    distances = like.centers.norm(dim=-1)
    typical = distances.median()
    # Zoomed crops have their own focal lengths: the ratio to the distance is what sets the object's size.
    focal = typical * (like.focal_lengths / distances[:, None]).median(dim=0).values
    Ks = Cameras.intrinsics(focal.expand(frames, 2), like.width, like.height)
    start = like.spherical()[1][0]
    azimuth = start + torch.arange(frames, dtype=Ks.dtype, device=Ks.device) * (360 / frames)
    distance = typical if radius is None else radius
    return Cameras.orbit(elevation_deg, azimuth, distance, Ks=Ks, width=like.width, height=like.height)


def framed(cameras: Cameras, points: Tensor, *, fill: float = 0.85) -> Cameras:
    """The cameras with one common zoom at which every point stays in every picture.

    Args:
        cameras: V cameras whose pictures should show all points.
        points: World points [N, 3].
        fill: Share of half the picture that the farthest point may reach.
    """
    pixels, depths = cameras.project(points.to(cameras.viewmats))
    center = cameras.principal_points[:, None]
    reach = ((pixels - center).abs() / center)[depths > 0]
    if len(reach) == 0:
        return cameras
    zoom = fill / float(reach.max().clamp_min(1e-6))
    Ks = cameras.Ks.clone()
    Ks[:, :2, :2] *= zoom
    return replace(cameras, Ks=Ks)


def write_turntable(
    path: str | Path,
    render: Callable[[Cameras], Tensor],
    cameras: Cameras,
    *,
    fps: int = 30,
) -> None:
    """Render cameras in small batches and write the frames as a video.

    Args:
        path: File to write, `.mp4`.
        render: Maps V cameras to images [V, H, W, 3] in [0, 1].
        cameras: One camera per frame, such as `orbit_cameras()`.
        fps: Frames per second.
    """
    write_video(path, _rendered(render, cameras), fps=fps)


def write_video(path: str | Path, frames: Iterable[np.ndarray], *, fps: int = 30) -> None:
    """Write frames uint8 [T, H, W, 3] as H.264 in an MP4 file that plays while it loads.

    Odd sizes are extended by a row or column, as the format's chroma planes have half the resolution.
    Frames are consumed one by one. The file appears under its name only when it is complete.

    Raises:
        ShapeError: There are no frames, or they are not uint8 images of one size.
        OutputError: The file cannot be written, or ffmpeg fails.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ShapeError("a video needs at least one frame")
    with atomic_path(path) as temporary:
        try:
            _encode(temporary, chain([first], iterator), first.shape, fps)
        except (OSError, RuntimeError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise OutputError(f"cannot write the video {path}: {lines[-1] if lines else error}") from error


def _encode(path: Path, frames: Iterable[np.ndarray], shape: tuple[int, ...], fps: int) -> None:
    import imageio_ffmpeg

    height, width = (n + n % 2 for n in shape[:2])
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (width, height),
        fps=fps,
        codec="libx264",
        pix_fmt_out="yuv420p",
        macro_block_size=1,
        ffmpeg_log_level="error",
        output_params=["-crf", str(_CONSTANT_RATE_FACTOR), "-movflags", "+faststart"],
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(np.ascontiguousarray(_even(_checked(frame, shape))))
    finally:
        writer.close()


def _rendered(render: Callable[[Cameras], Tensor], cameras: Cameras) -> Iterator[np.ndarray]:
    for start in range(0, len(cameras), _RENDER_BATCH):
        with torch.no_grad():
            images = render(cameras[start : start + _RENDER_BATCH])
        yield from (images.clamp(0, 1) * 255).round().to("cpu", torch.uint8).numpy()


def _checked(frame: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
        raise ShapeError(f"frames must be uint8 [H, W, 3] of one size, not {frame.dtype} {[*frame.shape]}")
    return frame


def _even(frame: np.ndarray) -> np.ndarray:
    """The frame with even sides, the last row or column repeated where needed."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
