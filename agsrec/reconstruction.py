"""`reconstruct`: from photos and rough cameras to a scene and refined cameras."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agsrec.config import PRESETS, FitConfig, PresetName
from agsrec.device import resolve_device
from agsrec.errors import OptionError, ShapeError
from agsrec.fit import Checkpointing, FitProgress, Guidance, fit
from agsrec.fit.checkpoint import fit_key

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.dataset import Scene
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = ["Reconstruction", "reconstruct"]


@dataclass(frozen=True)
class Reconstruction:
    """A reconstructed object; all tensors on the CPU.

    Attributes:
        views: The photos.
        initial_cameras: The cameras the fit started from.
        cameras: The refined cameras, in the same world up to the drift of the fit.
        gaussians: The scene.
        history: Course of the fit, a record every few steps.
        timings: Seconds by stage.
        options: The resolved options, as plain values.
    """

    views: Views
    initial_cameras: Cameras
    cameras: Cameras
    gaussians: Gaussians
    history: list[dict[str, Any]]
    timings: dict[str, float]
    options: dict[str, Any]

    def save(self, folder: str | Path, scene: Scene | None = None) -> dict[str, Any]:
        """Write every result file into a folder and return the metrics; see `agsrec.export.results`."""
        from agsrec.export.results import save_results

        return save_results(self, Path(folder), scene)


def reconstruct(
    views: Views,
    cameras: Cameras,
    *,
    preset: PresetName = "fast",
    config: FitConfig | None = None,
    seed: int = 0,
    device: str = "auto",
    guidance: Guidance | None = None,
    progress: Callable[[FitProgress], None] | None = None,
    checkpoint: str | Path | None = None,
) -> Reconstruction:
    """Refine rough cameras and fit a scene of 3D Gaussians to the photos of one object.

    Args:
        views: V >= 2 cut-out photos.
        cameras: Their rough cameras.
        preset: Schedule to use.
        config: Schedule to use instead of the preset's.
        seed: Seed of everything random.
        device: "auto", "cpu" or "cuda".
        guidance: Judge of novel views, such as a diffusion prior.
        progress: Called as the fit goes on.
        checkpoint: File to keep the state in; a run interrupted at any point continues from it, if photos,
            cameras and options are the same.

    Raises:
        OptionError, DeviceError: An option cannot be used.
        ShapeError: Photos and cameras do not match.
        CameraError, SceneError: The cameras do not fit the photos at all.
    """
    if preset not in PRESETS:
        raise OptionError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    if not 0 <= seed < 2**63:
        raise OptionError(f"--seed must be between 0 and 2**63 - 1, not {seed}")
    _check_inputs(views, cameras)
    config = PRESETS[preset] if config is None else config
    target = resolve_device(device)
    options = {"preset": preset, "seed": seed, "device": target.type, "fit": asdict(config)}
    checkpointing = None
    if checkpoint is not None:
        key = fit_key(views, cameras, config, seed, device=target.type, guided=guidance is not None)
        checkpointing = Checkpointing(Path(checkpoint), key)
    clock = time.perf_counter()
    result = fit(
        views.to(target),
        cameras.to(target, torch.float32),
        config,
        seed=seed,
        guidance=guidance,
        progress=progress,
        checkpointing=checkpointing,
    )
    # A continued run reports the time of all its pieces.
    seconds = max(result.seconds, time.perf_counter() - clock)
    return Reconstruction(
        views=views,
        initial_cameras=cameras,
        cameras=result.cameras.to("cpu"),
        gaussians=result.gaussians.to("cpu"),
        history=result.history,
        timings={"fit": seconds},
        options=options,
    )


def _check_inputs(views: Views, cameras: Cameras) -> None:
    if len(views) < 2:
        raise OptionError(f"a reconstruction needs at least 2 views, not {len(views)}")
    if len(views) != len(cameras):
        raise ShapeError(f"{len(views)} views but {len(cameras)} cameras")
    if (views.width, views.height) != (cameras.width, cameras.height):
        raise ShapeError(
            f"photos are {views.width}x{views.height} pixels but cameras {cameras.width}x{cameras.height}; "
            "use Cameras.resized"
        )
