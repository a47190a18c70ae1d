"""What is there of all that a reconstruction needs, and what to do about the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agsrec.doctor.check import Check, State, first_line

__all__ = ["Check", "State", "can_reconstruct", "examine"]


def examine() -> list[Check]:
    """Look at everything; changes nothing, and compiles and downloads nothing."""
    from agsrec.doctor import machine, models, software

    looks: dict[str, Callable[[], list[Check]]] = {
        "packages": software.packages,
        "device": machine.device,
        "kernels": machine.kernels,
        "embedded models": models.embedded,
        "background model": models.background,
        "ffmpeg": software.ffmpeg,
        "threads": machine.threads,
        "memory": machine.memory,
        "folders": machine.folders,
        "extras": software.extras,
    }
    return [check for name, look in looks.items() for check in _looked(name, look)]


def _looked(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    """What was found, or what kept from looking: a package that is missing or does not load."""
    try:
        return look()
    except (ImportError, OSError) as error:
        return [Check(name, "problem", first_line(error), "see to the packages first")]


def can_reconstruct(checks: Sequence[Check]) -> bool:
    """Whether the main job, `agsrec run` with its defaults, has what it needs."""
    return all(check.state != "problem" for check in checks)
