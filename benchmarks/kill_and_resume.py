"""Kills whole runs at random moments, without warning, and resumes them: same bytes, and no stage done twice.

    python benchmarks/kill_and_resume.py photos/mug --kills 30
    python benchmarks/kill_and_resume.py photos/mug --signal INT

Every trial starts from the photos alone: cut out, pose, check the poses, fit, mesh, export. It is killed once
(SIGKILL, or asked to end), started again, and must end with the files of an unbroken run, every bit, timings
aside. A stage whose value was kept before must not be computed again, and Ctrl-C (INT) must end with 130 and
one sentence. Schedules are short; the prior is left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
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


def kept(folder: Path) -> dict[str, float]:
    """Values of stages by name, and when they were kept."""
    return {file.name: file.stat().st_mtime for file in (folder / "stages").glob("*.value")}


def trial(photos: Path, moment: float, unbroken: Mapping[str, str], kill: signal.Signals) -> dict[str, Any]:
    """One run, killed after so many seconds and started again."""
    with tempfile.TemporaryDirectory() as place:
        mine, output = Path(place, photos.name), Path(place, "out")
        shutil.copytree(photos, mine)
        folder = output / photos.name
        process = subprocess.Popen(
            command(mine, output), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            process.wait(moment)
            sent = None
        except subprocess.TimeoutExpired:
            process.send_signal(kill)
            sent = kill
        clock = time.monotonic()
        said = process.communicate()[1]
        seconds = time.monotonic() - clock
        before = kept(folder)
        begun = sorted(f.name.rpartition("-")[0] for f in (folder / "stages").glob("*.begun"))
        done = subprocess.run(command(mine, output), capture_output=True, text=True, check=False)
        after = kept(folder)
        return {
            "moment": moment,
            "exit": process.returncode,
            "seconds_to_end": round(seconds, 2),
            "well": _ended_well(process.returncode, said, sent),
            "kept": sorted(name.rpartition("-")[0] for name in before),
            "begun": begun,
            "ended": done.returncode == 0,
            "same": outcome(folder) == unbroken,
            "twice": sorted(name for name, when in before.items() if after.get(name) != when),
        }


def _ended_well(code: int, said: str, sent: signal.Signals | None) -> bool:
    """Whether a run was through, or ended as it should when it was told to."""
    if sent is None:
        return code == 0
    return (code, said) == ((130, INTERRUPTED) if sent == signal.SIGINT else (-sent, ""))


def main() -> None:
    """Run all trials and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of photos; it is copied")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", choices=("KILL", "INT", "TERM"), default="KILL")
    options = parser.parse_args()
    # Where this was started in the background, runs would take over that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as place:
        mine, output = Path(place, options.photos.name), Path(place, "out")
        shutil.copytree(options.photos, mine)
        subprocess.run(command(mine, output), check=True, stdout=subprocess.DEVNULL)  # warm caches
        shutil.rmtree(output)
        shutil.rmtree(mine)
        shutil.copytree(options.photos, mine)
        clock = time.monotonic()
        subprocess.run(command(mine, output), check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - clock
        unbroken = outcome(output / mine.name)
    print(f"unbroken: {seconds:.0f} s, {len(unbroken)} files")
    trials = []
    for number in range(options.kills):
        kill = signal.Signals[f"SIG{options.signal}"]
        trials.append(trial(options.photos, chance.uniform(0.5, seconds), unbroken, kill))
        print(number, json.dumps(trials[-1]), flush=True)
    good = sum(t["well"] and t["ended"] and t["same"] and not t["twice"] for t in trials)
    print(f"{good} of {len(trials)} resumed to the same bytes, no stage done twice")
    sys.exit(good < len(trials))


if __name__ == "__main__":
    main()
