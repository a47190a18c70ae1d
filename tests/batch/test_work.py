"""One object in one process: done, failed with its sentence, or not there; here and elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from agsrec.batch.drive import look_at, run_batch
from agsrec.batch.lock import locked
from agsrec.batch.manifest import MANIFEST, Manifest
from agsrec.batch.places import Place
from agsrec.batch.record import RECORD, Job, Record, all_records, read_record
from agsrec.batch.work import ERROR_LOG, Work
from agsrec.errors import OptionError, OutputError
from tests.batch.stubs import Stub, jobs_in, traces


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    (tmp_path / "traces").mkdir()
    return Stub(tmp_path / "traces")


@pytest.fixture(params=["path", "file", "memory"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An output: a path, and URLs of two protocols."""
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()  # pyright: ignore[reportAttributeAccessIssue]
        return Place("memory://out")
    return Place(f"{'file://' if request.param == 'file' else ''}{tmp_path}/out")


def files(place: Place) -> list[str]:
    fs, inside = fsspec.url_to_fs(place.where)
    return sorted(str(f).removeprefix(inside).lstrip("/") for f in fs.find(inside))


def test_an_object_is_done_or_failed(tmp_path: Path, stub: Stub, output: Place) -> None:
    jobs = jobs_in(tmp_path / "photos", ["mug", "wrong", "bug", "odd"])
    summary = run_batch(jobs, output, map, work=Work(output, stub))
    assert (summary.done, summary.failed, summary.computed, summary.doubtful) == (2, 2, 4, 3)
    mug, wrong, bug, odd = (read_record(output, job.name) for job in jobs)
    assert mug is not None and mug.state == "done" and mug.views == 3 and mug.psnr == 25.0
    assert mug.peak_memory_mb is not None and mug.peak_memory_mb > 50 and mug.seconds > 0
    assert mug.is_of(jobs[0]) and not mug.doubts() and mug.concern == 0
    assert (output / "mug" / "views").read("result.txt") == b"mug 3 0"
    assert wrong is not None and wrong.state == "failed" and "no object found" in wrong.sentence
    assert bug is not None and "ZeroDivisionError: a stub" in bug.sentence
    log = (output / "bug").read(ERROR_LOG)
    assert log is not None and b"Traceback" in log
    assert (output / "wrong").read(ERROR_LOG) is None
    assert odd is not None and odd.warnings == ("Left out, because their poses could not be found: 2",)
    assert 0 < odd.concern < wrong.concern == bug.concern
    if output.path is None:
        assert not any("stages" in file for file in files(output))
    else:
        assert "mug/stages/fit.value" in files(output)


def test_again_does_only_what_is_missing(tmp_path: Path, stub: Stub, output: Place) -> None:
    jobs = jobs_in(tmp_path / "photos", ["mug", "wrong", "cup"])
    work = Work(output, stub)
    run_batch(jobs, output, map, work=work)
    assert run_batch(jobs, output, map, work=work).computed == 1
    assert traces(stub.traces) == ["mug", "wrong", "cup", "wrong"], "only what failed is tried again"
    other = [jobs[0], replace(jobs[2], options=replace(jobs[2].options, seed=5))]
    more = jobs_in(tmp_path / "photos", ["pot"])
    summary = run_batch([*other, *more], output, map, work=work)
    assert summary.computed == 2 and traces(stub.traces)[4:] == ["cup", "pot"]
    assert (output / "cup" / "views").read("result.txt") == b"cup 3 5"
    assert [r.name for r in all_records(output)] == ["cup", "mug", "pot", "wrong"]


