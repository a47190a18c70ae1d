"""The state of a fit on disk: written atomically, read without executing anything, bound to its inputs."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from agsrec.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from agsrec.cameras import Cameras
    from agsrec.config import FitConfig
    from agsrec.views import Views

__all__ = ["fit_key", "load_checkpoint", "save_checkpoint"]

_log = logging.getLogger(__name__)

# Raised whenever a stored state would be continued differently than it was begun.
_FORMAT = 3
_DIGEST_BYTES = hashlib.sha256().digest_size


def fit_key(views: Views, cameras: Cameras, config: FitConfig, seed: int, **more: Any) -> str:
    """Digest of everything a fit's result depends on: photos, cameras, options, torch's version."""
    digest = hashlib.sha256()
    options = {"format": _FORMAT, "torch": torch.__version__, "seed": seed, "config": asdict(config), **more}
    digest.update(json.dumps(options, sort_keys=True, default=str).encode())
    digest.update(repr(views.names).encode())
    for tensor in (views.images, cameras.viewmats, cameras.Ks):
        digest.update(repr(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write a state behind its digest; an interrupted write leaves the previous one."""
    buffer = io.BytesIO()
    torch.save({"key": key, "state": state}, buffer)
    content = buffer.getvalue()
    atomic_write(path, hashlib.sha256(content).digest() + content)


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """The stored state, or None if there is none, it is damaged, or it belongs to other inputs or options."""
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
        digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("its digest does not match")
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the reader meets damaged files with many types of exception
        _log.warning("cannot read %s (%s); starting over", path, error)
        return None
    if not isinstance(stored, dict) or stored.get("key") != key:
        _log.info("%s belongs to other photos, cameras or options; starting over", path)
        return None
    return stored["state"]
