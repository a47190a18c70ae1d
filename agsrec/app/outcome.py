"""What a finished run leaves for the page: files to show and to download, and what to say."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.export.archive import write_archive
from agsrec.export.decisions import decision_sentences
from agsrec.export.view_cards import view_cards
from agsrec.export.viewer_splat import thickened_for_viewers, turned_for_viewers
from agsrec.figures.camera_plot import camera_plot
from agsrec.ply import write_ply

if TYPE_CHECKING:
    from agsrec.pipeline.run import Finished

__all__ = ["DOWNLOADS", "publish"]

DOWNLOADS = ("mesh.glb", "splat.ply", "cameras.json", "report.html", "turntable.mp4")
"""Result files that the page offers one by one, where they exist."""


def publish(done: Finished, folder: Path, served: Path, title: str) -> dict[str, Any]:
    """Copy what the page shows from the results' folder into the served one.

    Returns:
        Plain values: `summary` sentences, `facts` by label, `views` as in `ViewCard`, `plot` in Plotly's
        layout, `files` by name, the `splat` for the viewer, and the `archive`.
    """
    result = done.result
    cards = view_cards(result, served / "views")
    files = {}
    for name in DOWNLOADS:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, served / name)
            files[name] = str(served / name)
    shown = served / "view.ply"
    thick = thickened_for_viewers(result.gaussians, result.cameras, result.fitted_size)
    write_ply(shown, turned_for_viewers(thick))
    archive = served / f"{re.sub(r'[^a-z0-9-]+', '-', title.lower()).strip('-') or 'object'}.zip"
    write_archive(archive, folder, archive.stem)
    moved = [card.name for card in cards if card.verdict == "corrected"]
    plot = camera_plot(result.initial_cameras, result.cameras, result.views.names, result.gaussians, moved)
    return {
        "title": title,
        "summary": _summary(done, title),
        "facts": _facts(done),
        "views": [_plain(asdict(card)) for card in cards],
        "plot": json.dumps(plot),
        "files": files,
        "splat": str(shown),
        "archive": str(archive),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def _summary(done: Finished, title: str) -> list[str]:
    """What happened, in plain sentences."""
    result, metrics = done.result, done.metrics
    count = len(result.views)
    sentences = [
        f"{count} photo{'s' * (count != 1)} of {title} became a model of {metrics['gaussians']:,} Gaussians."
    ]
    if result.correction is not None:
        sentences += decision_sentences(result.correction)
    if "poses_after" in metrics:
        before, after = (metrics[f"poses_{when}"]["pairs"]["median_deg"] for when in ("before", "after"))
        sentences.append(
            f"Against the true cameras, the rotation error of view pairs went from {before:.1f} to "
            f"{after:.1f} degrees in the median."
        )
    if done.mesh is None:
        sentences.append("There is no mesh, because the model has no closed surface; the splat is complete.")
    return sentences


def _facts(done: Finished) -> dict[str, str]:
    """Headline figures."""
    metrics = done.metrics
    facts = {
        "Photos used": str(len(done.result.views)),
        "Agreement with the photos": f"{metrics['input']['psnr']:.1f} dB",
    }
    if "novel" in metrics:
        facts["Agreement with unseen views"] = f"{metrics['novel']['psnr']:.1f} dB"
    return facts
