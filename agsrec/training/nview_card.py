"""The model card of an all-views pose network; see `agsrec.training.card`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.export.tables import markdown_table
from agsrec.training.card import count_parameters, steps_done, write_sections
from agsrec.training.nview_data import VIEWS_PER_SET

if TYPE_CHECKING:
    from agsrec.pose_init.nview.network import NViewConfig
    from agsrec.training.loop import Record
    from agsrec.training.nview import NViewTrainConfig

__all__ = ["NViewMaking", "write_nview_card"]

_SUMMARY = """\
A small transformer that is shown all cut-out photos of an object at once and says where each was taken from:
the surface point under every pixel, how the azimuths of any two views differ, elevation, roll, and (if it was
trained to) field of view. It starts the reconstruction when there are no cameras. The weights were trained
from nothing by this project. Licence: Apache-2.0, as the project."""
_LIMITS = """\
- Trained for a short time on modest hardware: rough starts, sometimes too far off for the fit to mend.
- Objects that look alike from the front and the back come out with some views turned by half a circle. The
  right arrangement is then often among the alternatives.
- Photos mostly from the side and above, held about level, of one object that nearly fills them.
- Trained on procedural objects alone. It has never seen a photo."""


@dataclass(frozen=True)
class NViewMaking:
    """How a pose network was made.

    Attributes:
        config: Settings of the training.
        config_name: How `agsrec train nview --config` knows them.
        seed: Seed of the training.
        records: Its log, from `read_log`.
        hardware: What it ran on, in words.
        quality: Rows of the table that benchmarks/initialisers.py prints.
        measured: When and on what the benchmark ran: its heading.
        notes: What else there is to know about the training, in sentences.
        start: Model folder that it went on from, as the card shall name it.
    """

    config: NViewTrainConfig
    config_name: str
    seed: int
    records: list[Record]
    hardware: str
    quality: list[dict[str, Any]]
    measured: str
    notes: str = ""
    start: str = ""


def write_nview_card(folder: Path, making: NViewMaking) -> Path:
    """Write `MODEL_CARD.md` into the folder of a network, and return its name.

    Raises:
        CheckpointError: A file cannot be read, or the log or figures do not hold what is needed.
    """
    return write_sections(
        folder,
        lambda: [
            _SUMMARY,
            "## Architecture\n\n" + _architecture(folder, making.config),
            "## Training\n\n" + _training(making),
            "## Quality\n\n" + _quality(making),
            "## Limits\n\n" + _LIMITS,
            "## Reproduce\n\n" + _reproduce(folder.name, making),
        ],
    )


def _architecture(folder: Path, config: NViewTrainConfig) -> str:
    network = config.network
    return (
        f"{count_parameters(folder):,} parameters, stored in half precision. {network.image_size} x "
        f"{network.image_size} pixels per view, the {network.tokens} patches that show most of the object "
        f"and one camera token; {len(network.blocks)} blocks of width {network.width} with {network.heads} "
        f"heads, {' '.join(network.blocks)} (F attends within a view, G across all views)." + _closer(network)
    )


def _closer(network: NViewConfig) -> str:
    if not network.fine_tokens:
        return ""
    return (
        f" In the second half they ask {network.fine_tokens} finer tokens per view, the patches with most "
        f"detail of crops of {network.crop_size} x {network.crop_size} pixels."
    )


def _training(making: NViewMaking) -> str:
    phase = making.config.training
    last = [r for r in making.records if r["phase"] == "nview" and "loss" in r][-1]
    row = {
        "steps": steps_done(last, phase),
        "views per step": f"{phase.batch_size:,}",
        "views in all": f"{last['step'] * phase.batch_size:,}",
        "learning rate": f"{phase.learning_rate:g}",
        "objects": f"{making.config.pool_objects + int((last['step'] - 1) * phase.objects_per_step):,}",
        "last loss": f"{last['loss']:.4f}",
        "hours": f"{last['seconds'] / 3600:.1f}",
    }
    notes = f"\n\n{making.notes}" if making.notes else ""
    return (
        "Data: random procedural objects of `agsrec.synthetic`, heaps of shapes and things that people "
        f"photograph, {2 * VIEWS_PER_SET} views each (twice {VIEWS_PER_SET}, in a ring, scattered or from "
        "one side), rendered while training, with changed colours, blur, noise and carelessly drawn masks. "
        "No photos, no other models, no data sets.\n\n"
        + markdown_table([row])
        + "\n\nMuon for the matrices of the blocks, AdamW for the rest, falling to rate zero; the average of "
        f"the weights is kept{_shared(making.config.start_share)}. Hardware: {making.hardware}.{notes}"
    )


def _shared(share: float) -> str:
    if not share:
        return ""
    return (
        f", and of that and the weights that the training went on from the mean, with a share of {share:g} "
        "for the latter (WiSE-FT)"
    )


def _quality(making: NViewMaking) -> str:
    if not making.quality:
        raise ValueError("no rows of the benchmark")
    return (
        "Relative rotation errors over pairs of views of objects that no training sees and of given ones "
        "(`benchmarks/initialisers.py`):\n\n" + markdown_table(making.quality) + f"\n\n{making.measured}"
    )


def _reproduce(name: str, making: NViewMaking) -> str:
    settings = f"--config {making.config_name} --seed {making.seed}"
    start = f" --start {making.start}" if making.start else ""
    commands = [
        f"agsrec train nview {settings}{start} --output output/{name}",
        f'python scripts/make_checkpoint.py output/{name} --name {name} --hardware "..."',
    ]
    return (
        "```bash\n" + "\n".join(commands) + "\n```\n\n"
        "An interrupted training continues when the same command is given again; "
        f"`--start checkpoints/{name}` goes on from these weights."
    )
