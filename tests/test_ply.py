from __future__ import annotations

import math
import struct
import tracemalloc
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agsrec.errors import AgsrecError, OutputError, SceneError
from agsrec.gaussians import Gaussians
from agsrec.ply import read_ply, write_ply


def gaussians(n: int = 6, degree: int = 2) -> Gaussians:
    g = torch.Generator().manual_seed(n + degree)
    return Gaussians(
        means=torch.randn(n, 3, generator=g),
        quats=torch.randn(n, 4, generator=g),
        log_scales=torch.randn(n, 3, generator=g) - 3,
        opacity_logits=torch.randn(n, generator=g),
        sh=torch.randn(n, (degree + 1) ** 2, 3, generator=g),
    )


def assert_same_bits(a: Gaussians, b: Gaussians) -> None:
    for f in fields(Gaussians):
        x, y = getattr(a, f.name), getattr(b, f.name)
        assert x.shape == y.shape and x.dtype == y.dtype == torch.float32
        assert torch.equal(x.contiguous().view(torch.int32), y.contiguous().view(torch.int32)), f.name


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("n", [0, 1, 6])
def test_round_trip_is_exact(tmp_path: Path, n: int, degree: int) -> None:
    write_ply(tmp_path / "a.ply", gaussians(n, degree))
    assert_same_bits(read_ply(tmp_path / "a.ply"), gaussians(n, degree))


def test_extreme_values_survive(tmp_path: Path) -> None:
    g = gaussians(3)
    g = replace(
        g,
        means=torch.tensor([[-0.0, 1e-45, 3.4e38]] * 3),
        opacity_logits=torch.tensor([math.inf, -math.inf, 0.0]),
        log_scales=torch.full((3, 3), -math.inf),
    )
    write_ply(tmp_path / "a.ply", g)
    assert_same_bits(read_ply(tmp_path / "a.ply"), g)


def test_layout_by_hand(tmp_path: Path) -> None:
    values = torch.arange(1.0, 13.0).reshape(1, 4, 3)  # sh [1, 4, 3]: coefficient k, channel c -> 1 + 3 k + c
    g = Gaussians(
        means=torch.tensor([[100.0, 101, 102]]),
        quats=torch.tensor([[1.0, 0, 0, 0.5]]),
        log_scales=torch.tensor([[-1.0, -2, -3]]),
        opacity_logits=torch.tensor([7.0]),
        sh=values,
    )
    write_ply(tmp_path / "a.ply", g)
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    names = [line.split()[-1] for line in header.decode().splitlines() if line.startswith("property float")]
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 1\nproperty float x\n")
    rest = [f"f_rest_{i}" for i in range(9)]
    assert names == (
        ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity"]
        + [f"scale_{i}" for i in range(3)]
        + [f"rot_{i}" for i in range(4)]
    )
    red, green, blue = [4, 7, 10], [5, 8, 11], [6, 9, 12]
    expected = [100, 101, 102, 0, 0, 0, 1, 2, 3, *red, *green, *blue, 7, -1, -2, -3, 1, 0, 0, 0.5]
    assert struct.unpack(f"<{len(names)}f", body) == tuple(expected)


def text_file(
    order: list[str], rows: list[dict[str, float]], form: str = "ascii", kind: str = "float"
) -> bytes:
    """A PLY with the properties in that order, in any of the formats."""
    header = ["ply", f"format {form} 1.0", "comment made by hand", "obj_info x", "element extra 2"]
    header += ["property uchar a", "property short b", f"element vertex {len(rows)}"]
    header += [f"property {kind} {name}" for name in order]
    header += ["element face 0", "property list uchar int vertex_indices", "end_header\n"]
    if form == "ascii":
        lines = ["1 2", "3 4"] + [" ".join(repr(row[name]) for name in order) for row in rows]
        return "\n".join([*header[:-1], "end_header", *lines, ""]).encode()
    sign = "<" if "little" in form else ">"
    body = struct.pack(f"{sign}BhBh", 1, 2, 3, 4)
    for row in rows:
        body += struct.pack(f"{sign}{len(order)}{'d' if kind == 'double' else 'f'}", *(row[n] for n in order))
    return "\n".join(header).encode() + body


def rows_of(g: Gaussians) -> list[dict[str, float]]:
    rows = []
    for i in range(len(g)):
        row = dict(zip("xyz", g.means[i].tolist(), strict=True))
        row |= {f"f_dc_{c}": g.sh[i, 0, c].item() for c in range(3)}
        k = g.sh.shape[1] - 1
        row |= {f"f_rest_{c * k + j}": g.sh[i, 1 + j, c].item() for c in range(3) for j in range(k)}
        row |= {"opacity": g.opacity_logits[i].item(), "red": 3.0}
        row |= {f"scale_{c}": g.log_scales[i, c].item() for c in range(3)}
        row |= {f"rot_{c}": g.quats[i, c].item() for c in range(4)}
        rows.append(row)
    return rows


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("kind", ["float", "double", "float64"])
def test_other_writers(tmp_path: Path, form: str, kind: str) -> None:
    rows = rows_of(gaussians())
    order = sorted(rows[0], reverse=True)
    if kind == "float64":
        kind = "double"
        order.append("red2")
        rows = [row | {"red2": 1.0} for row in rows]
    (tmp_path / "a.ply").write_bytes(text_file(order, rows, form, kind))
    assert_same_bits(read_ply(tmp_path / "a.ply"), gaussians())


