"""The model card: what a trained model is, how it came about, how good it is, digests of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.errors import CheckpointError
from agsrec.files import atomic_write

if TYPE_CHECKING:
    from agsrec.training.config import PhaseConfig, TrainConfig
    from agsrec.training.loop import Record

__all__ = ["CARD", "Making", "count_parameters", "steps_done", "write_card", "write_sections"]

CARD = "MODEL_CARD.md"

_PARTS = {
    "unet": "UNet",
    "vae": "autoencoder",
    "image_encoder": "image encoder",
    "clip_camera_projection": "camera projection",
}
_LIMITS = """\
- Trained on procedural objects alone. It has never seen a photo.
- What the picture does not show, it can only guess; the table above says how that goes with the angle.
- Pictures hold one object over white that nearly fills them, from cameras near the usual distance."""


@dataclass(frozen=True)
class Making:
    """How a model was made.

    Attributes:
        config: Settings of the training.
        config_name: How `agsrec train zero123 --config` knows them.
        seed: Seed of the training.
        records: Its log, from `read_log`.
        hardware: What it ran on, in words.
        quality: What benchmarks/novel_views.py wrote with --json.
        notes: What else there is to know about the training, in sentences.
        start: Model folder that it went on from, as the card shall name it.
    """

    config: TrainConfig
    config_name: str
    seed: int
    records: list[Record]
    hardware: str
    quality: dict[str, Any]
    notes: str = ""
    start: str = ""


def write_card(folder: Path, making: Making) -> Path:
    """Write `MODEL_CARD.md` into a model folder, and return its name.

    Raises:
        CheckpointError: A file of the model cannot be read, or the log or figures do not hold what is needed.
    """
    return write_sections(
        folder,
        lambda: [
            _summary(making),
            "## Architecture\n\n" + _architecture(folder, making.config),
            "## Training\n\n" + _training(making),
            "## Quality\n\n" + _quality(making.quality),
            "## Limits\n\n" + _LIMITS,
            "## Reproduce\n\n" + _reproduce(folder.name, making),
        ],
    )


def write_sections(folder: Path, sections: Callable[[], list[str]]) -> Path:
    """Write a card: the folder's name, the sections, and the digests of all files.

    Raises:
        CheckpointError: A file cannot be read, or what the sections are made of does not hold what is needed.
    """
    try:
        parts = [f"# {folder.name}", *sections(), "## Files\n\n" + _files(folder)]
    except (KeyError, IndexError, OSError, ValueError) as error:
        raise CheckpointError(
            f"no model card for {folder}: {type(error).__name__} {error} in its files, log or figures; "
            "give a finished training and its benchmark"
        ) from error
    path = folder / CARD
    atomic_write(path, "\n\n".join(parts) + "\n")
    return path


def _summary(making: Making) -> str:
    size = making.config.image_size
    return (
        "A view-conditioned latent diffusion model: shown one picture of an object and told how the camera "
        f"moves, it draws the object from there, at {size} x {size} pixels. The architecture is that of "
        "Zero-1-to-3 with a 6-DoF camera (Liu et al. 2023; Zhao & Tulsiani 2024) in the folder layout of its "
        "public diffusers pipeline; the weights were trained from nothing by this project. "
        "Licence: Apache-2.0, as the project."
    )


def _architecture(folder: Path, config: TrainConfig) -> str:
    rows = ["| part | parameters | widths |", "|---|---|---|"]
    widths = {
        "unet": config.unet["block_out_channels"],
        "vae": config.vae["block_out_channels"],
        "image_encoder": [config.image_encoder["hidden_size"]],
        "clip_camera_projection": [config.image_encoder["projection_dim"]],
    }
    total = 0
    for name, title in _PARTS.items():
        count = count_parameters(folder / name)
        total += count
        rows.append(f"| {title} | {count:,} | {', '.join(map(str, widths[name]))} |")
    rows.append(f"| all | {total:,} | |")
    kind = config.scheduler.get("prediction_type", "epsilon")
    return "\n".join(rows) + f"\n\nThe UNet predicts `{kind}`; weights are stored in half precision."


def count_parameters(folder: Path) -> int:
    """Number of weights in the safetensors files of a part, from their headers."""
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} holds no safetensors file; is it a model folder?")
    total = 0
    for file in files:
        with safe_open(file, framework="pt") as content:
            for name in content.keys():
                count = 1
                for side in content.get_slice(name).get_shape():
                    count *= side
                total += count
    return total


def _training(making: Making) -> str:
    config = making.config
    data = (
        f"Data: random procedural objects of `agsrec.synthetic`, {config.data.views_per_object} views each, "
        f"rendered while training and seen through a pool of {config.data.pool_objects}. No photos, no other "
        "models, no data sets."
    )
    rows = [
        "| phase | steps | batch | learning rate | objects | last loss | hours |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, phase in (("autoencoder", config.autoencoder), ("diffusion", config.diffusion)):
        records = [r for r in making.records if r["phase"] == name and "loss" in r]
        if not records and name == "autoencoder" and making.start:
            continue  # kept as it was
        last = records[-1]
        seen = config.data.pool_objects + int((last["step"] - 1) * phase.objects_per_step)
        rows.append(
            f"| {name} | {steps_done(last, phase)} | {phase.batch_size} | {phase.learning_rate:g} | "
            f"{seen:,} | {last['loss']:.4f} | {last['seconds'] / 3600:.1f} |"
        )
    notes = f"\n\n{making.notes}" if making.notes else ""
    return f"{data}\n\n" + "\n".join(rows) + f"\n\nHardware: {making.hardware}.{notes}"


def steps_done(last: Record, phase: PhaseConfig) -> str:
    """How far a phase came, by its last record."""
    done = f"{last['step']:,}"
    return done if last["step"] >= phase.steps else f"{done} of {phase.steps:,}, stopped early"


def _quality(quality: dict[str, Any]) -> str:
    angles = [name.removeprefix("psnr_") for name in quality["quality"]["model"] if name.startswith("psnr_")]
    rows = [
        "| PSNR (dB) / SSIM | " + " | ".join(f"{a} deg" for a in angles) + " |",
        "|---" * (len(angles) + 1) + "|",
    ]
    for name, values in quality["quality"].items():
        cells = [f"{values[f'psnr_{a}']:.2f} / {values[f'ssim_{a}']:.3f}" for a in angles]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    threads = f"threads: {quality['threads']}"
    timings = "; ".join(f"{name[:-5]} {t['median']:.0f} ms" for name, t in quality["timings"].items())
    return (
        f"One picture shown, {quality['objects']} objects that no training sees, views at other azimuths, "
        f"{quality['steps']} DDIM steps, guidance {quality['guidance']:g}:\n\n"
        + "\n".join(rows)
        + f"\n\nA batch of 4: {timings} ({quality['processor']}, {threads}; {quality['date']})."
    )


def _reproduce(name: str, making: Making) -> str:
    settings = f"--config {making.config_name} --seed {making.seed}"
    start = f" --start {making.start}" if making.start else ""
    commands = [
        f"agsrec train zero123 {settings}{start} --output output/{name}",
        f'python scripts/make_checkpoint.py output/{name} --name {name} --hardware "..."',
    ]
    return (
        "```bash\n" + "\n".join(commands) + "\n```\n\n"
        "An interrupted training continues when the same command is given again. Settings: "
        f"`{json.dumps(making.config.scheduler)}`, condition dropout {making.config.condition_dropout:g}, "
        f"min-SNR limit {making.config.snr_clip}; the rest is in the configuration."
    )


def _files(folder: Path) -> str:
    rows = ["| file | bytes | sha256 |", "|---|---|---|"]
    for file in sorted(f for f in folder.rglob("*") if f.is_file() and f.name != CARD):
        content = file.read_bytes()
        name, digest = file.relative_to(folder).as_posix(), hashlib.sha256(content).hexdigest()
        rows.append(f"| {name} | {len(content):,} | `{digest}` |")
    return "\n".join(rows)