def test_a_record_that_is_half_written_is_none(tmp_path: Path, stub: Stub, output: Place) -> None:
    jobs = jobs_in(tmp_path / "photos", ["mug", "cup"])
    run_batch(jobs, output, map, work=Work(output, stub))
    whole = (output / "mug").read(RECORD)
    assert whole is not None
    (output / "mug").write(RECORD, whole[: len(whole) // 2])
    assert look_at(jobs, output)[1] == [jobs[0]]
    assert run_batch(jobs, output, map, work=Work(output, stub)).computed == 1


def rows(file: Path) -> dict[str, str]:
    import sqlite3

    base = sqlite3.connect(file)
    try:
        return dict(base.execute("SELECT name, state FROM objects"))
    finally:
        base.close()


def test_the_manifest_is_made_from_the_records(tmp_path: Path, stub: Stub) -> None:
    output = Place(str(tmp_path / "out"))
    jobs = jobs_in(tmp_path / "photos", ["mug", "wrong", "cup"])
    run_batch(jobs[:2], output, map, work=Work(output, stub))
    file = tmp_path / "out" / MANIFEST
    assert rows(file) == {"mug": "done", "wrong": "failed"}
    file.write_bytes(b"no database")
    manifest = Manifest.build(file, all_records(output), jobs)
    assert [r.name for r in manifest.worst_first()] == ["wrong", "mug"]
    assert manifest.missing(jobs) == jobs[1:]
    manifest.close()
    assert rows(file) == {"mug": "done", "wrong": "failed", "cup": "missing"}


def test_an_interrupted_driver_leaves_manifest_and_page(tmp_path: Path, stub: Stub) -> None:
    output = Place(str(tmp_path / "out"))
    jobs = jobs_in(tmp_path / "photos", ["mug", "cup"])
    ended = []

    def interrupted(work: Work, jobs: Any) -> Any:
        try:
            yield work(jobs[0])
            raise KeyboardInterrupt
        finally:
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        run_batch(jobs, output, interrupted, work=Work(output, stub))
    assert ended and rows(tmp_path / "out" / MANIFEST) == {"mug": "done", "cup": "missing"}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "mug/report.html" in page and "cup" not in page
    assert not (tmp_path / "out" / ".agsrec.json").exists()


def test_photos_come_from_elsewhere(tmp_path: Path, stub: Stub) -> None:
    output = Place(str(tmp_path / "out"))
    (local,) = jobs_in(tmp_path / "photos", ["mug"])
    job = Job("mug", f"file://{local.photos}")
    single = Job("0", f"file://{local.photos}/0.png")
    compute = stub

    def count(job: Job, photos: Path, folder: Path, listener: Any) -> dict[str, Any]:
        assert photos.is_file() and photos.read_bytes() == b"a photo"
        return {"views": 1}

    assert Work(output, compute)(job).views == 3
    assert Work(output, count)(single).views == 1
    gone = Work(output, compute)(Job("x", f"file://{tmp_path}/x"))
    assert gone.state == "failed" and "not there, or empty" in gone.sentence


def test_a_full_disk_ends_the_batch(tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object whose record cannot be written is not there, and all others would not be, either."""
    output = Place(str(tmp_path / "out"))
    jobs = jobs_in(tmp_path / "photos", ["mug", "cup"])

    def full(path: Path, data: bytes) -> None:
        raise OutputError(f"cannot write {path}: No space left on device; choose a folder with space left")

    monkeypatch.setattr("agsrec.batch.places.atomic_write", full)
    with pytest.raises(OutputError, match="No space left"):
        Work(output, stub)(jobs[0])
    monkeypatch.undo()
    assert look_at(jobs, output) == ([], jobs)
    assert run_batch(jobs, output, map, work=Work(output, stub)).done == 2


def test_one_batch_at_a_time(tmp_path: Path, stub: Stub, output: Place) -> None:
    jobs = jobs_in(tmp_path / "photos", ["mug"])
    with (
        locked(output),
        pytest.raises(OptionError, match=r"another process .*process \d+, since"),
    ):
        run_batch(jobs, output, map, work=Work(output, stub))
    assert run_batch(jobs, output, map, work=Work(output, stub)).done == 1


def test_the_lock_of_a_process_that_is_gone(output: Place) -> None:
    owner = '{"user": "a", "host": "%s", "pid": %d, "since": "", "beat": %f}'
    import socket
    import time

    output.write(".agsrec.json", (owner % (socket.gethostname(), 2**22 + 1, time.time())).encode())
    with locked(output):
        pass
    output.write(".agsrec.json", (owner % ("elsewhere", 1, time.time() - 3600)).encode())
    with locked(output):
        pass


def test_what_cannot_be_reached_is_a_sentence() -> None:
    with pytest.raises(OptionError, match=r"nowhere://x"):
        Place("nowhere://x").entries()


def test_records_are_read_as_they_were_written() -> None:
    record = Record.of(Job("mug", "photos/mug"), "done", psnr=24.5, warnings=("look",), views=8)
    assert Record.from_json(record.to_json()) == record
    assert Record.from_json(b"[]") is None and Record.from_json(b'{"name": "mug"}') is None
