"""How well a network in training poses objects it never sees, and scenes with known cameras."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch

from agsrec.cameras import Cameras
from agsrec.metrics.poses import pairwise_rotation_errors, summarize_rotations
from agsrec.pose_init.nview import NView, initialize_nview
from agsrec.synthetic import random_cameras, random_object, render_views
from agsrec.training.validation import FIRST_SEED
from agsrec.views import Views

__all__ = ["unseen_view_sets", "validate_poses"]

_VIEWS = 8
_SIZE = 128


@lru_cache(maxsize=2)
def unseen_view_sets(count: int, first: int = 0) -> tuple[tuple[Views, Cameras], ...]:
    """Fixed objects that no training sees, every second one photographed in a ring, the others at random."""
    return tuple(_view_set(index) for index in range(first, first + count))


def _view_set(index: int) -> tuple[Views, Cameras]:
    rng = np.random.default_rng((11, index))
    obj = random_object(FIRST_SEED + 20_000 + index)
    layout = "ring" if index % 2 == 0 else "scattered"
    cameras = random_cameras(obj.vertices, _VIEWS, _SIZE, rng, layout=layout)
    images = torch.from_numpy(render_views(obj, cameras).images)
    return Views(images, tuple(f"{view:03d}" for view in range(_VIEWS))), cameras


def validate_poses(
    network: NView, scenes: Mapping[str, tuple[Views, Cameras]], count: int = 16
) -> dict[str, float]:
    """Relative rotation errors over pairs of views: their median in degrees, and shares within 15 and 30.

    Args:
        network: The network; it is left in training mode if it was.
        scenes: Views and true cameras of more objects, by name.
        count: Number of unseen objects.
    """
    training = network.training
    device = next(network.parameters()).device.type
    sets = {"unseen": list(unseen_view_sets(count))} | {name: [scene] for name, scene in scenes.items()}
    report: dict[str, float] = {}
    for name, members in sets.items():
        errors = []
        for views, truth in members:
            estimate = initialize_nview(views, model=network, device=device, refine=False)
            errors.append(pairwise_rotation_errors(estimate.cameras, truth))
        summary = summarize_rotations(torch.cat(errors))
        report[f"{name}_median_deg"] = round(summary.median_deg, 2)
        report[f"{name}_within_15"] = round(summary.within_15, 3)
        report[f"{name}_within_30"] = round(summary.within_30, 3)
    network.train(training)
    return report
