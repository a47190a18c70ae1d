"""Settings of a DUSt3R network, in our terms and in those of the published config.json."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from agsrec.bounds import Bounded, NonNegative, Positive, Range
from agsrec.errors import CheckpointError

__all__ = ["DUSt3RConfig", "constructor_settings"]

HeadKind = Literal["linear", "dpt", "catmlp+dpt"]

_SQUARE_SIZE = 224  # the one published size whose images are square
_DPT_PATCHES = 8, 16  # whose maps DPT can bring to fractions of an image's sides

_SIZES = Range(1, 2**14)  # no settings file may exhaust the memory
_Size = Annotated[int, _SIZES]
_Depth = Annotated[int, Range(1, 2**8)]

# Our name for each published one.
_NAMES = {
    "patch_size": "patch_size",
    "enc_embed_dim": "enc_width",
    "enc_depth": "enc_depth",
    "enc_num_heads": "enc_heads",
    "dec_embed_dim": "dec_width",
    "dec_depth": "dec_depth",
    "dec_num_heads": "dec_heads",
    "head_type": "head",
}
# What the published code fixes; written only where a model differs.
_OWN_NAMES = (
    "dpt_width",
    "dpt_last_width",
    "dpt_level_widths",
    "descriptor_mlp_ratio",
    "square_images",
    "metric",
)


@dataclass(frozen=True)
class DUSt3RConfig(Bounded, error=CheckpointError):
    """Sizes of a network; the defaults are those of DUSt3R_ViTLarge_BaseDecoder_224_linear.

    Attributes:
        image_size: Height and width that it was trained with, pixels.
        square_images: Whether images are cut square, as at the published size 224, or to 4:3 and wider.
        patch_size: Side of a patch, pixels.
        enc_width: Channels of the encoder.
        enc_depth: Its blocks.
        enc_heads: Its attention heads.
        dec_width: Channels of the decoders.
        dec_depth: Their blocks.
        dec_heads: Their attention heads.
        head: linear, dpt, or catmlp+dpt, which adds MASt3R's descriptors.
        rope_base: Base of the position embedding's wavelengths.
        confidence_floor: Lowest confidence.
        dpt_width: Channels of DPT's fusion.
        dpt_last_width: Channels before its last layer.
        dpt_level_widths: Channels of its four levels.
        descriptor_width: Channels of a descriptor.
        descriptor_mlp_ratio: Hidden channels of the descriptors' MLP, as a multiple of its input.
        metric: Whether its points are in metres.

    Raises:
        CheckpointError: No network can have these settings.
    """

    image_size: tuple[int, int] = (_SQUARE_SIZE, _SQUARE_SIZE)
    square_images: bool = True
    patch_size: _Size = 16
    enc_width: _Size = 1024
    enc_depth: _Depth = 24
    enc_heads: _Size = 16
    dec_width: _Size = 768
    dec_depth: _Depth = 12
    dec_heads: _Size = 12
    head: HeadKind = "linear"
    rope_base: Positive = 100.0
    confidence_floor: NonNegative = 1.0
    dpt_width: _Size = 256
    dpt_last_width: _Size = 128
    dpt_level_widths: tuple[int, ...] = (96, 192, 384, 768)
    descriptor_width: _Size = 24
    descriptor_mlp_ratio: Positive = 4.0
    metric: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for value in (*self.image_size, *self.dpt_level_widths):
            _require(_SIZES.demand(int, value) is None, f"{value!r} is no usable size")
        _require(len(self.image_size) == 2 and len(self.dpt_level_widths) == 4, "a list has the wrong length")
        _require(self.head in get_args(HeadKind), f"head_type {self.head!r} is not one of {_HEADS}")
        for side in self.image_size:
            _require(side % self.patch_size == 0, f"img_size {side} is no multiple of {self.patch_size}")
        for part in ("enc", "dec"):
            width, heads = getattr(self, f"{part}_width"), getattr(self, f"{part}_heads")
            _require(width % (4 * heads) == 0, f"{part}_embed_dim {width} does not suit {heads} heads")
        # Four levels of tokens must be four.
        _require(self.head == "linear" or self.dec_depth >= 4, f"dec_depth {self.dec_depth} is below 4")
        patches = " or ".join(map(str, _DPT_PATCHES))
        fits = self.head == "linear" or self.patch_size in _DPT_PATCHES
        _require(fits, f"patch_size {self.patch_size} is not {patches}, as head_type {self.head!r} needs it")

    @staticmethod
    def from_published(settings: dict[str, Any]) -> DUSt3RConfig:
        """From the arguments of the published constructor, as config.json holds them.

        Raises:
            CheckpointError: They describe a network of another kind.
        """
        try:
            return _from_published(settings)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise CheckpointError(
                f"a setting of the wrong kind ({error}); is this a DUSt3R model?"
            ) from error

    def to_published(self) -> dict[str, Any]:
        """Settings for a config.json that `from_published` reads, and the published code too."""
        settings: dict[str, Any] = {name: getattr(self, own) for name, own in _NAMES.items()}
        settings["img_size"] = list(self.image_size)
        settings["pos_embed"] = f"RoPE{self.rope_base:g}"
        settings["patch_embed_cls"] = "PatchEmbedDust3R"
        settings["landscape_only"] = False
        settings["output_mode"] = "pts3d"
        settings["depth_mode"] = ["exp", "-inf", "inf"]
        settings["conf_mode"] = ["exp", self.confidence_floor, "inf"]
        if self.head == "catmlp+dpt":
            settings["output_mode"] = f"pts3d+desc{self.descriptor_width}"
            settings["two_confs"] = True
            settings["desc_conf_mode"] = ["exp", 0, "inf"]
        usual = DUSt3RConfig(image_size=self.image_size, square_images=_is_square(self.image_size))
        for name in _OWN_NAMES:
            if getattr(self, name) != getattr(usual, name):
                settings[name] = getattr(self, name)
        return settings


_HEADS = ", ".join(get_args(HeadKind))


def _from_published(settings: dict[str, Any]) -> DUSt3RConfig:
    own: dict[str, Any] = {ours: settings[name] for name, ours in _NAMES.items() if name in settings}
    own |= {name: settings[name] for name in _OWN_NAMES if name in settings}
    size = settings.get("img_size", _SQUARE_SIZE)
    own["image_size"] = (size, size) if isinstance(size, int) else tuple(size)
    own.setdefault("square_images", _is_square(own["image_size"]))
    if "dpt_level_widths" in own:
        own["dpt_level_widths"] = tuple(own["dpt_level_widths"])
    own["rope_base"] = _suffix("pos_embed", settings.get("pos_embed", "RoPE100"), r"RoPE(\d+(?:\.\d+)?)")
    _expect_mode("depth_mode", settings.get("depth_mode", ("exp", "-inf", "inf")), -math.inf)
    conf_mode = settings.get("conf_mode", ("exp", 1, "inf"))
    own["confidence_floor"] = float(conf_mode[1])
    _expect_mode("conf_mode", conf_mode, own["confidence_floor"])
    output = settings.get("output_mode", "pts3d")
    if own.get("head") == "catmlp+dpt":
        own["descriptor_width"] = int(_suffix("output_mode", output, r"pts3d\+desc(\d+)"))
        _require(settings.get("two_confs", True) is True, "two_confs is off, which is not supported")
        _expect_mode("desc_conf_mode", settings.get("desc_conf_mode", ("exp", 0, "inf")), 0.0)
    else:
        _require(output == "pts3d", f"output_mode {output!r} is not pts3d")
    return DUSt3RConfig(**own)


def _is_square(size: tuple[int, ...]) -> bool:
    return tuple(size) == (_SQUARE_SIZE, _SQUARE_SIZE)


def _suffix(name: str, text: str, pattern: str) -> float:
    found = re.fullmatch(pattern, text)
    if found is None:
        raise CheckpointError(f"{name} {text!r} is not supported")
    return float(found[1])


def _expect_mode(name: str, mode: Any, low: float) -> None:
    """Only the exponential activations without an upper limit, which all published models have."""
    kind, lower, upper = mode
    fits = kind == "exp" and float(lower) == low and float(upper) == math.inf
    _require(fits, f"{name} {list(mode)} is not supported")


def constructor_settings(call: str) -> dict[str, Any]:
    """Arguments in the source of a constructor call, which published .pth files carry; nothing is run.

    Raises:
        CheckpointError: It is no call with plain values as keyword arguments.
    """
    try:
        tree = ast.parse(call.strip(), mode="eval").body
        if not isinstance(tree, ast.Call) or tree.args:
            raise ValueError("no call with keywords alone")
        return {str(keyword.arg): _literal(keyword.value) for keyword in tree.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"its settings {call[:60]!r} cannot be read ({error})") from error


def _literal(node: ast.expr) -> Any:
    """Value of a number, text, truth value, infinity, or list of such."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Tuple | ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
        return float(_literal(node.args[0]))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if isinstance(value, int | float):
            return -value
    raise ValueError(f"{type(node).__name__} is no plain value")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise CheckpointError(message)
