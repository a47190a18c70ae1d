"""Settings of a NoPoSplat network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from agsrec.bounds import Bounded, Range
from agsrec.errors import CheckpointError
from agsrec.pose_init.stereo.config import DUSt3RConfig

__all__ = ["PUBLISHED", "NoPoSplatConfig"]


def _transformer(size: int = 256) -> DUSt3RConfig:
    return DUSt3RConfig(image_size=(size, size), square_images=True, head="dpt")


@dataclass(frozen=True)
class NoPoSplatConfig(Bounded, error=CheckpointError):
    """Sizes of a network; the defaults are those of re10k.ckpt.

    Attributes:
        views: Photos that it was trained to see together.
        transformer: Its transformer and the widths of its heads, which are DPT.
        sh_degree: Highest degree of the spherical harmonics it predicts.

    Raises:
        CheckpointError: No network can have these settings.
    """

    views: Annotated[int, Range(2, 3)] = 2
    transformer: DUSt3RConfig = field(default_factory=_transformer)
    sh_degree: Annotated[int, Range(0, 4)] = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transformer.head != "dpt":
            raise CheckpointError(f"head_type {self.transformer.head!r} is not dpt, as NoPoSplat's heads are")
        if self.image_size != min(self.transformer.image_size):
            raise CheckpointError(f"img_size {list(self.transformer.image_size)} is not square")

    @property
    def image_size(self) -> int:
        """Side of its images, pixels."""
        return max(self.transformer.image_size)

    @staticmethod
    def from_settings(settings: dict[str, Any]) -> NoPoSplatConfig:
        """From a `config.json`: that of a DUSt3R network, `views` and `sh_degree`; defaults where missing.

        Raises:
            CheckpointError: They describe a network of another kind.
        """
        usual = {"img_size": 256, "head_type": "dpt", "square_images": True}
        own = {name: settings[name] for name in ("views", "sh_degree") if name in settings}
        return NoPoSplatConfig(transformer=DUSt3RConfig.from_published(usual | settings), **own)

    def to_settings(self) -> dict[str, Any]:
        """What `from_settings` reads."""
        return self.transformer.to_published() | {"views": self.views, "sh_degree": self.sh_degree}


PUBLISHED: dict[str, NoPoSplatConfig] = {
    "mixRe10kDl3dv.ckpt": NoPoSplatConfig(),
    "re10k.ckpt": NoPoSplatConfig(),
    "acid.ckpt": NoPoSplatConfig(),
    "re10k_3views.ckpt": NoPoSplatConfig(views=3),
    "mixRe10kDl3dv_512x512.ckpt": NoPoSplatConfig(transformer=_transformer(512)),
}
"""The published files by name; nothing in them tells how many photos, of what size, a network has learnt on.

The first is what the published evaluation of poses uses.
"""
