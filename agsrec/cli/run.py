"""`agsrec run`: one object, from photos to cameras and a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from agsrec.cli.filming import photos_of_video
from agsrec.cli.listening import ConsoleListener
from agsrec.cli.printing import print_finished, say
from agsrec.errors import OptionError
from agsrec.limits import memory
from agsrec.options import ObjectOptions, object_place, refuse_to_overwrite
from agsrec.pipeline import PhotoFolder, Settings, StageName

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.dataset import Scene

__all__ = ["Run"]

_LEAST_GIB = 1.0  # of free memory; eight photos with prior and mesh take 1.3, without them 0.9


@dataclass(frozen=True)
class Run(ObjectOptions):
    """Reconstruct one object: refined cameras and a 3D Gaussian scene."""

    photos: tyro.conf.Positional[Path | None] = None
    """Folder of photos of one object, or of a scene, or of nerfstudio or COLMAP; photos are cut out first if
    need be. Or a video, whose sharp frames become photos in a folder of its name beside it. Or one photo."""
    category: str | None = None
    """Instead: name of the object, a folder in --data. Or one photo, or a video, as a file."""
    data: Path = Path("data/demo")
    """Folder of the objects."""
    output: Path = Path("output/demo")
    """Results go into a folder of the object's name in here."""
    again: tuple[StageName, ...] = ()
    """Stages to compute in any case, though the result folder has them: cutout, poses, outliers, fit, mesh or
    export. What depends on them follows where they come out otherwise."""
    explain: bool = False
    """Only list which stages the result folder has, and why they would be used or computed again."""

    def main(self, console: Console) -> None:
        """Reconstruct, save, and print what was measured."""
        from agsrec.device import resolve_device
        from agsrec.pipeline.run import run

        place = self._place(console)
        settings = self.settings(*place)
        resolve_device(self.device)
        _warn_of_little_memory(console)
        what, source, name = self.what(*place, settings.working_size)
        folder = self.output / name
        refuse_to_overwrite(source, folder)
        if self.explain:
            self._explain(console, what, folder, settings)
            return
        listener = ConsoleListener(console, self.fit.iterations)
        done = run(what, folder, settings, listener, again=self.again)
        print_finished(console, done)
        say(console, f"Results are in {folder}; open report.html")

    def _explain(self, console: Console, what: Scene | PhotoFolder, folder: Path, settings: Settings) -> None:
        """Print what there is of every stage, and why it would be used or not."""
        from agsrec.pipeline.run import explain

        words = {"finished": "is there", "begun": "was begun", "missing": "to be computed"}
        for kept in explain(what, folder, settings, again=self.again):
            say(console, f"{kept.stage:9} {words[kept.state]:15} {kept.why}")

    def _place(self, console: Console) -> tuple[Path, str]:
        """Folder of the objects, and the object's name in it; or any folder, and a photo's file."""
        if self.photos is not None and self.category is not None:
            raise OptionError(f"give {self.photos} or --category {self.category}, not both")
        if self.photos is not None:
            return object_place(photos_of_video(console, self.photos, look=self.explain), self.data)
        if self.category is None:
            raise OptionError("nothing to reconstruct; give a folder of photos, or --category NAME")
        from agsrec.frames import is_video

        given = Path(self.category)
        if is_video(given):
            return object_place(photos_of_video(console, given, look=self.explain), self.data)
        photos_of_video(console, self.data / self.category, look=self.explain)
        return self.data, self.category


def _warn_of_little_memory(console: Console) -> None:
    """Say so before the system ends the process, which it does without a word."""
    free_gib = memory().free / 2**30
    if free_gib < _LEAST_GIB:
        say(
            console,
            f"Only {free_gib:.1f} GiB of memory are left here, and a run takes about 1.3: the system may end "
            "it without a word. Close other programs, or raise the limit of the container or of `ulimit -v`",
        )
