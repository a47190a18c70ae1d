"""What all models on disk have in common."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from agsrec.checkpoints import (
    downloaded,
    filled,
    misfits,
    read_settings,
    save_folder,
    some_of,
)
from agsrec.errors import CheckpointError, OutputError
from agsrec.weights import read_weights


def empty() -> nn.Linear:
    return nn.Linear(2, 3, device="meta")


def saved(folder: Path, **change: torch.Tensor) -> Path:
    """A file that `empty` can be filled from, or nearly."""
    weights = {"weight": torch.arange(6.0).view(3, 2), "bias": torch.ones(3)} | change
    save_folder(folder, weights, {"b": 1, "a": [2]})
    return folder / "model.safetensors"


def test_round_trip(tmp_path: Path) -> None:
    path = saved(tmp_path)
    network = filled(empty(), read_weights(path), path, remedy="x")
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert network(torch.tensor([[1.0, 10.0]])).tolist() == [[11.0, 33.0, 55.0]]
    assert read_settings(tmp_path / "config.json") == {"b": 1, "a": [2]}
    assert list(read_settings(tmp_path / "config.json")) == ["b", "a"]


def test_types_and_names(tmp_path: Path) -> None:
    path = saved(tmp_path)
    save_folder(tmp_path, {"layer.weight": torch.ones(3, 2), "layer.bias": torch.ones(3)}, {}, torch.float16)
    assert {w.dtype for w in load_file(path).values()} == {torch.float16}
    network = filled(
        empty(),
        read_weights(path),
        path,
        remedy="x",
        dtype=lambda name: torch.float64 if name == "bias" else torch.bfloat16,
        stored_as=lambda name: f"layer.{name}",
    )
    assert (network.weight.dtype, network.bias.dtype) == (torch.bfloat16, torch.float64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": torch.ones(2)}, r"misshapen bias \[2\] instead of \[3\]; do this"),
        ({"more": torch.ones(2)}, "do not belong to the settings: unexpected more; do this"),
        ({"bias": torch.ones(3, dtype=torch.int64)}, "bias holds whole numbers; do this"),
        ({"bias": torch.tensor([1.0, float("inf"), 1.0])}, "bias holds NaN or infinite values as float32"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, change: dict[str, torch.Tensor], message: str) -> None:
    path = saved(tmp_path, **change)
    with pytest.raises(CheckpointError, match=message) as caught:
        filled(empty(), read_weights(path), path, remedy="do this")
    assert str(caught.value).startswith(f"{path}: ")


def test_misfits_name_only_what_is_wrong() -> None:
    a, b = torch.zeros(2), torch.zeros(3)
    assert misfits({"x": a, "y": b}, {"x": a, "y": b}) == {}
    assert misfits({"x": a, "y": b}, {"y": a, "z": a}) == {
        "missing": ["x"],
        "unexpected": ["z"],
        "misshapen": ["y [2] instead of [3]"],
    }
    assert some_of("abc") == "a, b, c" and some_of("abcde") == "a, b, c and 2 more"


@pytest.mark.parametrize("content", ["[1]", "{", '"text"', "[" * 100_000])
def test_settings_that_are_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json: no settings file"):
        read_settings(path)


def test_settings_are_not_read_without_bound(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"text": "x" * 2**20}))
    with pytest.raises(CheckpointError, match="larger than 1 MiB"):
        read_settings(path)


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_folder(tmp_path / "file", {"a": torch.ones(1)}, {})


@pytest.mark.parametrize("source", ["nothing", "a/b/c", "../x/y", "gone/model.pth", "folder/model"])
def test_what_is_no_hub_id_is_not_asked_for(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="no such thing; do this"):
        downloaded(source, ["*"], what="thing", remedy="do this")
