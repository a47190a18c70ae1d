"""What runs on CUDA keeps its tensors there: every such path on a device that is only pretended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from agsrec import Settings, localization, reconstruct
from agsrec.cameras import Cameras
from agsrec.config import DensifyConfig, ExposureConfig, LossConfig, Stage
from agsrec.fit import fit
from agsrec.matching import Correspondences, EpipolarTerm, load_matcher, match_views
from agsrec.mesh import MeshConfig, make_mesh
from agsrec.metrics.evaluation import input_quality, rendered_on_white
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.novel_view import Viewpoint, novel_views
from agsrec.outliers.residuals import view_errors
from agsrec.point_map import PointMap
from agsrec.pose_init.ace0 import searching
from agsrec.pose_init.ace0.features import Seen
from agsrec.pose_init.ace0.registered import Registered
from agsrec.pose_init.ace0.shared_points import SharedPoints
from agsrec.pose_init.dust3r.initializer import initialize_dust3r
from agsrec.pose_init.leap.initializer import LeapOptions, initialize_leap
from agsrec.pose_init.leap.model import Leap
from agsrec.pose_init.mast3r.initializer import initialize_mast3r
from agsrec.pose_init.noposplat import NoPoSplat, NoPoSplatConfig, splat_views
from agsrec.pose_init.noposplat import poses as splat_poses
from agsrec.pose_init.noposplat.splats import SplatMaps
from agsrec.pose_init.nview import NView, NViewConfig, initialize_nview
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.model import DUSt3R, PairPrediction
from agsrec.pose_search import GaussianRenderer, Level, SearchConfig, search_pose
from agsrec.prior.sds import ScoreDistillation
from agsrec.store import Checkpointing
from agsrec.training import nview as nview_training
from agsrec.training.config import DataConfig, PhaseConfig
from agsrec.training.dust3r import DUSt3RTrainConfig, train_dust3r
from agsrec.training.loop import Intervals
from agsrec.training.noposplat import NoPoSplatTrainConfig, train_noposplat
from agsrec.training.nview import NViewTrainConfig, train_nview
from agsrec.training.zero123 import train_zero123
from tests.exact_dust3r import exact_scene
from tests.exact_mast3r import ExactMatcher
from tests.exact_noposplat import ExactSplats
from tests.matching.scenes import exact_matches
from tests.pretended_cuda import Traffic, is_pretended, pretended_cuda
from tests.test_pose_search import blobs, camera, photo
from tests.tiny import rough, tiny_config, tiny_scene
from tests.tiny_prior import tiny_config as tiny_training
from tests.tiny_prior import tiny_zero123

CUDA = torch.device("cuda")
SMALL = NViewConfig(
    image_size=32, tokens=10, width=32, heads=2, blocks="FGF", match_after=1, match_channels=8
)
PAIRS = DUSt3RConfig(
    image_size=(32, 32), square_images=True, enc_width=32, enc_depth=1, enc_heads=2, dec_width=32,
    dec_depth=1, dec_heads=2,
)  # fmt: skip
DPT = replace(PAIRS, dec_depth=4, head="dpt", dpt_width=8, dpt_last_width=8, dpt_level_widths=(8, 8, 8, 8))
MATCHING = replace(DPT, head="catmlp+dpt", descriptor_width=4)
SPLATS = NoPoSplatConfig(transformer=DPT, sh_degree=1)
SEARCH = SearchConfig(directions=60, rolls=8, coarse_size=16, patch_size=16, levels=(Level(16, 2, 6),))


@pytest.fixture
def cuda() -> Iterator[Traffic]:
    """CUDA, as far as Python can tell."""
    AcceleratorState._reset_state(reset_partial_state=True)
    with pretended_cuda() as traffic:
        yield traffic
    AcceleratorState._reset_state(reset_partial_state=True)


def there(*tensors: Tensor | None) -> bool:
    return all(t is not None and is_pretended(t) for t in tensors)


# -------------------------------------------------------------------- the fit


def everything(**options: Any) -> Any:
    """A schedule in which nothing that a fit can do is left out."""
    config = tiny_config(
        8,
        densify=DensifyConfig(interval=4),
        exposure=ExposureConfig(optimize=True),
        loss=LossConfig(roughness=0.1, drop=0.3, drop_until=0.5, novel_interval=3, ramp=True, mask=0.5),
        **options,
    )
    plan = replace(config.rounds[0], regularized=True, sh_degree=1)
    return replace(config, rounds=(plan, replace(plan, guided=False)))


@pytest.mark.slow
def test_a_fit_with_all_that_it_can_do(cuda: Traffic, tmp_path: Path) -> None:
    views, truth = tiny_scene(4)
    config, start = everything(), rough(truth)
    points = PointMap(torch.rand(400, 3) - 0.5, torch.rand(400, 3), torch.ones(400))
    matches = EpipolarTerm(_correspondences(truth), weight=0.1, tolerance=(0.01, 0.005), until=0.5)

    def fitted(device: str, checkpointing: Checkpointing | None = None) -> Any:
        shown = views.to(device)
        judge = ScoreDistillation(tiny_zero123(warps=True).to(device), shown, config.guidance)
        return fit(
            shown,
            start.to(device, torch.float32),
            config,
            points=points,
            guidance=judge,
            camera_loss=matches,
            checkpointing=checkpointing,
        )

    state = tmp_path / "fit.pt"
    done = fitted("cuda", Checkpointing(state, "key"))
    assert there(done.gaussians.means, done.gaussians.sh, done.cameras.viewmats, done.exposures)
    # From the last checkpoint, which is read to the CPU first.
    again = fitted("cuda", Checkpointing(state, "key"))
    assert torch.equal(done.gaussians.means.cpu(), again.gaussians.means.cpu())
    here = fitted("cpu")
    assert not there(here.gaussians.means)
    torch.testing.assert_close(done.cameras.viewmats.cpu(), here.cameras.viewmats, atol=2e-3, rtol=0)
    assert done.history[-1]["psnr"] == pytest.approx(here.history[-1]["psnr"], abs=0.1)


def _correspondences(cameras: Cameras) -> Correspondences:
    found = exact_matches(cameras.to(dtype=torch.float64), count=100)
    return Correspondences.of(found, cameras.width, cameras.height)


def test_a_step_hardly_waits(cuda: Traffic) -> None:
    """Without records, a step of the preset's kind reads no number from the device."""
    views, truth = tiny_scene(3)
    config = tiny_config(20, log_interval=100, densify=replace(tiny_config().densify, interval=50))
    fit(views.to("cuda"), rough(truth).to("cuda", torch.float32), config)
    assert sum(cuda.waits.values()) < 20, cuda.waits


