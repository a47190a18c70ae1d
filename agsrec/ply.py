"""Splat files: Gaussians as PLY in the layout of the original 3D Gaussian Splatting code.

Per vertex, float32: `x y z nx ny nz f_dc_0..2 f_rest_* opacity scale_0..2 rot_0..3`, where `f_rest` holds
all higher coefficients of red, then green, then blue, `opacity` is a logit, `scale` a natural logarithm and
`rot` a wxyz quaternion. These are exactly the stored parameters of `Gaussians`, so that a round trip changes
no bit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agsrec.errors import SceneError
from agsrec.files import atomic_write, read_bytes
from agsrec.gaussians import Gaussians

__all__ = ["read_ply", "write_ply"]

_WHAT = "a 3D Gaussian splat PLY"
_MAX_BYTES = 4 * 2**30
_MAX_HEADER = 2**16
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": None}
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_REMEDY = "export the splats again in the original 3D Gaussian Splatting layout"

_MEANS = ("x", "y", "z")
_NORMALS = ("nx", "ny", "nz")
_SH_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALES = ("scale_0", "scale_1", "scale_2")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")


def write_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Write Gaussians as a splat PLY, atomically; `read_ply` gives back the same bits.

    Raises:
        OutputError: The file cannot be written.
    """
    g = gaussians.detach().to("cpu")
    rest = g.sh[:, 1:].mT.flatten(1)  # [N, 3 * (K - 1)], channel by channel
    columns = [g.means, torch.zeros_like(g.means), g.sh[:, 0], rest, g.opacity_logits[:, None]]
    table = torch.cat([*columns, g.log_scales, g.quats], dim=1).float().numpy().astype("<f4")
    rest_names = [f"f_rest_{i}" for i in range(rest.shape[1])]
    names = [*_MEANS, *_NORMALS, *_SH_DC, *rest_names, "opacity", *_SCALES, *_QUATS]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(g)}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    atomic_write(path, "\n".join(header).encode() + table.tobytes())


