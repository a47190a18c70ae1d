"""View sets for the all-views pose network that the device itself draws, anew for every batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from agsrec.pose_init.nview.angles import angles_from_rotations
from agsrec.synthetic.camera_batches import cropped_intrinsics, gain_batch, orbit_batch
from agsrec.synthetic.device_render import ObjectBank, draw_objects
from agsrec.synthetic.texels import BakedObject, bake_object
from agsrec.training.nview_data import (
    POINT_STRIDE,
    SETS,
    VIEWS_PER_SET,
    as_cut_out,
    chosen_views,
    random_thing,
)
from agsrec.training.nview_losses import Truth
from agsrec.training.nview_manners import draw_manners, draw_sigmas

__all__ = ["BankPool", "bake_thing"]


def bake_thing(seed: int, index: int, *, size: int) -> BakedObject:
    """Thing `index` of the stream `seed`, the same that `render_view_sets` photographs, for a bank."""
    return bake_object(random_thing(seed, index)[0], size)


@dataclass
class BankPool:
    """The latest objects of a stream, of which every batch shows views that were never seen before.

    Which objects are in it, and where, depends on the step alone; their photos on the generator of the draw.
    """

    bank: ObjectBank
    loaded: int
    lost: Tensor

    @staticmethod
    def empty(objects: int, size: int, device: torch.device, *, first: int = 0) -> BankPool:
        """Room for so many objects, of which number `first` will be the oldest."""
        lost = torch.zeros((), dtype=torch.int64, device=device)
        return BankPool(ObjectBank.empty(objects, size, device), first, lost)

    def advance(self, stream: Iterator[BakedObject], first: int) -> None:
        """Take in new objects until the oldest is number `first`."""
        slots = len(self.bank.alike)
        while self.loaded < first + slots:
            self.bank.insert(self.loaded % slots, next(stream))
            self.loaded += 1

    def draw(self, objects: int, views: int, generator: torch.Generator) -> tuple[Tensor, Truth]:
        """Cut-outs [B, V, 4, S, S] of random objects, and what is known of them, as `ViewPool.draw`."""
        bank, device = self.bank, self.bank.vertices.device
        slots = torch.randint(len(bank.alike), (objects,), generator=generator)
        viewmats, crops = _photographers(objects, views, generator)
        gains = gain_batch(draw_sigmas(objects, generator), views, generator)
        slots, viewmats, crops, gains = (t.to(device) for t in (slots, viewmats, crops, gains))
        Ks = cropped_intrinsics(bank.vertices[slots], viewmats, crops, bank.size)
        drawn = draw_objects(bank, slots, viewmats, Ks, gains=gains)
        self.lost = self.lost + drawn.lost
        rotations = viewmats[..., :3, :3]
        coarse = slice(None, None, POINT_STRIDE)
        truth = Truth(
            rotations,
            torch.stack(angles_from_rotations(rotations), -1),
            drawn.points[:, :, coarse, coarse],
            drawn.depths[:, :, coarse, coarse] > 0,
            (2 * (0.5 * bank.size / Ks[..., 0, 0]).atan()).rad2deg(),
            bank.alike[slots],
        )
        return as_cut_out(drawn.images.permute(0, 1, 4, 2, 3), generator), truth

    def figures(self) -> dict[str, float]:
        """What the log says of it: see `DeviceViews.lost`, added up since the training was started."""
        return {"lost_tests": float(self.lost)}


def _photographers(objects: int, views: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Viewmats [B, V, 4, 4] and crops [B, V, 3] of V photos of each object, of one set or of several."""
    viewmats, crops = orbit_batch(draw_manners(SETS * objects, generator), VIEWS_PER_SET, generator)
    chosen = torch.arange(objects)[:, None], chosen_views(objects, views, generator)
    return viewmats.view(objects, -1, 4, 4)[chosen], crops.view(objects, -1, 3)[chosen]
