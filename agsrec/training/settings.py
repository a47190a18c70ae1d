"""Settings of trainings as JSON files; some come with the package, in a folder per kind of model."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from agsrec.errors import OptionError

__all__ = ["load_settings", "packaged_settings", "settings_json"]

_FOLDER = Path(__file__).parent / "configs"

T = TypeVar("T")


def settings_json(settings: Any) -> str:
    """A dataclass of settings as `load_settings` reads it."""
    return json.dumps(asdict(settings), indent=2) + "\n"


def packaged_settings(what: str) -> tuple[str, ...]:
    """Names of the settings that come with the package for a kind of model."""
    return tuple(sorted(path.stem for path in (_FOLDER / what).glob("*.json")))


def load_settings(kind: type[T], what: str, name: str | Path) -> T:
    """Settings by their packaged name, or from a JSON file.

    Args:
        kind: Dataclass of the settings; a JSON object must have exactly its fields.
        what: Kind of model: zero123, nview, dust3r or noposplat.
        name: Name among `packaged_settings(what)`, or a file.

    Raises:
        OptionError: No such name or file, or the file does not hold such settings.
    """
    path = _FOLDER / what / f"{name}.json" if str(name) in packaged_settings(what) else Path(name)
    if not path.is_file():
        known = ", ".join(packaged_settings(what))
        raise OptionError(f"--config: {name} is neither a JSON file nor one of {known}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise OptionError(f"--config: {path} is not a readable JSON file: {error}") from error
    try:
        return _built(kind, content, "")
    except OptionError as error:
        raise OptionError(f"--config: {path}: {error}") from error


def _built(kind: Any, content: Any, where: str) -> Any:
    """A dataclass from a JSON object with exactly its fields; `where` is the way to it, ending in a dot."""
    inside = where.removesuffix(".") or "it"
    if not isinstance(content, dict):
        raise OptionError(f"{inside} must be a JSON object")
    wanted = {f.name for f in fields(kind)}
    if wrong := wanted ^ content.keys():
        verb = "lacks" if wrong <= wanted else "does not know"
        raise OptionError(f"{inside} {verb} {', '.join(sorted(wrong))}")
    hints = get_type_hints(kind)
    values = {name: _value(hints[name], value, where + name) for name, value in content.items()}
    try:
        return kind(**values)
    except OptionError as error:
        raise OptionError(f"{where.removesuffix('.')}: {error}" if where else str(error)) from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """A value, if it has the type of its field."""
    if is_dataclass(hint):
        return _built(hint, value, f"{where}.")
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = {
        int: is_number and isinstance(value, int),
        float: is_number,
        float | None: is_number or value is None,
        bool: isinstance(value, bool),
        str: isinstance(value, str),
        dict[str, Any]: isinstance(value, dict),
    }
    if not fits[hint]:
        raise OptionError(f"{where}: {value!r} is not of the kind that belongs there")
    return value