def read_ply(path: str | Path) -> Gaussians:
    """Gaussians of a splat PLY: binary or ascii, properties in any order, further ones ignored.

    Raises:
        SceneError: The file cannot be read or used.
    """
    path = Path(path)
    data = read_bytes(path, error=SceneError, what=_WHAT, limit=_MAX_BYTES)
    columns = _read_vertices(path, data)
    missing = [n for n in (*_MEANS, *_SH_DC, "opacity", *_SCALES, *_QUATS) if n not in columns]
    if missing:
        raise SceneError(f"{path} lacks the vertex property {', '.join(missing)}; {_REMEDY}")
    rest = _rest_names(path, columns)
    sh_dc, sh_rest = _stack(columns, _SH_DC), _stack(columns, rest)
    sh = torch.cat([sh_dc[:, None], sh_rest.unflatten(1, (3, len(rest) // 3)).mT], dim=1)
    gaussians = Gaussians(
        means=_stack(columns, _MEANS),
        quats=_stack(columns, _QUATS),
        log_scales=_stack(columns, _SCALES),
        opacity_logits=_stack(columns, ("opacity",))[:, 0],
        sh=sh.contiguous(),
    )
    _check_values(path, gaussians)
    return gaussians


def _rest_names(path: Path, columns: dict[str, np.ndarray]) -> list[str]:
    """Names of the higher spherical harmonics coefficients, in order."""
    present = sum(name.startswith("f_rest_") for name in columns)
    names = [f"f_rest_{i}" for i in range(present)]
    if present not in (0, 9, 24, 45) or any(name not in columns for name in names):
        raise SceneError(
            f"{path} has {present} f_rest properties where 0, 9, 24 or 45 (numbered from 0) are expected, "
            f"spherical harmonics of degree 0 to 3; {_REMEDY}"
        )
    return names


def _stack(columns: dict[str, np.ndarray], names: list[str] | tuple[str, ...]) -> Tensor:
    """Columns as one float32 tensor [N, len(names)]."""
    out = np.empty((len(columns["x"]), len(names)), dtype=np.float32)
    with np.errstate(over="ignore"):  # a double too large for float32 becomes inf, which is refused later
        for i, name in enumerate(names):
            out[:, i] = columns[name]
    return torch.from_numpy(out)


def _check_values(path: Path, g: Gaussians) -> None:
    # Opacity logits of +-inf and log scales of -inf are legitimate: opacity 0 or 1, a flat Gaussian.
    usable = {
        "a position": g.means.isfinite().all(1),
        "a rotation": g.quats.isfinite().all(1) & (g.quats != 0).any(1),
        "a colour": g.sh.isfinite().flatten(1).all(1),
        "an opacity": ~g.opacity_logits.isnan(),
        "a scale": (g.log_scales < torch.inf).all(1),
    }
    for what, good in usable.items():
        if not good.all():
            row = int((~good).nonzero()[0])
            raise SceneError(f"{path}: Gaussian {row} has {what} that is no usable number; {_REMEDY}")


# ---------------------------------------------------------------- the PLY container


@dataclass
class _Element:
    """One `element` of a PLY header; properties are (name, numpy type), the type None for a list."""

    name: str
    count: int
    properties: list[tuple[str, str | None]]


def _read_vertices(path: Path, data: bytes) -> dict[str, np.ndarray]:
    """The vertex properties by name, each [N].

    Nothing is allocated before the file has been seen to hold as many bytes as its header announces.
    """
    byte_order, elements, start = _parse_header(path, data)
    names = [e.name for e in elements]
    if names.count("vertex") != 1:
        raise SceneError(f"{path} has no single element named vertex; {_REMEDY}")
    before, vertex = elements[: names.index("vertex")], elements[names.index("vertex")]
    if any(kind is None for e in [*before, vertex] for _, kind in e.properties):
        raise SceneError(f"{path} has list properties among its vertices, as no splat file has; {_REMEDY}")
    if len({name for name, _ in vertex.properties}) < len(vertex.properties):
        raise SceneError(f"{path} declares a vertex property twice; {_REMEDY}")
    if byte_order is None:
        return _ascii_columns(path, data[start:], before, vertex)
    dtype = np.dtype([(name, f"{byte_order}{kind}") for name, kind in vertex.properties])
    row_bytes = [sum(np.dtype(kind).itemsize for _, kind in e.properties) for e in before]
    offset = start + sum(e.count * size for e, size in zip(before, row_bytes, strict=True))
    if offset + vertex.count * dtype.itemsize > len(data):
        raise SceneError(f"{path} ends before the {vertex.count} Gaussians it announces; copy it again")
    rows = np.frombuffer(data, dtype, vertex.count, offset) if vertex.count else np.empty(0, dtype)
    return {name: rows[name] for name, _ in vertex.properties}


def _ascii_columns(
    path: Path, body: bytes, before: list[_Element], vertex: _Element
) -> dict[str, np.ndarray]:
    skip = sum(e.count * len(e.properties) for e in before)
    width = len(vertex.properties)
    if skip + vertex.count * width > len(body):  # every value takes at least a byte
        raise SceneError(f"{path} ends before the {vertex.count} Gaussians it announces; copy it again")
    words = body.split(maxsplit=skip + vertex.count * width)[skip : skip + vertex.count * width]
    try:
        values = np.array([float(word) for word in words], dtype=np.float64)
    except ValueError as error:
        raise SceneError(f"{path} has a value that is not a number ({error}); {_REMEDY}") from error
    if len(values) < vertex.count * width:
        raise SceneError(f"{path} ends before the {vertex.count} Gaussians it announces; copy it again")
    table = values.reshape(vertex.count, width)
    return {name: table[:, i] for i, (name, _) in enumerate(vertex.properties)}


def _parse_header(path: Path, data: bytes) -> tuple[str | None, list[_Element], int]:
    """Byte order (None for ascii), elements, and where the body starts."""
    end = re.search(rb"(?:^|\n)end_header[ \t]*\r?\n", data[:_MAX_HEADER])
    if not data.startswith(b"ply") or end is None:
        raise SceneError(f"{path} is not a PLY file (no header); expected {_WHAT}")
    byte_order: str | None = ""
    elements: list[_Element] = []
    lines = data[: end.start()].decode("ascii", errors="replace").splitlines()
    for number, line in enumerate(lines[1:], 2):
        match line.split():
            case [] | ["comment" | "obj_info", *_]:
                pass
            case ["format", name, _] if name in _BYTE_ORDERS:
                byte_order = _BYTE_ORDERS[name]
            case ["element", name, count] if re.fullmatch(r"[0-9]{1,12}", count):
                elements.append(_Element(name, int(count), []))
            case ["property", "list", length, kind, name] if elements and {length, kind} <= _TYPES.keys():
                elements[-1].properties.append((name, None))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append((name, _TYPES[kind]))
            case _:
                raise SceneError(f"{path}: header line {number} makes no sense: {line[:60]!r}; {_REMEDY}")
    if byte_order == "":
        raise SceneError(f"{path}: the header does not say which format follows; {_REMEDY}")
    return byte_order, elements, end.end()
