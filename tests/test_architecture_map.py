"""The picture in docs/architecture.md shows the code as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_picture_of_the_rooms_is_that_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("architecture_map", DOCS / "architecture_map.py")
    assert spec is not None and spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    drawn = (DOCS / "architecture.svg").read_text(encoding="utf-8")
    assert drawing.draw() == drawn, "draw it anew: python docs/architecture_map.py"
    assert all(f">{room}" in drawn for room in ("cli", "measures", "pipeline", "core"))
