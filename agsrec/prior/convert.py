"""From a published latent-diffusion (LDM) checkpoint to a model folder that `Zero123` loads.

The public SparseAGS loader takes the camera projection and the UNet's transformers from its checkpoint and
everything else from the public zero123-xl folder; so does this by default.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agsrec.checkpoints import require_finite
from agsrec.errors import CheckpointError, OutputError
from agsrec.prior.camera_encoders import encoder_for_width
from agsrec.prior.camera_projection import CLIPCameraProjection
from agsrec.prior.convert_keys import (
    CAMERA_PREFIX,
    VAE_PREFIX,
    Source,
    clip_sources,
    projection_sources,
    unet_sources,
    vae_sources,
)
from agsrec.prior.loading import (
    checked_components,
    load_component,
    save_component,
    write_index,
)
from agsrec.prior.model_folder import COMPONENTS, ModelFolder
from agsrec.weights import Weights, read_weights

__all__ = ["ConversionReport", "convert"]

_SOURCES: dict[str, Callable[[Collection[str]], dict[str, Source]]] = {
    "unet": unet_sources,
    "vae": vae_sources,
    "image_encoder": clip_sources,
}
_CLIP_OWNER = "cond_stage_model."

# Names that no model folder has a use for, and what they are.
_UNUSED = {
    "moving averages": r"model_ema\..+",
    "noise schedule": r"betas|alphas_cumprod(_prev)?|log_one_minus_alphas_cumprod"
    r"|sqrt_((one_minus|recip|recipm1)_)?alphas_cumprod|posterior_(variance|log_variance_clipped|mean_coef[12])|lvlb_weights|logvar|scale_factor",
    "loss of the autoencoder": rf"{re.escape(VAE_PREFIX)}loss\..+",
    "text tower": rf"{re.escape(_CLIP_OWNER)}(?!model\.visual\.).+",
}
_UNUSED_BY_DEFAULT = {
    "autoencoder": rf"{re.escape(VAE_PREFIX)}.+",
    "image encoder": rf"{re.escape(_CLIP_OWNER)}.+",
}


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion took from where; `str()` is for reading.

    Attributes:
        output: The folder written.
        camera_kind: Camera encoder that goes with it: "zero123-6dof", "zero123" or "zeronvs".
        taken: Number of tensors from the checkpoint, by part.
        kept: Number of tensors from the base, by part.
        unused: Number of tensors in the checkpoint that were left out, by what they are.
        differing: How many UNet tensors, left as in the base, the checkpoint has with other values.
    """

    output: Path
    camera_kind: str
    taken: dict[str, int]
    kept: dict[str, int]
    unused: dict[str, int]
    differing: int

    def __str__(self) -> str:
        counts = [", ".join(f"{k} {n}" for k, n in d.items()) for d in (self.taken, self.kept, self.unused)]
        lines = [
            f"wrote {self.output} (cameras: {self.camera_kind})",
            f"from the checkpoint: {counts[0]}",
            f"from the base: {counts[1] or 'nothing'}",
            f"in the checkpoint but not used: {counts[2] or 'nothing'}",
        ]
        if self.differing:
            lines.append(
                f"{self.differing} UNet tensors of the base differ from the checkpoint's; "
                "--all-weights takes the checkpoint's"
            )
        return "\n".join(lines)


@dataclass
class _Plan:
    """Which tensor of which part comes from where, and what is wrong with that."""

    sources: dict[str, dict[str, Source]] = field(default_factory=dict)
    optional: dict[str, Source] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)


