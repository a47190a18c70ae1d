"""What DUSt3R and its relatives have in common: one encoder, and two decoders that look at each other."""

from __future__ import annotations

from collections.abc import Container, Sequence

import torch
from torch import Tensor, nn

from agsrec.errors import ShapeError
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.croco import DecoderBlock, EncoderBlock, PatchEmbed
from agsrec.pose_init.stereo.rope import Rotation, grid_positions, patch_rotation

__all__ = ["Backbone", "initialize_layers"]


class Backbone(nn.Module):
    """The transformer under the published names of its weights, without heads."""

    mask_token: Tensor  # [1, 1, C]

    def __init__(self, config: DUSt3RConfig) -> None:
        super().__init__()
        self.config = config
        enc, dec = (config.enc_width, config.enc_heads), (config.dec_width, config.dec_heads)
        # Left over from the pre-training by cross-view completion; part of the published weights.
        self.register_buffer("mask_token", torch.zeros(1, 1, config.dec_width))
        self.patch_embed = PatchEmbed(config.patch_size, config.enc_width)
        self.enc_blocks = nn.ModuleList(EncoderBlock(*enc) for _ in range(config.enc_depth))
        self.enc_norm = nn.LayerNorm(config.enc_width, eps=1e-6)
        self.decoder_embed = nn.Linear(config.enc_width, config.dec_width)
        self.dec_blocks = nn.ModuleList(DecoderBlock(*dec) for _ in range(config.dec_depth))
        self.dec_norm = nn.LayerNorm(config.dec_width, eps=1e-6)
        self.dec_blocks2 = nn.ModuleList(DecoderBlock(*dec) for _ in range(config.dec_depth))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.mask_token.device

    def patches_of(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of images [V, H, W, 3].

        Raises:
            ShapeError: They have another shape, or sides that the patch size does not divide.
        """
        patch = self.config.patch_size
        if images.ndim != 4 or images.shape[-1] != 3 or images.shape[1] % patch or images.shape[2] % patch:
            raise ShapeError(
                f"images must be [V, H, W, 3] with sides that {patch} divides, not {tuple(images.shape)}"
            )
        return images.shape[1] // patch, images.shape[2] // patch

    def encoded(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens [B, N, C] after the encoder, from tokens [B, N, C] at positions [N, 2] (row, column)."""
        rotation = self._rotation(positions, self.config.enc_width // self.config.enc_heads)
        for block in self.enc_blocks:
            tokens = block(tokens, rotation)
        return self.enc_norm(tokens)

    def decoded(
        self, tokens: Sequence[Tensor], positions: Sequence[Tensor], levels: Container[int]
    ) -> list[dict[int, Tensor]]:
        """The decoders' states of views that look at each other.

        The first view has a decoder of its own, all others share the second one. With more than two views
        each sees the tokens of all others together (NoPoSplat, Ye et al. 2025, for three views).

        Args:
            tokens: After the encoder, [B, N, C] per view.
            positions: Of the tokens, [N, 2] per view.
            levels: Which states to keep: 0 is the encoder's, the last one is normalised.
        """
        width, depth = self.config.dec_width // self.config.dec_heads, self.config.dec_depth
        rotations = [self._rotation(p, width) for p in positions]
        others = [self._rotation(torch.cat(_without(positions, i)), width) for i in range(len(positions))]
        kept = [{0: x} for x in tokens]
        states = [self.decoder_embed(x) for x in tokens]
        for level, (block1, block2) in enumerate(zip(self.dec_blocks, self.dec_blocks2, strict=True), 1):
            # Each view sees the others' states from before this level.
            states = [
                (block2 if i else block1)(x, torch.cat(_without(states, i), 1), rotations[i], others[i])
                for i, x in enumerate(states)
            ]
            if level in levels and level < depth:
                for view, state in zip(kept, states, strict=True):
                    view[level] = state
        for view, state in zip(kept, states, strict=True):
            view[depth] = self.dec_norm(state)
        return kept

    def grid_positions(self, grid: tuple[int, int]) -> Tensor:
        """Positions [N, 2] (row, column) of the patches of a grid, row by row."""
        return grid_positions(*grid, self.device)

    def _rotation(self, positions: Tensor, head_width: int) -> Rotation:
        return patch_rotation(positions, head_width, self.config.rope_base)


def initialize_layers(network: nn.Module, generator: torch.Generator) -> None:
    """Fill the linear layers as for training from nothing (Glorot & Bengio 2010)."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _without(items: Sequence[Tensor], index: int) -> list[Tensor]:
    return [item for i, item in enumerate(items) if i != index]
