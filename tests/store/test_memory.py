import torch

from agsrec.store import Memory


def test_a_value_is_computed_once(tmp_path):
    made = []

    def compute():
        made.append(1)
        return (torch.arange(3), "text")

    first = Memory(tmp_path, "weights")
    assert first.once("photo", compute)[1] == "text"
    first.once("photo", compute)
    again = Memory(tmp_path, "weights").once("photo", compute)
    assert torch.equal(again[0], torch.arange(3))
    assert made == [1]


def test_other_weights_or_photos_are_other_values(tmp_path):
    Memory(tmp_path, "weights").once("photo", lambda: 1)
    assert Memory(tmp_path, "other weights").once("photo", lambda: 2) == 2
    assert Memory(tmp_path, "weights").once("other photo", lambda: 3) == 3
    assert Memory(tmp_path, "weights").once("photo", lambda: 4) == 1


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    memory = Memory()
    assert [memory.once("photo", lambda: 1), memory.once("photo", lambda: 2)] == [1, 1]
    memory.tidy()
    assert not list(tmp_path.iterdir())


def test_only_what_was_asked_for_stays(tmp_path):
    before = Memory(tmp_path)
    for name in ("old", "both"):
        before.once(name, lambda: 1)
    now = Memory(tmp_path)
    now.once("both", lambda: 2)
    now.tidy()
    assert len(list(tmp_path.iterdir())) == 1
    assert Memory(tmp_path).once("old", lambda: 5) == 5
    Memory(tmp_path).forget()
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_computed_again(tmp_path):
    Memory(tmp_path).once("photo", lambda: 1)
    next(tmp_path.iterdir()).write_bytes(b"nonsense")
    assert Memory(tmp_path).once("photo", lambda: 2) == 2
