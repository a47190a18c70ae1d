from __future__ import annotations

import os
import subprocess
import sys

import pytest

import agsrec
import agsrec.mesh
from agsrec.cameras import Cameras
from agsrec.cli.entry import COMMANDS
from agsrec.pipeline.run import reconstruct

HEAVY = (
    *("gsplat", "matplotlib", "imageio", "rembg", "onnxruntime", "skimage", "cv2", "tyro", "rich", "lpips"),
    *("diffusers", "transformers", "accelerate", "huggingface_hub"),
)
SLOW = tuple(name for name in HEAVY if name not in ("tyro", "rich"))  # which commands cannot do without


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_by(code: str, modules: tuple[str, ...]) -> list[str]:
    """Which of the modules a fresh process has loaded after the code."""
    return run(f"import sys\n{code}\nprint(*[m for m in {modules} if m in sys.modules])").split()


def test_import_loads_nothing() -> None:
    assert loaded_by("import agsrec; dir(agsrec)", ("torch", "numpy", *HEAVY)) == []


def test_what_is_used_stays_light() -> None:
    found = loaded_by("from agsrec import *", HEAVY)
    assert found == [], f"agsrec loads {found}: import them inside the function that needs them"


def test_front_door() -> None:
    """Whatever the package says it offers is there, the stub's names being the only list."""
    assert set(agsrec.__all__) == set(dir(agsrec))
    assert all(getattr(agsrec, name) is not None for name in agsrec.__all__)
    assert agsrec.reconstruct is reconstruct and agsrec.Cameras is Cameras
    assert set(agsrec.mesh.__all__) == {"MeshConfig", "MeshResult", "TexturedMesh", "make_mesh"}
    with pytest.raises(AttributeError, match="reconstrct"):
        _ = getattr(agsrec, "reconstrct")  # noqa: B009


def test_help_loads_no_model_library() -> None:
    """Nor any other that takes long; one fresh process asks every command for its help."""
    code = f"""
from agsrec.cli import main
for command in {[[], *([name] for name in COMMANDS)]}:
    try:
        sys.stdout = open({os.devnull!r}, "w")
        main([*command, "--help"])
    except SystemExit as stop:
        assert not stop.code, command
    finally:
        sys.stdout = sys.__stdout__
"""
    assert loaded_by(code, ("torch", "numpy", "PIL", "scipy", "numba", *SLOW)) == []


def test_help_of_the_app_loads_no_model_library() -> None:
    code = f"""
from agsrec.app import main
sys.stdout = open({os.devnull!r}, "w")
try:
    main(["--help"])
except SystemExit as stop:
    assert not stop.code
sys.stdout = sys.__stdout__
"""
    assert loaded_by(code, ("torch", "gradio", "scipy", "numba", *SLOW)) == []


def test_reconstructs_without_optional_modules() -> None:
    """Where they are not installed, everything that does not need them works."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY}))
import torch, agsrec
from dataclasses import replace
plan = agsrec.PRESETS["fast"].rounds[0]
plan = replace(plan, num_points=50, stages=(replace(plan.stages[0], size=16, iterations=2),))
images = torch.zeros(2, 16, 16, 4)
images[:, 4:12, 4:12] = 1
Ks = agsrec.Cameras.intrinsics(torch.full((2,), 16.0), 16, 16)
cameras = agsrec.Cameras.orbit(0.0, torch.tensor([0.0, 90.0]), 2.0, Ks=Ks, width=16, height=16)
config = agsrec.FitConfig(rounds=(plan,), hull_resolution=16)
settings = agsrec.Settings(fit=config, device="cpu")
result = agsrec.reconstruct(agsrec.Views(images, ("a", "b")), cameras, settings)
print(len(result.gaussians), "torch._dynamo" in sys.modules)  # the compiler, which takes seconds to load
"""
    assert run(code) == "50 False"
