"""The linear layer that mixes an image embedding with a camera vector into one cross-attention token."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

__all__ = ["CLIPCameraProjection"]


class CLIPCameraProjection(ModelMixin, ConfigMixin):
    """Linear map of [image embedding, camera vector] to the image embedding's width.

    Class, settings and parameter names are those of the public Zero123 pipeline.
    """

    @register_to_config
    def __init__(self, embedding_dim: int = 768, additional_embeddings: int = 18) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.additional_embeddings = additional_embeddings
        self.proj = nn.Linear(embedding_dim + additional_embeddings, embedding_dim)

    def forward(self, embedding: Tensor, camera: Tensor) -> Tensor:  # [B, 1, E]
        """Mix embeddings [B, 1, E] with camera vectors [B, 1, D]."""
        return self.proj(torch.cat([embedding, camera], dim=-1))
