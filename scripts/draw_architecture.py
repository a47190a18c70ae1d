"""Draws the rooms of the package and who imports whom, from the imports themselves.

python scripts/draw_architecture.py                       # writes docs/images/architecture.svg
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "agsrec"
PICTURE = ROOT / "docs/images/architecture.svg"

Arrows = dict[str, set[str]]

FOUNDATIONS = "foundations"
"""The modules below all packages, as one box."""

STAGES = ("preprocess", "pose_init", "outliers", "fit", "mesh", "export")
"""Rooms of the stages, which `pipeline` puts in order; drawn darker."""

_WIDTH, _ROW, _BOX, _MARGIN = 1180, 74, 30, 16
_LETTER = 7.6  # pixels, of the font at 13


# -------------------------------------------------------------------- imports


def modules(package: Path = PACKAGE) -> Arrows:
    """By module, the modules of the package that it imports, inside functions and for types too."""
    files = {
        _name(file, package): file
        for file in sorted(package.rglob("*.py*"))
        if file.suffix in (".py", ".pyi")
    }
    return {name: _imports(file, files) - {name} for name, file in files.items()}


def rooms(arrows: Mapping[str, set[str]]) -> Arrows:
    """The same between rooms: packages, and modules outside of any."""
    found: Arrows = {}
    for module, imported in arrows.items():
        room = _room(module)
        found.setdefault(room, set()).update(other for m in imported if (other := _room(m)) != room)
    return found


def circles(arrows: Mapping[str, set[str]]) -> list[set[str]]:
    """Sets of nodes that reach each other (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(arrows.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = set(stack[stack.index(node) :])
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(members)

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return found


def _name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def _imports(file: Path, known: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {full if full in known else node.module for full in names.values()}
    return found & known.keys()


# -------------------------------------------------------------------- drawing


@dataclass(frozen=True)
class _Box:
    name: str
    x: float
    y: float
    width: float


def svg(arrows: Mapping[str, set[str]]) -> str:
    """Rooms in rows: each imports only from rows below it; arrows that others imply are left out."""
    rows = _rows(arrows)
    height = 2 * _MARGIN + _ROW * (len(rows) - 1) + _BOX
    boxes = {box.name: box for k, row in enumerate(rows) for box in _placed(row, _MARGIN + _ROW * k)}
    reduced = _reduced(arrows)
    lines = [_line(boxes[one], boxes[other]) for one in reduced for other in sorted(reduced[one])]
    shapes = [_shape(box) for box in boxes.values()]
    font = 'font-family="sans-serif" font-size="13" text-anchor="middle"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {font}>',
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            '<g fill="none" stroke="#9aa5b1" stroke-width="1">',
            *lines,
            '</g>\n<g stroke="#3b5b7a">',
            *shapes,
            "</g>\n</svg>\n",
        ]
    )


def _line(a: _Box, b: _Box) -> str:
    """From the middle of a box's lower edge to that of another's upper one."""
    x0, x1, y0, y1 = a.x + a.width / 2, b.x + b.width / 2, a.y + _BOX, b.y
    bend = 0.6 * _BOX
    ends = f"M{x0:.0f} {y0:.0f} C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1:.0f}"
    return f'<path d="{ends}"/>'


def _shape(box: _Box) -> str:
    fill = "#cfe3f5" if box.name in STAGES else "#f5f7fa"
    corner, size = f'x="{box.x:.0f}" y="{box.y:.0f}"', f'width="{box.width:.0f}" height="{_BOX}"'
    middle = f'x="{box.x + box.width / 2:.0f}" y="{box.y + 0.65 * _BOX:.0f}"'
    text = f'<text stroke="none" fill="#16222e" {middle}>{escape(box.name)}</text>'
    return f'<rect fill="{fill}" {corner} {size} rx="5"/>{text}'


def folded(arrows: Mapping[str, set[str]]) -> Arrows:
    """Without the package's front door, and with the modules below all packages as one, `FOUNDATIONS`."""
    packages = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    low = {room for room in arrows if not _reached(room, arrows) & packages and room not in packages}
    front = {PACKAGE.name, "__main__"}

    def name(room: str) -> str:
        return FOUNDATIONS if room in low else room

    found: Arrows = {}
    for room in sorted(arrows.keys() - front):
        others = {name(other) for other in arrows[room] - front}
        found.setdefault(name(room), set()).update(others - {name(room)})
    return found


def _reached(room: str, arrows: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [*arrows.get(room, ())]
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo += arrows.get(other, ())
    return found


def _reduced(arrows: Mapping[str, set[str]]) -> Arrows:
    """Without arrows that lead where another way leads too."""
    return {
        room: {o for o in others if not any(o in _reached(via, arrows) for via in others - {o})}
        for room, others in arrows.items()
    }


def _rows(arrows: Mapping[str, set[str]]) -> list[list[str]]:
    """Rooms by the longest way down from them, the highest first."""
    depth: dict[str, int] = {}

    def measure(room: str) -> int:
        if room not in depth:
            depth[room] = 1 + max((measure(other) for other in arrows[room]), default=-1)
        return depth[room]

    for room in arrows:
        measure(room)
    return [sorted(r for r in depth if depth[r] == k) for k in range(max(depth.values()), -1, -1)]


def _placed(row: list[str], y: float) -> list[_Box]:
    widths = [24 + _LETTER * len(name) for name in row]
    gap = (_WIDTH - 2 * _MARGIN - sum(widths)) / (len(row) + 1)
    boxes, x = [], _MARGIN + gap
    for name, width in zip(row, widths, strict=True):
        boxes.append(_Box(name, x, y, width))
        x += width + gap
    return boxes


if __name__ == "__main__":
    PICTURE.write_text(svg(folded(rooms(modules()))), encoding="utf-8")