@pytest.mark.slow
def test_reconstruct_ends_on_the_cpu(cuda: Traffic) -> None:
    views, truth = tiny_scene(4)
    done = reconstruct(views, rough(truth), Settings(fit=tiny_config(6), prior=tiny_zero123(), device="cuda"))
    tensors = [done.gaussians.means, done.cameras.viewmats, done.views.images, done.glimpses[0].render]
    assert not any(map(is_pretended, tensors)) and cuda.operations > 0


# -------------------------------------------------------------------- poses


def test_pose_search_and_polish(cuda: Traffic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localization, "_POLISH", (Stage(16, 2),))
    scene, seen = blobs(80), camera(torch.tensor([0.3, 0.5, 0.1]))
    shown = photo(scene, seen)
    on_device = scene.to("cuda")
    render = GaussianRenderer(on_device)
    found = search_pose(render, shown.to("cuda"), seen.Ks[0].to("cuda"), SEARCH)
    assert there(found.viewmats, found.losses)
    start = Cameras(found.viewmats[:1].cpu(), seen.Ks, seen.width, seen.height)
    assert not there(localization._polished(scene, shown, start, None).viewmats)
    assert not there(localization._polished(on_device, shown.to("cuda"), start, None).viewmats)


def test_photos_looked_for_in_a_scene(cuda: Traffic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "_SCENE", tiny_config(3))
    monkeypatch.setattr(searching, "_SEARCH", SEARCH)
    monkeypatch.setattr(searching, "_POLISH", (Stage(16, 2),))
    monkeypatch.setattr(searching, "_MOST", 3)
    views, cameras = tiny_scene(5)
    seen = [Seen(torch.full((1, 2), 16.0).to(CUDA), torch.ones(1, 4).to(CUDA)) for _ in views.names]
    placed = torch.arange(5) < 4
    known = Registered(cameras.viewmats, cameras.Ks, placed, 0.2 * placed, (4,))
    size = views.width, views.height
    search = searching.Searching(views.images, SharedPoints(seen), size, device=CUDA)
    nobody = torch.zeros(5, dtype=torch.bool)
    look = search._look(known, nobody)
    bettered = look.found.viewmats[:4]
    assert not there(bettered) and (bettered != known.viewmats[:4]).flatten(1).any(1).all()
    state = look.searched(searching._State(look.found, nobody, look.contradicted()), [4])
    assert not there(state.found.viewmats) and not there(state.found.agreeing)