def test_windows_line_ends(tmp_path: Path) -> None:
    rows = rows_of(gaussians())
    (tmp_path / "a.ply").write_bytes(text_file(list(rows[0]), rows).replace(b"\n", b"\r\n"))
    assert_same_bits(read_ply(tmp_path / "a.ply"), gaussians())


def test_agrees_with_plyfile(tmp_path: Path) -> None:
    plyfile = pytest.importorskip("plyfile")
    g = gaussians()
    write_ply(tmp_path / "a.ply", g)
    data = plyfile.PlyData.read(str(tmp_path / "a.ply"))
    np.testing.assert_array_equal(data["vertex"]["rot_3"], g.quats[:, 3].numpy())
    np.testing.assert_array_equal(data["vertex"]["f_rest_8"], g.sh[:, 1, 1].numpy())
    for text in (True, False):
        plyfile.PlyData([data["vertex"]], text=text, byte_order=">").write(str(tmp_path / "b.ply"))
        assert_same_bits(read_ply(tmp_path / "b.ply"), g)


# ---------------------------------------------------------------- unusable files


def valid(degree: int = 1) -> bytes:
    rows = rows_of(gaussians(3, degree))
    return text_file(list(rows[0]), rows, "binary_little_endian")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"ply\n", b"not\n", "not a PLY"),
        (b"end_header", b"end_heater", "not a PLY"),
        (b"element vertex", b"element points", "no single element named vertex"),
        (b"property float opacity\n", b"", "lacks the vertex property opacity"),
        (b"property float f_rest_8\n", b"", "8 f_rest"),
        (b"float f_rest_8\n", b"float f_rest_9\n", "numbered from 0"),
        (b"property float rot_3\n", b"property float rot_2\n", "twice"),
        (b"property float rot_3\n", b"property list uchar int rot_3\n", "list properties"),
        (b"property float rot_3\n", b"property quad rot_3\n", "makes no sense"),
        (b"element vertex 3", b"element vertex -3", "makes no sense"),
        (b"element vertex 3", b"element vertex 4", "ends before"),
        (b"element vertex 3", b"element vertex 999999999999", "ends before"),
        (b"element extra 2", b"element extra 999999999999", "ends before"),
        (b"format binary_little_endian 1.0\n", b"", "which format"),
        (b"format binary_little_endian", b"format zip", "makes no sense"),
        (b"format binary_little_endian", b"format ascii", r"ends before|not a number"),
    ],
)
def test_bad_files(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    assert old in valid()
    path = tmp_path / "a.ply"
    path.write_bytes(valid().replace(old, new))
    with pytest.raises(SceneError, match=message) as error:
        read_ply(path)
    assert str(path) in str(error.value)


def test_short_ascii(tmp_path: Path) -> None:
    rows = rows_of(gaussians(3))
    content = text_file(list(rows[0]), rows)
    for bad in (content[: len(content) * 2 // 3], content[:-30], content.rsplit(maxsplit=1)[0] + b" nought"):
        (tmp_path / "a.ply").write_bytes(bad)
        with pytest.raises(SceneError, match=r"ends before|not a number"):
            read_ply(tmp_path / "a.ply")


@pytest.mark.parametrize("name", ["x", "f_dc_1", "f_rest_3", "rot_0", "opacity", "scale_2"])
def test_nan_is_refused(tmp_path: Path, name: str) -> None:
    rows = rows_of(gaussians(3, 1))
    rows[1][name] = math.nan
    (tmp_path / "a.ply").write_bytes(text_file(list(rows[0]), rows, "binary_big_endian"))
    with pytest.raises(SceneError, match="Gaussian 1 has"):
        read_ply(tmp_path / "a.ply")


def test_zero_quaternion_and_overflow_are_refused(tmp_path: Path) -> None:
    for change in ({f"rot_{i}": 0.0 for i in range(4)}, {"x": 1e300}, {"scale_0": 1e300}):
        rows = rows_of(gaussians(3, 1))
        rows[2] |= change
        (tmp_path / "a.ply").write_bytes(text_file(list(rows[0]), rows, kind="double"))
        with pytest.raises(SceneError, match="Gaussian 2 has"):
            read_ply(tmp_path / "a.ply")


def test_missing_file_and_unwritable_folder(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="no such file"):
        read_ply(tmp_path / "a.ply")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_ply(tmp_path / "file" / "a.ply", gaussians())


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
def test_a_lying_header_allocates_nothing(tmp_path: Path, form: str) -> None:
    rows = rows_of(gaussians(1, 0))
    content = text_file(list(rows[0]), rows, form).replace(b"vertex 1", b"vertex 999999999999")
    (tmp_path / "a.ply").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(SceneError):
        read_ply(tmp_path / "a.ply")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


# ---------------------------------------------------------------- fuzzing


@settings(max_examples=200, deadline=None)
@given(data=st.data(), ascii_=st.booleans())
def test_fuzz(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ascii_: bool) -> None:
    rows = rows_of(gaussians(2, 0))
    content = bytearray(text_file(list(rows[0]), rows, "ascii" if ascii_ else "binary_little_endian"))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    path = tmp_path_factory.getbasetemp() / "fuzz.ply"
    path.write_bytes(content)
    try:
        assert read_ply(path).means.isfinite().all()
    except AgsrecError as error:
        assert isinstance(error, SceneError) and str(path) in str(error)
