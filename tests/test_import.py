from __future__ import annotations

import subprocess
import sys

HEAVY = (
    *("gsplat", "matplotlib", "imageio", "rembg", "onnxruntime", "skimage", "cv2", "tyro", "rich", "lpips"),
    *("diffusers", "transformers", "accelerate", "huggingface_hub"),
)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_stays_light() -> None:
    found = run(f"import sys, agsrec; print(*[m for m in {HEAVY} if m in sys.modules])")
    assert found == "", f"import agsrec loads {found}: import it inside the function that needs it"


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
result = agsrec.reconstruct(agsrec.Views(images, ("a", "b")), cameras, config=config, device="cpu")
print(len(result.gaussians))
"""
    assert run(code) == "50"
