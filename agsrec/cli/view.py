"""`agsrec view`: a finished reconstruction in the browser."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import tyro

from agsrec.cli.printing import say

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["View"]


@dataclass(frozen=True)
class View:
    """Look at a finished reconstruction in the browser: scene, photos, and how the cameras moved."""

    result: tyro.conf.Positional[Path]
    """Folder of the reconstruction, with its splat.ply, cameras.json and views/."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets the whole network in."""
    port: int = 8080
    """Port to listen at."""

    def main(self, console: Console) -> None:
        """Show it until interrupted."""
        from agsrec.viewer import load_result, serve

        server = serve(load_result(self.result), host=self.host, port=self.port)
        try:
            say(console, f"Open http://{self.host}:{self.port} in a browser; stop with Ctrl-C")
            Event().wait()
        except KeyboardInterrupt:
            pass  # the usual end
        finally:
            with redirect_stdout(io.StringIO()):  # viser says that it stopped
                server.stop()
