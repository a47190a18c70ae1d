"""`agsrec run`: one object, from photos to cameras and a scene."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.cli.options import prior_or_none, refuse_to_overwrite
from agsrec.cli.printing import FitBar, print_metrics, say
from agsrec.config import PRESETS, FitConfig, PresetName
from agsrec.device import DeviceName
from agsrec.errors import OptionError
from agsrec.prior import EMBEDDED_PRIOR

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.dataset import Scene

__all__ = ["Run"]


@dataclass(frozen=True)
class Run:
    """Reconstruct one object: refined cameras and a 3D Gaussian scene."""

    category: str
    """Name of the object: a folder in --data. Or one photo, as a file."""
    num_views: int | None = None
    """Use the first so many views; all by default."""
    views: tuple[str, ...] | None = None
    """Use exactly these views, by name."""
    data: Path = Path("data/demo")
    """Folder of the objects."""
    output: Path = Path("output/demo")
    """Results go into a folder of the object's name in here."""
    preset: PresetName = "fast"
    """Schedule: fast, quality, or paper (as published)."""
    num_pts: int | None = None
    """Gaussians to grow to, instead of the preset's number."""
    prior: str = EMBEDDED_PRIOR
    """Diffusion model that judges views nobody photographed: a folder, a name in checkpoints/, a hub id, or
    none."""
    fov: float | None = None
    """One photo without cameras.json: field of view of the square around the object in degrees; 40 by
    default."""
    elevation: float | None = None
    """One photo without cameras.json: degrees it was taken from above the object; 10 by default."""
    background_model: str = "u2net"
    """One photo with its background: model of rembg that cuts the object out, or "grabcut"."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    seed: int = 0
    """Seed of everything random."""
    fit: FitConfig = field(default_factory=lambda: PRESETS["fast"])
    """Every detail of the schedule, from the preset unless given."""

    def config(self) -> FitConfig:
        """The schedule with `num_pts` worked in."""
        if self.num_pts is None:
            return self.fit
        if self.num_pts < 1:
            raise OptionError(f"--num_pts must be at least 1, not {self.num_pts}")
        last = self.fit.rounds[-1]
        last = replace(last, num_points=min(last.num_points, self.num_pts), max_points=self.num_pts)
        return replace(self.fit, rounds=(*self.fit.rounds[:-1], last))

    def main(self, console: Console) -> None:
        """Reconstruct, save, and print what was measured."""
        from agsrec.device import resolve_device
        from agsrec.export.results import prepare_folder
        from agsrec.reconstruction import reconstruct, require_enough_views

        config = self.config()
        resolve_device(self.device)
        scene, source = self._scene()
        prior = prior_or_none(self.prior)
        require_enough_views(scene.views, guided=prior is not None)
        folder = self.output / scene.name
        refuse_to_overwrite(source, folder)
        prepare_folder(folder)
        with FitBar(console, config.iterations) as advance:
            result = reconstruct(
                scene.views,
                scene.cameras,
                preset=self.preset,
                config=config,
                seed=self.seed,
                device=self.device,
                prior=prior,
                progress=advance,
                checkpoint=folder / "checkpoint.pt",
            )
        metrics = result.save(folder, scene)
        print_metrics(console, metrics)
        say(console, f"Results are in {folder}; open report.html")

    def _scene(self) -> tuple[Scene, Path]:
        """The scene, and the folder its files are in."""
        from agsrec.dataset import load_scene
        from agsrec.single_photo import find_single_photo, photo_scene

        photo = find_single_photo(self.data, self.category, num_views=self.num_views, views=self.views)
        if photo is not None:
            camera = {"fov_deg": self.fov, "elevation_deg": self.elevation}
            given = {name: value for name, value in camera.items() if value is not None}
            scene = photo_scene(photo, background_model=self.background_model, **given)
            if photo == Path(self.category):
                return scene, photo.parent
            return replace(scene, name=self.category), self.data / self.category
        for name in ("fov", "elevation"):
            if getattr(self, name) is not None:
                raise OptionError(f"--{name} is for one photo without cameras.json; leave it out")
        scene = load_scene(self.data, self.category, num_views=self.num_views, views=self.views)
        return scene, self.data / self.category
