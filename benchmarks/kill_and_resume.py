"""Kills whole runs at random moments, without warning, and resumes them: same bytes, and no stage done twice.

    python benchmarks/kill_and_resume.py photos/mug --kills 30
    python benchmarks/kill_and_resume.py photos/mug --signal INT
    python benchmarks/kill_and_resume.py photos/mug --kills 100 --each 8 --warm

Every trial starts from the photos alone: cut out, pose, check the poses, fit, mesh, export. It is killed
(SIGKILL, or asked to end), started again, perhaps killed again, and must end with the files of an unbroken
run, every bit, timings aside. A stage whose value was kept before must not be computed again, and Ctrl-C
(INT) must end with 130 and one sentence. Schedules are short; the prior is left out. `--warm` forks every run
off a process that has all loaded, with the shortest schedules there are: no command line, but many kills.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHORT = [
    *("--prior", "none", "--faces", "2000", "--enable_loop", "--fit.checkpoint-interval", "10"),
    *("--fit.rounds.0.stages.0.iterations", "30", "--fit.rounds.0.stages.1.iterations", "20"),
    *("--fit.rounds.1.stages.0.iterations", "20", "--fit.rounds.2.stages.0.iterations", "20"),
    *("--fit.rounds.2.stages.1.iterations", "20", "--fit.rounds.2.stages.2.iterations", "10"),
]
INTERRUPTED = "interrupted; the same command continues where it stood\n"
# A compressed report differs with the times in it.
TIMES = {"timings", "seconds", "processor_seconds", "bytes"}


def command(photos: Path, output: Path) -> list[str]:
    """One whole run of the photos."""
    return [sys.executable, str(ROOT / "run.py"), str(photos), "--output", str(output), *SHORT]


def without_times(value: Any) -> Any:
    """Metrics without what depends on the clock."""
    if isinstance(value, Mapping):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def outcome(folder: Path) -> dict[str, str]:
    """Digests of the files of a result that depend on no clock."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if name.startswith("stages/") or name == "report.html" or not file.is_file():
            continue
        content = file.read_bytes()
        if name == "metrics.json":
            content = json.dumps(without_times(json.loads(content))).encode()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def kept(stages: Path) -> dict[str, float]:
    """Values of stages by name, and when they were kept."""
    return {file.name: file.stat().st_mtime for file in stages.glob("*.value")}


def names(values: Iterable[str]) -> set[str]:
    """The stages that files are of."""
    return {name.rpartition("-")[0] for name in values}


