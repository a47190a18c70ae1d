"""Parts of a stage's work that another run of the stage may use again, such as what concerns one photo."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

from agsrec.files import folder_entries
from agsrec.store.codec import digest, plain, rebuilt
from agsrec.store.states import load_state, save_state

__all__ = ["Memory"]

_log = logging.getLogger(__name__)

_SUFFIX = ".part"
_KEY_LETTERS = 24

T = TypeVar("T")


class Memory:
    """Values by what they were made from.

    Args:
        folder: Where they are kept from run to run; it is made when the first one comes. None keeps them
            for as long as this object lives.
        made_with: What all of them depend on beside that, such as weights and versions.
        device: Where their tensors are wanted.
    """

    def __init__(
        self,
        folder: Path | None = None,
        made_with: Any = None,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self._folder, self._made_with, self._device = folder, made_with, device
        self._known: dict[str, Any] = {}

    def once(self, made_from: Any, compute: Callable[[], T]) -> T:
        """The value made from that, as it was computed before, or now.

        Args:
            made_from: Values as `agsrec.store.plain` takes them.
            compute: Makes the value, which `agsrec.store.plain` takes too.
        """
        key = digest((self._made_with, torch.__version__, made_from))
        if key not in self._known:
            found = self._found(key)
            self._known[key] = self._computed(key, compute) if found is None else found
        return self._known[key]

    def tidy(self) -> None:
        """Remove from the folder what was not asked for since this object was made."""
        kept = {self._path(key).name for key in self._known} if self._folder is not None else set()
        for file in self._files():
            if file.name not in kept:
                with suppress(OSError):
                    file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove everything."""
        self._known.clear()
        self.tidy()

    def _found(self, key: str) -> Any | None:
        stored = None if self._folder is None else load_state(self._path(key), key)
        if stored is None:
            return None
        try:
            return rebuilt(stored["value"], device=self._device)
        except Exception as error:  # made by another version of the package
            _log.warning("cannot use %s (%s); computing it again", self._path(key), error)
            return None

    def _computed(self, key: str, compute: Callable[[], T]) -> T:
        value = compute()
        if self._folder is not None:
            save_state(self._path(key), key, {"value": plain(value)})
        return value

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{key[:_KEY_LETTERS]}{_SUFFIX}"

    def _files(self) -> list[Path]:
        if self._folder is None or not self._folder.is_dir():
            return []
        return [file for file in folder_entries(self._folder) if file.suffix == _SUFFIX]
