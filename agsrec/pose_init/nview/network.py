"""A small transformer that sees all views of an object at once and says where each was taken from.

Tokens of a view attend to each other and, in every second block, to those of all other views. In the
second half they may also ask finer ones, of the patches with most detail (`refinement.py`). Three things are
read off: the surface point under every pixel, in a frame shared by all views and in the camera's own axes;
how the azimuths of any two views differ, as a distribution; elevation, roll and field of view of each view,
and whether the object looks the same from all around.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agsrec.bounds import Bounded, Count, Whole
from agsrec.errors import OptionError
from agsrec.pose_init.nview.layers import Block, patch_stem
from agsrec.pose_init.nview.refinement import Refinement

__all__ = ["FIELD_BINS", "FIELD_RANGE_DEG", "NView", "NViewConfig", "NViewOutput"]

AZIMUTH_BINS = 72
"""Bins of the difference of two azimuths, over the whole circle."""
ELEVATION_BINS = 36
"""Bins of the elevation, from -90 to 90 degrees."""
FIELD_BINS = 24
"""Bins of the logarithm of the field of view."""
FIELD_RANGE_DEG = 5.0, 80.0
"""What they cover."""
POINTS_PER_TOKEN = 4
"""Surface points along each side of a token's patch."""


@dataclass(frozen=True)
class NViewConfig(Bounded):
    """Sizes of the network."""

    image_size: Count = 64
    """Side of the square crops in pixels; with `fine_tokens`, of half of them."""
    tokens: Count = 40
    """Tokens kept per view: those that show most of the object."""
    width: Count = 256
    """Channels."""
    heads: Count = 4
    """Attention heads."""
    blocks: str = "FFGFGFGFG"
    """One letter per block: F attends within a view, G across all views."""
    match_after: Whole = 2
    """Block after which tokens are described for matching."""
    match_channels: Count = 64
    """Channels of those descriptions."""
    lens: bool = False
    """Whether it tells fields of view, and whether an object looks the same from all around."""
    fine_tokens: Whole = 0
    """Tokens per view of crops twice as large, in patches of the same number of pixels: those with most
    detail. 0 for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % 8 or self.tokens > self.grid**2 or self.width % self.heads:
            raise OptionError(
                "image_size must be a multiple of 8, tokens at most its patches, width of heads"
            )
        if not self.blocks or set(self.blocks) - set("FG") or self.match_after >= len(self.blocks):
            raise OptionError("blocks must be letters F and G, and match_after one of them")
        if self.fine_tokens > 4 * self.tokens:
            raise OptionError("fine_tokens must be at most 4 per token")

    @property
    def grid(self) -> int:
        """Tokens along a side of the picture."""
        return self.image_size // 8

    @property
    def zoom(self) -> int:
        """Pixels of the crops along a side of a pixel of the picture that all blocks see."""
        return 2 if self.fine_tokens else 1

    @property
    def crop_size(self) -> int:
        """Side of the square crops that the network takes, in pixels."""
        return self.zoom * self.image_size


@dataclass(frozen=True)
class NViewOutput:
    """What the network says of B objects with V views each.

    Attributes:
        pair_logits: [B, V, V, AZIMUTH_BINS], of the azimuth of view j less that of view i at [:, i, j].
        elevation_logits: [B, V, ELEVATION_BINS].
        roll: Cosine and sine [B, V, 2], not normalised.
        points: World frame [B, V, T, P, P, 3], whose azimuth 0 is the first view's.
        local_points: The same points in each camera's axes [B, V, T, P, P, 3], origin as in `points`.
        log_confidence: [B, V, T, P, P], of the points.
        tokens: Index of each kept token in its picture, row by row [B, V, T].
        descriptions: For matching [B, V, T, C], unit length.
        field_logits: [B, V, FIELD_BINS], of the field of view of each picture; None without `lens`.
        alike_logit: [B], of the object looking the same from all around; None without `lens`.
    """

    pair_logits: Tensor
    elevation_logits: Tensor
    roll: Tensor
    points: Tensor
    local_points: Tensor
    log_confidence: Tensor
    tokens: Tensor
    descriptions: Tensor
    field_logits: Tensor | None = None
    alike_logit: Tensor | None = None


class NView(nn.Module):
    """The network; see the module's description."""

    def __init__(self, config: NViewConfig | None = None) -> None:
        super().__init__()
        self.config = config = NViewConfig() if config is None else config
        width = config.width
        self.stem = patch_stem(width)
        self.position = nn.Parameter(0.02 * torch.randn(config.grid**2, width))
        self.camera_token = nn.Parameter(0.02 * torch.randn(width))
        self.reference = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in config.blocks)
        self.describe = nn.Linear(width, config.match_channels)
        self.norm = nn.LayerNorm(width)
        self.point_head = nn.Linear(width, 7 * POINTS_PER_TOKEN**2)
        self.view_head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, ELEVATION_BINS + 2)
        )
        self.pair_from, self.pair_to = nn.Linear(width, width), nn.Linear(width, width)
        self.pair_head = nn.Linear(width, AZIMUTH_BINS)
        self.lens_head = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, FIELD_BINS + 1))
            if config.lens
            else None
        )
        later = range(len(config.blocks) // 2, len(config.blocks), 2)
        self.refinement = (
            Refinement(width, config.heads, config.grid, config.fine_tokens, later)
            if config.fine_tokens
            else None
        )

    def forward(self, images: Tensor) -> NViewOutput:
        """Look at B objects.

        Args:
            images: Cut-outs [B, V, 4, S, S] of `crop_size`: RGB times alpha, and alpha; the object nearly
                fills the picture.
        """
        count, views = images.shape[:2]
        crops, images = images, self._coarse(images)
        x, tokens = self._embed(images)
        fine = None
        descriptions = x.new_zeros(0)
        for index, (block, kind) in enumerate(zip(self.blocks, self.config.blocks, strict=True)):
            if index == self.config.match_after:
                descriptions = F.normalize(self.describe(x[:, :, 1:]).float(), dim=-1)
            if self.refinement is not None and index in self.refinement.before:
                fine = self.refinement.tokens(crops, tokens, x) if fine is None else fine
                x = self.refinement(index, x, fine)
            shape = (count * views, -1) if kind == "F" else (count, -1)
            x = block(x.reshape(*shape, self.config.width)).reshape(x.shape)
        x = self.norm(x)
        cameras, surface = x[:, :, 0], x[:, :, 1:]
        view = self.view_head(cameras).float()
        pairs = self.pair_from(cameras)[:, :, None] + self.pair_to(cameras)[:, None]
        lens = None if self.lens_head is None else self.lens_head(cameras).float()
        points = self.point_head(surface).float()
        points = points.view(*points.shape[:3], POINTS_PER_TOKEN, POINTS_PER_TOKEN, 7)
        return NViewOutput(
            pair_logits=self.pair_head(F.relu(pairs)).float(),
            elevation_logits=view[..., :ELEVATION_BINS],
            roll=view[..., ELEVATION_BINS:],
            points=points[..., :3],
            local_points=points[..., 3:6],
            log_confidence=points[..., 6],
            tokens=tokens,
            descriptions=descriptions,
            field_logits=None if lens is None else lens[..., :FIELD_BINS],
            alike_logit=None if lens is None else lens[..., FIELD_BINS].mean(1),
        )

    def _coarse(self, crops: Tensor) -> Tensor:
        """The pictures that all blocks see [B, V, 4, image_size, image_size]."""
        if self.refinement is None:
            return crops
        return F.avg_pool2d(crops.flatten(0, 1), self.config.zoom).unflatten(0, crops.shape[:2])

    def _embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B, V, 1 + T, C], the camera's first, and the indices of the others [B, V, T]."""
        count, views = images.shape[:2]
        flat = images.flatten(0, 1)
        seen = F.avg_pool2d(flat[:, 3:], 8).flatten(1)  # share of a patch that shows the object
        kept = seen.topk(self.config.tokens, dim=1).indices
        patches = self.stem(flat - 0.5 * flat[:, 3:]).flatten(2).mT + self.position
        patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[-1]))
        camera = self.camera_token.expand(len(flat), 1, -1)
        x = torch.cat([camera, patches], 1).view(count, views, -1, self.config.width)
        is_first = torch.zeros(views, 1, 1, device=x.device, dtype=x.dtype)
        is_first[0] = 1
        return x + is_first * self.reference, kept.view(count, views, -1)
