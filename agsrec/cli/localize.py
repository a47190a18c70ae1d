"""`agsrec localize`: where a new photo was taken from, in a finished reconstruction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from agsrec.cli.printing import say
from agsrec.errors import OptionError
from agsrec.names import DeviceName, LocalizerName
from agsrec.options import refuse_to_overwrite

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.localization import Located

__all__ = ["Localize"]


@dataclass(frozen=True)
class Localize:
    """Find the pose of a photo in a finished reconstruction, from nothing."""

    result: tyro.conf.Positional[Path]
    """Folder of the reconstruction, with its splat and cameras.json."""
    photo: tyro.conf.Positional[Path]
    """The photo; its transparency is used, or else its background removed."""
    method: LocalizerName = "search"
    """search looks at the scene from all around; mast3r matches the photo to those of the reconstruction."""
    model: str | None = None
    """Checkpoint for the method mast3r: a folder, a file, or a hub id; the published one by default."""
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
        from agsrec.files import atomic_write
        from agsrec.images import save_png
        from agsrec.kernels import announced
        from agsrec.localization import localize

        output, picture = self._outputs()

        @contextmanager
        def searching() -> Iterator[None]:
            with console.status("searching"), announced(partial(say, console), self.device):
                yield

        located = localize(
            self.result,
            self.photo,
            method=self.method,
            model=self.model,
            focal=self.focal,
            max_roll_deg=self.roll,
            background_model=self.background_model,
            device=self.device,
            searching=searching,
        )
        record = located.as_dict() | {"photo": str(self.photo), "result": str(self.result)}
        record["method"] = self.method
        atomic_write(output, json.dumps(record, indent=2) + "\n")
        save_png(picture, _overlay(located))
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


def _sentence(name: str, record: dict[str, Any]) -> str:
    text = (
        f"{name} was taken from azimuth {record['azimuth_deg']:.1f}, elevation {record['elevation_deg']:.1f} "
        f"degrees (-90 is above), distance {record['distance']:.2f}; silhouettes overlap by "
        f"{record['overlap']:.0%}, focal length {record['K'][0][0]:.0f} pixels, {record['focal_length']}."
    )
    if record["ambiguous"]:
        text += f" Ambiguous: another pose explains it nearly as well (margin {record['margin']:.2f})."
    return text


def _overlay(located: Located) -> Any:
    """The photo, both in one picture, and the scene from the best and the next pose, uint8 [h, w, 3]."""
    import torch

    from agsrec.figures.panels import tiles_figure
    from agsrec.metrics.evaluation import rendered_on_white

    image, cameras, found = located.image, located.cameras, located.found
    photo = image[..., :3] * image[..., 3:] + 1 - image[..., 3:]
    renders = rendered_on_white(located.gaussians, cameras[: min(2, len(cameras))])
    tiles = torch.cat([photo[None], (photo[None] + renders[:1]) / 2, renders])
    titles = ["Photo", "Photo and scene", "Scene", "Next best pose"][: len(tiles)]
    notes = ["", f"margin {found.margin:.2f}"]
    notes += [f"overlap {100 * float(overlap):.0f} %" for overlap in found.overlaps[:2]]
    return tiles_figure(titles, tiles, notes[: len(tiles)])
