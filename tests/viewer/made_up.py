"""A made-up result: seven photos of a ball, one posed anew, one left out."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from agsrec.camera_files import CameraCourse, write_camera_course, write_cameras_json
from agsrec.cameras import Cameras
from agsrec.gaussians import Gaussians
from agsrec.images import save_png
from agsrec.lie import so3_exp
from agsrec.ply import write_ply
from tests.export.made_up import discs

NAMES = ("000", "001", "002", "003", "004", "005")
LEFT_OUT = "006"
TURN = 90.0
"""Degrees by which photo 002 was badly posed."""


def cameras(count: int = 7) -> Cameras:
    """Cameras around the origin, with a lens whose centre is not the picture's."""
    index = torch.arange(count, dtype=torch.float32)
    center = torch.tensor([[20.0, 26.0]]).expand(count, 2)
    Ks = Cameras.intrinsics(torch.full((count,), 60.0), 48, 48, center)
    return Cameras.orbit(-10 - 5 * index, index * 360 / count, 1.8, Ks=Ks, width=48, height=48)


def turned(given: Cameras, view: int, degrees: float) -> Cameras:
    """One camera carried around the object about +y."""
    turn = torch.eye(4)
    turn[:3, :3] = so3_exp(torch.tensor([[0.0, degrees, 0.0]]).deg2rad())[0]
    viewmats = given.viewmats.clone()
    viewmats[view] = viewmats[view] @ turn
    return Cameras(viewmats, given.Ks, given.width, given.height)


def ball(count: int = 400) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1) * 0.4
    return Gaussians.from_points(points, points + 0.5, torch.full((count,), 0.03), opacity=0.8)


def course(final: Cameras, start: Cameras) -> CameraCourse:
    """Photo 002 given wrongly; all in worlds of their own, as the parts of a real course are."""
    world = torch.eye(3)
    elsewhere = so3_exp(torch.tensor([[0.3, 1.0, -0.2]]))[0]
    given = turned(start, 2, TURN).transformed(1.5, elsewhere, torch.tensor([1.0, 2.0, 3.0]))
    truth = final.transformed(0.7, elsewhere.mT, torch.tensor([-1.0, 0.0, 2.0]))
    moments = [start[:6], start[:6].transformed(1.0, world, torch.tensor([0.0, 0.1, 0.0])), final[:6]]
    return CameraCourse(
        views=(*NAMES, LEFT_OUT),
        given=given.viewmats,
        truth=truth.viewmats,
        used=NAMES,
        iterations=(0, 20, 40),
        rounds=(0, 0, 1),
        viewmats=torch.stack([moment.viewmats for moment in moments]),
    )


OUTLIERS = {
    "verdicts": {name: "trusted" for name in NAMES}
    | {"002": "corrected", "004": "confirmed", LEFT_OUT: "unusable"},
    "searches": [
        {"view": "002", "ambiguous": True, "candidates": [{"turned_deg": 89.7, "error": 0.1}]},
        {"view": "004", "ambiguous": False, "candidates": [{"turned_deg": 1.0, "error": 0.1}]},
        {"view": LEFT_OUT, "ambiguous": False, "candidates": [{"turned_deg": 50.0, "error": 0.4}]},
    ],
}


def write_result(folder: Path) -> Path:
    """The folder of the made-up result."""
    final = cameras()
    start = final.perturbed(4.0, torch.Generator().manual_seed(1))
    rgba = torch.cat([discs(6), (discs(6)[..., :1] < 1).float()], dim=-1)
    for name, image in zip(NAMES, (rgba * 255).byte().numpy(), strict=True):
        save_png(folder / "views" / f"{name}_rgba.png", image)
    write_cameras_json(folder / "cameras.json", final[:6], NAMES)
    write_camera_course(folder / "cameras_rounds.json", course(final, start))
    write_ply(folder / "splat.ply", ball())
    shifted = final[:3].transformed(2.0, torch.eye(3), torch.tensor([0.0, 5.0, 0.0]))
    write_cameras_json(folder / "rounds" / "trusted" / "cameras.json", shifted, NAMES[:3])
    moved = ball()
    moved = Gaussians(
        2 * moved.means + torch.tensor([0.0, 5.0, 0.0]),
        moved.quats,
        moved.log_scales + torch.tensor(2.0).log(),
        moved.opacity_logits,
        moved.sh,
    )
    write_ply(folder / "rounds" / "trusted" / "splat.ply", moved)
    (folder / "metrics.json").write_text(json.dumps({"outliers": OUTLIERS}))
    return folder
