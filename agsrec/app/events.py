"""What a process of its own is given to do, and what it tells of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Began", "Done", "Event", "Failed", "Said", "Send", "Step", "Task"]


@dataclass(frozen=True)
class Began:
    """A stage begins."""

    stage: str
    text: str


@dataclass(frozen=True)
class Step:
    """A fit goes on.

    Attributes:
        stage: Where the fit belongs.
        iteration: Steps done.
        total: Of so many.
        size: Image size in pixels.
        loss: Latest loss.
        psnr: Latest agreement with the photos, dB.
        gaussians: Gaussians at the moment.
        preview: JPEG of the scene as it stands, now and then.
    """

    stage: str
    iteration: int
    total: int
    size: int
    loss: float
    psnr: float
    gaussians: int
    preview: bytes | None = None


@dataclass(frozen=True)
class Said:
    """A sentence that the user should read."""

    text: str


@dataclass(frozen=True)
class Done:
    """The work is done; what came of it, as plain values."""

    outcome: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """The work has ended without a result, for a reason in one sentence."""

    text: str


Event = Began | Step | Said | Done | Failed

Send = Callable[[Event], None]


class Task(Protocol):
    """Heavy work."""

    def run(self, send: Send) -> dict[str, Any]:
        """Do it; returns what came of it, as plain values."""
        ...

    def public_message(self, error: Exception) -> str:
        """The error without paths of the machine."""
        ...
