"""Lens distortion, taken out once, when a photo is read: everything behind knows pinhole cameras only.

The undistorted picture has the size of the photo and shows all of it, as far as a pinhole camera can: its
focal length is that of the photo, or smaller by just as much as the photo's edges need. Pixels the photo does
not show are transparent.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from agsrec.images import premultiplied, straight

__all__ = [
    "FISHEYE_TERMS",
    "MAX_SIDE",
    "PERSPECTIVE_TERMS",
    "Lens",
    "LensKind",
    "lens_from_dict",
    "undistorted",
]

LensKind = Literal["perspective", "fisheye"]

PERSPECTIVE_TERMS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
"""Coefficients of a perspective lens, in OpenCV's order."""
FISHEYE_TERMS = ("k1", "k2", "k3", "k4")
"""Coefficients of a fisheye lens."""
MAX_SIDE = 32_766
"""Longest side in pixels that OpenCV resamples."""

_MOST = 1e9  # that a stored number may be
_SMALLEST_SCALE = 0.7  # of the focal length; what lies farther out is given up for detail in the middle
_SAMPLES = 4096  # of the radial profile
_BORDER = 65  # points along each edge of the photo
_BAND = 256  # rows that are resampled at a time, to bound memory


@dataclass(frozen=True)
class Lens:
    """A camera that bends straight lines.

    A ray through (x, y, 1) in camera axes, at r = hypot(x, y), is seen at `focal * (x_d, y_d) + center`.

    *perspective* (OpenCV; COLMAP's FULL_OPENCV and what it includes):
    `x_d = x g + 2 p1 x y + p2 (r² + 2 x²)`, `y_d = y g + p1 (r² + 2 y²) + 2 p2 x y` with
    `g = (1 + k1 r² + k2 r⁴ + k3 r⁶) / (1 + k4 r² + k5 r⁴ + k6 r⁶)`.

    *fisheye* (Kannala and Brandt 2006; COLMAP's OPENCV_FISHEYE and what it includes): `x_d = x g`,
    `y_d = y g` with `g = t (1 + k1 t² + k2 t⁴ + k3 t⁶ + k4 t⁸) / r` and `t = atan(r)`.

    Attributes:
        kind: Which of the two.
        coefficients: `PERSPECTIVE_TERMS` or `FISHEYE_TERMS`.
        focal: Focal lengths (fx, fy) in pixels.
        center: Principal point (cx, cy) in pixels, pixel centres at +0.5.
        width: Image width in pixels.
        height: Image height in pixels.
    """

    kind: LensKind
    coefficients: tuple[float, ...]
    focal: tuple[float, float]
    center: tuple[float, float]
    width: int
    height: int

    def __post_init__(self) -> None:
        terms = PERSPECTIVE_TERMS if self.kind == "perspective" else FISHEYE_TERMS
        assert len(self.coefficients) == len(terms), (self.kind, self.coefficients)

    def is_close(self, other: Lens) -> bool:
        """Whether two lenses are the same but for rounding."""
        if (self.kind, self.width, self.height) != (other.kind, other.width, other.height):
            return False
        mine, its = ((*lens.coefficients, *lens.focal, *lens.center) for lens in (self, other))
        return bool(np.allclose(mine, its, rtol=1e-6, atol=1e-9))

    def resized(self, width: int, height: int) -> Lens:
        """The same lens for photos resampled to another size."""
        x, y = width / self.width, height / self.height
        (fx, fy), (cx, cy) = self.focal, self.center
        return replace(self, focal=(fx * x, fy * y), center=(cx * x, cy * y), width=width, height=height)

    @property
    def folds(self) -> bool:
        """Whether the model turns back on itself nearer to the middle than half-way to the corners.

        Polynomials do beyond where they were fitted; a calibration of the photo itself does not.
        """
        corner = np.hypot(self.width / self.focal[0], self.height / self.focal[1]) / 2
        return bool(_profile(self)[1][-1] < corner / 2)

    @property
    def pinhole(self) -> np.ndarray:
        """Intrinsics [3, 3] of the undistorted picture, which is of the same size."""
        radii, bent = _profile(self)
        x, y = _border(self)
        seen = np.hypot(x, y)
        # Tangential terms move the edges by a pixel or so, which is of no account here.
        stretch = np.interp(seen, bent, radii) / np.maximum(seen, 1e-12)
        (left, right), (top, bottom) = ((v.min(), v.max()) for v in (x * stretch, y * stretch))
        fx, fy = self.focal
        fit = min(self.width / (fx * (right - left)), self.height / (fy * (bottom - top)))
        scale = min(1.0, max(_SMALLEST_SCALE, fit))
        fx, fy = scale * fx, scale * fy
        cx = self.width / 2 - fx * (left + right) / 2
        cy = self.height / 2 - fy * (top + bottom) / 2
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def lens_from_dict(value: Any) -> Lens | None:
    """The lens of which `dataclasses.asdict` was stored as JSON; None if it is none."""
    if not isinstance(value, dict) or set(value) != {f.name for f in fields(Lens)}:
        return None
    terms = {"perspective": len(PERSPECTIVE_TERMS), "fisheye": len(FISHEYE_TERMS)}
    lengths = {"coefficients": terms.get(str(value["kind"])), "focal": 2, "center": 2}
    for key, length in lengths.items():
        numbers = value[key]
        if not isinstance(numbers, list) or len(numbers) != length:
            return None
        if any(type(n) not in (int, float) or not abs(n) <= _MOST for n in numbers):
            return None
    width, height = value["width"], value["height"]
    if any(type(n) is not int or not 1 <= n <= MAX_SIDE for n in (width, height)) or min(value["focal"]) <= 0:
        return None
    (fx, fy), (cx, cy) = value["focal"], value["center"]
    return Lens(value["kind"], tuple(value["coefficients"]), (fx, fy), (cx, cy), width, height)


