"""From the words of a command line to a command that runs.

Options are dataclass fields, read by tyro; underscores and dashes are the same. Everything a user can do
wrong ends in one sentence on standard error and exit status 2.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro
from rich.console import Console

from agsrec import __version__
from agsrec.cli.batch import Batch
from agsrec.cli.convert import Convert
from agsrec.cli.doctor import Doctor
from agsrec.cli.evaluate import Eval
from agsrec.cli.localize import Localize
from agsrec.cli.mesh import Mesh
from agsrec.cli.nerf import Nerf
from agsrec.cli.novel_view import NovelView
from agsrec.cli.parsing import parse
from agsrec.cli.poses import Poses
from agsrec.cli.process import Process
from agsrec.cli.run import Run
from agsrec.cli.train import Train
from agsrec.cli.video import Video
from agsrec.cli.view import View
from agsrec.config import PRESETS, PresetName
from agsrec.errors import AgsrecError
from agsrec.kernels import kept_for_this_run
from agsrec.limits import LACK_OF_MEMORY, is_lack_of_memory, use_no_more_threads, wait_asleep

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "video": Video,
    "process": Process,
    "poses": Poses,
    "run": Run,
    "batch": Batch,
    "eval": Eval,
    "localize": Localize,
    "mesh": Mesh,
    "nerf": Nerf,
    "view": View,
    "novel-view": NovelView,
    "train": Train,
    "convert": Convert,
    "doctor": Doctor,
}
"""Every command there is, by its word."""

_DESCRIPTION = "Sparse photos of one object to 3D. `agsrec --version` prints the version."


def _named_preset(argv: Sequence[str]) -> PresetName:
    """The preset that `argv` asks for: every other default depends on it."""
    for option, value in zip(argv, [*argv[1:], ""], strict=False):
        name = option.removeprefix("--preset=") if option.startswith("--preset=") else value
        for preset in PRESETS:
            if option.startswith("--preset") and name == preset:
                return preset
    return "fast"


def _commands(argv: Sequence[str]) -> Any:
    """The union of all commands, with the defaults of the preset named in `argv`."""
    preset = _named_preset(argv)
    fit = PRESETS[preset]
    defaults = {
        "run": Run(preset=preset, fit=fit),
        "batch": Batch(preset=preset, fit=fit),
        "eval": Eval(folders=tyro.MISSING, preset=preset, fit=fit),
    }
    named = (
        Annotated[
            command,
            tyro.conf.subcommand(name, default=defaults.get(name, tyro.MISSING_NONPROP), prefix_name=False),
        ]
        for name, command in COMMANDS.items()
    )
    return Union[tuple(named)]  # noqa: UP007


def _parsed(argv: list[str]) -> Any:
    """The command with its options; exits by itself on `--help`.

    Raises:
        OptionError: The options do not parse.
    """
    return parse(_commands(argv), argv, prog="agsrec", description=_DESCRIPTION)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 on anything a user can mend, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["--version"]:
        print(f"agsrec {__version__}")
        return
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it finds a place by itself
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # rather a question mark than no degrees
    use_no_more_threads()
    wait_asleep()
    console = Console(highlight=False)
    try:
        command = _parsed(argv)
        with kept_for_this_run():
            command.main(console)
    except AgsrecError as error:
        print("error:", *str(error).splitlines(), file=sys.stderr)
        raise SystemExit(2) from None
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        print(f"error: {LACK_OF_MEMORY}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:  # whoever read the output has seen enough, as `head` has
        _leave_unsaid()
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _leave_unsaid()
        print("error: no space left on the device; make room and start the command again", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stood", file=sys.stderr)
        raise SystemExit(130) from None


def _leave_unsaid() -> None:
    """Nothing of the output to flush at exit, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
