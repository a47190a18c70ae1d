"""Sizes of a LEAP model, and the space its volume lives in."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

from agsrec.bounds import Bounded, Range
from agsrec.errors import CheckpointError

__all__ = ["LEAP_VARIANTS", "LeapConfig"]

_Size = Annotated[int, Range(1, 2**16)]
_Length = Annotated[float, Range(0, 10**6, above=True)]


@dataclass(frozen=True)
class LeapConfig(Bounded, error=CheckpointError):
    """Settings of a LEAP model; the defaults are those of the model trained on Kubric.

    Attributes:
        image_size: Edge of the input pictures, pixels.
        render_size: Edge of the pictures rendered before upsampling, pixels.
        patch_size: Edge of the backbone's patches, pixels.
        width: Channels of the backbone and of all transformers.
        backbone_layers: Layers of the DINOv2 backbone.
        backbone_heads: Its attention heads.
        max_views: Views that have an embedding of their own.
        encoder_layers: Pairs of cross- and self-attention between views.
        lifting_layers: Layers that carry pictures over to the volume.
        heads: Attention heads of both.
        latent_size: Edge of the volume's tokens.
        refine_width: Hidden channels where the tokens become the coarse volume.
        volume_width: Channels of the coarse volume.
        head_width: Hidden channels of the volume's heads.
        density_width: Hidden channels of the density head's end.
        feature_channels: Channels of the features that are rendered.
        color_width: Hidden channels where they become colours.
        kernel_size: Edge of the upsampling kernels.
        num_samples: Samples of a ray.
        volume_size: Edge of the volume, world units.
        min_depth: Depth of the first sample, world units.
        max_depth: Depth of the last.
        camera_distance: Of the first view from the volume's middle, world units.
        focal: Focal length that the training views had, in picture widths.
    """

    image_size: _Size = 224
    render_size: _Size = 112
    patch_size: _Size = 14
    width: _Size = 768
    backbone_layers: _Size = 12
    backbone_heads: _Size = 12
    max_views: _Size = 10
    encoder_layers: _Size = 2
    lifting_layers: _Size = 4
    heads: _Size = 8
    latent_size: _Size = 16
    refine_width: _Size = 256
    volume_width: _Size = 128
    head_width: _Size = 32
    density_width: _Size = 8
    feature_channels: _Size = 16
    color_width: _Size = 8
    kernel_size: _Size = 5
    num_samples: _Size = 64
    volume_size: _Length = 1.0
    min_depth: _Length = 0.5
    max_depth: _Length = 2.0
    camera_distance: _Length = 1.5
    focal: _Length = 1.3888888  # 0.5 / tan(0.5 * 0.6911 rad), as in the public demonstration

    def __post_init__(self) -> None:
        super().__post_init__()
        problem = None
        if self.image_size % self.patch_size:
            problem = f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
        elif self.image_size != self.render_size << self.upsampling:
            problem = f"image_size {self.image_size} is no power of two times render_size {self.render_size}"
        elif self.width % self.heads or self.width % self.backbone_heads:
            problem = f"width {self.width} is not a multiple of heads and backbone_heads"
        elif self.min_depth >= self.max_depth or self.num_samples < 2:
            problem = "min_depth must be below max_depth, and num_samples at least 2"
        if problem:
            raise CheckpointError(problem)

    @property
    def grid_size(self) -> int:
        """Patches along a side of the picture."""
        return self.image_size // self.patch_size

    @property
    def volume_resolution(self) -> int:
        """Voxels along a side of the volume."""
        return 4 * self.latent_size

    @property
    def upsampling(self) -> int:
        """Halvings between input pictures and rendered ones."""
        return (self.image_size // self.render_size).bit_length() - 1

    @staticmethod
    def from_dict(values: dict[str, Any], where: str) -> LeapConfig:
        """Settings from plain values, those of the published model where one is missing.

        Raises:
            CheckpointError: There are unknown names or values of the wrong kind; `where` is named.
        """
        values = {k: v for k, v in values.items() if not k.startswith("_")}
        if unknown := sorted(values.keys() - {f.name for f in fields(LeapConfig)}):
            raise CheckpointError(f"{where}: unknown setting {unknown[0]!r}; is this a LEAP model?")
        try:
            return LeapConfig(**values)
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from error


LEAP_VARIANTS: dict[str, LeapConfig] = {
    "kubric": LeapConfig(),
    "omniobject3d": LeapConfig(volume_size=2.0, min_depth=3.0, max_depth=5.0, camera_distance=4.0),
}
"""The published models by the data they were trained on; their weights do not tell them apart."""
