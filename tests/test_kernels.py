"""Compiled kernels: who is told, what is there, where they are kept."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit

from agsrec import kernels
from agsrec.kernels import CPU_NOTICE, CUDA_NOTICE, CudaKernels, announced, cuda_kernels
from agsrec.pipeline import Listener, Settings


def loaded(file: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The kernel of a module as a new process has it: nothing compiled, but perhaps something cached."""
    spec = importlib.util.spec_from_file_location("agsrec.fit.drawn_up", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "agsrec.fit.drawn_up", module)
    spec.loader.exec_module(module)
    return module.total


def test_told_once_and_only_where_it_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "drawn_up.py"
    code = "from numba import njit\n\n\n@njit(cache=True)\ndef total(x):\n    return x.sum()\n"
    for text, told in ((code, [CPU_NOTICE]), (code, []), (code.replace("sum", "max"), [CPU_NOTICE])):
        file.write_text(text)
        kernel = loaded(file, monkeypatch)
        assert kernels._is_cached(kernel) == (told == [])
        said: list[str] = []
        with announced(said.append):
            for dtype in (np.float32, np.float64):
                kernel(np.ones(3, dtype))
        assert said == told
        assert kernels._is_cached(kernel)


def slow(values: np.ndarray) -> float:
    return values.sum()


def compiled(module: str) -> list[str]:
    """What is said while a kernel of a module compiles."""
    said: list[str] = []
    slow.__module__ = module
    with announced(said.append):
        njit(slow)(np.ones(3))
        njit(slow)(np.ones(3))
    njit(slow)(np.ones(3))
    return said


def test_only_kernels_of_a_fit_are_told_of() -> None:
    assert compiled("agsrec.render.cpu.blend") == [CPU_NOTICE]
    assert compiled("agsrec.mesh.fusion") == []
    assert compiled("numba.np.arrayobj") == []


def test_a_listener_may_end_the_run() -> None:
    class Stop(Exception):
        pass

    def stop(text: str) -> None:
        raise Stop(text)

    slow.__module__ = "agsrec.fit.ssim_kernels"
    with pytest.raises(Stop), announced(stop):
        njit(slow)(np.ones(3))
    assert compiled("agsrec.mesh.fusion") == []  # nobody hears of anything any more


@pytest.mark.parametrize(("state", "said"), [("not built", [CUDA_NOTICE]), ("built", []), ("no gsplat", [])])
def test_kernels_of_a_gpu(monkeypatch: pytest.MonkeyPatch, state: str, said: list[str]) -> None:
    monkeypatch.setattr("agsrec.device.resolve_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(kernels, "cuda_kernels", lambda: CudaKernels(state))  # pyright: ignore[reportArgumentType]
    told: list[str] = []
    with announced(told.append, "auto"):
        pass
    assert told == said


def test_gsplat_is_not_built_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    folder = tmp_path / "gsplat_cuda"
    assert cuda_kernels() == CudaKernels("no compiler", folder)
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/usr/bin/nvcc")
    assert cuda_kernels() == CudaKernels("not built", folder)
    assert not folder.exists()
    folder.mkdir()
    (folder / "gsplat_cuda.so").touch()
    assert cuda_kernels() == CudaKernels("built", folder / "gsplat_cuda.so")


def test_extensions_are_looked_for_where_pytorch_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils import cpp_extension

    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setattr(os, "makedirs", lambda *_, **__: None)
    expected = cpp_extension._get_build_directory("gsplat_cuda", verbose=False)
    assert str(kernels._extension_folder() / "gsplat_cuda") == expected


def test_a_place_for_kernels_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    with kernels.kept_for_this_run():
        assert "NUMBA_CACHE_DIR" not in os.environ  # where there is one, it is used
    monkeypatch.setattr(kernels, "is_writable", lambda folder: False)
    with kernels.kept_for_this_run():
        place = Path(os.environ["NUMBA_CACHE_DIR"])
        assert place.is_dir() and not kernels.lasts(place)
        assert str(njit(cache=True)(slow).stats.cache_path).startswith(str(place))
    assert "NUMBA_CACHE_DIR" not in os.environ and not place.exists()


def test_writable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert kernels.is_writable(tmp_path) and kernels.is_writable(tmp_path / "to/be/made")
    assert not kernels.is_writable(tmp_path / "file/folder")


def test_a_run_tells_its_listener(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever listens to a stage, the app as well as the console, hears of kernels that it compiles."""
    from agsrec.pipeline import PhotoFolder
    from agsrec.pipeline import photos as module
    from agsrec.pipeline.desk import Desk

    class Heard(Listener):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def say(self, text: str) -> None:
            self.texts.append(text)

    def initialize(*_: object, **options: object) -> None:
        assert options["device"] == "cpu"
        compiled_within()
        raise InterruptedError

    def compiled_within() -> None:
        slow.__module__ = "agsrec.render.cpu.blend"
        njit(slow)(np.ones(3))

    monkeypatch.setattr("agsrec.pipeline.photos.initialize", initialize)
    monkeypatch.setattr("agsrec.pipeline.photos.load_unposed_views", lambda *_, **__: ())
    monkeypatch.setattr("agsrec.pipeline.photos.find_view_files", lambda *_, **__: {})
    heard = Heard()
    with pytest.raises(InterruptedError):
        module.pose_photos(Desk.at(None, Settings(device="cpu"), heard), PhotoFolder(tmp_path))
    assert heard.texts == [CPU_NOTICE]
