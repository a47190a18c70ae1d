from __future__ import annotations

import pytest
import torch

from agsrec.device import resolve_device
from agsrec.errors import DeviceError, OptionError


@pytest.mark.parametrize(
    ("name", "available", "kind"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_choice(monkeypatch: pytest.MonkeyPatch, name: str, available: bool, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device(name).type == kind


def test_cuda_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"--device cuda: no CUDA device.*--device cpu"):
        resolve_device("cuda")


@pytest.mark.parametrize("name", ["", "CPU", "cuda:1", "mps"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(OptionError, match="--device must be auto, cpu or cuda"):
        resolve_device(name)
