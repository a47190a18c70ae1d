"""`agsrec novel-view`: what one photo's object looks like from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from agsrec.cli.printing import say
from agsrec.embedded import EMBEDDED_PRIOR
from agsrec.errors import OptionError
from agsrec.names import DeviceName
from agsrec.options import refuse_to_overwrite

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["NovelView"]

_MOST_VIEWS = 64


@dataclass(frozen=True)
class NovelView:
    """Picture the object of one photo from another side, as the diffusion model imagines it."""

    photo: tyro.conf.Positional[Path]
    """The photo; its transparency is used, or else its background removed."""
    azimuth: float = 45.0
    """Degrees by which the camera moves around the object, to the camera's right."""
    elevation: float = 0.0
    """Degrees by which the camera moves up."""
    distance: float = 0.0
    """Share of its distance by which the camera moves away; negative comes nearer."""
    output: Path | None = None
    """PNG file to write; beside the photo by default."""
    strip: int | None = None
    """So many views in equal steps around the object, from --azimuth on, side by side in one picture."""
    model: str = EMBEDDED_PRIOR
    """Diffusion model: a folder, a name in checkpoints/, or a hub id."""
    steps: int | None = None
    """Denoising steps. By default 50, and 1 for a model that is shown what all photos show of a view: what it
    expects on the whole is better than its samples."""
    guidance: float | None = None
    """Strength of classifier-free guidance; 1 is without. By default what suits the model."""
    photo_elevation: float = 10.0
    """Degrees the photo was taken from above the object; --azimuth turns about the vertical."""
    fov: float = 40.0
    """Field of view of the square around the photo's object, degrees."""
    background_model: str = "auto"
    """What removes the background: "auto" (BiRefNet if its file is here, else the embedded model), "u2netp"
    (the embedded model), another model of rembg, or "grabcut"."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    seed: int = 0
    """Seed of the noise that the picture is made from."""

    def main(self, console: Console) -> None:
        """Write the picture, and say where it is."""
        from agsrec.device import resolve_device
        from agsrec.images import save_png
        from agsrec.novel_view import Viewpoint, as_strip, check_options, novel_views
        from agsrec.prior import load_prior
        from agsrec.single_photo import load_photo

        output = self._output()
        refuse_to_overwrite(self.photo, output)
        options = {"photo_elevation_deg": self.photo_elevation, "fov_deg": self.fov, "steps": self.steps}
        options |= {"guidance_scale": self.guidance, "seed": self.seed}
        viewpoints = [
            Viewpoint(self.azimuth + 360 * k / (self.strip or 1), self.elevation, self.distance)
            for k in range(self.strip or 1)
        ]
        check_options(viewpoints, **options)
        device = resolve_device(self.device)
        photo = load_photo(self.photo, background_model=self.background_model)
        with console.status("loading the model"):
            model = load_prior(self.model, device)
        with console.status(f"imagining {len(viewpoints)} view{'s' * (len(viewpoints) > 1)}"):
            images = novel_views(model, photo, viewpoints, **options)
        save_png(output, as_strip(images))
        say(console, str(output))

    def _output(self) -> Path:
        """Where to write: as asked, or beside the photo under a name that says what it is."""
        if self.strip is not None and not 1 <= self.strip <= _MOST_VIEWS:
            raise OptionError(f"--strip must be between 1 and {_MOST_VIEWS}, not {self.strip}")
        if self.output is None:
            name = self.photo.stem.removesuffix("_rgba")
            move = f"az{self.azimuth:g}_el{self.elevation:g}" if self.strip is None else f"strip{self.strip}"
            return self.photo.with_name(f"{name}_{move}.png")
        if self.output.suffix.lower() != ".png":
            raise OptionError(f"--output: {self.output} must end in .png")
        return self.output
