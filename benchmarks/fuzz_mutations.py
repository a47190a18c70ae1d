"""Changes that a seed makes to valid files: of bytes, of words in text, of the structure of JSON."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["mutated"]

_NUMBERS = (
    *(0, -1, 1, 2**31 - 1, -(2**31), 2**63, 2**64, 10**30, 10**400, 1e308, -1e308, 1e-320, 0.5),
    *(float("nan"), float("inf"), float("-inf")),
)
_VALUES = (
    *_NUMBERS,
    None,
    True,
    False,
    "",
    "a",
    "../../x",
    "\0",
    "\ud800",
    "é" * 300,
    "x" * 5000,
    [],
    {},
    [[]],
)
_WORDS = (
    *(b"0", b"-1", b"nan", b"inf", b"1e999", b"-1e308", b"99999999999999999999", b"", b"\0", b"\xff\xfe"),
    *(b"..", b"/", b"\\", b'"', b"'", b",", b"\n", b"{", b"[" * 2000, b"x" * 3000, b"\xe2\x80\xae", b"#"),
)
_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)

Change = Callable[[bytes, random.Random], bytes]


def mutated(files: Mapping[str, bytes], seed: int) -> dict[str, bytes]:
    """Files of which one, now and then two, are changed as a seed wants."""
    chance = random.Random(seed)
    out = dict(files)
    for _ in range(1 if chance.random() < 0.85 else 2):
        name = chance.choice(sorted(out))
        kinds: list[Change] = [flipped, overwritten, cut, repeated, spliced, with_number, emptied]
        kinds += [other_words] * 3 if _is_text(out[name]) else []
        kinds += [restructured] * 6 if out[name][:1] == b"{" else []
        for _ in range(chance.choice((1, 1, 2, 4))):
            out[name] = chance.choice(kinds)(out[name], chance)
    return out


def _is_text(data: bytes) -> bool:
    return b"\0" not in data[:200] and bool(re.match(rb"[\x09\x0a\x0d\x20-\x7e]", data[:1]))


# -------------------------------------------------------------------- bytes


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Some bits the other way."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 16))):
        if out:
            out[_place(out, chance)] ^= 1 << chance.randrange(8)
    return bytes(out)


def overwritten(data: bytes, chance: random.Random) -> bytes:
    """Some bytes, mostly of the start, with extreme ones."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 2, 4, 8))):
        if out:
            out[_place(out, chance)] = chance.choice(_BYTES)
    return bytes(out)


def cut(data: bytes, chance: random.Random) -> bytes:
    """Without the end, the start, or a piece."""
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return chance.choice((data[:first], data[last:], data[:first] + data[last:]))


def repeated(data: bytes, chance: random.Random) -> bytes:
    """A piece several times."""
    first, last = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first:last][:4096] * chance.choice((1, 3, 20)) + data[last:]


def spliced(data: bytes, chance: random.Random) -> bytes:
    """Random bytes, or a piece of itself from elsewhere, in the middle."""
    place, other = (chance.randrange(len(data) + 1) for _ in range(2))
    piece = data[other : other + 64] if chance.random() < 0.5 else chance.randbytes(chance.choice((1, 8, 64)))
    return data[:place] + piece + data[place + chance.choice((0, len(piece))) :]


def with_number(data: bytes, chance: random.Random) -> bytes:
    """Two, four or eight bytes as an extreme number, such as a length."""
    width, order = chance.choice((2, 4, 8)), chance.choice(("little", "big"))
    number = chance.choice((0, 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1, 2 ** (4 * width), 100_000))
    place = _place(data, chance) if data else 0
    return data[:place] + (number % 2 ** (8 * width)).to_bytes(width, order) + data[place + width :]


def emptied(data: bytes, chance: random.Random) -> bytes:
    """Nothing, or nothing but zeros or ones."""
    return chance.choice((b"", bytes(len(data)), b"\xff" * len(data)))


def _place(data: bytes | bytearray, chance: random.Random) -> int:
    """Headers have more to say than what follows."""
    return chance.randrange(min(len(data), 64) if chance.random() < 0.5 else len(data))


# -------------------------------------------------------------------- text and JSON


def other_words(data: bytes, chance: random.Random) -> bytes:
    """Some words replaced, doubled or dropped."""
    parts = re.split(rb"([\s,]+)", data)
    for _ in range(chance.choice((1, 1, 3))):
        k = chance.randrange(len(parts))
        parts[k] = chance.choice((chance.choice(_WORDS), parts[k] * 2, parts[chance.randrange(len(parts))]))
    return b"".join(parts)


def restructured(data: bytes, chance: random.Random) -> bytes:
    """JSON with a value replaced, dropped, doubled, renamed, moved or wrapped; as it is where it is none."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for _ in range(chance.choice((1, 1, 2))):
        content = _changed(content, chance)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def _changed(value: Any, chance: random.Random) -> Any:
    """A value with one change somewhere in it."""
    inside = isinstance(value, dict | list) and value
    if inside and chance.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, other = chance.choice(keys), chance.choice(keys)
        match chance.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[key] = value[other]
            case 2 if isinstance(value, dict):
                value[chance.choice(("", "\0", "a/b", "é", str(other), "x" * 300))] = value[key]
            case 2 if isinstance(value, list):
                value.append(value[key])
            case _:
                value[key] = _changed(value[key], chance)
        return value
    if chance.random() < 0.1:
        deep = value
        for _ in range(chance.choice((1, 70, 900))):
            deep = [deep]
        return deep
    return chance.choice(_VALUES)