def convert(
    checkpoint: Path,
    base: Path | str,
    output: Path,
    *,
    all_weights: bool = False,
    dtype: torch.dtype = torch.float16,
) -> ConversionReport:
    """Put the weights of an LDM checkpoint into a copy of a model folder.

    The camera inputs follow from the checkpoint: 18 for SparseAGS' 6-DoF model, 4 for Zero-1-to-3, 19 for
    ZeroNVS, whatever the base has.

    Args:
        checkpoint: `.ckpt` or `.safetensors` file such as zero123_6dof_23k.ckpt.
        base: Folder or hub id of the public zero123-xl.
        output: Folder to write; must not exist or be empty. Appears only when complete.
        all_weights: Take UNet, autoencoder and image encoder whole from the checkpoint.
        dtype: Type of the stored weights.

    Raises:
        CheckpointError: Checkpoint or base cannot be used, or do not fit each other.
        OutputError: The folder cannot be written.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output}: exists already; give a new folder, or remove it first")
    weights = read_weights(checkpoint)
    folder = checked_components(base, "cpu", dtype, pickled=True)
    skeletons: dict[str, nn.Module] = {name: _skeleton(folder, name) for name in _SOURCES}
    projection = _empty_projection(weights, skeletons["unet"], checkpoint)
    camera_kind, _ = encoder_for_width(projection.additional_embeddings)
    plan = _plan(weights, skeletons | {"camera_projection": projection}, all_weights)
    unused = _unused(weights, plan, all_weights, checkpoint)

    def part(name: str) -> Any:
        if name == "camera_projection":
            empty = projection.to_empty(device="cpu")
            empty.proj.to(dtype)
            return empty
        loaded = load_component(folder, name, dtype, pickled=True)
        if name == "scheduler":
            _require_same_schedule(loaded.alphas_cumprod, weights, checkpoint)
        return loaded

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as temporary:
            new = Path(temporary) / "model"
            differing = _write(new, part, weights, plan, checkpoint)
            if output.is_dir():
                output.rmdir()
            new.rename(output)
    except OSError as error:
        raise OutputError(
            f"cannot write {output}: {error.strerror or error}; choose another folder"
        ) from error
    taken = {name: len(sources) for name, sources in plan.sources.items() if sources}
    kept = {name: len(skeletons[name].state_dict()) - taken.get(name, 0) for name in skeletons}
    return ConversionReport(
        output, camera_kind, taken, {k: n for k, n in kept.items() if n}, unused, differing
    )


# ---------------------------------------------------------------- what comes from where


def _skeleton(folder: Path, name: str) -> nn.Module:
    """A part of the base without values, on the meta device."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    settings = ModelFolder(folder).settings(name)
    try:
        with torch.device("meta"):
            if name == "image_encoder":
                return CLIPVisionModelWithProjection(
                    CLIPVisionConfig.from_dict(settings, attn_implementation="sdpa")
                )
            kind: Any = UNet2DConditionModel if name == "unet" else AutoencoderKL
            return kind.from_config(settings)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{folder / name}: its settings make no model ({reason})") from error


def _empty_projection(weights: Weights, unet: Any, checkpoint: Path) -> CLIPCameraProjection:
    """A camera projection of the checkpoint's size."""
    width: int = unet.config["cross_attention_dim"]
    matrix = weights.shapes.get(f"{CAMERA_PREFIX}weight")
    if matrix is None:
        raise CheckpointError(
            f"{checkpoint}: has no {CAMERA_PREFIX}weight, so it is no Zero123 model; expected a checkpoint "
            "such as zero123_6dof_23k.ckpt"
        )
    shape = tuple(matrix.shape)
    if len(shape) != 2 or shape[0] != width or shape[1] <= width:
        raise CheckpointError(
            f"{checkpoint}: {CAMERA_PREFIX}weight is {list(shape)}, expected [{width}, {width} and "
            "the camera numbers]; the base is another kind of model"
        )
    with torch.device("meta"):
        return CLIPCameraProjection(width, shape[1] - width)


