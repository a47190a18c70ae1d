"""Rendering of many baked objects at once, in PyTorch alone: views for a GPU that no CPU renders fast enough.

All triangles of all views are scan-converted together. Each that faces the camera is given as many entries of
one long list as its box has pixels, every entry tests one pixel centre, and the nearest of a pixel wins by an
integer minimum, so that the result does not depend on the order. Colours are computed once per sample
afterwards. Nothing is read back from the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agsrec.synthetic.texels import (
    ALBEDO_SCALE,
    FACE_WIDTH,
    MAX_FACES,
    MAX_VERTICES,
    BakedObject,
    max_texels,
)

__all__ = ["DeviceViews", "ObjectBank", "draw_objects"]

_NEAR = 1e-2  # world units
_DEPTH_STEP = 0.03  # world units a surface may plausibly fall or rise within half a pixel
_EDGE = -1e-5  # barycentric: rounding must not open cracks between faces
_ENTRIES_PER_SAMPLE = 3.0, 16.0  # of many views, which need about 2, and more for a few, over their root
_NOTHING = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class DeviceViews:
    """Views [B, V] of objects, all on one device; contents as in `fast_render.RenderedViews`."""

    images: Tensor
    """[B, V, S, S, 4] sRGB with straight alpha in [0, 1]; RGB is zero where alpha is."""
    depths: Tensor
    """[B, V, S, S] camera z at the pixel centre, 0 where alpha is."""
    points: Tensor
    """[B, V, S, S, 3] world point at the pixel centre, 0 where alpha is."""
    lost: Tensor
    """[] tests there was no room for: if it is not 0, some surface of the last views is missing."""


@dataclass
class ObjectBank:
    """Baked objects in the memory of a device; the first axis of all tensors is the slot."""

    vertices: Tensor
    normals: Tensor
    faces: Tensor
    gloss: Tensor
    texels: Tensor
    lights: Tensor
    alike: Tensor
    size: int
    supersampling: int

    @staticmethod
    def empty(slots: int, size: int, device: torch.device, *, supersampling: int = 2) -> ObjectBank:
        """Room for so many objects in pictures of `size` pixels."""

        def room(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(slots, *shape, dtype=dtype, device=device)

        return ObjectBank(
            room(MAX_VERTICES, 3),
            room(MAX_VERTICES, 3),
            room(MAX_FACES, FACE_WIDTH, dtype=torch.int32),
            room(MAX_FACES, 2),
            room(max_texels(size, supersampling), 3, dtype=torch.uint8),
            room(5, 6),
            room(dtype=torch.bool),
            size,
            supersampling,
        )

    @staticmethod
    def of(
        objects: Sequence[BakedObject], size: int, device: torch.device, *, supersampling: int = 2
    ) -> ObjectBank:
        """A bank of these objects, which were baked for the same size."""
        bank = ObjectBank.empty(len(objects), size, device, supersampling=supersampling)
        for slot, item in enumerate(objects):
            bank.insert(slot, item)
        return bank

    def insert(self, slot: int, item: BakedObject) -> None:
        """Put an object in the place of another."""
        rooms = self.vertices, self.normals, self.faces, self.gloss, self.texels, self.lights, self.alike
        for kept, new in zip(rooms, item, strict=True):
            kept[slot] = torch.from_numpy(new).to(kept.device)


def draw_objects(
    bank: ObjectBank,
    slots: Tensor,  # [B]
    viewmats: Tensor,  # [B, V, 4, 4]
    Ks: Tensor,  # [B, V, 3, 3]
    *,
    gains: Tensor | None = None,  # [B, V, 3]
) -> DeviceViews:
    """V views of each of B objects of a bank, in its size; all arguments are float32 on its device.

    `gains` multiplies the linear light of each view (exposure and white balance).
    """
    count, views = viewmats.shape[:2]
    assert slots.shape == (count,) and Ks.shape == (count, views, 3, 3), (slots.shape, Ks.shape)
    faces = bank.faces[slots]  # [B, F, FACE_WIDTH]
    planes, boxes, areas = _set_up(bank, slots, faces, viewmats, Ks)
    keys, lost = _nearest(planes, boxes, areas, count * views, bank.size * bank.supersampling)
    rgb, hits = _samples(bank, slots, faces, planes, keys, viewmats)
    samples = bank.supersampling
    shape = count, views, bank.size, samples, bank.size, samples
    covered = hits.view(shape).sum((3, 5))  # [B, V, S, S]
    linear = rgb.view(*shape, 3).sum((3, 5)) / covered.clamp(min=1)[..., None]
    if gains is not None:
        linear = linear * gains[:, :, None, None]
    alpha = covered[..., None] / samples**2
    images = torch.cat([_srgb(linear) * (alpha > 0), alpha], -1)
    depths = _centre_depths(planes, keys.view(shape))
    return DeviceViews(images, depths, _unprojected(depths, viewmats, Ks), lost)


# -------------------------------------------------------------------- visibility


def _set_up(
    bank: ObjectBank, slots: Tensor, faces: Tensor, viewmats: Tensor, Ks: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of every face in every view [B * V * F, ...]: its planes, its box in samples, and the box's area.

    Planes: the first corner (x, y), the gradients of the second and third screen barycentrics, and 1 / depth
    of the corners; box: first column, first row and columns.
    """
    count, views = viewmats.shape[:2]
    side = bank.size * bank.supersampling
    world = bank.vertices[slots][:, None]  # [B, 1, N, 3]
    points = world @ viewmats[..., :3, :3].mT + viewmats[..., None, :3, 3]
    inverse = 1.0 / points[..., 2:]
    centred = points[..., :2] * inverse * Ks.diagonal(dim1=-2, dim2=-1)[..., None, :2] + Ks[..., None, :2, 2]
    screen = torch.cat([bank.supersampling * centred, inverse], -1).flatten(0, 2)  # [B * V * N, 3]
    first = torch.arange(count * views, device=slots.device).view(count, views, 1) * world.shape[2]
    a, b, c = (screen[(first + faces[:, None, :, k]).flatten()] for k in range(3))  # [B * V * F, 3]
    ab, ac = b[:, :2] - a[:, :2], c[:, :2] - a[:, :2]
    det = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]  # < 0 faces the camera in OpenCV axes
    low = (torch.minimum(torch.minimum(a, b), c)[:, :2] - 0.5).ceil().clamp(0, side)
    high = (torch.maximum(torch.maximum(a, b), c)[:, :2] - 0.5).floor().clamp(-1, side - 1)
    z_inverse = torch.stack([a[:, 2], b[:, 2], c[:, 2]], -1)
    drawn = (det < 0) & ((z_inverse > 0) & (z_inverse < 1 / _NEAR)).all(-1)
    extent = (high - low + 1).clamp(min=0) * drawn[:, None]
    scale = torch.where(drawn, 1 / torch.where(drawn, det, 1.0), 0.0)
    gradients = torch.stack([ac[:, 1], -ac[:, 0], -ab[:, 1], ab[:, 0]], -1) * scale[:, None]
    planes = torch.cat([a[:, :2], gradients, z_inverse], -1)
    boxes = torch.cat([low, extent[:, :1].clamp(min=1)], -1).int()
    return planes, boxes, extent.prod(-1).long()


