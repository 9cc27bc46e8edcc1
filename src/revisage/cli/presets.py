"""``revisage presets``: what ``restore --preset`` sets."""

from __future__ import annotations

import json

from revisage.cli.options import JsonOption
from revisage.cli.show import print_lines
from revisage.core import PRESETS

__all__ = ["presets"]


def presets(as_json: JsonOption = False) -> None:
    """Show the presets of restore: what footage each is for, and which options it sets. Options that you give win."""
    if as_json:
        found = {name: {"footage": preset.footage, "options": {**preset.options}} for name, preset in PRESETS.items()}
        print_lines([json.dumps(found, indent=2)])
    else:
        width = max(map(len, PRESETS)) + 2
        for name, preset in PRESETS.items():
            print_lines(
                [f"{name:{width}}{preset.footage}", *([" " * width + preset.as_words()] * bool(preset.options))]
            )