def test_all_views_network(cuda: Traffic) -> None:
    views, _ = tiny_scene(3)
    torch.manual_seed(0)
    estimate = initialize_nview(views, model=NView(SMALL), device="cuda", refine=False)
    assert len(estimate.cameras) == 3 and not there(estimate.cameras.viewmats)


@pytest.mark.slow
def test_matching(cuda: Traffic) -> None:
    views, _ = tiny_scene(2, 96)
    matcher = load_matcher("disk-lightglue", CUDA)
    assert all(there(p) for p in matcher.disk.parameters())
    assert all(isinstance(pair.points, np.ndarray | Tensor) for pair in match_views(views, matcher))


def test_dust3r(cuda: Traffic) -> None:
    views, _ = tiny_scene(3)
    network = DUSt3R(PAIRS).initialize(torch.Generator().manual_seed(0)).to("cuda").eval()
    _tolerating(lambda: initialize_dust3r(views, model=network, device="cuda", iterations=3))
    assert cuda.operations > 100


class MatcherThere(ExactMatcher):
    """Knows the answer, and gives it on the device."""

    def encode(self, images: Tensor, *, batch: int | None = None) -> list[int]:
        assert there(images)
        return super().encode(images.cpu(), batch=batch)

    def decode_pairs(self, features: list[int], pairs: Tensor, **options: Any) -> PairPrediction:
        options["device"] = None
        return super().decode_pairs(features, pairs.cpu(), **options).to("cuda")


def test_mast3r(cuda: Traffic) -> None:
    """The network, and with answers that are right the matching and what follows."""
    views, _ = tiny_scene(3)
    network = DUSt3R(MATCHING).initialize(torch.Generator().manual_seed(0)).to("cuda").eval()
    _tolerating(lambda: initialize_mast3r(views, model=network, device="cuda", iterations=3))
    assert cuda.operations > 100
    scene = exact_scene(3, 48, 2)
    found = initialize_mast3r(scene.views, model=MatcherThere(scene), device="cuda", iterations=5)
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 1
    assert found.points is not None and found.matches is not None and len(found.matches) > 20
    assert not any(map(is_pretended, (found.cameras.viewmats, found.points.points, found.confidence)))


@dataclass
class SplatsThere(ExactSplats):
    """Knows the answer, and gives it on the device."""

    def encode(self, images: Tensor, intrinsics: Tensor, *, batch: int | None = None) -> list[int]:
        assert there(images)
        return super().encode(images.cpu(), intrinsics, batch=batch)

    def decode(self, encoded: list[int], groups: Tensor, *, batch: int = 4) -> SplatMaps:
        maps = super().decode(encoded, groups.cpu(), batch=batch)
        return SplatMaps(**{name: part.to("cuda") for name, part in vars(maps).items()})


