"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "State", "first_line"]

State = Literal["ok", "optional", "problem"]
"""Fine; worth knowing, while the main job runs without it; the main job does not run."""


@dataclass(frozen=True)
class Check:
    """What was looked at, and what was found.

    Attributes:
        name: What was looked at.
        state: How it is.
        detail: What was found.
        remedy: What to do, unless it is fine.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
