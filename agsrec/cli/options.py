"""What several commands make of their options."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from agsrec.config import PRESETS, RESOLUTIONS, FitConfig, PresetName
from agsrec.errors import OptionError

__all__ = ["prior_or_none", "refuse_to_overwrite", "schedule_options"]


def schedule_options(preset: PresetName, fit: FitConfig, resolution: int | None) -> dict[str, Any]:
    """What `Settings` is told of the schedule: a preset with other details still ends as the preset does.

    Args:
        preset: Name of the preset.
        fit: Its schedule, with the details given.
        resolution: Where the fit is to end, if that was said.
    """
    known = PRESETS[preset]
    if fit == known:
        return {"preset": preset, "resolution": resolution}
    if resolution is None and fit.rounds == known.rounds:
        resolution = RESOLUTIONS[preset]
    return {"preset": preset, "fit": fit, "resolution": resolution}


def prior_or_none(name: str) -> str | None:
    """The value of --prior, None for "none"."""
    return None if name.lower() == "none" else name


def refuse_to_overwrite(given: Path, output: Path) -> None:
    """Raise if a result would be written onto a file or into a folder that was given to the command.

    Raises:
        OptionError: The two are the same.
    """
    if os.path.exists(output) and os.path.exists(given) and os.path.samefile(given, output):
        raise OptionError(f"--output: the result would overwrite what is in {given}; name another place")
