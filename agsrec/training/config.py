"""Settings of a training run, read from JSON files; two sizes come with the package."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from agsrec.errors import OptionError

__all__ = ["DataConfig", "PhaseConfig", "TrainConfig", "load_config", "packaged_configs"]

_PREDICTIONS = "epsilon", "sample", "v_prediction"
_FOLDER = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class DataConfig:
    """The pool of rendered objects that training pairs are drawn from."""

    views_per_object: int
    """Views rendered of every object."""
    pool_objects: int
    """Objects kept in device memory."""

    def __post_init__(self) -> None:
        _require(self.views_per_object >= 2, "views_per_object must be at least 2: one shown, one wanted")
        _require(self.pool_objects >= 1, "pool_objects must be at least 1")


@dataclass(frozen=True)
class PhaseConfig:
    """One optimisation: the autoencoder's or the diffusion model's."""

    steps: int
    """Optimisation steps in all; the learning rate falls to zero at the last."""
    batch_size: int
    """Images or pairs per step and device."""
    learning_rate: float
    """AdamW's, after the warm-up."""
    warmup_steps: int
    """Steps over which the learning rate rises."""
    objects_per_step: float
    """Objects of the pool replaced per step."""
    ema_decay: float
    """Decay of the moving average of the weights, which is what is kept."""

    def __post_init__(self) -> None:
        _require(self.steps >= 1 and self.batch_size >= 1, "steps and batch_size must be at least 1")
        _require(self.learning_rate > 0, "learning_rate must be above 0")
        _require(0 <= self.warmup_steps <= self.steps, "warmup_steps must be between 0 and steps")
        _require(self.objects_per_step >= 0, "objects_per_step must not be negative")
        _require(0 <= self.ema_decay < 1, "ema_decay must be at least 0 and below 1")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run computes."""

    image_size: int
    """Side of the square images in pixels."""
    vae: dict[str, Any]
    """Settings of diffusers' AutoencoderKL."""
    unet: dict[str, Any]
    """Settings of diffusers' UNet2DConditionModel."""
    image_encoder: dict[str, Any]
    """Settings of transformers' CLIPVisionConfig."""
    scheduler: dict[str, Any]
    """Settings of diffusers' DDIMScheduler."""
    data: DataConfig
    autoencoder: PhaseConfig
    diffusion: PhaseConfig
    autoencoder_crop: int
    """Side of the random crops that the autoencoder is trained on, pixels."""
    kl_weight: float
    """Weight of the autoencoder's KL divergence, mean over latent elements."""
    condition_dropout: float
    """Share of pairs that are trained without the photo, for classifier-free guidance."""
    noise_bias: float
    """Density of the diffusion steps trained, as a power of the step: 0 is uniform, 1 favours noisy ones,
    which decide what the view shows."""
    snr_clip: float | None
    """Upper limit of the signal-to-noise ratio in the loss weight (min-SNR); no weighting without."""

    def __post_init__(self) -> None:
        channels = self.vae.get("block_out_channels")
        _require(isinstance(channels, list | tuple) and len(channels) > 0, "vae lacks block_out_channels")
        cell = 2 ** (len(self.vae["block_out_channels"]) - 1)
        for name in ("image_size", "autoencoder_crop"):
            side = getattr(self, name)
            _require(side >= cell and side % cell == 0, f"{name} must be a multiple of {cell}, not {side}")
        _require(self.autoencoder_crop <= self.image_size, "autoencoder_crop must not exceed image_size")
        _require(self.kl_weight >= 0, "kl_weight must not be negative")
        _require(0 <= self.condition_dropout <= 1, "condition_dropout must be between 0 and 1")
        _require(self.snr_clip is None or self.snr_clip > 0, "snr_clip must be above 0, or null")
        kind = self.scheduler.get("prediction_type", _PREDICTIONS[0])
        _require(kind in _PREDICTIONS, f"scheduler: prediction_type must be one of {', '.join(_PREDICTIONS)}")

    def to_json(self) -> str:
        """The settings as `load_config` reads them."""
        return json.dumps(asdict(self), indent=2) + "\n"


def packaged_configs() -> tuple[str, ...]:
    """Names of the settings that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


def load_config(name: str | Path) -> TrainConfig:
    """Settings by their packaged name, or from a JSON file.

    Raises:
        OptionError: No such name or file, or the file does not hold such settings.
    """
    path = _FOLDER / f"{name}.json" if str(name) in packaged_configs() else Path(name)
    if not path.is_file():
        known = ", ".join(packaged_configs())
        raise OptionError(f"--config: {name} is neither a JSON file nor one of {known}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise OptionError(f"--config: {path} is not a readable JSON file: {error}") from error
    return _built(TrainConfig, content, str(path))


def _built(kind: Any, content: Any, where: str) -> Any:
    """A dataclass from a JSON object with exactly its fields."""
    if not isinstance(content, dict):
        raise OptionError(f"--config: {where} must be a JSON object")
    wanted = {f.name for f in fields(kind)}
    if wrong := wanted ^ content.keys():
        verb = "lacks" if wrong <= wanted else "does not know"
        raise OptionError(f"--config: {where} {verb} {', '.join(sorted(wrong))}")
    hints = get_type_hints(kind)
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in content.items()}
    try:
        return kind(**values)
    except OptionError as error:
        raise OptionError(f"--config: {where}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """A value, if it has the type of its field."""
    if hint in (DataConfig, PhaseConfig):
        return _built(hint, value, where)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    fits = {
        int: is_number and isinstance(value, int),
        float: is_number,
        float | None: is_number or value is None,
        dict[str, Any]: isinstance(value, dict),
    }
    _require(fits[hint], f"--config: {where}: {value!r} is not of the kind that belongs there")
    return value


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)
