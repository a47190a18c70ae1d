"""What the tests of the commands share."""

from __future__ import annotations

import pytest

from agsrec.cli import main

__all__ = ["refused"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on standard error with which a command is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.endswith("\n") and message.count("\n") == 1, message
    return message
