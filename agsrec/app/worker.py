"""Heavy work in a process of its own: the page stays quick, Stop is immediate, and all memory comes back."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agsrec.app.events import Done, Failed, Said
from agsrec.errors import AgsrecError
from agsrec.processes import PIPELINE_MODULES, preload, process_context

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from agsrec.app.events import Event, Task

__all__ = ["Job", "prepare"]

_TICK = 0.25  # seconds
_PATIENCE = 5.0  # seconds a killed process may take to vanish

_log = logging.getLogger(__name__)


def prepare() -> None:
    """Let the server that processes are forked from import everything now, so that no user need wait."""
    preload(["agsrec.app.tasks", *PIPELINE_MODULES])


class Job:
    """A task in a process of its own.

    Args:
        task: What to do.
    """

    def __init__(self, task: Task) -> None:
        context = process_context()
        self._receiver, sender = context.Pipe(duplex=False)
        self._stopped = threading.Event()
        self._process = context.Process(target=_run, args=(sender, task), daemon=True)
        self._process.start()
        sender.close()  # so that the pipe ends when the process does

    @property
    def stopped(self) -> bool:
        """Whether somebody has stopped it."""
        return self._stopped.is_set()

    @property
    def pid(self) -> int | None:
        """Number of the process."""
        return self._process.pid

    def events(self) -> Iterator[Event | None]:
        """What happens, up to `Done` or `Failed` or until stopped; None while nothing does."""
        while not self.stopped:
            try:
                event = self._receiver.recv() if self._receiver.poll(_TICK) else None
            except (EOFError, OSError):
                if not self.stopped:
                    yield Failed(self._last_words())
                return
            yield event
            if isinstance(event, Done | Failed):
                self._process.join(_PATIENCE)
                self._kill()
                return

    def stop(self) -> None:
        """End it now, whatever it is doing."""
        self._stopped.set()
        self._kill()

    def _kill(self) -> None:
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_PATIENCE)

    def _last_words(self) -> str:
        self._process.join(_PATIENCE)
        code = self._process.exitcode
        reason = "it was killed, probably because memory ran out" if code == -9 else f"exit code {code}"
        return f"The work ended unexpectedly ({reason}); try fewer photos or the preset fast."


# -------------------------------------------------------------------- in the process


def _run(sender: Connection, task: Task) -> None:
    """Do the task and send what happens."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("agsrec").addHandler(_Warnings(sender))
    try:
        sender.send(Done(task.run(sender.send)))
    except AgsrecError as error:
        sender.send(Failed(task.public_message(error)))
    except MemoryError:
        sender.send(Failed("There is not enough memory; try fewer photos or the preset fast."))
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # nobody listens any more
    except Exception:
        traceback.print_exc()
        sender.send(Failed("Something went wrong that should not have; the log of the app has the details."))


class _Warnings(logging.Handler):
    """Turns the package's warnings into sentences on the page."""

    def __init__(self, sender: Connection) -> None:
        super().__init__(logging.WARNING)
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        """Send one."""
        text = record.getMessage()
        self._sender.send(Said(text[:1].upper() + text[1:]))
