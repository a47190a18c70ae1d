"""NoPoSplat (Ye et al., ICLR 2025): Gaussians of two or three photos in the frame of the first camera."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agsrec.errors import ShapeError
from agsrec.pose_init.noposplat.config import NoPoSplatConfig
from agsrec.pose_init.noposplat.splats import SCALE_UNIT, SplatMaps, splat_channels
from agsrec.pose_init.noposplat.weights import load_model
from agsrec.pose_init.stereo.backbone import Backbone, initialize_layers
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.heads import DPT, exponential_points
from agsrec.pose_init.stereo.weights import save_model

__all__ = ["EncodedViews", "NoPoSplat"]

_FEWEST, _MOST = 2, 3  # photos that see each other
_SMALL = 0.03  # of the usual size of a last layer's weights before any training
_OPAQUE = 2.0  # logit of the opacity before any training
_PIXEL_FIELD = 0.7  # width of a picture one unit away whose pixels the Gaussians then have the size of


@dataclass(frozen=True)
class EncodedViews:
    """What the encoder makes of images with their intrinsics.

    Attributes:
        tokens: [V, N + 1, C]: patches row by row, then the intrinsics.
        images: The images themselves [V, 3, H, W] in [-1, 1]; the heads look at them again.
        grid: Rows and columns of patches.
    """

    tokens: Tensor
    images: Tensor
    grid: tuple[int, int]

    def __len__(self) -> int:
        return len(self.tokens)


class _Transformer(Backbone):
    """DUSt3R's, which also sees the intrinsics as one more token."""

    def __init__(self, config: DUSt3RConfig) -> None:
        super().__init__(config)
        self.intrinsic_encoder = nn.Linear(9, config.enc_width)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Positions [N + 1, 2] of the tokens; that of the intrinsics is below the first column."""
        return torch.cat([self.grid_positions(grid), torch.tensor([[grid[0], 0]], device=self.device)])


class _CenterHead(nn.Module):
    """Centres of the Gaussians [B, H, W, 3]."""

    def __init__(self, config: DUSt3RConfig) -> None:
        super().__init__()
        self.dpt = DPT(config, channels=3)

    def forward(self, levels: list[Tensor], grid: tuple[int, int]) -> Tensor:
        return exponential_points(self.dpt(levels, grid).movedim(1, -1))


class _SplatDPT(DPT):
    """DPT that adds the image itself before its last layers, so that colours stay sharp."""

    def __init__(self, config: DUSt3RConfig, channels: int) -> None:
        super().__init__(config)
        width = config.dpt_width
        self.input_merger = nn.Sequential(nn.Conv2d(3, width, 7, padding=3), nn.ReLU())
        # The published layers 1 and 3 have no weights and do nothing outside training.
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.Identity(),
            nn.ReLU(),
            nn.Identity(),
            nn.Conv2d(width, channels, 1),
        )

    def merged(self, levels: list[Tensor], images: Tensor, grid: tuple[int, int]) -> Tensor:
        path = F.interpolate(self.fused(levels, grid), scale_factor=2, mode="bilinear", align_corners=True)
        return self.head(path + self.input_merger(images))


class _SplatHead(nn.Module):
    """All of the Gaussians but their centres [B, C, H, W]."""

    def __init__(self, config: DUSt3RConfig, channels: int) -> None:
        super().__init__()
        self.dpt = _SplatDPT(config, channels)

    def forward(self, levels: list[Tensor], images: Tensor, grid: tuple[int, int]) -> Tensor:
        return self.dpt.merged(levels, images, grid)


class NoPoSplat(nn.Module):
    """DUSt3R's transformer and four heads, two for the first view and two for all others; published names."""

    def __init__(self, config: NoPoSplatConfig) -> None:
        super().__init__()
        self.config = config
        inner, channels = config.transformer, splat_channels(config.sh_degree)
        depth = inner.dec_depth
        self._levels = (0, depth // 2, 3 * depth // 4, depth)
        self.backbone = _Transformer(inner)
        self.downstream_head1 = _CenterHead(inner)
        self.downstream_head2 = _CenterHead(inner)
        self.gaussian_param_head = _SplatHead(inner, channels)
        self.gaussian_param_head2 = _SplatHead(inner, channels)

    @staticmethod
    def from_pretrained(
        source: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> NoPoSplat:
        """A trained model, ready to predict, with gradients off.

        Args:
            source: A published .ckpt file, a folder with one or with config.json and model.safetensors, or a
                hub id such as botaoye/NoPoSplat.
            device: Where it goes.
            dtype: Type of the transformer's weights; the heads stay in float32.

        Raises:
            CheckpointError: There is no such model, it is damaged, or of another kind.
        """
        return load_model(NoPoSplat, source, device=device, dtype=dtype)

    def initialize(self, generator: torch.Generator) -> NoPoSplat:
        """Fill the layers as for training from nothing; itself.

        Centres start about one unit in front of the camera, Gaussians round, rather opaque, and as large as
        a pixel is there: at the origin, as the published activations would have them, they are in no picture.
        """
        initialize_layers(self, generator)
        size = math.log(math.expm1(_PIXEL_FIELD / self.config.image_size / SCALE_UNIT))  # inverse of softplus
        with torch.no_grad():
            for head in (self.downstream_head1, self.downstream_head2):
                _start_at(head.dpt, [0.0, 0.0, math.log(2.0)])  # of which expm1 is 1
            for head in (self.gaussian_param_head, self.gaussian_param_head2):
                _start_at(head.dpt, [_OPAQUE, size, size, size, 0.0, 0.0, 0.0, 1.0])
        return self

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write config.json and model.safetensors as `from_pretrained` reads them.

        Args:
            folder: Where to; made if missing.
            dtype: Type of the written weights, that of the model by default.

        Raises:
            OutputError: The folder cannot be written to.
        """
        save_model(self, self.config.to_settings(), Path(folder), dtype)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.backbone.device

    def encode(self, images: Tensor, intrinsics: Tensor, *, batch: int | None = None) -> EncodedViews:
        """Features of images, each of which is encoded once for all its groups.

        Args:
            images: RGB [V, H, W, 3] in [-1, 1], sides multiples of the patch size.
            intrinsics: [V, 3, 3] in units of the images' width (first row) and height (second row).
            batch: Images at a time, all by default; bounds the memory.

        Raises:
            ShapeError: The images or intrinsics have another shape.
        """
        grid = self.backbone.patches_of(images)
        if intrinsics.shape != (len(images), 3, 3):
            raise ShapeError(f"intrinsics must be [{len(images)}, 3, 3], not {tuple(intrinsics.shape)}")
        weights = self.backbone.intrinsic_encoder.weight
        positions = self.backbone.positions(grid)
        x = images.to(weights).movedim(-1, 1)
        lenses = self.backbone.intrinsic_encoder(intrinsics.to(weights).flatten(1))[:, None]
        size = batch or max(1, len(x))
        tokens = [
            self.backbone.encoded(torch.cat([self.backbone.patch_embed(some), lens], 1), positions)
            for some, lens in zip(x.split(size), lenses.split(size), strict=True)
        ]
        return EncodedViews(torch.cat(tokens), x, grid)

    def decode(self, encoded: EncodedViews, groups: Tensor, *, batch: int = 4) -> SplatMaps:
        """Gaussians of groups of encoded images.

        Args:
            encoded: Of V images.
            groups: Indices [B, n] of two or three images each; the first is the frame.
            batch: Groups at a time; bounds the memory that grows with the network.

        Raises:
            ShapeError: The groups have another shape, are none, or name images that there are not.
        """
        if groups.ndim != 2 or not _FEWEST <= groups.shape[1] <= _MOST or groups.is_floating_point():
            raise ShapeError(
                f"groups must be whole numbers [B, {_FEWEST} or {_MOST}], not {groups.dtype} "
                f"{tuple(groups.shape)}"
            )
        if not len(groups) or int(groups.min()) < 0 or int(groups.max()) >= len(encoded):
            raise ShapeError(f"groups must name some of {len(encoded)} images")
        parts = [self._decoded(encoded, some) for some in groups.to(self.device).split(max(1, batch))]
        rows = [vars(part) for part in parts]
        return SplatMaps(**{name: torch.cat([row[name] for row in rows]) for name in rows[0]})

    def forward(self, images: Tensor, intrinsics: Tensor) -> SplatMaps:
        """Gaussians of B groups of images [B, n, H, W, 3] with intrinsics [B, n, 3, 3]; see `encode`."""
        encoded = self.encode(images.flatten(0, 1), intrinsics.flatten(0, 1))
        return self.decode(encoded, _consecutive(images), batch=len(images))

    def centers(self, images: Tensor, intrinsics: Tensor) -> Tensor:
        """Centres of their Gaussians alone [B, n, H, W, 3], of groups as `forward` takes them."""
        encoded = self.encode(images.flatten(0, 1), intrinsics.flatten(0, 1))
        return self._centers(self._states(encoded, _consecutive(images)), encoded.grid)

    # ---------------------------------------------------------------- inside

    def _decoded(self, encoded: EncodedViews, groups: Tensor) -> SplatMaps:
        states = self._states(encoded, groups)
        raw = []
        with torch.autocast(self.device.type, enabled=False):
            for i, (levels, index) in enumerate(zip(states, groups.T, strict=True)):
                head = self.gaussian_param_head2 if i else self.gaussian_param_head
                raw.append(head(levels, encoded.images[index].float(), encoded.grid))
        return SplatMaps.from_heads(self._centers(states, encoded.grid), torch.stack(raw, 1))

    def _states(self, encoded: EncodedViews, groups: Tensor) -> list[list[Tensor]]:
        """What the heads start from: four levels [B, N, C] of each view, without the intrinsics' token."""
        views = [encoded.tokens[index] for index in groups.T]
        positions = [self.backbone.positions(encoded.grid)] * len(views)
        states = self.backbone.decoded(views, positions, self._levels)
        return [[view[level][:, :-1].float() for level in self._levels] for view in states]

    def _centers(self, states: list[list[Tensor]], grid: tuple[int, int]) -> Tensor:  # [B, n, H, W, 3]
        # In full precision: points grow exponentially with their logits.
        with torch.autocast(self.device.type, enabled=False):
            heads = [self.downstream_head1, *[self.downstream_head2] * (len(states) - 1)]
            return torch.stack([head(levels, grid) for head, levels in zip(heads, states, strict=True)], 1)


def _start_at(dpt: DPT, channels: list[float]) -> None:
    """Have the first channels hardly depend on the image before any training."""
    last = dpt.head[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    last.weight.mul_(_SMALL)
    last.bias[: len(channels)] = last.bias.new_tensor(channels)


def _consecutive(images: Tensor) -> Tensor:  # [B, n]
    """Groups of images [B, n, ...] that lie one after the other."""
    return torch.arange(images.shape[0] * images.shape[1]).view(images.shape[:2])
