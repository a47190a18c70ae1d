"""DUSt3R (Wang et al., CVPR 2024): points of two photos in the frame of the first camera."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agsrec.errors import ShapeError
from agsrec.pose_init.stereo.backbone import Backbone, initialize_layers
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.heads import HeadOutput, build_head
from agsrec.pose_init.stereo.weights import load_model, save_model

__all__ = ["DUSt3R", "ImageFeatures", "PairPrediction"]


@dataclass(frozen=True)
class ImageFeatures:
    """What the encoder makes of images of one size.

    Attributes:
        tokens: [V, N, C], row by row.
        grid: Rows and columns of patches.
    """

    tokens: Tensor
    grid: tuple[int, int]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Tensor | list[int]) -> ImageFeatures:
        """The selected images' features, always as a batch."""
        return ImageFeatures(self.tokens[index], self.grid)


@dataclass(frozen=True)
class PairPrediction:
    """Points of both images of B pairs, in the frame of each pair's first camera (OpenCV axes).

    The scale is arbitrary, but common to both images of a pair.

    Attributes:
        points1: Of the first image [B, H, W, 3].
        confidence1: [B, H, W], at least 1.
        points2: Of the second image [B, H2, W2, 3], in the FIRST camera's frame.
        confidence2: [B, H2, W2].
        descriptors1: Unit vectors [B, H, W, D], of a model with the matching head.
        descriptors2: [B, H2, W2, D].
        descriptor_confidence1: [B, H, W].
        descriptor_confidence2: [B, H2, W2].
    """

    points1: Tensor
    confidence1: Tensor
    points2: Tensor
    confidence2: Tensor
    descriptors1: Tensor | None = None
    descriptors2: Tensor | None = None
    descriptor_confidence1: Tensor | None = None
    descriptor_confidence2: Tensor | None = None

    def __len__(self) -> int:
        return len(self.points1)

    def to(self, device: torch.device | str) -> PairPrediction:
        """The same prediction on another device."""
        moved: dict[str, Any] = {k: None if v is None else v.to(device) for k, v in vars(self).items()}
        return PairPrediction(**moved)

    @staticmethod
    def cat(batches: Iterable[PairPrediction]) -> PairPrediction:
        """Several batches as one."""
        rows = [vars(batch) for batch in batches]
        joined: dict[str, Any] = {
            name: None if first is None else torch.cat([row[name] for row in rows])
            for name, first in rows[0].items()
        }
        return PairPrediction(**joined)


class DUSt3R(Backbone):
    """A siamese encoder and two decoders that look at each other; published names of the weights."""

    def __init__(self, config: DUSt3RConfig) -> None:
        super().__init__(config)
        self.downstream_head1 = build_head(config)
        self.downstream_head2 = build_head(config)

    @staticmethod
    def from_pretrained(
        source: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        matching: bool | None = None,
    ) -> DUSt3R:
        """A trained model, ready to predict, with gradients off.

        Args:
            source: Hub id such as naver/DUSt3R_ViTLarge_BaseDecoder_224_linear, folder with config.json and
                model.safetensors, or a published .pth file.
            device: Where it goes.
            dtype: Type of the transformer's weights; the heads stay in float32.
            matching: Whether it must be MASt3R, with the matching head, or must not; either by default.

        Raises:
            CheckpointError: There is no such model, it is damaged, or of another kind.
        """
        return load_model(DUSt3R, source, device=device, dtype=dtype, matching=matching)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write config.json and model.safetensors as `from_pretrained` reads them.

        Args:
            folder: Where to; made if missing.
            dtype: Type of the written weights, that of the model by default.

        Raises:
            OutputError: The folder cannot be written to.
        """
        save_model(self, self.config.to_published(), Path(folder), dtype)

    def initialize(self, generator: torch.Generator) -> DUSt3R:
        """Fill the linear layers as for training from nothing (Glorot & Bengio 2010); itself."""
        initialize_layers(self, generator)
        return self

    def encode(self, images: Tensor, *, batch: int | None = None) -> ImageFeatures:
        """Features of images, each of which is encoded once for all its pairs.

        Args:
            images: RGB [V, H, W, 3] in [-1, 1], sides multiples of the patch size.
            batch: Images at a time, all by default; bounds the memory.

        Raises:
            ShapeError: The images have another shape.
        """
        grid = self.patches_of(images)
        x = images.to(self.patch_embed.proj.weight).movedim(-1, 1)
        parts = x.split(batch or max(1, len(x)))
        positions = self.grid_positions(grid)
        return ImageFeatures(torch.cat([self.encoded(self.patch_embed(p), positions) for p in parts]), grid)

    def forward_pairs(self, images1: Tensor, images2: Tensor) -> PairPrediction:
        """Points of B pairs of images [B, H, W, 3] and [B, H2, W2, 3] in [-1, 1].

        Raises:
            ShapeError: The images have another shape, or are not as many.
        """
        if len(images1) != len(images2):
            raise ShapeError(f"{len(images1)} first and {len(images2)} second images do not make pairs")
        if images1.shape == images2.shape:
            both = self.encode(torch.cat([images1, images2]))
            first, second = (ImageFeatures(t, both.grid) for t in both.tokens.chunk(2))
            return self._decode(first, second)
        return self._decode(self.encode(images1), self.encode(images2))

    forward = forward_pairs

    def decode_pairs(
        self,
        features: ImageFeatures,
        pairs: Tensor,
        *,
        batch: int = 8,
        device: torch.device | str | None = None,
    ) -> PairPrediction:
        """Points of the pairs (i, j) of encoded images.

        Args:
            features: Of V images.
            pairs: Indices [P, 2] of the first and second image of every pair.
            batch: Pairs at a time; bounds the memory that grows with the network.
            device: Where the prediction goes; that of the model by default.

        Raises:
            ShapeError: The pairs have another shape, are none, or name images that there are not.
        """
        if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) == 0 or pairs.is_floating_point():
            raise ShapeError(
                f"pairs must be whole numbers [P, 2], P > 0, not {pairs.dtype} {tuple(pairs.shape)}"
            )
        if int(pairs.min()) < 0 or int(pairs.max()) >= len(features):
            raise ShapeError(f"pairs name images up to {int(pairs.max())}, but there are {len(features)}")
        target = self.device if device is None else device
        parts = pairs.to(self.device).split(max(1, batch))
        found = (self._decode(features[part[:, 0]], features[part[:, 1]]).to(target) for part in parts)
        return PairPrediction.cat(found)

    # ---------------------------------------------------------------- inside

    def _decode(self, first: ImageFeatures, second: ImageFeatures) -> PairPrediction:
        views = (first, second)
        tokens1, tokens2 = self.decoded(
            [view.tokens for view in views],
            [self.grid_positions(view.grid) for view in views],
            self.downstream_head1.levels,
        )
        found1 = _in_float32(self.downstream_head1, tokens1, first.grid)
        found2 = _in_float32(self.downstream_head2, tokens2, second.grid)
        return PairPrediction(
            found1.points,
            found1.confidence,
            found2.points,
            found2.confidence,
            found1.descriptors,
            found2.descriptors,
            found1.descriptor_confidence,
            found2.descriptor_confidence,
        )


def _in_float32(head: nn.Module, tokens: dict[int, Tensor], grid: tuple[int, int]) -> HeadOutput:
    """A head's output in full precision: points grow exponentially with their logits."""
    device = next(iter(tokens.values())).device.type
    with torch.autocast(device, enabled=False):
        return head({level: x.float() for level, x in tokens.items()}, grid)
