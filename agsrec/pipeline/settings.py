"""What to reconstruct, and how: the values that a run is asked with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.config import PRESETS, RESOLUTION_RANGE, RESOLUTIONS, WORKING_SIZE, FitConfig, PresetName
from agsrec.errors import OptionError
from agsrec.mesh.config import MeshConfig
from agsrec.names import BackgroundName, DeviceName, MeshFormat, MethodName, SplatFormat

if TYPE_CHECKING:
    from agsrec.fit import Guidance
    from agsrec.outliers import OutlierConfig
    from agsrec.prior.zero123 import Zero123

__all__ = ["PhotoFolder", "Posing", "Settings"]

_SEEDS = 2**63
_SMALL = 256  # longer side in pixels of photos that presets show whole


@dataclass(frozen=True)
class PhotoFolder:
    """Photos of one object whose cameras are to be estimated.

    Attributes:
        folder: Folder with cut-out photos in it or in its `processed/`, or of photos that are cut out first.
        num_views: Use the first so many; all by default.
        views: Use exactly these, by name.
        name: Name of the object; the folder's by default.
    """

    folder: Path
    num_views: int | None = None
    views: tuple[str, ...] | None = None
    name: str | None = None


@dataclass(frozen=True)
class Posing:
    """How cameras are estimated.

    Attributes:
        method: Initialiser; see `agsrec.initialize`.
        model: Its checkpoint: a folder, a name in `checkpoints/`, or a hub id; its usual one by default.
        file: Camera file, for the method `file`.
        focal: Focal length in pixels of the views, which are the cut-out photos at one size, if known.
        background: For `auto`: whether what the photos show around the object stood still with it.
    """

    method: MethodName = "auto"
    model: str | None = None
    file: Path | None = None
    focal: float | None = None
    background: BackgroundName = "auto"


@dataclass(frozen=True)
class Settings:
    """How to reconstruct.

    Attributes:
        preset: Name of the schedule.
        fit: Schedule to use instead of the preset's.
        resolution: Longer side in pixels of the pictures that the fit ends with; by default that of `fit`, or
            of the photos up to the preset's (`agsrec.config.RESOLUTIONS`).
        num_points: Gaussians to grow to, instead of the schedule's number.
        prior: What judges views nobody photographed: a diffusion model, its folder, the name of one in
            `checkpoints/` such as "zero123-6dof-mini" or a hub id; or any other `agsrec.fit.Guidance`.
        seed: Seed of everything random.
        device: Where to compute: "auto", "cpu" or "cuda".
        posing: How cameras are estimated, where there are none.
        init_points: Start the fit from the surface points that come with estimated cameras, not from the hull
            of the masks, and with its last round alone: for poses that are right to some degrees.
        background_model: What cuts objects out of photos; see `agsrec.preprocess.process`.
        outliers: Look for badly posed views so, and pose them again or leave them out; None does not.
        mesh: Size and effort of the mesh; None makes none.
        mesh_format: Its file's format.
        splat_format: "spz" writes a compressed splat beside the PLY; needs the extra `spz`.

    Raises:
        OptionError: There is no such preset, or a number is out of range.
    """

    preset: PresetName = "fast"
    fit: FitConfig | None = None
    resolution: int | None = None
    num_points: int | None = None
    prior: Zero123 | Guidance | str | Path | None = None
    seed: int = 0
    device: DeviceName = "auto"
    posing: Posing = field(default_factory=Posing)
    init_points: bool = False
    background_model: str = "auto"
    outliers: OutlierConfig | None = None
    mesh: MeshConfig | None = field(default_factory=MeshConfig)
    mesh_format: MeshFormat = "glb"
    splat_format: SplatFormat = "ply"

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise OptionError(f"unknown preset {self.preset!r}; there are {', '.join(PRESETS)}")
        if not 0 <= self.seed < _SEEDS:
            raise OptionError(f"--seed must be between 0 and 2**63 - 1, not {self.seed}")

        low, high = RESOLUTION_RANGE
        if self.resolution is not None and not low <= self.resolution <= high:
            raise OptionError(f"--resolution must be between {low} and {high} pixels, not {self.resolution}")
        if self.num_points is not None and self.num_points < 1:
            raise OptionError(f"--num_pts must be at least 1, not {self.num_points}")
        if self.init_points and self.outliers is not None:
            raise OptionError(
                "--init-points and --enable_loop exclude each other: points belong to the poses that the "
                "loop may change; leave one of them out"
            )

    @property
    def working_size(self) -> int:
        """Longer side in pixels that views have at most, for this to be fitted to them."""
        return max(WORKING_SIZE, self._usual_resolution() if self.resolution is None else self.resolution)

    def _usual_resolution(self) -> int:
        """What the fit ends with unless told otherwise; 0 where a schedule was given that says so."""
        return RESOLUTIONS[self.preset] if self.fit is None else 0

    def schedule(self, *, views: int, focal_known: bool, size: int) -> FitConfig:
        """The schedule as it is used.

        Args:
            views: Number of views.
            focal_known: Whether their focal lengths are to be relied on; they are refined otherwise, unless
                the schedule says what to do with them.
            size: Their longer side in pixels.
        """
        from agsrec.single_photo import single_photo_schedule

        config = PRESETS[self.preset] if self.fit is None else self.fit
        wanted = self._usual_resolution() if size > _SMALL else 0
        wanted = wanted if self.resolution is None else self.resolution
        if wanted:
            config = config.at_resolution(min(wanted, size))
        if self.num_points is not None:
            last = config.rounds[-1]
            start = min(last.num_points, self.num_points)
            last = replace(last, num_points=start, max_points=self.num_points)
            config = replace(config, rounds=(*config.rounds[:-1], last))
        if config.poses.refine_focal is None:
            config = replace(config, poses=replace(config.poses, refine_focal=not focal_known))
        return single_photo_schedule(config) if views == 1 else config