class Fresh:
    """A run in a process of its own, from the command line."""

    def __init__(self, photos: Path, output: Path) -> None:
        self._process = subprocess.Popen(
            command(photos, output), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.said = ""

    def end(self, seconds: float | None = None) -> int | None:
        """Its exit status, once it has ended; None if it has not after so many seconds."""
        try:
            self.said = self._process.communicate(timeout=seconds)[1]
        except subprocess.TimeoutExpired:
            return None
        return self._process.returncode

    def send(self, kill: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(kill)


class Warm:
    """A run forked off this process."""

    def __init__(self, photos: Path, output: Path) -> None:
        import warm_run

        self._process = warm_run.start(photos, output)
        self.said = ""

    def end(self, seconds: float | None = None) -> int | None:
        """Its exit status, once it has ended; None if it has not after so many seconds."""
        self._process.join(seconds)
        code = self._process.exitcode
        self.said = INTERRUPTED if code == 130 else ""
        return code

    def send(self, kill: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, kill)


Start = Callable[[Path, Path], Fresh | Warm]


@dataclass(frozen=True)
class Plan:
    """How often, how late and how a run is killed.

    Attributes:
        start: Begins a run.
        kill: What it is sent.
        each: So often per trial, at most.
        lasted: Seconds that an unbroken run was at each stage, in their order.
    """

    start: Start
    kill: signal.Signals
    each: int
    lasted: Mapping[str, float]

    def before(self, stage: str) -> set[str]:
        """The stages before one."""
        order = list(self.lasted)
        return set(order[: order.index(stage)])

    def moment(self, there: Collection[str], chance: random.Random) -> tuple[str, float]:
        """At which stage to kill a run that has some stages already, and so many seconds into it.

        All stages that are missing are as likely: other jobs may slow a run down, and its longest stage would
        get nearly all kills.
        """
        stage = chance.choice([name for name in self.lasted if name not in there] or [list(self.lasted)[-1]])
        return stage, chance.uniform(0.0, 1.5 * self.lasted[stage])


def trial(photos: Path, plan: Plan, unbroken: Mapping[str, str], chance: random.Random) -> dict[str, Any]:
    """One run, killed at random moments and started again until it is through."""
    with tempfile.TemporaryDirectory() as place:
        mine, output = Path(place, photos.name), Path(place, "out")
        shutil.copytree(photos, mine)
        stages = output / photos.name / "stages"
        kills, twice, well, sent = [], set[str](), True, True
        while sent:
            before = kept(stages)
            stage, into = plan.moment(names(before), chance)
            running, clock = plan.start(mine, output), 0.0
            code = None
            if len(kills) < plan.each:
                code = _end_before(running, stages, plan.before(stage))
                code = running.end(into) if code is None else code
            else:
                code = running.end()
            sent = code is None
            if sent:
                clock = time.monotonic()
                running.send(plan.kill)
                code = running.end()
            after = kept(stages)
            twice |= {name for name, when in before.items() if after.get(name) != when}
            well &= _ended_well(code, running.said, plan.kill if sent else None)
            if sent:
                seconds = round(time.monotonic() - clock, 2)
                begun = sorted(names(f.name for f in stages.glob("*.begun")))
                done = sorted(names(after))
                kills.append(
                    {"at": stage, "into": round(into, 1), "took": seconds, "kept": done, "begun": begun}
                )
        same = outcome(output / photos.name) == unbroken
        return {"kills": kills, "well": well, "same": same, "twice": sorted(twice)}


def _end_before(running: Fresh | Warm, stages: Path, wanted: set[str]) -> int | None:
    """Wait until some stages are kept; the exit status of the run if it ends before that."""
    while not wanted <= names(kept(stages)):
        code = running.end(0.02)
        if code is not None:
            return code
    return None


def _ended_well(code: int | None, said: str, sent: signal.Signals | None) -> bool:
    """Whether a run was through, or ended as it should when it was told to."""
    if sent is None:
        return code == 0
    # It may have been through before the signal came.
    return (code, said) == ((130, INTERRUPTED) if sent == signal.SIGINT else (-sent, "")) or code == 0


def _unbroken(photos: Path, start: Start) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of the stages, and files, of a run that nobody kills; a first one warms caches."""
    lasted, files = dict[str, float](), dict[str, str]()
    for _ in range(2):
        with tempfile.TemporaryDirectory() as place:
            mine, output = Path(place, photos.name), Path(place, "out")
            shutil.copytree(photos, mine)
            last = time.time()
            if start(mine, output).end():
                sys.exit("the run does not end well even where nobody kills it")
            files, lasted = outcome(output / photos.name), {}
            for name, when in sorted(kept(output / photos.name / "stages").items(), key=lambda item: item[1]):
                lasted[name.rpartition("-")[0]], last = when - last, when
    return lasted, files


def _load(photos: Path) -> None:
    """Run once in this process, so that those forked off it have nothing to load."""
    import warm_run

    with tempfile.TemporaryDirectory() as place:
        mine = Path(place, photos.name)
        shutil.copytree(photos, mine)
        warm_run.reconstruct(mine, Path(place, "out"))


def main() -> None:
    """Run all trials and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of photos; it is copied")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--each", type=int, default=1, help="kills of one run, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", choices=("KILL", "INT", "TERM"), default="KILL")
    parser.add_argument("--warm", action="store_true", help="fork runs off a process that has all loaded")
    options = parser.parse_args()
    # Where this was started in the background, runs would take over that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chance = random.Random(options.seed)
    start = Warm if options.warm else Fresh
    if options.warm:
        _load(options.photos)
    lasted, unbroken = _unbroken(options.photos, start)
    print(f"unbroken: {sum(lasted.values()):.0f} s, {len(unbroken)} files", flush=True)
    plan = Plan(start, signal.Signals[f"SIG{options.signal}"], options.each, lasted)
    trials: list[dict[str, Any]] = []
    while sum(len(t["kills"]) for t in trials) < options.kills:
        trials.append(trial(options.photos, plan, unbroken, chance))
        print(len(trials), json.dumps(trials[-1]), flush=True)
    good = [t for t in trials if t["well"] and t["same"] and not t["twice"]]
    kills = sum(len(t["kills"]) for t in trials)
    print(f"{kills} kills, {len(good)} of {len(trials)} runs with the same bytes, no stage done twice")
    sys.exit(len(good) < len(trials))


if __name__ == "__main__":
    main()