def _plan(weights: Weights, skeletons: dict[str, nn.Module], all_weights: bool) -> _Plan:
    plan = _Plan()
    for name, skeleton in skeletons.items():
        wanted = skeleton.state_dict()
        sources = projection_sources() if name == "camera_projection" else _SOURCES[name](list(wanted))
        if not all_weights and name in _SOURCES:
            unet = sources if name == "unet" else {}
            plan.optional |= {k: s for k, s in unet.items() if ".attentions." not in k}
            sources = {k: s for k, s in unet.items() if ".attentions." in k}
        plan.sources[name] = sources
        plan.missing += [s.key for s in sources.values() if s.key not in weights.shapes]
        for key, source in (sources | (plan.optional if name == "unet" else {})).items():
            stored = weights.shapes.get(source.key)
            if stored is not None and source.take(stored).shape != wanted[key].shape:
                plan.misshapen.append(
                    f"{source.key} {list(stored.shape)} for {key} {list(wanted[key].shape)}"
                )
    return plan


def _unused(weights: Weights, plan: _Plan, all_weights: bool, checkpoint: Path) -> dict[str, int]:
    """Count what is left out on purpose.

    Raises:
        CheckpointError: Tensors are missing, have other shapes, or are not known at all.
    """
    used = {source.key for sources in plan.sources.values() for source in sources.values()}
    rest_of_unet = {source.key for source in plan.optional.values()}
    groups = _UNUSED | ({} if all_weights else _UNUSED_BY_DEFAULT)
    unused, unknown = Counter(), []
    for key in weights.shapes:
        if key in used:
            continue
        kind = next((kind for kind, pattern in groups.items() if re.fullmatch(pattern, key)), None)
        if key in rest_of_unet:
            kind = "rest of the UNet"
        if kind is None:
            unknown.append(key)
        else:
            unused[kind] += 1
    problems = {"missing": plan.missing, "of another shape": plan.misshapen, "unknown": unknown}
    texts = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in problems.items() if keys]
    if texts:
        raise CheckpointError(
            f"{checkpoint}: does not fit the base ({'; '.join(texts)}); use the checkpoint of a Zero123 "
            "model and the public zero123-xl as base"
        )
    return dict(unused)


def _some(keys: list[str], most: int = 3) -> str:
    unique = list(dict.fromkeys(keys))
    return ", ".join(unique[:most]) + (", ..." if len(unique) > most else "")


# ---------------------------------------------------------------- the new folder


def _write(new: Path, part: Callable[[str], Any], weights: Weights, plan: _Plan, checkpoint: Path) -> int:
    """Write all parts, one in memory at a time; the number of differing UNet tensors."""
    differing, classes = 0, {}
    for name in COMPONENTS:
        piece = part(name)
        if name == "unet":
            differing = _differing(piece.state_dict(), weights, plan.optional)
        if isinstance(piece, nn.Module):
            _fill(piece, weights, plan.sources[name], checkpoint)
        save_component(new, name, piece)
        classes[name] = type(piece)
        del piece
    write_index(new, classes)
    return differing


def _fill(part: nn.Module, weights: Weights, sources: dict[str, Source], checkpoint: Path) -> None:
    state = part.state_dict()
    for key, source in sources.items():
        state[key].copy_(source.take(weights.read(source.key)))
    require_finite(part, checkpoint)


def _differing(state: dict[str, Tensor], weights: Weights, optional: dict[str, Source]) -> int:
    present = {key: source for key, source in optional.items() if source.key in weights.shapes}
    return sum(
        not torch.equal(source.take(weights.read(source.key)).to(state[key]), state[key])
        for key, source in present.items()
    )


def _require_same_schedule(alphas: Tensor, weights: Weights, checkpoint: Path) -> None:
    if "alphas_cumprod" not in weights.shapes:
        return
    stored = weights.read("alphas_cumprod").to(alphas)
    if stored.shape != alphas.shape or not torch.allclose(stored, alphas, atol=1e-4):
        raise CheckpointError(
            f"{checkpoint}: was trained with another noise schedule than the base's scheduler"
        )
