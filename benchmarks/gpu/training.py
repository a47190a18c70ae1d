"""The training of a day: settings that fit its time, and what its log says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agsrec.errors import CheckpointError
from agsrec.files import atomic_write
from agsrec.training.loop import read_log

__all__ = ["base_settings", "fitted_settings", "pace", "training_figures"]

Record = dict[str, Any]

_PHASES = {"nview": "training", "zero123": "diffusion"}
_OVERHEAD = 30.0  # seconds of start and first objects
_MARGIN = 0.95  # for what a machine does more slowly after the first seconds
_WARM_UP = 0.05  # share of the steps

# Sizes at which every step of a day takes seconds on a CPU.
_TINY = {
    "network": {
        "image_size": 32,
        "tokens": 10,
        "width": 32,
        "heads": 2,
        "blocks": "FGF",
        "match_after": 1,
        "match_channels": 8,
        "lens": True,
        "fine_tokens": 0,
    },
    "pool_objects": 3,
    "start_share": 0.0,
}
_TINY_PHASE = {"steps": 6, "batch_size": 16, "warmup_steps": 2, "objects_per_step": 0.5}


def base_settings(what: str, file: Path, *, batch: int | None, tiny: bool) -> Record:
    """Settings of a training as packaged, with another batch size where one is given."""
    content = json.loads(file.read_text(encoding="utf-8"))
    phase = content[_PHASES[what]]
    if tiny:
        content |= _TINY
        phase |= _TINY_PHASE
    if batch is not None:
        phase["batch_size"] = batch
    return content


def pace(folder: Path) -> float | None:
    """Steps per second of a training, without those before its first record if there are more.

    None where the folder does not say.
    """
    try:
        records = [record for record in read_log(folder) if "loss" in record]
    except CheckpointError:
        return None
    if not records:
        return None
    first, last = records[0], records[-1]
    if first is last:
        return last["step"] / last["seconds"]
    return (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])


def fitted_settings(
    what: str, base: Record, steps_per_second: float | None, seconds: float, target: Path
) -> None:
    """Write settings whose last step, at which the learning rate is zero, comes when the time is up.

    Settings that are there already stay: a training that was interrupted goes on with its own. Where the pace
    is not known, the number of steps stays as well.
    """
    if target.is_file():
        return
    phase = base[_PHASES[what]]
    steps = phase["steps"]
    if steps_per_second is not None:
        steps = max(2, round(steps_per_second * max(_MARGIN * seconds - _OVERHEAD, 0.2 * seconds)))
    fitted = {**phase, "steps": steps, "warmup_steps": round(_WARM_UP * steps)}
    atomic_write(target, json.dumps({**base, _PHASES[what]: fitted}, indent=2) + "\n")


def training_figures(folder: Path) -> Record:
    """How far a training came, how fast, how well its workers supplied it, and its last validation."""
    log = read_log(folder)
    records = [record for record in log if "loss" in record]
    last = records[-1]
    steps = [b["step"] - a["step"] for a, b in zip([{"step": 0}, *records], records, strict=False)]
    validated = [record for record in log if "loss" not in record]
    return {
        "step": last["step"],
        "steps": last["steps"],
        "steps_per_second": pace(folder),
        "loss": [records[0]["loss"], last["loss"]],
        "images_per_second": last["images_per_second"],
        "fed_share": sum(n * r["fed_share"] for n, r in zip(steps, records, strict=True)) / sum(steps),
        "queued": last["queued"],
        "validation": validated[-1] if validated else None,
    }
