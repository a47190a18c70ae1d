"""Starting the app: options, checks, and the server."""

from __future__ import annotations

import hmac
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.cli.parsing import parse
from agsrec.device import resolve_device
from agsrec.embedded import EMBEDDED_PRIOR
from agsrec.errors import AgsrecError, OptionError
from agsrec.kernels import kept_for_this_run
from agsrec.limits import use_no_more_threads, wait_asleep
from agsrec.names import DeviceName
from agsrec.options import prior_or_none

if TYPE_CHECKING:
    from agsrec.app.actions import AppConfig
    from agsrec.app.guard import Rules
    from agsrec.app.sessions import Sessions

__all__ = ["App", "Server", "main", "serve"]

_MAX_PORT = 65535
_KEPT_PAGES = 32
_UNREACHABLE = (
    "the app does not reach itself on this machine; let NO_PROXY name 127.0.0.1 where there is a proxy, or "
    "start it again when the machine is less busy"
)


@dataclass(frozen=True)
class App:
    """Open the app in a browser: photos in, a 3D model to turn and to download out."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in, which then should need --auth."""
    port: int = 7860
    """Port to listen on; 0 takes a free one."""
    share: bool = False
    """Open a public tunnel through gradio.live for 72 hours."""
    auth: str | None = None
    """user:password that everybody has to give."""
    concurrency: int = 1
    """Reconstructions at the same time; everybody else waits in line."""
    data: Path = Path("data/demo")
    """Folder of the example objects."""
    prior: str = EMBEDDED_PRIOR
    """Diffusion model that judges views nobody photographed: a folder, a name in checkpoints/, a hub id, or
    none."""
    resolution: int | None = None
    """Longer side in pixels of the pictures that fits end with, 32 to 2048; 256 by
    default, or what the photos have if that is less."""
    background_model: str = "auto"
    """What cuts the object out of photos: "auto", "u2netp" (the embedded model), another model of rembg, or
    "grabcut"."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    idle_minutes: float = 60.0
    """A page that nobody has used for so long loses its photos and results."""

    def config(self) -> AppConfig:
        """What the app offers.

        Raises:
            OptionError, DeviceError: An option cannot be used.
        """
        from agsrec.app.actions import AppConfig
        from agsrec.pipeline import Settings

        if not 1 <= self.concurrency <= 64:
            raise OptionError(f"--concurrency must be between 1 and 64, not {self.concurrency}")
        if not 1 <= self.idle_minutes <= 10_000:
            raise OptionError(f"--idle-minutes must be between 1 and 10000, not {self.idle_minutes:g}")
        resolve_device(self.device)
        Settings(resolution=self.resolution)  # which says what is wrong with it
        return AppConfig(
            data=self.data,
            resolution=self.resolution,
            prior=prior_or_none(self.prior),
            device=self.device,
            background_model=self.background_model,
            concurrency=self.concurrency,
            idle_minutes=self.idle_minutes,
        )

    def credentials(self) -> tuple[str, str] | None:
        """User and password.

        Raises:
            OptionError: There is only one of them.
        """
        if self.auth is None:
            return None
        user, _, password = self.auth.partition(":")
        if not user or not password:
            raise OptionError("--auth must be user:password, both with at least one letter")
        return user, password

    def main(self) -> None:
        """Serve until interrupted."""
        credentials = self.credentials()
        if not 0 <= self.port <= _MAX_PORT:
            raise OptionError(f"--port must be between 0 and {_MAX_PORT}, not {self.port}")
        config = self.config()
        # A service manager's way to end it: as with Ctrl-C, all files are removed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        server = serve(config, host=self.host, port=self.port, share=self.share, auth=credentials)
        try:
            print(f"agsrec is at {server.url} (stop it with Ctrl-C)", flush=True)
            if server.public_url is not None:
                print(f"and for everybody at {server.public_url}", flush=True)
            server.wait()
        except KeyboardInterrupt:
            pass
        finally:
            server.close()


@dataclass(frozen=True)
class Server:
    """A running app.

    Attributes:
        url: Where it answers.
        public_url: Where everybody can reach it, with `share`.
        sessions: Its users.
        wait: Returns when it is over, which takes an interrupt.
        close: Stops it, and removes all its files.
    """

    url: str
    public_url: str | None
    sessions: Sessions
    wait: Callable[[], None]
    close: Callable[[], None]


def serve(
    config: AppConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    share: bool = False,
    auth: tuple[str, str] | None = None,
    rules: Rules | None = None,
) -> Server:
    """Start the app and return at once.

    Args:
        config: What it offers.
        host: Address to listen on.
        port: Port there; 0 takes a free one.
        share: Open a public tunnel.
        auth: User and password that everybody has to give.
        rules: What clients may send; by default as much as the limits of photos and videos need.

    Raises:
        OptionError: The address cannot be used.
    """
    from starlette.middleware import Middleware

    from agsrec.app.guard import Guard, Rules
    from agsrec.app.sessions import Sessions
    from agsrec.app.worker import prepare

    sessions = Sessions(config.idle_minutes)
    # Read by Gradio when an app is made: no uploads outside of our folder, no words to its makers.
    os.environ["GRADIO_TEMP_DIR"] = str(sessions.uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from agsrec.app.page import build
    from agsrec.app.theme import css, theme

    logging.getLogger("httpx").setLevel(logging.WARNING)
    prepare()
    app = build(config, sessions)
    options: dict[str, Any] = {} if port == 0 else {"server_port": port}
    rules = rules or Rules(upload_bytes=config.limits.at_once + 2**20)
    try:
        _, local, public = app.launch(
            server_name=host,
            share=share,
            auth=None if auth is None else partial(_is_right, auth),
            theme=theme(),
            css=css(),
            quiet=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            enable_monitoring=False,
            run_history=False,
            # What Gradio keeps of every page and what it showed, for pages closed long ago too. An open
            # one that is forgotten loses nothing: what it shows is in the browser, what it did in `Sessions`.
            state_session_capacity=_KEPT_PAGES,
            footer_links=["api"],
            max_file_size=max(config.limits.bytes, config.limits.video_bytes),
            app_kwargs={"middleware": [Middleware(Guard, rules, sessions.root)], "openapi_url": None},
            **options,
        )
    except OSError as error:
        sessions.close()
        raise OptionError(_cannot_listen(host, port, error)) from error
    except ValueError as error:
        if "localhost" not in str(error):
            raise
        app.close(verbose=False)
        sessions.close()
        raise OptionError(_UNREACHABLE) from error
    sessions.sweep_regularly()

    def close() -> None:
        app.close(verbose=False)
        sessions.close()

    return Server(local or "", public, sessions, app.block_thread, close)


def _is_right(auth: tuple[str, str], user: str, password: str) -> bool:
    """Whether somebody knows both, in a time that tells nothing about either."""
    given = (user.encode(), password.encode())
    return all([hmac.compare_digest(a, b.encode()) for a, b in zip(given, auth, strict=True)])


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if port == 0 or "empty port" not in str(error):
        return f"--host {host}: cannot listen there ({error.strerror or error}); use 127.0.0.1 or 0.0.0.0"
    return f"--port {port} is taken on {host}; choose another one, or 0 for any"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the app; exits with 2 on anything a user can mend."""
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    use_no_more_threads()
    wait_asleep()
    try:
        app: App = parse(App, argv, prog="gradio_app.py", description=App.__doc__)
        with kept_for_this_run():
            app.main()
    except AgsrecError as error:
        print("error:", *str(error).splitlines(), file=sys.stderr)
        raise SystemExit(2) from None
