"""Every error a user's action can cause.

The command line prints the message in one line and exits with status 2; anything else that escapes is a
bug of ours. A message names the file or option, says what is wrong with it and what to do.
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "AgsrecError",
    "CameraError",
    "CheckpointError",
    "DeviceError",
    "ImageError",
    "MissingExtraError",
    "OptionError",
    "OutputError",
    "SceneError",
    "ShapeError",
    "require",
]


class AgsrecError(Exception):
    """Base of all errors a user can cause."""


class OptionError(AgsrecError):
    """An option or argument has an unusable value."""


class ImageError(AgsrecError):
    """An image file cannot be used."""


class CameraError(AgsrecError):
    """A camera file, or a camera in it, cannot be used."""


class CheckpointError(AgsrecError):
    """Model weights, or the settings beside them, cannot be used."""


class SceneError(AgsrecError):
    """A scene (Gaussians or splat file) cannot be used."""


class OutputError(AgsrecError):
    """A result cannot be written."""


class DeviceError(AgsrecError):
    """The requested device or backend is not available."""


class ShapeError(AgsrecError, ValueError):
    """A tensor has the wrong shape, dtype or device."""


class MissingExtraError(AgsrecError, ImportError):
    """An optional dependency is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} is not installed; install it with: pip install 'agsrec[{extra}]'"
        ) from error
