"""What a model folder must hold, checked from its settings and the heads of its files alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from agsrec.checkpoints import read_settings
from agsrec.errors import CheckpointError
from agsrec.prior.camera_encoders import encoder_for_width

__all__ = ["COMPONENTS", "WARPING_CHANNELS", "Component", "ModelFolder", "WeightFiles"]

WARPING_CHANNELS = 12
"""Input channels of a UNet that is shown the photos from the wanted camera too: noisy, photo, and that."""
_CHANNELS = 8  # of the published ones: noisy latents and a photo's

_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Component:
    """One part of a model on disk.

    Attributes:
        folders: Its sub-folder; the first is written, any is read.
        settings: Its JSON file.
        classes: Values of the class name in there that can be used; empty for any.
        stem: Name of its weights without ending, empty for parts without weights.
        pickled: Name of its weights in PyTorch's own format.
    """

    folders: tuple[str, ...]
    settings: str = "config.json"
    classes: tuple[str, ...] = ()
    stem: str = "diffusion_pytorch_model"
    pickled: str = "diffusion_pytorch_model.bin"


COMPONENTS: dict[str, Component] = {
    "unet": Component(("unet",), classes=("UNet2DConditionModel",)),
    "vae": Component(("vae",), classes=("AutoencoderKL",)),
    "image_encoder": Component(
        ("image_encoder",),
        classes=("CLIPVisionModelWithProjection",),
        stem="model",
        pickled="pytorch_model.bin",
    ),
    # Two public pipelines, two names for the same layer.
    "camera_projection": Component(
        ("clip_camera_projection", "cc_projection"), classes=("CLIPCameraProjection", "CCProjection")
    ),
    "scheduler": Component(("scheduler",), settings="scheduler_config.json", stem=""),
    "image_processor": Component(("feature_extractor",), settings="preprocessor_config.json", stem=""),
}
"""The parts of a Zero123 model by the name of their attribute."""


@dataclass(frozen=True)
class WeightFiles:
    """The files with the weights of one part.

    Attributes:
        files: One file, or several shards.
        variant: What stands between stem and ending, such as "fp16".
        pickled: Whether they are in PyTorch's own format.
    """

    files: tuple[Path, ...]
    variant: str | None = None
    pickled: bool = False


@dataclass(frozen=True)
class ModelFolder:
    """A folder with all parts of a model.

    Attributes:
        path: The folder.
        pickled: Whether weights in PyTorch's own format are accepted (read as weights only).
    """

    path: Path
    pickled: bool = False

    def component(self, name: str) -> Path:
        """Sub-folder of a part.

        Raises:
            CheckpointError: It is missing.
        """
        kind = COMPONENTS[name]
        for folder in kind.folders:
            if (self.path / folder / kind.settings).is_file():
                return self.path / folder
        folder = self.path / kind.folders[0]
        lacks = f"{kind.settings} is missing" if folder.is_dir() else "this part is missing"
        raise CheckpointError(f"{folder}: {lacks}; copy or download the whole model folder again")

    def settings(self, name: str) -> dict[str, Any]:
        """Contents of a part's JSON file.

        Raises:
            CheckpointError: It is missing or no settings file.
        """
        return read_settings(self.component(name) / COMPONENTS[name].settings)

    def weights(self, name: str) -> WeightFiles:
        """The files with a part's weights.

        Raises:
            CheckpointError: There are none of the right kind.
        """
        folder, kind = self.component(name), COMPONENTS[name]
        whole = folder / f"{kind.stem}.safetensors"
        index = folder / f"{kind.stem}.safetensors.index.json"
        if whole.is_file():
            return WeightFiles((whole,))
        if index.is_file():
            return WeightFiles(_shards(index))
        variants = sorted(folder.glob(f"{kind.stem}.*.safetensors"))
        if variants:
            variant = variants[0].name.removeprefix(kind.stem + ".").removesuffix(".safetensors")
            return WeightFiles((variants[0],), variant=variant)
        pickled = folder / kind.pickled
        if pickled.is_file() and self.pickled:
            return WeightFiles((pickled,), pickled=True)
        if any(folder.glob("*.bin")):
            raise CheckpointError(
                f"{folder}: only .bin weights, which may hold code; get {whole.name}, or have "
                "`agsrec convert` write a folder with safetensors"
            )
        raise CheckpointError(f"{whole}: no such file; copy or download the whole model folder again")

    def check(self) -> int:
        """Check all settings and weight files; the number of weights.

        Raises:
            CheckpointError: Something is missing, damaged, or of another kind.
        """
        try:
            self._check_settings()
        except (TypeError, ValueError, IndexError, AttributeError) as error:  # text where a number belongs
            raise CheckpointError(
                f"{self.path}: settings of the wrong kind ({error}); is this a Zero123 model?"
            ) from error
        with_weights = [name for name, kind in COMPONENTS.items() if kind.stem]
        return sum(_count(file) for name in with_weights for file in self.weights(name).files)

    def _check_settings(self) -> None:
        settings = {name: self.settings(name) for name in COMPONENTS}
        for name, kind in COMPONENTS.items():
            found = settings[name].get("_class_name") or (settings[name].get("architectures") or [None])[0]
            if kind.classes and found not in kind.classes:
                self._reject(name, f"is a {found}", f"a {kind.classes[0]}")
        unet, vae, encoder = settings["unet"], settings["vae"], settings["image_encoder"]
        channels = unet.get("in_channels")
        if channels not in (_CHANNELS, WARPING_CHANNELS):
            self._reject("unet", f"has in_channels {channels}", f"{_CHANNELS} or {WARPING_CHANNELS}")
        self._expect("unet", "out_channels", 4)
        self._expect("vae", "latent_channels", 4)
        width = unet.get("cross_attention_dim")
        self._expect("image_encoder", "projection_dim", width, "the unet's cross_attention_dim")
        if settings["camera_projection"].get("_class_name") == "CLIPCameraProjection":
            self._expect("camera_projection", "embedding_dim", width, "the unet's cross_attention_dim")
            encoder_for_width(settings["camera_projection"].get("additional_embeddings", 0))
        levels = len(vae.get("block_out_channels") or [0])
        pixels = (unet.get("sample_size") or 0) * 2 ** (levels - 1) if levels < 9 else 0
        if not isinstance(pixels, int) or not 8 <= pixels <= 2048:
            self._reject(
                "unet", f"has sample_size {unet.get('sample_size')}", "one for images of 8 to 2048 px"
            )
        known = ("epsilon", "v_prediction", "sample")
        if settings["scheduler"].get("prediction_type", "epsilon") not in known:
            self._reject("scheduler", "has an unknown prediction_type", "one of " + ", ".join(known))
        crop = settings["image_processor"].get("crop_size", encoder.get("image_size"))
        side = crop.get("height") if isinstance(crop, dict) else crop
        if side != encoder.get("image_size"):
            self._reject("image_processor", f"makes images of {side} px", f"{encoder.get('image_size')} px")

    def _expect(self, name: str, key: str, value: Any, why: str = "") -> None:
        found = self.settings(name).get(key)
        if found != value or not isinstance(value, int):
            self._reject(name, f"has {key} {found}", f"{value}{f' ({why})' if why else ''}")

    def _reject(self, name: str, found: str, expected: str) -> None:
        path = self.component(name) / COMPONENTS[name].settings
        raise CheckpointError(f"{path}: {found}, expected {expected}; is this a Zero123 model?")


def _shards(index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: no index of weight files; download it again") from error
    files = tuple(index.parent / Path(name).name for name in names)
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(f"{missing[0]}: no such file; copy or download the whole model folder again")
    return files


def _count(file: Path) -> int:
    """Number of weights in a file, from its head."""
    if file.suffix != ".safetensors":
        return file.stat().st_size // 4
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as content:
            return sum(prod(content.get_slice(name).get_shape()) for name in content.keys())
    except (SafetensorError, OSError) as error:
        with open(file, "rb") as stream:
            pointer = stream.read(len(_LFS_POINTER)) == _LFS_POINTER
        reason = "a Git LFS pointer, not the file; run git lfs pull" if pointer else "incomplete or damaged"
        raise CheckpointError(f"{file}: {reason}{'' if pointer else '; download it again'}") from error
