"""Whether damaged and hostile files are refused with a sentence: no crash, no hang, no memory without end.

python benchmarks/fuzz.py [--inputs 12000] [--first 0] [--targets photos colmap ...] [--json FILE]
python benchmarks/fuzz.py --keep FOLDER --targets photos --first 17 --inputs 1      # the files of one seed

Every reader of the package is given files that were valid until a seed changed them: bits, bytes, numbers,
lengths, pieces of other files, the structure of JSON. Only the package's own errors may come out. A child
process does the reading, with a bound on its memory; one that is silent for `--patience` seconds hangs.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from fuzz_mutations import mutated
from fuzz_targets import TARGETS, Target
from machine import description, heading

from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.files import atomic_write

FORK = multiprocessing.get_context("fork")


@dataclass
class Outcome:
    """What became of the inputs of one reader.

    Attributes:
        target: Name of the reader.
        accepted: Inputs that were read in spite of the change.
        refused: Inputs that were refused with an error of the package.
        failures: What else happened, by seed.
        seconds: The longest that one took.
        memory_mib: Most memory a child had beyond what it began with.
    """

    target: str
    accepted: int = 0
    refused: int = 0
    failures: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    memory_mib: float = 0.0


def read_one(target: Target, seed: int, folder: Path) -> str:
    """ "accepted", "refused", or the traceback of what came out of a reader for the input of a seed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in mutated(target.files(), seed).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    try:
        target.read(folder)
    except AgsrecError as error:
        return "refused" if str(error).strip() else "an error without words"
    except Exception:
        return traceback.format_exc(limit=-6)
    return "accepted"


def child(target: Target, seeds: range, folder: Path, memory_mib: int, sender: Connection) -> None:
    """Read the inputs of some seeds; tells of each what came out, how long it took, and the memory held."""
    logging.disable()
    torch.set_num_threads(1)
    before = held_mib()
    room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    bound = room + memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    for seed in seeds:
        start = time.perf_counter()
        said = read_one(target, seed, folder)
        sender.send((seed, said, time.perf_counter() - start, held_mib() - before))
    sender.close()


def held_mib() -> float:
    """Most memory this process has held, MiB."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def fuzzed(target: Target, seeds: range, folder: Path, options: argparse.Namespace) -> Outcome:
    """What a reader does with the inputs of some seeds."""
    out = Outcome(target.name)
    while seeds:
        receiver, sender = FORK.Pipe(duplex=False)
        reading = FORK.Process(target=child, args=(target, seeds, folder, options.memory, sender))
        reading.start()
        sender.close()
        ended = ""
        while seeds:
            if not receiver.poll(options.patience):
                ended = f"silent for {options.patience} s"
                break
            try:
                seed, said, seconds, memory = receiver.recv()
            except EOFError:
                reading.join()
                ended = f"the process died (exit code {reading.exitcode})"
                break
            seeds = range(seed + 1, seeds.stop)
            count(out, seed, said)
            out.seconds, out.memory_mib = max(out.seconds, seconds), max(out.memory_mib, memory)
        if ended:
            count(out, seeds.start, ended)
            seeds = seeds[1:]
        reading.kill()
        reading.join()
    return out


def count(out: Outcome, seed: int, said: str) -> None:
    """Add what came out for a seed."""
    if said == "accepted":
        out.accepted += 1
    elif said == "refused":
        out.refused += 1
    else:
        out.failures[seed] = said


def row(out: Outcome) -> dict[str, Any]:
    """One line of the table."""
    return {
        "Reader": out.target,
        "Inputs": out.accepted + out.refused + len(out.failures),
        "Read": out.accepted,
        "Refused": out.refused,
        "Failures": len(out.failures),
        "Longest (s)": f"{out.seconds:.2f}",
        "Memory (MiB)": f"{out.memory_mib:.0f}",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Read it all, print the table; 1 if anything but the package's own errors came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=12_000, help="files to make, over all readers")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--targets", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS))
    parser.add_argument("--memory", type=int, default=2048, help="MiB that a reader may take")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds after which a reader hangs")
    parser.add_argument("--keep", type=Path, help="folder for the files of the last seed")
    parser.add_argument("--json", type=Path, help="file for all outcomes")
    options = parser.parse_args(argv)
    about = description()
    print(heading(about), flush=True)
    each = -(-options.inputs // len(options.targets))
    seeds, found = range(options.first, options.first + each), []
    with tempfile.TemporaryDirectory() as made:
        for name in options.targets:
            folder = Path(made) / "input" if options.keep is None else options.keep
            found.append(fuzzed(TARGETS[name], seeds, folder, options))
            print(f"{name}: {dict(Counter(found[-1].failures.values())) or 'fine'}", flush=True)
    if options.json is not None:
        atomic_write(options.json, json.dumps(about | {"readers": [asdict(o) for o in found]}) + "\n")
    print(f"\n{text_table([row(out) for out in found])}")
    for out in found:
        for seed, said in list(out.failures.items())[:3]:
            print(f"\n{out.target}, seed {seed}: {said}")
    return int(any(out.failures for out in found))


if __name__ == "__main__":
    raise SystemExit(main())
