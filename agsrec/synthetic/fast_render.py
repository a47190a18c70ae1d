"""Rendering of random objects at training speed: one compiled kernel per view, views spread over threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agsrec.cameras import Cameras
from agsrec.render.zbuffer import project_points, rasterize_view
from agsrec.synthetic.paint_kernels import paint_at
from agsrec.synthetic.random_objects import RandomObject

__all__ = ["RenderedViews", "render_views"]

_NEAR = 1e-2  # world units
_DEPTH_STEP = 0.03  # world units a surface may plausibly fall or rise within half a pixel


@dataclass(frozen=True)
class RenderedViews:
    """Images of an object with per-pixel geometry."""

    images: NDArray[np.float32]
    """[V, H, W, 4], sRGB with straight alpha in [0, 1]; RGB is zero where alpha is."""
    depths: NDArray[np.float32]
    """[V, H, W], camera z at the pixel centre, 0 where the centre misses the object."""
    points: NDArray[np.float32]
    """[V, H, W, 3], world point at the pixel centre, 0 where the centre misses the object."""

    @property
    def masks(self) -> NDArray[np.bool_]:
        """[V, H, W], whether the pixel centre sees the object."""
        return self.depths > 0


def render_views(
    obj: RandomObject,
    cameras: Cameras,
    *,
    supersampling: int = 2,
    gains: NDArray[np.floating] | None = None,  # [V, 3]
    sparing: bool = False,
    num_threads: int = 2,
) -> RenderedViews:
    """Images, depths and point maps of an object, in the size of the cameras.

    Every pixel with alpha > 0 has a depth and a point: those of its nearest surface sample, carried along the
    surface to the pixel centre. `gains` multiplies the linear light of each view (exposure and white
    balance). With `sparing`, where a face goes on every second sample takes the mean colour of the pixel's
    others, which costs fine print some of its detail.
    """
    count, shape = len(cameras), (len(cameras), cameras.height, cameras.width)
    viewmats = cameras.viewmats.double().numpy()
    Ks = cameras.Ks.double().numpy()
    exposure = np.ones((count, 3)) if gains is None else np.asarray(gains, dtype=np.float64)
    assert exposure.shape == (count, 3), exposure.shape
    images = np.zeros((*shape, 4), dtype=np.float32)
    depths, points = np.zeros(shape, dtype=np.float32), np.zeros((*shape, 3), dtype=np.float32)

    surface = obj.faces, obj.normals, obj.coords, obj.part_ids, obj.paints, obj.lights

    def render(v: int) -> None:
        out = images[v], depths[v], points[v]
        _render_view(obj.vertices, surface, viewmats[v], Ks[v], supersampling, sparing, exposure[v], *out)

    with ThreadPoolExecutor(max(1, num_threads)) as pool:
        list(pool.map(render, range(count)))
    return RenderedViews(images, depths, points)


_CURVE_STEPS = 4096


def _srgb_curve() -> NDArray[np.float64]:
    """The sRGB transfer curve at even steps of linear light, and once more at the end."""
    x = np.linspace(0.0, 1.0, _CURVE_STEPS + 1)
    curve = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1.0 / 2.4) - 0.055)
    return np.append(curve, curve[-1])


_CURVE = _srgb_curve()


@njit(cache=True, nogil=True, error_model="numpy")
def _encode(linear):
    """sRGB of one clipped value, by the curve's table: a power is slower than a sample's paint."""
    x = _CURVE_STEPS * min(max(linear, 0.0), 1.0)
    step = int(x)
    return _CURVE[step] + (x - step) * (_CURVE[step + 1] - _CURVE[step])


@njit(cache=True, nogil=True, error_model="numpy")
def _planes(points, i, j, k, planes):
    """Edge planes of triangle (i, j, k) in rows 0-2, scaled so that their sum, row 3, is 1 / depth."""
    a = points[i, 0], points[i, 1], points[i, 2]
    b = points[j, 0], points[j, 1], points[j, 2]
    c = points[k, 0], points[k, 1], points[k, 2]
    planes[0, 0], planes[0, 1], planes[0, 2] = (
        b[1] * c[2] - b[2] * c[1],
        b[2] * c[0] - b[0] * c[2],
        b[0] * c[1] - b[1] * c[0],
    )
    planes[1, 0], planes[1, 1], planes[1, 2] = (
        c[1] * a[2] - c[2] * a[1],
        c[2] * a[0] - c[0] * a[2],
        c[0] * a[1] - c[1] * a[0],
    )
    planes[2, 0], planes[2, 1], planes[2, 2] = (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )
    scale = 1.0 / (a[0] * planes[0, 0] + a[1] * planes[0, 1] + a[2] * planes[0, 2])
    for axis in range(3):
        for row in range(3):
            planes[row, axis] *= scale
        planes[3, axis] = planes[0, axis] + planes[1, axis] + planes[2, axis]


@njit(cache=True, nogil=True, error_model="numpy")
def _at(planes, row, x, y):
    return planes[row, 0] * x + planes[row, 1] * y + planes[row, 2]


@njit(cache=True, nogil=True, error_model="numpy")
def _shade(lights, nx, ny, nz):
    """Linear RGB light on a white matte surface: sky and ground by height of the normal, then the lamps."""
    up = 0.5 + 0.5 * ny
    r = lights[1, 3] + (lights[0, 3] - lights[1, 3]) * up
    g = lights[1, 4] + (lights[0, 4] - lights[1, 4]) * up
    b = lights[1, 5] + (lights[0, 5] - lights[1, 5]) * up
    for k in range(2, lights.shape[0]):
        facing = nx * lights[k, 0] + ny * lights[k, 1] + nz * lights[k, 2]
        if facing > 0.0:
            r += facing * lights[k, 3]
            g += facing * lights[k, 4]
            b += facing * lights[k, 5]
    return r, g, b


@njit(cache=True, nogil=True, error_model="numpy")
def _normal_at(normals, i, j, k, planes, x, y):
    """Interpolated unit normal of a face where fine pixel coordinates (x, y) meet it."""
    w0, w1, w2 = _at(planes, 0, x, y), _at(planes, 1, x, y), _at(planes, 2, x, y)
    nx = w0 * normals[i, 0] + w1 * normals[j, 0] + w2 * normals[k, 0]
    ny = w0 * normals[i, 1] + w1 * normals[j, 1] + w2 * normals[k, 1]
    nz = w0 * normals[i, 2] + w1 * normals[j, 2] + w2 * normals[k, 2]
    length = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-9)
    return nx / length, ny / length, nz / length


@njit(cache=True, nogil=True, error_model="numpy")
def _mirrored(lights, sharpness, backward, normal):
    """Linear RGB of what a mirror shows, seen from direction `backward`: sky over ground, and the lamps."""
    facing = backward[0] * normal[0] + backward[1] * normal[1] + backward[2] * normal[2]
    x = 2.0 * facing * normal[0] - backward[0]
    y = 2.0 * facing * normal[1] - backward[1]
    z = 2.0 * facing * normal[2] - backward[2]
    above = min(max(0.5 + 3.0 * y, 0.0), 1.0)  # a horizon not quite sharp
    r = lights[1, 3] + (lights[0, 3] - lights[1, 3]) * above
    g = lights[1, 4] + (lights[0, 4] - lights[1, 4]) * above
    b = lights[1, 5] + (lights[0, 5] - lights[1, 5]) * above
    for k in range(2, lights.shape[0]):
        towards = x * lights[k, 0] + y * lights[k, 1] + z * lights[k, 2]
        if towards > 0.0:
            glare = 0.25 * (sharpness + 2.0) * towards**sharpness
            r, g, b = r + glare * lights[k, 3], g + glare * lights[k, 4], b + glare * lights[k, 5]
    return r, g, b


@njit(cache=True, nogil=True, error_model="numpy")
def _lit(lights, paint, backward, normal):
    """Light that paint scatters, and light that it mirrors, linear RGB."""
    light = _shade(lights, normal[0], normal[1], normal[2])
    share = paint[17]
    if share <= 0.0:
        return light, (0.0, 0.0, 0.0)
    shown = _mirrored(lights, paint[18], backward, normal)
    rest = 1.0 - share
    scattered = rest * light[0], rest * light[1], rest * light[2]
    return scattered, (share * shown[0], share * shown[1], share * shown[2])


@njit(cache=True, nogil=True, error_model="numpy")
def _paint_on(coords, paints, part, i, j, k, planes, x, y):
    """Albedo of a face where fine pixel coordinates (x, y) meet it."""
    depth = 1.0 / _at(planes, 3, x, y)
    w0, w1, w2 = depth * _at(planes, 0, x, y), depth * _at(planes, 1, x, y), depth * _at(planes, 2, x, y)
    px = w0 * coords[i, 0] + w1 * coords[j, 0] + w2 * coords[k, 0]
    py = w0 * coords[i, 1] + w1 * coords[j, 1] + w2 * coords[k, 1]
    pz = w0 * coords[i, 2] + w1 * coords[j, 2] + w2 * coords[k, 2]
    return paint_at(paints, part, px, py, pz)


@njit(cache=True, nogil=True, error_model="numpy")
def _shade_row(surface, backward, projected, face_ids, fine_depths, sparing, y, image, depth):
    """Fill row y of `image` with summed linear RGB and sample counts, and of `depth` at the pixel centres."""
    faces, normals, coords, part_ids, paints, lights = surface
    samples = face_ids.shape[1] // depth.shape[1]
    planes, plane_of = np.empty((4, 3)), -1
    light, gloss = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
    for x in range(depth.shape[1]):
        r, g, b, hits, painted, nearest, center = 0.0, 0.0, 0.0, 0, 0, np.inf, 0.0
        current = -1  # light is kept while neighbouring samples of a pixel lie on the same face
        for row in range(y * samples, (y + 1) * samples):
            for column in range(x * samples, (x + 1) * samples):
                f = face_ids[row, column]
                if f < 0:
                    continue
                hits += 1
                i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
                if f != plane_of:
                    plane_of = f
                    _planes(projected, i, j, k, planes)
                if fine_depths[row, column] < nearest:
                    nearest = fine_depths[row, column]
                    center = 1.0 / _at(planes, 3, (x + 0.5) * samples, (y + 0.5) * samples)
                if sparing and f == current and (row + column) % 2 == 1:
                    continue
                if f != current:
                    current = f
                    normal = _normal_at(normals, i, j, k, planes, column + 0.5, row + 0.5)
                    light, gloss = _lit(lights, paints[part_ids[f]], backward, normal)
                albedo = _paint_on(coords, paints, part_ids[f], i, j, k, planes, column + 0.5, row + 0.5)
                r += albedo[0] * light[0] + gloss[0]
                g += albedo[1] * light[1] + gloss[1]
                b += albedo[2] * light[2] + gloss[2]
                painted += 1
        if hits > 0:
            share = hits / painted
            image[y, x, 0], image[y, x, 1], image[y, x, 2], image[y, x, 3] = (
                share * r,
                share * g,
                share * b,
                hits,
            )
            depth[y, x] = center if abs(center - nearest) < _DEPTH_STEP else nearest


@njit(cache=True, nogil=True, error_model="numpy")
def _render_view(vertices, surface, viewmat, K, samples, sparing, gain, image, depth, points):
    """One view of a surface: faces, normals, coords, part_ids, paints and lights as in `RandomObject`."""
    height, width = depth.shape
    fine = K.copy()
    fine[:2] *= samples
    projected = project_points(vertices, viewmat, fine)
    backward = -viewmat[2, 0], -viewmat[2, 1], -viewmat[2, 2]  # towards the camera, for the whole picture
    face_ids = np.full((height * samples, width * samples), -1, dtype=np.int32)
    fine_depths = np.full((height * samples, width * samples), np.inf, dtype=np.float32)
    rasterize_view(projected, surface[0], True, _NEAR, face_ids, fine_depths)
    for y in range(height):
        _shade_row(surface, backward, projected, face_ids, fine_depths, sparing, y, image, depth)
        for x in range(width):
            hits = image[y, x, 3]
            if hits > 0.0:
                for channel in range(3):
                    image[y, x, channel] = _encode(gain[channel] * image[y, x, channel] / hits)
                image[y, x, 3] = hits / (samples * samples)
                _unproject(viewmat, K, x, y, depth[y, x], points)


@njit(cache=True, nogil=True, error_model="numpy")
def _unproject(viewmat, K, column, row, z, points):
    """Store the world point at depth z on the ray through the centre of a pixel."""
    x = (column + 0.5 - K[0, 2]) / K[0, 0] * z - viewmat[0, 3]
    y = (row + 0.5 - K[1, 2]) / K[1, 1] * z - viewmat[1, 3]
    w = z - viewmat[2, 3]
    for axis in range(3):
        points[row, column, axis] = viewmat[0, axis] * x + viewmat[1, axis] * y + viewmat[2, axis] * w
