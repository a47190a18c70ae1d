"""The generative prior: a view-conditioned diffusion model, and its judgement as a loss."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.errors import CheckpointError

if TYPE_CHECKING:
    import torch

    from agsrec.prior.zero123 import Zero123

__all__ = ["EMBEDDED_PRIOR", "find_checkpoint", "load_prior"]

EMBEDDED_PRIOR = "zero123-6dof-mini"
"""The model that comes with the project."""

# The models that come with the project, and what to do without them.
_EMBEDDED = {
    EMBEDDED_PRIOR: "go without with --prior none",
    "nview-mini": "name another initialiser with --init",
}
_REPOSITORY = Path(__file__).parents[2]


def find_checkpoint(name: str | Path) -> str | Path:
    """The folder of a model: a folder, or a name in `checkpoints/`; anything else may be a hub id."""
    for folder in (Path(name), Path("checkpoints", name), _REPOSITORY / "checkpoints" / name):
        if folder.is_dir():
            return folder
    if str(name) in _EMBEDDED:
        raise CheckpointError(
            f"the embedded model {name} is missing: no checkpoints/{name} here or beside the package; "
            f"fetch it from the project's repository, or {_EMBEDDED[str(name)]}"
        )
    return name


def load_prior(name: str | Path, device: torch.device | str = "cpu") -> Zero123:
    """A Zero123 model by folder, name in `checkpoints/`, or hub id.

    Raises:
        CheckpointError: There is no such model, or it cannot be used.
    """
    from agsrec.prior.zero123 import Zero123

    return Zero123.from_pretrained(find_checkpoint(name), device=device)