def test_noposplat(cuda: Traffic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network, and with answers that are right the poses of more views than it sees at once."""
    monkeypatch.setattr(splat_poses, "_STAGES", (Stage(16, 2), Stage(32, 2)))
    views, truth = tiny_scene(3)
    network = NoPoSplat(SPLATS).initialize(torch.Generator().manual_seed(0)).to("cuda").eval()
    focals = truth.focal_lengths[:, 0].tolist()
    _tolerating(lambda: splat_views(views, model=network, device="cuda", focals=focals))
    assert cuda.operations > 100
    scene = exact_scene(3, 40)
    before = cuda.operations
    focals = scene.cameras.focal_lengths[:, 0].tolist()
    found = splat_views(scene.views, model=SplatsThere(scene), device="cuda", focals=focals)
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 3
    assert not any(map(is_pretended, (found.gaussians.means, found.cameras.viewmats, found.camera)))
    assert cuda.operations > before + 500, "the cameras are refined on the device"


def test_leap(cuda: Traffic) -> None:
    from tests.pose_init.test_leap_checkpoint import TINY

    views, _ = tiny_scene(3)
    torch.manual_seed(1)
    model = Leap(TINY).eval()
    options = LeapOptions(search=SEARCH, surface_density=-1.0)
    _tolerating(lambda: initialize_leap(views, model=model, device="cuda", options=options))
    assert cuda.operations > 100


def _tolerating(call: Callable[[], Any]) -> None:
    """Networks with random weights need not find a pose; what they do before must go well."""
    from agsrec.errors import CameraError, SceneError

    try:
        call()
    except (CameraError, SceneError):
        pass


# -------------------------------------------------------------------- after the fit


def test_figures_of_a_scene(cuda: Traffic) -> None:
    views, truth = tiny_scene(3)
    scene, shown = blobs(80).to("cuda"), views.to("cuda")
    cameras = truth.to("cuda", torch.float32)
    assert there(rendered_on_white(scene, cameras))
    assert not there(view_errors(shown, scene, cameras, 32))
    assert np.isfinite(input_quality(scene, cameras, shown).means()["psnr"])


def test_novel_views_of_a_photo(cuda: Traffic) -> None:
    views, _ = tiny_scene(1)
    points = [Viewpoint(30.0), Viewpoint(-60.0, 10.0, 0.1)]
    on_device = novel_views(tiny_zero123(warps=True).to("cuda"), views, points, steps=2)
    here = novel_views(tiny_zero123(warps=True), views, points, steps=2)
    torch.testing.assert_close(on_device, here, atol=1e-4, rtol=0)


def test_mesh(cuda: Traffic) -> None:
    """A mesh is made on the CPU wherever the scene is; the prior judges on the device."""
    views, truth = tiny_scene(3)
    scene = blobs(150).to("cuda")
    config = MeshConfig(grid=24, faces=200, texture_size=64, refine_steps=2)
    cameras = truth.to(dtype=torch.float32)
    made = make_mesh(scene, views.to("cuda"), cameras.to("cuda"), config, prior=tiny_zero123(), device="cuda")
    assert len(made.mesh.faces) > 0 and cuda.operations > 0


# -------------------------------------------------------------------- trainings


def phase(steps: int = 4) -> PhaseConfig:
    return PhaseConfig(
        steps=steps, batch_size=4, learning_rate=1e-3, warmup_steps=1, objects_per_step=0.5, ema_decay=0.9
    )


def _in_two_calls(train: Callable[..., bool]) -> None:
    """Stopped after its first step, and gone on with from the state on disk."""
    assert not train(intervals=Intervals(stop_after_seconds=0.0))
    assert train()


@pytest.mark.slow
def test_training_of_the_all_views_network(
    cuda: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate = partial(nview_training.validate_poses, count=1)
    monkeypatch.setattr(nview_training, "validate_poses", validate)
    config = NViewTrainConfig(SMALL, pool_objects=2, training=phase())
    _in_two_calls(lambda **options: train_nview(config, tmp_path, device=CUDA, **options))
    assert cuda.operations > 1000


@pytest.mark.slow
def test_training_of_a_prior(cuda: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agsrec.training import zero123 as module

    for name in ("validate_autoencoder", "validate_novel_views"):
        monkeypatch.setattr(module, name, partial(getattr(module, name), count=1))
    # It tells tied weights by the addresses of their memory, of which there is none.
    monkeypatch.setattr(
        "transformers.modeling_utils.remove_tied_weights_from_state_dict", lambda weights, _model: weights
    )
    config = tiny_training(warps=True)

    def train(**options: Any) -> bool:
        return train_zero123(config, tmp_path, device=CUDA, workers=0, **options)

    assert not train(intervals=Intervals(stop_after_seconds=0.0))
    assert train()


@pytest.mark.slow
def test_training_of_dust3r(cuda: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agsrec.training import dust3r as module

    monkeypatch.setattr(module, "validate_pairs", partial(module.validate_pairs, count=1))
    data = DataConfig(views_per_object=3, pool_objects=2)
    config = DUSt3RTrainConfig(PAIRS.to_published(), data, phase(), confidence_weight=0.2)
    _in_two_calls(lambda **options: train_dust3r(config, tmp_path, device=CUDA, workers=0, **options))


@pytest.mark.slow
def test_training_of_noposplat(cuda: Traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agsrec.training import noposplat as module

    for name in ("validate_centers", "validate_splats"):
        monkeypatch.setattr(module, name, partial(getattr(module, name), count=1))
    config = NoPoSplatTrainConfig(
        replace(SPLATS, transformer=replace(DPT, patch_size=8)).to_settings(),
        DataConfig(views_per_object=4, pool_objects=2),
        centers=phase(2),
        splats=phase(2),
        targets=1,
        ssim_weight=0.2,
        mask_weight=0.5,
        points_weight=0.5,
    )
    _in_two_calls(lambda **options: train_noposplat(config, tmp_path, device=CUDA, workers=0, **options))
