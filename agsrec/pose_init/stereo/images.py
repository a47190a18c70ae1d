"""From photos to the network's images and back: the published rules of resizing and cropping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from agsrec.errors import ImageError
from agsrec.views import Views

__all__ = ["FittedImage", "NetworkImages", "fit_image", "prepare_views", "squared"]

SquareRule = Literal["crop", "keep", "pad"]

_MULTIPLE = 16
_SQUARE_SIZE = 224
_WIDEST = 4 / 3  # of the aspect ratios that the larger networks were trained with, the nearest to a square


@dataclass(frozen=True)
class FittedImage:
    """An image in the network's size.

    Attributes:
        image: The pixels.
        to_source: Affine map [3, 3] (float64) from its pixels to those of the image it was made of; pixel
            centres at +0.5 in both.
    """

    image: Image.Image
    to_source: Tensor


@dataclass(frozen=True)
class NetworkImages:
    """Views in the network's size and range.

    Attributes:
        images: RGB over white [V, H, W, 3] in [-1, 1].
        masks: Object masks [V, H, W] in [0, 1], by the same resizing and cropping.
        to_view: Affine map [3, 3] (float64) from their pixels to the views'; pixel centres at +0.5 in both.
    """

    images: Tensor
    masks: Tensor
    to_view: Tensor

    def view_intrinsics(self, Ks: Tensor) -> Tensor:
        """Intrinsics [..., 3, 3] for the views from intrinsics for the network's images."""
        return self.to_view.to(Ks) @ Ks

    def network_intrinsics(self, Ks: Tensor) -> Tensor:
        """Intrinsics [..., 3, 3] for the network's images from intrinsics for the views."""
        return torch.linalg.inv(self.to_view).to(Ks) @ Ks


def fit_image(
    image: Image.Image, size: int, *, square: bool | None = None, keep_square: bool = False
) -> FittedImage:
    """Resize and crop as the published networks expect.

    Square networks: the short side becomes `size`, the middle square is cut out. Others: the long side
    becomes `size`, the middle with sides in multiples of 16 is cut out; of a square image, its middle 4:3.

    Args:
        image: Any mode that can be resized.
        size: The network's, pixels.
        square: Whether the network's images are square; by default those of size 224 are.
        keep_square: Leave a square image square where the network's images are not.

    Raises:
        ImageError: The image is so narrow that nothing is left.
    """
    square = size == _SQUARE_SIZE if square is None else square
    source_width, source_height = image.size
    longest = max(image.size)
    goal = round(size * longest / min(image.size)) if square else size
    width, height = (max(1, round(side * goal / longest)) for side in image.size)
    # A smoother filter where detail is lost, an interpolating one where there is none to lose.
    resample = Image.Resampling.LANCZOS if longest > goal else Image.Resampling.BICUBIC
    center_x, center_y = width // 2, height // 2
    if square:
        half_width = half_height = min(center_x, center_y)
    else:
        step = _MULTIPLE // 2
        half_width, half_height = (step * (center // step) for center in (center_x, center_y))
        if width == height and not keep_square:
            half_height = step * (3 * half_height // (4 * step))
    if not half_width or not half_height:
        raise ImageError(
            f"an image of {source_width}x{source_height} pixels is too narrow for DUSt3R; crop it"
        )
    left, top = center_x - half_width, center_y - half_height
    resized = image.resize((width, height), resample)
    cut = resized.crop((left, top, center_x + half_width, center_y + half_height))
    return FittedImage(cut, _resizing(source_width / width, source_height / height, left, top))


def prepare_views(
    views: Views, size: int, *, square: bool | None = None, square_views: SquareRule = "pad"
) -> NetworkImages:
    """All views over white in the network's size.

    Args:
        views: Photos of one size.
        size: The network's, pixels.
        square: Whether the network's images are square; by default those of size 224 are.
        square_views: What happens to square views where the network's images are not square: "crop" cuts them
            to 4:3 by the published rule, which costs the top and bottom of an object that fills its picture;
            "pad" adds white at both sides instead; "keep" leaves them square, as no such network knows them.

    Raises:
        ImageError: The views are so narrow that nothing is left.
    """
    square = size == _SQUARE_SIZE if square is None else square
    white = views.composited(torch.ones(3, device=views.images.device))
    rgba = torch.cat([white, views.images[..., 3:]], dim=-1).cpu()
    border = 0
    if not square and views.width == views.height and square_views == "pad":
        border = int(views.height * (_WIDEST - 1) / 2)
    pixels = (rgba.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    edges = ((0, 0), (0, 0), (border, border))
    colors = np.pad(pixels[..., :3], (*edges, (0, 0)), constant_values=255)
    alphas = np.pad(pixels[..., 3], edges)
    rule = {"square": square, "keep_square": square_views == "keep"}
    fitted = [fit_image(Image.fromarray(color), size, **rule) for color in colors]
    masks = [fit_image(Image.fromarray(alpha), size, **rule).image for alpha in alphas]
    images = torch.stack([_tensor(one.image) for one in fitted])
    return NetworkImages(
        (2 * images - 1).to(views.images.device),
        torch.stack([_tensor(mask) for mask in masks]).to(views.images.device),
        _resizing(1, 1, -border, 0) @ fitted[0].to_source,
    )


def squared(views: Views) -> tuple[Views, tuple[int, int]]:
    """Views made square by clear pixels, and how many of them (x, y) are at the left and top.

    A square network would cut off the ends of a long picture, and of the object with them.
    """
    side = max(views.width, views.height)
    wide, high = side - views.width, side - views.height
    border = wide // 2, high // 2
    ends = (0, 0, border[0], wide - border[0], border[1], high - border[1])
    return Views(F.pad(views.images, ends), views.names), border


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).float() / 255


def _resizing(scale_x: float, scale_y: float, left: float, top: float) -> Tensor:  # [3, 3]
    """Map from a part that was cut out at (left, top) to the image before it was shrunk by the scales."""
    rows = [[scale_x, 0.0, scale_x * left], [0.0, scale_y, scale_y * top], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float64)
