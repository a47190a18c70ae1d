"""Compressed splats: what is handed to the package that writes them, and what comes back."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from agsrec.errors import MissingExtraError, OutputError
from agsrec.export.spz import write_spz
from agsrec.gaussians import Gaussians
from agsrec.render import render_scene
from tests.tiny import tiny_scene


def scene(reach: float = 0.5, degree: int = 1) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(3000, 3, generator=generator) - 0.5) * 2 * reach
    colors = torch.rand(3000, 3, generator=generator) * 1.4
    made = Gaussians.from_points(points, colors, torch.full((3000,), 0.02 * reach), 0.8)
    return replace(
        made.with_sh_degree(degree),
        quats=torch.randn(3000, 4, generator=generator),
        log_scales=made.log_scales + torch.randn(3000, 3, generator=generator),
        opacity_logits=2 * torch.randn(3000, generator=generator),
        sh=torch.cat([made.sh, 0.3 * torch.randn(3000, 3, 3, generator=generator).clamp(-3, 3)], 1)
        if degree
        else made.sh,
    )


def test_it_is_handed_over_as_it_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: dict[str, Any] = {}

    def write(file: Path, data: dict[str, Any], **options: Any) -> None:
        handed.update(data, **options)
        Path(file).write_bytes(b"spz")

    stub = SimpleNamespace(GSData=SimpleNamespace(from_arrays=dict), write_spz=write)
    monkeypatch.setitem(sys.modules, "gsply", stub)
    g = scene()
    write_spz(tmp_path / "new" / "splat.spz", g)
    assert (tmp_path / "new" / "splat.spz").read_bytes() == b"spz"
    stored = {"means": g.means, "scales": g.log_scales, "quats": g.quats, "opacities": g.opacity_logits}
    for name, tensor in stored.items():
        assert np.array_equal(handed[name], tensor.numpy()), name
    assert np.array_equal(handed["sh0"], g.sh[:, 0].numpy()) and np.array_equal(handed["shN"], g.sh[:, 1:])
    assert handed["format"] == "ply" and handed["version"] == 3
    for reach, bits in ((0.49, 16), (0.51, 15), (900.0, 5), (1e-4, 24), (1e7, 1)):
        write_spz(tmp_path / "splat.spz", replace(g, means=reach * g.means / g.means.abs().max()))
        assert handed["fractional_bits"] == bits, reach
    write_spz(tmp_path / "splat.spz", scene(degree=0)[torch.zeros(3000, dtype=torch.bool)])
    assert handed["shN"] is None and len(handed["means"]) == 0
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_spz(tmp_path / "file" / "splat.spz", g)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsply", None)
    with pytest.raises(MissingExtraError, match=r"gsply is not installed.*agsrec\[spz\]"):
        write_spz(tmp_path / "splat.spz", scene())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reach", [0.5, 40.0])
@pytest.mark.parametrize("degree", [0, 1])
def test_what_comes_back(tmp_path: Path, reach: float, degree: int) -> None:
    gsply: Any = pytest.importorskip("gsply", reason="pip install '.[spz]'")
    g = scene(reach, degree)
    write_spz(tmp_path / "splat.spz", g)
    back = gsply.read_spz(tmp_path / "splat.spz")
    sh = [torch.from_numpy(np.array(back.sh0))[:, None]]
    if degree:
        sh.append(torch.from_numpy(np.array(back.shN)))
    found = Gaussians(
        means=torch.from_numpy(np.array(back.means)),
        quats=torch.from_numpy(np.array(back.quats)),
        log_scales=torch.from_numpy(np.array(back.scales)),
        opacity_logits=torch.from_numpy(np.array(back.opacities)),
        sh=torch.cat(sh, 1),
    )
    power = 2.0 ** np.ceil(np.log2(reach))
    assert (found.means - g.means).abs().max() <= power / 65536 + 1e-6
    assert (found.log_scales - g.log_scales).abs().max() <= 1 / 32 + 1e-5
    assert (found.opacities - g.opacities).abs().max() <= 0.5 / 255 + 1e-5
    assert (found.base_colors - g.base_colors).abs().max() < 0.004
    assert degree == 0 or (found.sh[:, 1:] - g.sh[:, 1:]).abs().max() <= 1 / 256 + 1e-5
    # Scales are in the same order along the same axes, and quaternions the same way round.
    turned = torch.nn.functional.normalize(g.quats, dim=1) * found.quats
    assert turned.sum(1).abs().min() > 0.9999
    size = (tmp_path / "splat.spz").stat().st_size
    assert size < (17 + 9 * degree) * 4 * 3000 / 2.5


def test_it_looks_the_same(tmp_path: Path) -> None:
    gsply: Any = pytest.importorskip("gsply", reason="pip install '.[spz]'")
    g, cameras = scene(degree=0), tiny_scene(2)[1]
    write_spz(tmp_path / "splat.spz", g)
    back = gsply.read_spz(tmp_path / "splat.spz")
    arrays = back.means, back.quats, back.scales, back.opacities, back.sh0[:, None]
    found = Gaussians(*(torch.from_numpy(np.array(array)) for array in arrays))
    before, after = (render_scene(each, cameras).rgb for each in (g, found))
    assert before.max() > 0.5 and float((before - after).square().mean()) < 1e-4
