"""Frozen values as plain ones and back, and their digests: what `torch.save` stores without running anything.

Known are the package's own dataclasses, tensors, arrays, paths, numbers, texts, None, and tuples, lists and
dicts with keys of text of them.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["digest", "leaves", "plain", "rebuilt"]

_PACKAGE = __name__.partition(".")[0]
_CLASS, _TUPLE, _ARRAY, _PATH, _GIVEN = "class", "tuple", "array", "path", "given"


def plain(value: Any, given: Mapping[str, Any] | None = None) -> Any:
    """A value as tensors on the CPU, numbers, texts, lists and dicts alone.

    Args:
        value: The value.
        given: Objects that whoever reads it back has anyway, by name; only their names are stored.

    Raises:
        TypeError: It holds something of an unknown type.
    """
    for name, known in (given or {}).items():
        if value is known:
            return {_GIVEN: name}
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        return {_ARRAY: torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return {_PATH: str(value)}
    if isinstance(value, list):
        return [plain(item, given) for item in value]
    if isinstance(value, tuple):
        return {_TUPLE: [plain(item, given) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": {_text(key): plain(item, given) for key, item in value.items()}}
    kind = type(value)
    if is_dataclass(value) and kind.__module__.partition(".")[0] == _PACKAGE:
        held = {f.name: plain(getattr(value, f.name), given) for f in fields(value)}
        return {_CLASS: f"{kind.__module__}:{kind.__qualname__}", "fields": held}
    raise TypeError(f"{kind.__qualname__} cannot be stored")


def rebuilt(stored: Any, given: Mapping[str, Any] | None = None, device: torch.device | str = "cpu") -> Any:
    """The value that `plain` made plain, with its tensors on a device.

    Raises:
        ValueError, LookupError, TypeError, AttributeError, ImportError: It was made by another version.
    """
    if isinstance(stored, Tensor):
        return stored.to(device)
    if isinstance(stored, list):
        return [rebuilt(item, given, device) for item in stored]
    if not isinstance(stored, dict):
        return stored
    match stored:
        case {"given": name}:
            return (given or {})[name]
        case {"array": tensor}:
            return tensor.numpy()
        case {"path": path}:
            return Path(path)
        case {"tuple": items}:
            return tuple(rebuilt(item, given, device) for item in items)
        case {"dict": items}:
            return {key: rebuilt(item, given, device) for key, item in items.items()}
        case {"class": name, "fields": held}:
            return _class(name)(**{key: rebuilt(item, given, device) for key, item in held.items()})
    raise ValueError("not a stored value")


def _class(name: str) -> Any:
    """A dataclass of the package by its name; nothing else is ever called."""
    module, _, qualified = name.partition(":")
    if module.partition(".")[0] != _PACKAGE:
        raise ValueError(f"{name} is not of {_PACKAGE}")
    found: Any = importlib.import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise ValueError(f"{name} is no dataclass")
    return found


def _text(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"the key {key!r} cannot be stored")
    return key


# -------------------------------------------------------------------- digests


def digest(value: Any) -> str:
    """SHA-256 of a value's contents, hexadecimal: equal values have equal ones, on any device."""
    hasher = hashlib.sha256()
    _feed(hasher, plain(value))
    return hasher.hexdigest()


def _feed(hasher: Any, stored: Any) -> None:
    if isinstance(stored, Tensor):
        hasher.update(f"<{stored.dtype} {tuple(stored.shape)}>".encode())
        hasher.update(stored.contiguous().numpy().tobytes())
    elif isinstance(stored, list):
        hasher.update(f"[{len(stored)}]".encode())
        for item in stored:
            _feed(hasher, item)
    elif isinstance(stored, dict):
        hasher.update(f"{{{len(stored)}}}".encode())
        for key in sorted(stored):
            hasher.update(f"{key!r}:".encode())
            _feed(hasher, stored[key])
    else:
        hasher.update(f"{stored!r};".encode())


def leaves(name: str, options: Any) -> dict[str, str]:
    """Every number and text in nested options by its dotted name, as it is written in Python."""
    if is_dataclass(options):
        items: Mapping[str, Any] = {f.name: getattr(options, f.name) for f in fields(options)}
    elif isinstance(options, Mapping):
        items = options
    elif isinstance(options, tuple | list):
        items = {str(index): item for index, item in enumerate(options)}
    else:
        return {name: str(options) if isinstance(options, Path) else repr(options)}
    found = {}
    for key, item in items.items():
        found |= leaves(f"{name}.{key}", item)
    return found
