"""The value that a reconstruction is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.outliers import Correction
    from agsrec.prior.sds import Glimpse
    from agsrec.views import Views

__all__ = ["Reconstruction"]


@dataclass(frozen=True)
class Reconstruction:
    """A reconstructed object; all tensors on the CPU. `agsrec.save_results` writes it.

    Attributes:
        views: The photos that were used.
        initial_cameras: Their cameras as given.
        cameras: The refined cameras, in the same world up to the drift of the fit.
        gaussians: The scene.
        fitted_size: Longer side of the pictures that the scene was fitted to last, pixels.
        history: Course of the fit, a record every few steps.
        timings: Seconds by stage.
        options: The resolved options, as plain values.
        exposures: How bright each photo is beside the scene, by channel [V, 3]; None where not asked.
        glimpses: What the prior saw at a few moments of the fit, where there was one.
        correction: What was decided about badly posed views, where they were looked for.
    """

    views: Views
    initial_cameras: Cameras
    cameras: Cameras
    gaussians: Gaussians
    fitted_size: int
    history: list[dict[str, Any]]
    timings: dict[str, float]
    options: dict[str, Any]
    exposures: Tensor | None = None
    glimpses: tuple[Glimpse, ...] = ()
    correction: Correction | None = None
