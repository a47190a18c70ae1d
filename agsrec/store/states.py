"""States on disk: written atomically, read without executing anything, bound to what they belong to."""

from __future__ import annotations

import hashlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from agsrec.files import atomic_write

__all__ = ["Checkpointing", "load_state", "save_state"]

_log = logging.getLogger(__name__)

_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpointing:
    """Where unfinished work keeps its state, and the key that says which inputs and options it belongs to."""

    path: Path
    key: str

    def load(self) -> dict[str, Any] | None:
        """The state that is there, if it belongs to the key; see `load_state`."""
        return load_state(self.path, self.key)

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state instead of the one before."""
        save_state(self.path, self.key, state)

    def part(self, name: str) -> Checkpointing:
        """The place for the state of one of several pieces of the work, beside those of the others."""
        return _Part(self.path, self.key, self, name)


@dataclass(frozen=True)
class _Part(Checkpointing):
    """A state among others in one file."""

    whole: Checkpointing
    name: str

    def load(self) -> dict[str, Any] | None:
        return (self.whole.load() or {}).get(self.name)

    def save(self, state: dict[str, Any]) -> None:
        self.whole.save({**(self.whole.load() or {}), self.name: state})


def save_state(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a state behind its digest; an interrupted write leaves the previous one."""
    buffer = io.BytesIO()
    torch.save({"key": key, "state": state}, buffer)
    content = buffer.getvalue()
    atomic_write(path, hashlib.sha256(content).digest() + content)


def load_state(path: Path, key: str) -> dict[str, Any] | None:
    """The stored state, or None if there is none, it is damaged, or it belongs to other inputs or options."""
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
        checksum, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != checksum:
            raise ValueError("its digest does not match")
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the reader meets damaged files with many types of exception
        _log.warning("cannot read %s (%s); starting over", path, error)
        return None
    if not isinstance(stored, dict) or stored.get("key") != key:
        _log.info("%s belongs to other photos, cameras or options; starting over", path)
        return None
    return stored["state"]
