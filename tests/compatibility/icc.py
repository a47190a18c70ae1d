"""ICC profiles of colour spaces with matrices, as phones and cameras put them into photos."""

from __future__ import annotations

import struct
from collections.abc import Sequence

__all__ = ["ADOBE_GAMMA", "ADOBE_RGB", "DISPLAY_P3", "matrix_profile"]

# Red, green and blue in XYZ, adapted to the white of D50, as published profiles have them.
DISPLAY_P3 = [(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)]
ADOBE_RGB = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]
ADOBE_GAMMA = 563 / 256


def matrix_profile(primaries: Sequence[Sequence[float]], gamma: float) -> bytes:
    """An ICC profile, version 2.4, of RGB pictures.

    Args:
        primaries: XYZ of red, green and blue, adapted to D50.
        gamma: Exponent of all three curves.
    """
    name = b"made for a test\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + b"\0" * 79
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", b"wtpt": _xyz((0.9642, 1.0, 0.8249))}
    for letter, value in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags |= {letter + b"XYZ": _xyz(value), letter + b"TRC": curve}
    table, body = b"", b""
    for tag, data in tags.items():
        padded = data + b"\0" * (-len(data) % 4)
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(padded))
        body += padded
    size = 132 + len(table) + len(body)
    head = struct.pack(">I4s4s4s4s4s", size, b"lcms", b"\x02\x40\0\0", b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += b"".join(_fixed(v) for v in (0.9642, 1.0, 0.8249))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(value: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(_fixed(v) for v in value)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))