def _border(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Points along the photo's edges, as x_d and y_d."""
    t = np.linspace(0.0, 1.0, _BORDER)
    zero, one = np.zeros_like(t), np.ones_like(t)
    u, v = np.concatenate([t, t, zero, one]) * lens.width, np.concatenate([zero, one, t, t]) * lens.height
    return (u - lens.center[0]) / lens.focal[0], (v - lens.center[1]) / lens.focal[1]


def _profile(lens: Lens) -> tuple[np.ndarray, np.ndarray]:
    """Radii r from 0 on and where the lens puts them, as far as it keeps their order."""
    (fx, fy), (cx, cy) = lens.focal, lens.center
    w, h = lens.width, lens.height
    farthest = 2 * np.hypot(max(cx, w - cx, w) / fx, max(cy, h - cy, h) / fy)
    r = np.linspace(0.0, farthest, _SAMPLES)
    c = lens.coefficients
    with np.errstate(all="ignore"):
        if lens.kind == "perspective":
            k1, k2, _, _, k3, k4, k5, k6 = c
            s = r * r
            bent = r * (1 + s * (k1 + s * (k2 + s * k3))) / (1 + s * (k4 + s * (k5 + s * k6)))
        else:
            t = np.arctan(r)
            s = t * t
            bent = t * (1 + s * (c[0] + s * (c[1] + s * (c[2] + s * c[3]))))
        rising = np.isfinite(bent[1:]) & (np.diff(bent) > 0)
    count = _SAMPLES if rising.all() else 1 + int(np.argmin(rising))
    return r[:count], bent[:count]


def undistorted(rgba: np.ndarray, lens: Lens) -> np.ndarray:
    """The picture [H, W, 4] uint8 that the camera `lens.pinhole` would have taken.

    Args:
        rgba: Photo [H, W, 4] uint8 of the lens's size, straight alpha; no side above `MAX_SIDE`.
        lens: The lens it was taken with.

    Returns:
        RGBA; what the photo does not show is transparent, and where the photo is opaque all over, the
        colours there continue its border.
    """
    import cv2  # here, because most who read camera files undistort nothing

    assert rgba.shape == (lens.height, lens.width, 4), (rgba.shape, lens)
    opaque = bool((rgba[..., 3] == 255).all())
    source = np.ascontiguousarray(rgba[..., :3]) if opaque else premultiplied(rgba)
    # OpenCV's cubic would move things by up to 0.09 pixels, Lanczos would ring around the edge of a cut-out.
    method = cv2.INTER_LANCZOS4 if opaque else cv2.INTER_LINEAR
    pinhole, reach = lens.pinhole, float(_profile(lens)[0][-1])
    out = np.empty_like(rgba)
    for top in range(0, lens.height, _BAND):
        rows = min(_BAND, lens.height - top)
        x, y, shown = _source_pixels(lens, pinhole, reach, top, rows)
        band = cv2.remap(source, x, y, method, borderMode=cv2.BORDER_REPLICATE)
        target = out[top : top + rows]
        if opaque:
            target[..., :3], target[..., 3] = band, 255
        else:
            target[...] = straight(band)
        target[..., 3][~shown] = 0
    return out


def _source_pixels(
    lens: Lens, pinhole: np.ndarray, reach: float, top: int, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns and rows of the photo that a band [rows, W] of the picture shows, and whether it has them."""
    import cv2

    (fx, fy), (cx, cy) = lens.focal, lens.center
    # OpenCV has pixel centres on integers.
    K = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
    P = pinhole - np.array([[0, 0, 0.5], [0, 0, 0.5 + top], [0, 0, 0]])
    coefficients, size = np.array(lens.coefficients), (lens.width, rows)
    make = cv2.initUndistortRectifyMap if lens.kind == "perspective" else cv2.fisheye.initUndistortRectifyMap
    x, y = make(K, coefficients, np.eye(3), P, size, cv2.CV_32FC1)
    shown = (x >= -0.5) & (x <= lens.width - 0.5) & (y >= -0.5) & (y <= lens.height - 0.5)
    # Beyond the reach of a polynomial the photo would appear a second time, folded back.
    across = (np.arange(lens.width) - P[0, 2]) / P[0, 0]
    down = (np.arange(rows) - P[1, 2]) / P[1, 1]
    shown &= across[None] ** 2 + down[:, None] ** 2 <= reach**2
    return x, y, shown
