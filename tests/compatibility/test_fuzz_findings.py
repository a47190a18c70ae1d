"""Inputs that `benchmarks/fuzz.py` found to end in a traceback once."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from agsrec.batch.listing import read_list
from agsrec.batch.record import Record
from agsrec.errors import CheckpointError, OptionError
from agsrec.store import Request, Store
from agsrec.weights import read_weights

RECORD = Record("mug", "photos/mug", "0" * 16, "done", psnr=30.0, worst_psnr=12.0, warnings=("Look",))


@pytest.mark.parametrize(
    "change",
    [
        {"worst_psnr": ""},
        {"worst_psnr": [[]]},
        {"confidence": {}},
        {"warnings": [None]},
        {"warnings": 5},
        {"state": "begun"},
        {"name": None},
        {"seconds": "1"},
    ],
)
def test_a_record_of_other_kinds_is_none(change: dict[str, Any]) -> None:
    assert Record.from_json(RECORD.to_json()) == RECORD
    assert Record.from_json(json.dumps(json.loads(RECORD.to_json()) | change).encode()) is None


def test_a_record_without_end_is_none() -> None:
    assert Record.from_json(b"[" * 100_000) is None


@pytest.mark.parametrize("content", ["[" * 100_000, '{"model": 3}', '{"model": [1e308]}', "[]", "\udcff"])
def test_damaged_notes_of_a_store_are_as_good_as_none(tmp_path: Path, content: str) -> None:
    made = Request.of("cutout", 1, {}, {"model": "u2netp"})
    Store(tmp_path).keep(made, ("a", 3))
    (note,) = tmp_path.glob("*.json")
    note.write_bytes(content.encode("utf-8", "surrogateescape"))
    store = Store(tmp_path)
    assert store.find(Request.of("cutout", 2, {}, {"model": "u2netp"})) is None
    assert store.seen[0].why == "not made yet" and store.latest("cutout") is None
    assert store.find(made) == ("a", 3)


def test_a_checkpoint_whose_instructions_make_no_sense(tmp_path: Path) -> None:
    """One that keeps what is on an empty stack."""
    with zipfile.ZipFile(tmp_path / "a.ckpt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02q\x00.")
        archive.writestr("a/version", b"3\n")
    with pytest.raises(CheckpointError, match=r"a\.ckpt: damaged or no checkpoint .*; download it again"):
        read_weights(tmp_path / "a.ckpt")


def test_a_cell_without_end(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("photos\n" + "x" * 200_000)
    with pytest.raises(OptionError, match=r"list\.csv cannot be read: field larger than"):
        read_list(tmp_path / "list.csv")
