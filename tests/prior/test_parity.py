"""The same numbers as the published code, from its random weights, inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from agsrec.cameras import Z_UP_TO_Y_UP, Cameras
from agsrec.prior.camera_encoders import encode_spherical, encode_zero123_6dof, encode_zeronvs
from agsrec.prior.camera_projection import CLIPCameraProjection
from agsrec.prior.convert_keys import (
    CLIP_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
    Source,
    clip_sources,
    unet_sources,
    vae_sources,
)

SIZE = 256


class Fixture:
    """One set of weights, inputs and outputs, and its description."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / "parity" / f"{name}.safetensors"
        if not path.is_file():
            pytest.skip(f"no parity fixture {name}")
        self.tensors = load_file(path)
        self.notes: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def fill(
        self, model: nn.Module, prefix: str, rule: Callable[[Collection[str]], dict[str, Source]]
    ) -> nn.Module:
        """The official weights, through the rules that conversion uses."""
        state = model.state_dict()
        sources = rule(list(state))
        stored = {k.removeprefix("weights."): v for k, v in self.tensors.items() if k.startswith("weights.")}
        assert {s.key.removeprefix(prefix) for s in sources.values()} == set(stored)
        taken = {k: s.take(stored[s.key.removeprefix(prefix)].float()) for k, s in sources.items()}
        model.load_state_dict(taken, strict=True)
        return model.eval().requires_grad_(False)


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=tolerance, rtol=0)


def opengl(c2w: Tensor, focal: Tensor) -> Cameras:
    c2w = c2w.double()
    return Cameras.from_opengl(c2w, Cameras.intrinsics(focal.double(), SIZE, SIZE), SIZE, SIZE)


@pytest.mark.parametrize(
    ("focal", "embedding"),
    [("target_fx", "embedding_scalar_focal"), ("target_fx_fy", "embedding_two_focals")],
)
def test_zero123_6dof_vector(shared_dir: Path, focal: str, embedding: str) -> None:
    data = Fixture(shared_dir, "zero123_6dof_cam_embedding")
    target = opengl(data["in.target_c2w"], data[f"in.{focal}"])
    condition = opengl(data["in.cond_c2w"], data["in.cond_focal"])
    close(encode_zero123_6dof(target, condition), data[f"out.{embedding}"], 1e-5)
    # Nor does the resolution matter.
    close(encode_zero123_6dof(target.resized(64, 64), condition), data[f"out.{embedding}"], 1e-5)


def test_zero123_4dof_vector(shared_dir: Path) -> None:
    data = Fixture(shared_dir, "zero123_6dof_cam_embedding")
    polar, azimuth, radius = (data[f"in.{n}"] for n in ("polar_deg", "azimuth_deg", "radius"))
    Ks = Cameras.intrinsics(torch.full((len(polar),), 300.0, dtype=torch.float64), SIZE, SIZE)
    # The numbers say how far the target is from the photo: here one from 10 degrees above the horizon.
    start = (torch.full_like(polar, -10), torch.full_like(polar, 35), torch.full_like(polar, 2))
    condition = Cameras.orbit(*start, Ks=Ks, width=SIZE, height=SIZE)
    moved = (start[0] + polar, start[1] + azimuth, start[2] + radius)
    target = Cameras.orbit(*moved, Ks=Ks, width=SIZE, height=SIZE)
    close(encode_spherical(target, condition), data["out.embedding_4dof"], 1e-5)


@pytest.mark.parametrize("scale", [0.7, 2.0])
def test_zeronvs_vector(shared_dir: Path, scale: float) -> None:
    data = Fixture(shared_dir, "zeronvs_camera_conditioning")
    focal = 0.5 * SIZE / (0.5 * data["in.fov_deg"].double().deg2rad()).tan()
    target, condition = (opengl(data[f"in.{n}_c2w"], focal) for n in ("target", "cond"))
    expected = data[f"out.7dof_quantile_scale.scale{scale}"]
    close(encode_zeronvs(target, condition, scale), expected, 1e-5)


def test_zeronvs_3dof_is_the_spherical_vector(shared_dir: Path) -> None:
    """Its up axis is +z, ours +y; polar angle and azimuth turn the same way."""
    data = Fixture(shared_dir, "zeronvs_camera_conditioning")
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.tensor(Z_UP_TO_Y_UP)
    focal = torch.full((len(data["in.cond_c2w"]),), 300.0)
    target, condition = (opengl(turn @ data[f"in.{n}_c2w"].double(), focal) for n in ("target", "cond"))
    close(encode_spherical(target, condition), data["out.3dof"], 1e-5)


def test_camera_projection(shared_dir: Path) -> None:
    data = Fixture(shared_dir, "zero123_cc_projection")
    size = data.notes["constructor"]
    model = CLIPCameraProjection(size["embedding_dim"], size["additional_embeddings"])
    weights = {k.removeprefix("weights."): v for k, v in data.tensors.items() if k.startswith("weights.")}
    model.load_state_dict(weights, strict=True)
    close(model(data["in.clip"], data["in.cam"]), data["out.context"], 1e-5)


def test_unet(shared_dir: Path) -> None:
    data = Fixture(shared_dir, "ldm_unet_tiny")
    model = UNet2DConditionModel(**data.notes["diffusers_equivalent"]["config"])
    data.fill(model, UNET_PREFIX, unet_sources)
    table = {source.key: name for name, source in unet_sources(list(model.state_dict())).items()}
    assert table == data.notes["ldm_to_diffusers_key_table"]
    for context, output in (("context", "eps"), ("context3", "eps_context3")):
        found = model(data["in.x"], data["in.timesteps"], encoder_hidden_states=data[f"in.{context}"]).sample
        close(found, data[f"out.{output}"], 5e-5)


def test_autoencoder(shared_dir: Path) -> None:
    data = Fixture(shared_dir, "ldm_vae_tiny")
    model = AutoencoderKL(**data.notes["diffusers_equivalent"]["config"])
    data.fill(model, VAE_PREFIX, vae_sources)
    posterior: Any = model.encode(data["in.x"]).latent_dist  # type: ignore[union-attr]
    close(posterior.mean, data["out.mean"], 1e-5)
    close(posterior.logvar, data["out.logvar"], 1e-5)
    close(torch.cat([posterior.mean, posterior.logvar], 1), data["out.moments"], 1e-5)
    close(posterior.mean + posterior.std * data["in.sample_noise"], data["out.sample"], 1e-5)
    close(model.decode(data["in.z"]).sample, data["out.decoded"], 1e-4)  # type: ignore[union-attr]


def test_image_encoder(shared_dir: Path) -> None:
    data = Fixture(shared_dir, "openai_clip_vision_tiny")
    size = data.notes["constructor"]
    model = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=size["width"],
            intermediate_size=4 * size["width"],
            num_hidden_layers=size["layers"],
            num_attention_heads=size["heads"],
            projection_dim=size["output_dim"],
            image_size=size["input_resolution"],
            patch_size=size["patch_size"],
            hidden_act="quick_gelu",
        )
    )
    data.fill(model, CLIP_PREFIX, clip_sources)
    close(model(data["in.x"]).image_embeds, data["out.image_embeds"], 1e-5)
