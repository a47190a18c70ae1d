"""What `agsrec doctor` finds, on machines where something is amiss."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from packaging.requirements import Requirement

from agsrec import embedded, kernels
from agsrec.cli import main
from agsrec.doctor import Check, can_reconstruct, examine, machine, models, software
from agsrec.embedded import EMBEDDED
from agsrec.kernels import CudaKernels

ROOT = Path(__file__).resolve().parents[2]


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_this_machine() -> None:
    checks = by_name(examine())
    assert {"version", "packages", "device", "CPU kernels", "ffmpeg", "threads", "memory"} < set(checks)
    assert all(checks[f"model {name}"].state == "ok" for name in EMBEDDED)
    assert all(check.remedy for check in checks.values() if check.state != "ok")
    assert can_reconstruct([*checks.values()]) == all(c.state != "problem" for c in checks.values())


def test_says_so_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    out = capsys.readouterr().out
    assert "Everything that `agsrec run` needs is there." in out and "nview-mini" in out


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_embedded_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "_inside", lambda: tmp_path / "site")
    monkeypatch.setattr(embedded, "_REPOSITORY", tmp_path / "nowhere")
    for name in EMBEDDED:
        if (name, fault) != ("nview-mini", "missing"):
            shutil.copytree(ROOT / "checkpoints" / name, tmp_path / "site" / name)
    if fault == "damaged":
        (tmp_path / "site/nview-mini/model.safetensors").write_bytes(b"cut off")
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    (at,) = (k for k, line in enumerate(lines) if line.startswith("model nview-mini"))
    word = "missing" if fault == "missing" else "model.safetensors has 7 bytes instead of 15,403,398"
    assert "problem" in lines[at] and word in lines[at] and "--init" in lines[at + 1]
    assert sum("problem " in line for line in lines) == 1


def test_a_model_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints/nview-mini").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = by_name(models.embedded())["model nview-mini"]
    assert found.state == "ok" and "here is used" in found.detail


def test_background_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agsrec.preprocess.remover._model_file_present", lambda name: False)
    (found,) = models.background()
    assert found.state == "ok" and found.detail == "u2netp"
    monkeypatch.setattr("agsrec.preprocess.remover._model_file_present", lambda name: "birefnet" in name)
    (better,) = models.background()
    assert better.state == "ok" and better.detail == "birefnet-general"


def test_requirements() -> None:
    good, old, absent = map(Requirement, ("numpy>=1.26", "numpy<1", "agsrec-is-without-this>=2"))
    assert software.unmet([good, old, absent]) == [old, absent]


def test_a_package_that_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "_requirements", lambda extra="": [Requirement("numpy<1")])
    found = by_name(software.packages())["packages"]
    assert found.state == "problem" and "numpy<1" in found.detail and found.remedy == "pip install 'numpy<1'"
    extras = software.extras()
    assert {check.state for check in extras} == {"optional"}
    assert all(check.remedy.startswith("pip install 'agsrec[") for check in extras)


def test_a_package_that_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at it ends in a line like all others, not in a traceback."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    found = by_name(examine())["memory"]
    assert found.state == "problem" and "psutil" in found.detail


def test_no_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    (found,) = software.ffmpeg()
    assert found.state == "problem" and "IMAGEIO_FFMPEG_EXE" in found.remedy


def test_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**29, total=2**31))
    (found,) = machine.memory()
    assert found.state == "problem" and found.detail == "0.5 of 2.0 GiB free"


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("built", "ok"), ("not built", "optional"), ("no compiler", "problem"), ("no gsplat", "problem")],
)
def test_kernels_of_a_gpu(monkeypatch: pytest.MonkeyPatch, state: str, verdict: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(machine, "cpu_kernels_compiled", lambda: True)
    monkeypatch.setattr(machine, "cuda_kernels", lambda: CudaKernels(state))  # pyright: ignore[reportArgumentType]
    cpu, cuda = machine.kernels()
    assert (cpu.state, cuda.state) == ("ok", verdict)
    assert verdict == "ok" or cuda.remedy


@pytest.mark.parametrize(("compiled", "verdict"), [(True, "ok"), (False, "optional"), (None, "optional")])
def test_kernels_of_the_cpu(monkeypatch: pytest.MonkeyPatch, compiled: bool | None, verdict: str) -> None:
    monkeypatch.setattr(machine, "cpu_kernels_compiled", lambda: compiled)
    assert machine.kernels()[0].state == verdict


def test_places_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "is_writable", lambda folder: False)
    monkeypatch.setattr(machine, "kernel_cache", lambda: None)
    here, cache = machine.folders()
    assert (here.state, cache.state) == ("optional", "problem")
    monkeypatch.setattr(
        kernels,
        "is_writable",
        lambda folder: str(folder).startswith(os.environ.get("NUMBA_CACHE_DIR", "/nowhere")),
    )
    with kernels.kept_for_this_run():
        monkeypatch.setattr(machine, "kernel_cache", kernels.kernel_cache)
        assert machine.folders()[1].state == "optional"