def _at(planes: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Screen barycentrics of the three corners and 1 / depth where samples (x, y) meet rows of planes."""
    dx, dy = x - planes[:, 0], y - planes[:, 1]
    second = planes[:, 2] * dx + planes[:, 3] * dy
    third = planes[:, 4] * dx + planes[:, 5] * dy
    first = 1 - second - third
    return first, second, third, first * planes[:, 6] + second * planes[:, 7] + third * planes[:, 8]


def _nearest(planes: Tensor, boxes: Tensor, areas: Tensor, pictures: int, side: int) -> tuple[Tensor, Tensor]:
    """Per sample [pictures * side * side] depth (bits of the float) and row of the nearest face, in one
    integer; and how many tests there was no room for."""
    ends = areas.cumsum(0)
    per_sample = _ENTRIES_PER_SAMPLE[0] + _ENTRIES_PER_SAMPLE[1] / pictures**0.5
    room = int(per_sample * pictures * side * side)
    entry = torch.arange(room, device=areas.device)
    row = torch.searchsorted(ends, entry, right=True).clamp(max=len(ends) - 1)
    box = boxes[row]
    inside_box = entry - (ends - areas)[row]
    x = box[:, 0] + inside_box % box[:, 2]
    y = box[:, 1] + inside_box // box[:, 2]
    w0, w1, w2, inverse = _at(planes[row], x + 0.5, y + 0.5)
    hit = (torch.minimum(torch.minimum(w0, w1), w2) >= _EDGE) & (entry < ends[-1]) & (inverse > 0)
    depth = (1 / torch.where(hit, inverse, 1.0)).view(torch.int32).long()
    key = torch.where(hit, (depth << 32) | row, _NOTHING)
    picture = row // (len(ends) // pictures)
    target = torch.where(hit, (picture * side + y) * side + x, entry % (pictures * side * side))
    keys = torch.full((pictures * side * side,), _NOTHING, device=areas.device)
    keys.scatter_reduce_(0, target, key, "amin")
    return keys, (ends[-1] - room).clamp(min=0)


# -------------------------------------------------------------------- colour


def _samples(
    bank: ObjectBank, slots: Tensor, faces: Tensor, planes: Tensor, keys: Tensor, viewmats: Tensor
) -> tuple[Tensor, Tensor]:
    """Linear RGB of every sample [B * V * side * side, 3], 0 where it misses, and whether it hits."""
    count, views = viewmats.shape[:2]
    side = bank.size * bank.supersampling
    hits = keys != _NOTHING
    row = torch.where(hits, keys & 0xFFFFFFFF, 0)
    place = torch.arange(side * side, device=keys.device).repeat(count * views)
    w0, w1, w2, inverse = _at(planes[row], place % side + 0.5, place // side + 0.5)
    corners = planes[row, 6:] * torch.stack([w0, w1, w2], -1) / torch.where(hits, inverse, 1.0)[:, None]
    which = torch.arange(count, device=keys.device).repeat_interleave(
        views * side * side, output_size=len(keys)
    )
    face = row % MAX_FACES
    table = faces[which, face].long()  # [P, FACE_WIDTH]
    slot = slots[which]
    normals = sum(corners[:, k, None] * bank.normals[slot, table[:, k]] for k in range(3))
    assert isinstance(normals, Tensor)
    normals = normals / normals.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    texel = (corners[:, 1:] * table[:, 4:]).long().clamp(min=0)  # rounding may lead out of the face
    texel = torch.minimum(texel, table[:, 4:] - 1)
    coded = bank.texels[slot, table[:, 3] + texel[:, 0] * table[:, 5] + texel[:, 1]]
    albedo = ALBEDO_SCALE * (coded.float() / 255) ** 2
    share, sharpness = bank.gloss[slot, face].split(1, -1)
    lit = _Lights.of(bank.lights[slots])
    shaped = normals.view(count, -1, 3)
    backward = -viewmats[:, :, 2, :3].repeat_interleave(side * side, 1, output_size=views * side * side)
    scattered = lit.scattered(shaped).view(-1, 3)
    mirrored = lit.mirrored(shaped, backward, sharpness.view(count, -1, 1)).view(-1, 3)
    rgb = albedo * (1 - share) * scattered + share * mirrored
    return torch.where(hits[:, None], rgb, 0.0), hits


@dataclass(frozen=True)
class _Lights:
    """Light of B objects, as `fast_render` has it: sky and ground [B, 1, 3], lamps [B, L, 3]."""

    sky: Tensor
    ground: Tensor
    directions: Tensor
    colours: Tensor

    @staticmethod
    def of(rows: Tensor) -> _Lights:  # [B, 2 + L, 6]
        return _Lights(rows[:, :1, 3:], rows[:, 1:2, 3:], rows[:, 2:, :3], rows[:, 2:, 3:])

    def scattered(self, normals: Tensor) -> Tensor:  # [B, P, 3]
        """Linear RGB light on a white matte surface."""
        up = 0.5 + 0.5 * normals[..., 1:2]
        facing = (normals @ self.directions.mT).clamp(min=0)
        return self.ground + (self.sky - self.ground) * up + facing @ self.colours

    def mirrored(self, normals: Tensor, backward: Tensor, sharpness: Tensor) -> Tensor:  # [B, P, 3]
        """Linear RGB of what a mirror shows, seen from directions `backward`; sharpness is [B, P, 1]."""
        towards = 2 * (backward * normals).sum(-1, keepdim=True) * normals - backward
        above = (0.5 + 3 * towards[..., 1:2]).clamp(0, 1)
        facing = (towards @ self.directions.mT).clamp(min=0)
        glare = torch.where(facing > 0, 0.25 * (sharpness + 2) * facing**sharpness, 0.0)
        return self.ground + (self.sky - self.ground) * above + glare @ self.colours


def _srgb(linear: Tensor) -> Tensor:
    x = linear.clamp(0, 1)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp(min=1e-6) ** (1 / 2.4) - 0.055)


# -------------------------------------------------------------------- geometry


def _centre_depths(planes: Tensor, keys: Tensor) -> Tensor:  # [B, V, S, S]
    """Depth of each pixel's nearest sample, carried along its face to the pixel centre where that is near."""
    count, views, size, samples = keys.shape[:4]
    nearest = keys.amin((3, 5)).flatten()
    hits = nearest != _NOTHING
    row = torch.where(hits, nearest & 0xFFFFFFFF, 0)
    depth = torch.where(hits, nearest >> 32, 0).int().view(torch.float32)
    place = torch.arange(size * size, device=keys.device).repeat(count * views)
    inverse = _at(planes[row], samples * (place % size + 0.5), samples * (place // size + 0.5))[3]
    centre = 1 / inverse
    carried = torch.where((centre - depth).abs() < _DEPTH_STEP, centre, depth)
    return torch.where(hits, carried, 0.0).view(count, views, size, size)


def _unprojected(depths: Tensor, viewmats: Tensor, Ks: Tensor) -> Tensor:  # [B, V, S, S, 3]
    """World points at these depths on the rays through the pixel centres."""
    line = torch.arange(depths.shape[-1], device=depths.device) + 0.5
    x = (line - Ks[..., 0, 2, None]) / Ks[..., 0, 0, None]  # [B, V, S]
    y = (line - Ks[..., 1, 2, None]) / Ks[..., 1, 1, None]
    rays = torch.stack(
        [x[..., None, :].expand_as(depths), y[..., None].expand_as(depths), torch.ones_like(depths)], -1
    )
    camera = rays * depths[..., None] - viewmats[..., None, None, :3, 3]
    world = (camera.flatten(2, 3) @ viewmats[..., :3, :3]).view_as(rays)
    return torch.where(depths[..., None] > 0, world, 0.0)
