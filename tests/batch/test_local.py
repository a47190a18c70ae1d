"""Workers of this machine: warm, on cores of their own, and killed without harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agsrec.batch.drive import look_at, run_batch
from agsrec.batch.local import LocalPool
from agsrec.batch.machine import share_cores
from agsrec.batch.places import Place
from agsrec.batch.record import read_record
from agsrec.batch.work import Work
from agsrec.errors import OptionError
from agsrec.limits import usual_threads
from tests.batch.stubs import Stub, jobs_in, traces

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

LIGHT = ("agsrec.batch.work", "tests.batch.stubs")  # a whole run is not done here
NAMES = ["mug", "killed", "once", "slow", "wrong", *(f"cup{k}" for k in range(5))]

DRIVER = """
import signal
import sys
from pathlib import Path
from agsrec.batch.drive import run_batch
from agsrec.batch.local import LocalPool
from agsrec.batch.places import Place
from agsrec.batch.work import Work
from tests.batch.stubs import Stub, jobs_in

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background shells have it ignored
    root = Path(sys.argv[1])
    output = Place(str(root / "out"))
    jobs = jobs_in(root / "photos", ["mug", "slow"])
    pool = LocalPool(1, modules=("tests.batch.stubs",))
    run_batch(jobs, output, pool, work=Work(output, Stub(root / "traces")))
"""


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    (tmp_path / "traces").mkdir()
    return Stub(tmp_path / "traces")


def test_every_object_ends_and_workers_stay(tmp_path: Path, stub: Stub) -> None:
    """Objects that kill their process, or that take too long, cost nobody else anything."""
    workers = min(2, usual_threads())
    output = Place(str(tmp_path / "out"))
    jobs = jobs_in(tmp_path / "photos", NAMES)
    summary = run_batch(jobs, output, LocalPool(workers, timeout=3, modules=LIGHT), work=Work(output, stub))
    assert (summary.done, summary.failed) == (7, 3)
    records = {name: read_record(output, name) for name in NAMES}
    said = {name: record.sentence for name, record in records.items() if record is not None}
    assert "killed 2 times (probably because memory ran out)" in said["killed"]
    assert said["slow"] == "it took longer than --timeout 3 seconds"
    assert "no object found" in said["wrong"] and not said["once"]
    counts = {name: traces(stub.traces).count(name) for name in NAMES}
    assert counts == dict.fromkeys(NAMES, 1) | {"killed": 2, "once": 2}
    processes = {file.read_text() for file in stub.traces.iterdir()}
    assert str(os.getpid()) not in processes
    assert len(processes) <= workers + 4, "a new process only for one that was lost"
    if hasattr(os, "sched_getaffinity"):  # the stub says on how many cores it may run
        cores = {record.gaussians for record in records.values() if record is not None and record.views}
        assert cores == {share_cores(workers)}


def test_more_workers_than_cores() -> None:
    with pytest.raises(OptionError, match=r"--workers must be between 1 and the \d+ cores"):
        share_cores(usual_threads() + 1)


@pytest.fixture
def driver(tmp_path: Path, stub: Stub) -> subprocess.Popen[str]:
    """A batch in a process of its own, with an object in its hands that never ends."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, str(script), str(tmp_path)]
    process = subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    while "slow" not in traces(stub.traces):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc").is_dir() else True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_ends(
    tmp_path: Path, stub: Stub, driver: subprocess.Popen[str], how: signal.Signals
) -> None:
    """Killed or interrupted, it loses at most what was in work, and its workers are gone with it."""
    worker = int(next(f for f in stub.traces.iterdir() if f.name.startswith("slow")).read_text())
    with pytest.raises(OptionError, match=f"process {driver.pid}, since"):
        run_batch([], Place(str(tmp_path / "out")), lambda work, jobs: iter([]))
    driver.send_signal(how)
    driver.wait(30)
    assert "KeyboardInterrupt" in (driver.communicate()[1]) or how == signal.SIGKILL
    deadline = time.monotonic() + 30
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker)
    output = Place(str(tmp_path / "out"))
    jobs = jobs_in(tmp_path / "photos", ["mug", "slow"])
    records, missing = look_at(jobs, output)
    assert [record.name for record in records] == ["mug"] and missing == [jobs[1]]
    again = run_batch(jobs[:1], output, map, work=Work(output, stub))
    assert (again.done, again.computed) == (1, 0), "the lock went with the driver, what was done did not"
