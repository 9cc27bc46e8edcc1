"""Presets: options that belong together for one kind of footage.

Each was chosen on clips damaged as such footage is, and measured against the default on others (docs/presets.md);
``revisage.train`` has a kind of damage by each name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["PRESETS", "Preset", "PresetName"]

PresetName = Literal["none", "archive", "family-tape", "film", "meme", "photo", "surveillance", "webcam"]


@dataclass(frozen=True)
class Preset:
    """What is set for one kind of footage.

    Attributes:
        footage: what it is for.
        options: fields of RestoreConfig and their values; what a user gives wins.
    """

    footage: str
    options: Mapping[str, bool | float | str] = field(default_factory=dict)

    def as_words(self) -> str:
        """The options as the command line has them."""
        return " ".join(_as_words(name.replace("_", "-"), value) for name, value in self.options.items())


def _as_words(name: str, value: bool | float | str) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}"


PRESETS: dict[PresetName, Preset] = {
    "none": Preset("anything: the defaults"),
    "archive": Preset("old films and prints: dust, coarse grain, soft faces", {"denoise": 1.0, "dust": True}),
    "family-tape": Preset(
        "VHS, Video8 and their kin: fields, smeared colour, noise in streaks",
        {"deinterlace": True, "denoise": 0.75},
    ),
    "film": Preset("well kept film: grain, specks of dust", {"dust": True, "denoise": 0.5}),
    "meme": Preset("GIFs and stickers copied from copies", {"strength": 0.7}),
    "photo": Preset("photos that went through messengers and networks", {"denoise": 0.75}),
    "surveillance": Preset("small faces in poor light and few bits", {"denoise": 0.25}),
    "webcam": Preset("calls and webcams: noise and blocks, one face near the camera", {"denoise": 1.0}),
}
"""By name, in the order in which they are offered."""
