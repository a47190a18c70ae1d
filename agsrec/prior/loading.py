"""Model folders: the layout of the public Zero123 pipeline, checked before anything is loaded."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agsrec.checkpoints import downloaded, require_finite, require_memory, some_of
from agsrec.errors import CheckpointError, OutputError
from agsrec.files import atomic_write
from agsrec.prior.camera_encoders import encoder_for_width
from agsrec.prior.camera_projection import CLIPCameraProjection
from agsrec.prior.model_folder import COMPONENTS, ModelFolder
from agsrec.weights import read_weights

__all__ = [
    "checked_components",
    "load_component",
    "save_component",
    "save_components",
    "write_index",
]

_NO_MODEL = (
    "the embedded model is checkpoints/zero123-6dof-mini; for the published one, run `agsrec convert` on "
    "zero123_6dof_23k.ckpt from the SparseAGS release with kxic/zero123-xl as base"
)
_SMALLER = "use half precision, or take the embedded model checkpoints/zero123-6dof-mini"
# What diffusers, transformers and the tensor files raise for contents that do not fit.
_LOAD_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ArithmeticError)


def checked_components(
    source: str | Path, device: torch.device | str, dtype: torch.dtype, *, pickled: bool = False
) -> Path:
    """The model's folder, downloaded if it is a hub id, with every part in place.

    Args:
        source: Folder or hub id.
        device: Where the model will go; it must fit in there.
        dtype: In which type.
        pickled: Accept weights in PyTorch's own format too (only ever read as weights).

    Raises:
        CheckpointError: There is no such model, a part is missing, damaged or of another kind, or the
            memory will not do.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _downloaded(str(source), pickled)
    count = ModelFolder(folder, pickled).check()
    require_memory(folder, count, torch.device(device), dtype, remedy=_SMALLER)
    return folder


def _downloaded(source: str, pickled: bool) -> Path:
    endings = ("json", "safetensors", *(["bin"] if pickled else []))
    folders = [folder for kind in COMPONENTS.values() for folder in kind.folders]
    patterns = [f"{folder}/*.{ending}" for folder in folders for ending in endings]
    return downloaded(source, patterns, what="model folder", remedy=_NO_MODEL)


# ---------------------------------------------------------------- one part


def load_component(folder: Path, name: str, dtype: torch.dtype, *, pickled: bool = False) -> Any:
    """One part of a model, by the name of its attribute.

    Raises:
        CheckpointError: Its files do not fit its settings, or hold NaNs.
    """
    model = ModelFolder(folder, pickled)
    path = model.component(name)
    with _silence():
        try:
            if not COMPONENTS[name].stem:
                return _class_of(name).from_pretrained(path, local_files_only=True)
            if name == "camera_projection" and model.settings(name).get("_class_name") == "CCProjection":
                part = _linear_projection(model, dtype)
            else:
                part = _pretrained(model, name, dtype)
        except _LOAD_ERRORS as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{path}: does not load ({reason}); download it again") from error
    require_finite(part, path)
    return part


def _class_of(name: str) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    kinds: dict[str, Any] = {
        "unet": UNet2DConditionModel,
        "vae": AutoencoderKL,
        "image_encoder": CLIPVisionModelWithProjection,
        "camera_projection": CLIPCameraProjection,
        "scheduler": DDIMScheduler,
        "image_processor": CLIPImageProcessorPil,
    }
    return kinds[name]


def _pretrained(model: ModelFolder, name: str, dtype: torch.dtype) -> nn.Module:
    path, files = model.component(name), model.weights(name)
    special: dict[str, Any] = {"torch_dtype": dtype}
    if name == "image_encoder":
        # Named here, so that no settings file chooses another, which may be fetched from elsewhere.
        special = {"dtype": dtype, "attn_implementation": "sdpa"}
    part, found = _class_of(name).from_pretrained(
        path,
        variant=files.variant,
        use_safetensors=not files.pickled,
        local_files_only=True,
        output_loading_info=True,
        **special,
    )
    # The libraries would fill gaps with random numbers.
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(str(key) for key in found[problem]):
            kind = problem.removesuffix("_keys")
            raise CheckpointError(
                f"{path}: {kind} weights {some_of(names)}; the file does not belong to its settings"
            )
    return part.eval()


def _linear_projection(model: ModelFolder, dtype: torch.dtype) -> nn.Module:
    """The camera projection of the other public pipeline, whose settings do not always tell its size."""
    weights = read_weights(model.weights("camera_projection").files[0])
    matrix, bias = (weights.read(f"projection.{kind}") for kind in ("weight", "bias"))
    width, inputs = matrix.shape
    if width != (expected := model.settings("unet").get("cross_attention_dim")):
        raise CheckpointError(
            f"{model.path}: the camera projection makes {width} numbers, the unet takes {expected}"
        )
    encoder_for_width(inputs - width)
    part = CLIPCameraProjection(width, inputs - width)
    part.proj.load_state_dict({"weight": matrix, "bias": bias})
    part.proj.to(dtype)
    return part.eval()


@contextmanager
def _silence() -> Iterator[None]:
    """No progress bars and no chatter from the model libraries while this lasts."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries: list[Any] = [diffusers_logging, transformers_logging]
    before = [(x, x.get_verbosity(), x.is_progress_bar_enabled()) for x in libraries]
    try:
        for library in libraries:
            library.set_verbosity_error()
            library.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for library, verbosity, bars in before:
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


# ---------------------------------------------------------------- writing


def save_components(folder: Path, parts: dict[str, Any], dtype: torch.dtype | None) -> None:
    """Write every part into its sub-folder, and the index of the pipeline.

    Args:
        folder: Where to; made if missing. Parts that are there already are replaced.
        parts: By name of the attribute.
        dtype: Type of the stored weights, the present one by default. The parts stay as they are.

    Raises:
        OutputError: Something cannot be written.
    """
    for name, part in parts.items():
        save_component(folder, name, part, dtype)
    write_index(folder, {name: type(part) for name, part in parts.items()})


def save_component(folder: Path, name: str, part: Any, dtype: torch.dtype | None = None) -> None:
    """Write one part; its sub-folder is replaced when everything is on disk, and never half written."""
    target = folder / COMPONENTS[name].folders[0]
    stored: Any = _cast_copy(part, dtype) if isinstance(part, nn.Module) and dtype else part
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            with _silence():
                stored.save_pretrained(new, safe_serialization=True)
            _forget_origin(new / "config.json")
            if target.exists():
                target.rename(old)
            new.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {target}: {reason}; choose a folder with space left") from error


def _forget_origin(settings: Path) -> None:
    """Drop the folder that a part was loaded from, which diffusers writes down."""
    if not settings.is_file():
        return
    content = json.loads(settings.read_text(encoding="utf-8"))
    if content.pop("_name_or_path", None) is not None:
        settings.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _cast_copy(part: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in another type that shares what is of that type already."""
    memo: dict[int, Any] = {id(b): _cast(b, dtype) for b in part.buffers()}
    for weight in part.parameters():
        memo[id(weight)] = nn.Parameter(_cast(weight.detach(), dtype), requires_grad=False)
    return copy.deepcopy(part, memo)


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def write_index(folder: Path, classes: dict[str, type]) -> None:
    """Write `model_index.json`, by which pipelines know their parts."""
    index: dict[str, Any] = {"_class_name": "Zero123Pipeline"}
    for name, kind in classes.items():
        index[COMPONENTS[name].folders[0]] = [kind.__module__.split(".")[0], kind.__name__]
    atomic_write(folder / "model_index.json", json.dumps(index, indent=2) + "\n")
