"""Many users of the app at once: does every job end, does memory come back, does anybody see others' files.

python benchmarks/app_load.py --users 8 --minutes 10

Starts the app on this machine with schedules that take seconds, and users that choose an example, leave a
photo out, reconstruct, and now and then stop or go away in mid-job. A first job of every user warms
everything up; memory, processes, open files and ports of the app, a process of its own, and of all it has
started are measured after these and after the last.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import tyro
from gradio_client import Client
from gradio_client.exceptions import AppError
from machine import description

from agsrec.app.actions import AppConfig
from agsrec.app.entry import serve
from agsrec.config import PRESETS, FitConfig, Stage
from agsrec.mesh.config import MeshConfig

_GONE = 0.1  # share of jobs whose user closes the page
_STOPPED = 0.15  # share of jobs that their user stops
_LONGEST = 900.0  # seconds to wait for a job


@dataclass
class Tally:
    """What happened, over all users."""

    ends: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class App:
    """The app in a process of its own, so that the users' memory is not taken for its own."""

    def __init__(self, config: AppConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run_app, args=(config, theirs))
        self._process.start()
        self.url, self.served = self._pipe.recv()
        self._lock = threading.Lock()

    def ask(self, what: str, key: str = "") -> Any:
        """Have something done in the app's process: "end" or "public" of a session, "sweep", "count"."""
        with self._lock:
            self._pipe.send((what, key))
            return self._pipe.recv()

    def use(self) -> dict[str, int]:
        """What the app and everything it has started hold, beside the sessions that are open.

        MiB of memory that are their own (proportional set size), processes, open files (sockets too) and
        listening ports, of all together; files below the folder of the sessions.
        """
        here = psutil.Process(self._process.pid)
        held: Counter[str] = Counter(files_of_sessions=len(list(self.served.parent.rglob("*"))))
        for process in [here, *here.children(recursive=True)]:
            try:
                held["memory_kib"] += process.memory_full_info().pss // 2**10
                held["open_files"] += process.num_fds()
                held["ports"] += sum(c.status == "LISTEN" for c in process.net_connections())
                held["processes"] += 1
            except psutil.Error:  # it has just ended
                continue
        return {"memory_mib": held.pop("memory_kib") // 2**10, **held}

    def close(self) -> None:
        """End the app."""
        self._pipe.send(("close", ""))
        self._process.join(30)
        self._process.kill()


def _run_app(config: AppConfig, pipe: Any) -> None:
    """Serve, and answer what the users' process asks, until it says close."""
    server = serve(config)
    pipe.send((server.url, server.sessions.served))
    while True:
        what, key = pipe.recv()
        if what == "close":
            break
        if what == "end":
            server.sessions.end(key)
        if what == "sweep":
            server.sessions.sweep()
        session = server.sessions.find(key)
        pipe.send(len(server.sessions) if what == "count" else session and session.public)
    server.close()


def _schedule(iterations: int) -> FitConfig:
    """The last round of the preset fast, short and small."""
    last = replace(
        PRESETS["fast"].rounds[-1], num_points=500, max_points=800, stages=(Stage(48, iterations),)
    )
    return replace(PRESETS["fast"], rounds=(last,), hull_resolution=32)


def _all_use(app: App, tally: Tally, users: int, seconds: float, seed: int) -> None:
    """So many at once, each with one job after the other until the time is over."""
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=_use, args=(app, tally, end, seed + k)) for k in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _use(app: App, tally: Tally, end: float, seed: int) -> None:
    """One user after the other, at least one, until the time is over."""
    dice = random.Random(seed)
    while True:
        client = Client(app.url, verbose=False)
        try:
            _one_job(app, client, tally, dice)
        except Exception as error:  # whatever a user would see as a crash
            with tally.lock:
                tally.ends[f"crash: {type(error).__name__}: {str(error)[:80]}"] += 1
        finally:
            _try_others(app, client, tally)
            app.ask("end", client.session_hash)
        if time.monotonic() >= end:
            break


def _one_job(app: App, client: Client, tally: Tally, dice: random.Random) -> None:
    client.predict(dice.choice(["butter", "eagle", "jordan", "robot"]), api_name="/example")
    client.predict("001", api_name="/drop")
    clock = time.monotonic()
    job = client.submit("fast", False, dice.randrange(100), api_name="/reconstruct")
    fate = dice.random()
    if fate < _GONE + _STOPPED:
        time.sleep(dice.uniform(1, 15))
        if fate < _GONE:
            app.ask("end", client.session_hash)
        else:
            client.predict(api_name="/stop")
            job.cancel()
    try:
        job.result(timeout=_LONGEST)
        outputs = job.outputs()
        end = "result" if outputs and outputs[-1][1] else "stopped"
    except AppError as error:
        end = f"message: {str(error)[:90]}"
    except Exception as error:
        if not isinstance(error, TimeoutError) and fate < _GONE + _STOPPED:
            end = "stopped"
        else:
            raise
    before = time.monotonic()
    httpx.get(app.url, timeout=60)
    with tally.lock:
        tally.ends[end] += 1
        tally.pages.append(time.monotonic() - before)
        if end == "result":
            tally.waits.append(time.monotonic() - clock)


def _try_others(app: App, client: Client, tally: Tally) -> None:
    """Ask for the folders of everybody else, by every way but knowing a file's whole name."""
    mine = app.ask("public", client.session_hash)
    folders = [f for f in app.served.iterdir() if f != mine]
    for folder in folders[:4]:
        above = folder.parent
        for path in (folder, f"{folder}/..", above, f"{above}/../private/{folder.name}"):
            response = httpx.get(f"{app.url}gradio_api/file={path}", timeout=60)
            if response.status_code == 200:
                with tally.lock:
                    tally.leaks.append(str(path))


def main(users: int = 8, minutes: float = 10.0, iterations: int = 60, output: Path | None = None) -> None:
    """Run the users and print what happened.

    Args:
        users: Users at the same time.
        minutes: Time in which they begin jobs.
        iterations: Steps of a fit.
        output: JSON file for the figures.
    """
    config = AppConfig(
        presets={"fast": _schedule(iterations)},
        mesh=MeshConfig(faces=1000, grid=40, texture_size=128, refine_steps=2),
        prior=None,
    )
    app = App(config)
    try:
        _all_use(app, Tally(), users, 0.0, 100)
        app.ask("sweep")
        time.sleep(5)
        before, tally = app.use(), Tally()
        _all_use(app, tally, users, 60 * minutes, 0)
        app.ask("sweep")
        time.sleep(5)
        after = app.use()
        figures = {
            "machine": description(),
            "users": users,
            "minutes": minutes,
            "ends": dict(tally.ends),
            "seconds_to_result": _spread(tally.waits),
            "seconds_to_page": _spread(tally.pages),
            "leaks": tally.leaks,
            "sessions_left": app.ask("count"),
            "before": before,
            "after": after,
            "memory_growth": round(after["memory_mib"] / before["memory_mib"] - 1, 4),
        }
    finally:
        app.close()
    print(json.dumps(figures, indent=2))
    if output is not None:
        output.write_text(json.dumps(figures, indent=2) + "\n")


def _spread(values: list[float]) -> dict[str, float]:
    """Median and extremes."""
    ordered = sorted(values) or [0.0]
    return {
        "median": round(ordered[len(ordered) // 2], 2),
        "least": round(ordered[0], 2),
        "most": round(ordered[-1], 2),
    }


if __name__ == "__main__":
    tyro.cli(main)
