"""Draws docs/architecture.svg: the rooms of the package from top to bottom, and who enters whose door.

    python docs/architecture_map.py

Everything is read from the code: the order of rooms from tests/test_architecture.py, sub-rooms from the folders, and
who uses whom from the imports. A test compares the picture with what this draws, so run it when that test says so.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "revisage"
PICTURE = ROOT / "docs" / "architecture.svg"

_ROW, _LANE = 38, 25
_LEFT, _TOP, _BOX_WIDTH, _BOX_HEIGHT = 16, 40, 300, 28
_STYLE = """
  .back { fill: #ffffff } .box { fill: #eef3f8; stroke: #5b7083 } text { fill: #1c2733; font-family: sans-serif }
  .name { font-size: 14px; font-weight: 600 } .inside { font-size: 11.5px } .says { font-size: 12px }
  .line { stroke: #7d8fa0; stroke-width: 1.2; fill: none } .dot { fill: #b3261e }
  @media (prefers-color-scheme: dark) {
    .back { fill: #12171d } .box { fill: #202b36; stroke: #8ba0b4 } text { fill: #e6edf3 }
    .line { stroke: #71849a } .dot { fill: #ff9d76 }
  }
"""


def order() -> list[str]:
    """The rooms from top to bottom, as the test of imports has them; only those that are there."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ORDER":
            return [room for room in ast.literal_eval(node.value) if files_of(room)]
    raise ValueError("tests/test_architecture.py has no ORDER")


def files_of(room: str) -> list[Path]:
    """The modules of a room; of a module that stands alone, itself."""
    return sorted((PACKAGE / room).rglob("*.py")) or [file for file in [PACKAGE / f"{room}.py"] if file.exists()]


def sub_rooms(room: str) -> list[str]:
    """The names of a room's sub-rooms."""
    return sorted(
        file.parent.name for file in files_of(room) if file.name == "__init__.py" and file.parent.name != room
    )


@functools.cache
def uses(room: str) -> set[str]:
    """The rooms that a room imports from, wherever in its files."""
    names = {name for file in files_of(room) for name in _imported(file)}
    return {parts[1] for name in names if (parts := name.split("."))[0] == "revisage" and len(parts) > 1} - {room}


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def draw() -> str:
    """The picture as SVG, legible on light and dark.

    A room's line leaves its box to the right and turns down; where it crosses the line of a lower room with a dot, it
    uses that room, as wires in a circuit diagram.
    """
    rooms = order()
    width = _LEFT + _BOX_WIDTH + (len(rooms) + 1) * _LANE + 8
    height = _TOP + len(rooms) * _ROW + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="The rooms of revisage and who uses whom"><style>{_STYLE}</style>',
        f'<rect class="back" width="{width}" height="{height}"/>',
        f'<text class="says" x="{_LEFT}" y="24">A room uses those below that its line meets in a dot.</text>',
    ]
    for row, room in enumerate(rooms):
        used = sorted(rooms.index(other) for other in uses(room) & set(rooms))
        parts += [*_lines(row, used), _box(row, room)]
    for row, room in enumerate(rooms):
        parts += [_dot(row, rooms.index(other), room, other) for other in sorted(uses(room) & set(rooms))]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _y(row: int) -> int:
    return _TOP + row * _ROW + _BOX_HEIGHT // 2


def _x(row: int) -> int:
    return _LEFT + _BOX_WIDTH + (row + 1) * _LANE


def _lines(row: int, used: list[int]) -> Iterator[str]:
    turn = f"V{_y(used[-1])}" if used else ""
    yield f'<path class="line" d="M{_LEFT + _BOX_WIDTH} {_y(row)}H{_x(row)}{turn}"/>'


def _box(row: int, room: str) -> str:
    x, y = _LEFT, _y(row)
    inside = " · ".join(sub_rooms(room))
    name = room if (PACKAGE / room).is_dir() else f"{room}.py"
    return (
        f'<rect class="box" x="{x}" y="{y - _BOX_HEIGHT // 2}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="5"/>'
        f'<text class="name" x="{x + 10}" y="{y + 5}">{escape(name)}</text>'
        f'<text class="inside" x="{x + _BOX_WIDTH - 10}" y="{y + 4}" text-anchor="end">{escape(inside)}</text>'
    )


def _dot(row: int, used: int, room: str, other: str) -> str:
    return (
        f'<circle class="dot" cx="{_x(row)}" cy="{_y(used)}" r="4.5">'
        f"<title>{escape(room)} uses {escape(other)}</title></circle>"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
