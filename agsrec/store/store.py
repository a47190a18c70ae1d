"""The store of a result folder: the values of finished stages, under what they were made from.

A stage's entry is named by a key: the digest of its inputs, its options, its version and PyTorch's. An entry
that is found under the key is the value; beside it stands, in plain text, what the key was made from, so that
it can be said why another entry is not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from agsrec.files import atomic_write, folder_entries
from agsrec.store.codec import digest, leaves, plain, rebuilt
from agsrec.store.states import Checkpointing, load_state, save_state

__all__ = ["Kept", "Request", "Store", "Unfinished"]

_log = logging.getLogger(__name__)

_FORMAT = 1
_NEWEST = 2  # entries of a stage that are kept: going back to the options before costs nothing
_SHOWN = 3  # differences that are named
_KEY_LETTERS = 16
_VALUE, _MADE_FROM, _BEGUN = ".value", ".json", ".begun"


@dataclass(frozen=True)
class Request:
    """A stage with everything its value depends on.

    Attributes:
        stage: Name of the stage.
        made_from: By name: digests of inputs, and options as text.
        given: The inputs themselves, which a value may refer to.
    """

    stage: str
    made_from: Mapping[str, str]
    given: Mapping[str, Any]

    @staticmethod
    def of(stage: str, version: int, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> Request:
        """The request for a stage's value.

        Args:
            stage: Name of the stage.
            version: Raised whenever the stage would make something else of the same.
            inputs: Values it starts from, by what a user calls them.
            options: Values to name one by one where they differ.
        """
        made_from = {name: digest(value) for name, value in inputs.items()}
        for name, value in options.items():
            made_from |= leaves(name, value)
        made_from |= {"PyTorch": torch.__version__, "version of the stage": f"{_FORMAT}.{version}"}
        return Request(stage, made_from, inputs)

    @property
    def key(self) -> str:
        """Digest of it all."""
        return digest(dict(self.made_from))


@dataclass(frozen=True)
class Kept:
    """What the store says to a request.

    Attributes:
        stage: Name of the stage.
        state: There is its value; it was begun; there is none.
        why: Reason, as half a sentence.
    """

    stage: str
    state: Literal["finished", "begun", "missing"]
    why: str


class Unfinished(Exception):
    """A stage would have to be computed, and the store is only being looked at."""


class Store:
    """Values of finished stages in a folder.

    Args:
        folder: The folder; it is made when the first value comes. None keeps nothing.
        again: Stages whose values are not to be used.
        look: Raise `Unfinished` rather than let anything be computed.
    """

    def __init__(
        self, folder: Path | None = None, again: Collection[str] = (), *, look: bool = False
    ) -> None:
        self.folder, self._look = folder, look
        self._not_used = dict.fromkeys(again, "asked for again")
        self.seen: list[Kept] = []

    @property
    def looks(self) -> bool:
        """Whether nothing is to be computed or written."""
        return self._look

    def distrust(self, stage: str, why: str) -> None:
        """Do not use the values of a stage."""
        self._not_used.setdefault(stage, why)

    def is_used(self, stage: str) -> bool:
        """Whether values of a stage may be used."""
        return stage not in self._not_used

    def find(self, request: Request) -> Any | None:
        """The value of a stage, if it is there.

        Raises:
            Unfinished: It is not, and the store is only being looked at.
        """
        value, kept = self._found(request)
        self.seen.append(kept)
        if value is None and self._look:
            raise Unfinished
        return value

    def _found(self, request: Request) -> tuple[Any | None, Kept]:
        stage = request.stage
        if self.folder is None:
            return None, Kept(stage, "missing", "nothing is kept")
        if not self.is_used(stage):
            return None, Kept(stage, "missing", self._not_used[stage])
        path = self._path(request, _VALUE)
        stored = load_state(path, request.key)
        if stored is not None:
            try:
                value = rebuilt(stored["value"], request.given)
            except Exception as error:  # made by another version of the package
                _log.warning("cannot use %s (%s); starting over", path, error)
            else:
                return value, Kept(stage, "finished", "made from the same photos, options and versions")
        if self._path(request, _BEGUN).exists():
            return None, Kept(stage, "begun", "interrupted; goes on where it stood")
        return None, Kept(stage, "missing", self._difference(request))

    def keep(self, request: Request, value: Any) -> None:
        """Keep the value of a finished stage; its unfinished state goes."""
        if self.folder is None:
            return
        atomic_write(self._path(request, _MADE_FROM), json.dumps(dict(request.made_from), indent=1) + "\n")
        save_state(self._path(request, _VALUE), request.key, {"value": plain(value, request.given)})
        self._path(request, _BEGUN).unlink(missing_ok=True)
        self._tidy(request)

    def begun(self, request: Request) -> Checkpointing | None:
        """Where a stage keeps its state while it is unfinished."""
        if self.folder is None:
            return None
        path = self._path(request, _BEGUN)
        if not self.is_used(request.stage):
            path.unlink(missing_ok=True)
        return Checkpointing(path, request.key)

    def latest(self, stage: str) -> Any | None:
        """The newest value of a stage, whatever it was made from, unless it refers to its input."""
        for entry in self._entries(stage):
            made_from = _read_json(entry.with_suffix(_MADE_FROM))
            stored = None if made_from is None else load_state(entry, digest(made_from))
            if stored is not None:
                with suppress(Exception):  # made by another version of the package
                    return rebuilt(stored["value"])
        return None

    def _difference(self, request: Request) -> str:
        """Why no entry will do."""
        for entry in self._entries(request.stage):
            before = _read_json(entry.with_suffix(_MADE_FROM))
            if before is not None:
                return difference(before, request.made_from)
        return "not made yet"

    def _path(self, request: Request, suffix: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{request.stage}-{request.key[:_KEY_LETTERS]}{suffix}"

    def _entries(self, stage: str) -> list[Path]:
        """The values of a stage, newest first."""
        found = [] if self.folder is None else folder_entries(self.folder)
        values = [f for f in found if f.suffix == _VALUE and f.stem.startswith(f"{stage}-")]
        return sorted(values, key=lambda f: f.stat().st_mtime_ns, reverse=True)

    def _tidy(self, request: Request) -> None:
        """Remove old entries of a stage."""
        for entry in self._entries(request.stage)[_NEWEST:]:
            for suffix in (_VALUE, _MADE_FROM):
                with suppress(OSError):
                    entry.with_suffix(suffix).unlink(missing_ok=True)


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs between what two entries were made from, in words."""
    names = [name for name in dict.fromkeys([*now, *before]) if before.get(name) != now.get(name)]
    said = []
    for name in names[:_SHOWN]:
        old, new = before.get(name), now.get(name)
        if old is None or new is None or len(old) == len(new) == len(digest(None)):
            said.append(f"{name} changed")
        else:
            said.append(f"{name} is {new}, was {old}")
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(said) + more


def _read_json(path: Path) -> dict[str, str] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        return None
    return content
