from __future__ import annotations

import sys

import pytest

from agsrec import errors
from agsrec.errors import AgsrecError, MissingExtraError, ShapeError, require


def test_require_returns_the_module() -> None:
    assert require("json.decoder", "any") is sys.modules["json.decoder"]


def test_require_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(MissingExtraError, match=r"lpips is not installed.*pip install 'agsrec\[lpips\]'"):
        require("lpips", "lpips")


def test_every_error_is_of_the_family() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__ if name != "require"]
    assert len(kinds) > 5 and all(issubclass(kind, AgsrecError) for kind in kinds)
    assert issubclass(ShapeError, ValueError) and issubclass(MissingExtraError, ImportError)
