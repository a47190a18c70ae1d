"""Training of the all-views pose network from nothing but procedural objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from agsrec.bounds import Bounded, Count, Share
from agsrec.errors import OptionError
from agsrec.pose_init.nview.network import NView, NViewConfig
from agsrec.pose_init.nview.weights import load_nview, save_nview
from agsrec.training.config import PhaseConfig
from agsrec.training.loop import muon_with_adamw
from agsrec.training.nview_data import VIEWS_PER_SET, ViewPool, render_view_sets
from agsrec.training.nview_device import BankPool, bake_thing
from agsrec.training.nview_losses import NViewLoss, Truth
from agsrec.training.nview_validation import validate_poses
from agsrec.training.pool import first_object
from agsrec.training.render_stream import RenderStream
from agsrec.training.run import Run, RunOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from agsrec.cameras import Cameras
    from agsrec.views import Views

__all__ = ["NViewTrainConfig", "Render", "train_nview"]

Render = Literal["workers", "device"]

# How often a batch has so many views per object.
_VIEWS = {2: 0.1, 3: 0.1, 4: 0.2, 6: 0.1, VIEWS_PER_SET: 0.45, 12: 0.05}
_LEARNED = "lens", "fine_tokens"  # what a network that is started from may lack


@dataclass(frozen=True)
class NViewTrainConfig(Bounded):
    """Everything that decides what a training run computes."""

    network: NViewConfig
    """Sizes of the network."""
    pool_objects: Count
    """Objects kept in device memory."""
    training: PhaseConfig
    """Schedule; a batch is so many views, shared among objects."""
    start_share: Share = 0.0
    """How much of the network that it went on from stays in the model: weights are the mean of both, with
    this share (Wortsman et al. 2022, WiSE-FT, equation 1). What was learned of other photos before is
    forgotten less."""


def train_nview(
    config: NViewTrainConfig,
    folder: Path,
    *,
    start: Path | None = None,
    scenes: Mapping[str, tuple[Views, Cameras]] | None = None,
    render: Render = "workers",
    **options: Unpack[RunOptions],
) -> bool:
    """Train, or go on with a training that was interrupted; the network goes to `folder / "model"`.

    Args:
        config: Sizes and schedule.
        folder: State and log of the run.
        start: Folder of a network whose weights to start from instead of random ones.
        scenes: Views and true cameras to validate on besides unseen random objects, by name.
        render: Who renders: `workers` photograph every object twice, and batches are drawn from those photos;
            or the `device` that trains, from objects that the workers make, anew for every batch.
        options: See `RunOptions`.

    Returns:
        Whether the training is complete; otherwise the same call goes on with it.

    Raises:
        CheckpointError: The folder holds the state of another training, or `start` cannot be used.
        OptionError: The training diverges, or a share of a start is to stay where there is none.
        OutputError: The folder cannot be written to.
    """
    options.setdefault("workers", 0)
    if config.start_share and start is None:
        raise OptionError("this --config keeps a share of a network to go on from; name one: --start")
    run = Run.begin(config, folder, **options)
    network = _started(config.network, run.seed, start).to(run.accelerator.device)
    settings = config.training
    before = load_nview(start).state_dict() if start is not None and config.start_share else {}
    kept = partial(_mixed, network, before, config.start_share)

    def save(folder: Path) -> None:
        save_nview(kept(), folder)

    bound_to = {} if render == "workers" else {"render": render}
    phase = run.phase("nview", NViewLoss(network), settings, bound_to=bound_to, optimizers=muon_with_adamw)
    if not phase.done:
        first = first_object(phase.step, settings.objects_per_step)
        make, pool = _supply(render, run.objects_seed(), config, run.accelerator.device, first)
        with RenderStream(make, workers=run.workers, first=first) as stream:

            def inputs(step: int) -> tuple[Tensor, Truth]:
                pool.advance(stream, first_object(step, settings.objects_per_step))
                generator = run.generator(phase, step)
                views = _draw_views(generator)
                return pool.draw(max(1, settings.batch_size // views), views, generator)

            phase.run(
                inputs,
                run.time_left(),
                lambda _step: validate_poses(kept(), scenes or {}) | pool.figures(),
                supply=stream,
                keep=partial(run.keep, save),
            )
    phase.use_average()
    run.finish(save)
    return phase.done


def _supply(
    render: Render, seed: int, config: NViewTrainConfig, device: torch.device, first: int
) -> tuple[Callable[[int], Any], ViewPool | BankPool]:
    """What workers make of every thing of a stream, and the pool that it goes to."""
    size, zoom, objects = config.network.image_size, config.network.zoom, config.pool_objects
    if render == "workers":
        pool = ViewPool.empty(objects, size, device, first=first, zoom=zoom)
        return partial(render_view_sets, seed, size=size, zoom=zoom), pool
    if zoom > 1:
        raise OptionError("--render device draws no crops for fine_tokens; use --render workers")
    return partial(bake_thing, seed, size=size), BankPool.empty(objects, size, device, first=first)


def _started(config: NViewConfig, seed: int, start: Path | None) -> NView:
    torch.manual_seed(seed)
    if start is None:
        return NView(config)
    network = load_nview(start)
    lacks = {name: getattr(network.config, name) for name in _LEARNED if not getattr(network.config, name)}
    if network.config == replace(config, **lacks):
        network = _grown(network, config)
    if network.config != config:
        changed = [name for name, value in asdict(config).items() if getattr(network.config, name) != value]
        raise OptionError(f"--start: {start} has another {', '.join(changed)} than the --config")
    return network.train().requires_grad_(True)


def _grown(network: NView, config: NViewConfig) -> NView:
    """The network with what it lacks of a config, still to be learned."""
    grown = NView(config)
    grown.load_state_dict(network.state_dict(), strict=False)
    if grown.refinement is not None and network.refinement is None:
        grown.refinement.stem.load_state_dict(network.stem.state_dict())  # it sees patches as large
    return grown


def _mixed(network: NView, before: Mapping[str, Tensor], share: float) -> NView:
    """The network, with that share of the weights from before in those that both have."""
    if not share:
        return network
    weights = {
        name: torch.lerp(value, before[name].to(value), share) if name in before else value
        for name, value in network.state_dict().items()
    }
    mixed = deepcopy(network)
    mixed.load_state_dict(weights)
    return mixed


def _draw_views(generator: torch.Generator) -> int:
    counts = list(_VIEWS)
    share = torch.tensor([_VIEWS[count] for count in counts])
    return counts[int(torch.multinomial(share, 1, generator=generator))]
