from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from agsrec.store import Request, Store, Unfinished

VALUE = {"a": torch.arange(3.0)}


def request(version: int = 1, photo: float = 1.0, **options: Any) -> Request:
    return Request.of("fit", version, {"photos": torch.full((4,), photo)}, {"seed": 0} | options)


def stored(folder: Path, asked: Request) -> Store:
    store = Store(folder)
    store.keep(asked, VALUE)
    return store


def test_a_value_is_found_under_what_it_was_made_from(tmp_path: Path) -> None:
    store = stored(tmp_path / "new", request())
    found = store.find(request())
    assert found is not None and torch.equal(found["a"], VALUE["a"])
    assert store.seen[-1].state == "finished"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (request(seed=1), "seed is 1, was 0"),
        (request(photo=2.0), "photos changed"),
        (request(version=2), "version of the stage is 1.2, was 1.1"),
        (request(seed=5, photo=3.0), "photos changed, seed is 5, was 0"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, other: Request, why: str) -> None:
    store = stored(tmp_path, request())
    assert store.find(other) is None
    assert (store.seen[-1].state, store.seen[-1].why) == ("missing", why)


def test_an_empty_store_and_none(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")
    assert store.find(request()) is None and store.seen[-1].why == "not made yet"
    nothing = Store()
    nothing.keep(request(), VALUE)
    assert nothing.find(request()) is None and nothing.begun(request()) is None
    assert not (tmp_path / "nowhere").exists()


def test_asked_for_again(tmp_path: Path) -> None:
    stored(tmp_path, request())
    again = Store(tmp_path, ["fit"])
    assert again.find(request()) is None and again.seen[-1].why == "asked for again"
    again.keep(request(), {"a": torch.zeros(1)})
    found = Store(tmp_path).find(request())
    assert found is not None and torch.equal(found["a"], torch.zeros(1))


def test_unfinished_state_is_kept_until_the_stage_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    begun = store.begun(request())
    assert begun is not None
    begun.save({"step": 3})
    assert store.find(request()) is None and store.seen[-1].state == "begun"
    other = Store(tmp_path).begun(request())
    assert other is not None and other.load() == {"step": 3}
    store.keep(request(), VALUE)
    assert not list(tmp_path.glob("*.begun"))
    begun.save({"step": 4})
    forced = Store(tmp_path, ["fit"]).begun(request())
    assert forced is not None and forced.load() is None


def test_looking_computes_nothing(tmp_path: Path) -> None:
    stored(tmp_path, request())
    looking = Store(tmp_path, look=True)
    assert looking.find(request()) is not None
    with pytest.raises(Unfinished):
        looking.find(request(seed=1))


def test_damage_is_a_fresh_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stored(tmp_path, request())
    (file,) = tmp_path.glob("*.value")
    file.write_bytes(file.read_bytes()[:-9])
    assert Store(tmp_path).find(request()) is None and "starting over" in caplog.text
    next(tmp_path.glob("*.json")).write_text("{")
    store = Store(tmp_path)
    assert store.find(request(seed=3)) is None and store.seen[-1].why == "not made yet"


def test_the_newest_entries_stay(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(4):
        store.keep(request(seed=seed), {"seed": seed})
        time.sleep(0.02)
    assert [store.find(request(seed=seed)) is not None for seed in range(4)] == [False, False, True, True]
    assert store.latest("fit") == {"seed": 3} and store.latest("mesh") is None
    assert len(list(tmp_path.iterdir())) == 4
