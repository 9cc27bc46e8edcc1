"""The list of a set of GIFs: what each was cut from, how it was damaged, and which file is whose reference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from revisage._version import __version__
from revisage.core import ConfigError, InputError, write_text
from revisage.datasets.damage import KINDS

__all__ = ["MANIFEST", "GifClip", "GifSet", "GifSetOptions", "GifSource", "Pair", "load_gif_set", "make_gif_options"]

MANIFEST = "manifest.json"
_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GifSetOptions(BaseModel):
    """What a set is made of; the same options, seed and sources give the same bytes."""

    model_config = _STRICT

    seed: int = Field(0, ge=0, description="Seed of all that is drawn.")
    kinds: tuple[str, ...] = Field(("noisy", "blurry", "low_res"), min_length=1, description="Kinds of damage.")
    per_video: int = Field(4, ge=1, le=1000, description="At most this many clips from one video, the liveliest first.")
    min_seconds: float = Field(1.0, gt=0, le=60, description="Length of the shortest clip.")
    max_seconds: float = Field(4.0, gt=0, le=60, description="Length of the longest clip.")
    min_face: int = Field(64, ge=16, description="Faces below this (longer box side, px) are passed over.")
    max_side: int = Field(320, ge=64, le=4096, description="Longest side of a GIF (px); larger ones are reduced.")
    fps: float = Field(15.0, gt=0, le=50, description="At most this many frames a second; the times stay true.")
    max_megabytes: float = Field(4.0, gt=0, description="Larger clean GIFs are reduced further.")
    liveliness: float = Field(0.03, ge=0, description="Clips with less expression than this are passed over.")

    @model_validator(mode="after")
    def _consistent(self) -> GifSetOptions:
        if self.max_seconds < self.min_seconds:
            raise ValueError(f"max_seconds ({self.max_seconds:g}) must not be below min_seconds ({self.min_seconds:g})")
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(f"kinds cannot hold '{kind}'; choose from {', '.join(KINDS)}")
        return self


class GifSource(BaseModel):
    """A video that was looked at: where its copy lies (relative to the set), its SHA-256, how many clips came of it."""

    model_config = _STRICT

    file: str
    sha256: str
    bytes: int
    clips: int
    note: str | None = None


class GifFace(BaseModel):
    """A face of a clip: its track in the source, its mean box in px of the GIF, and how far it faces the camera."""

    model_config = _STRICT

    track: int
    box: tuple[float, float, float, float]
    frontality: float


class DamagedGif(BaseModel):
    """A damaged copy of a clip.

    Attributes:
        kind, parameters, seed: of :class:`revisage.datasets.damage.Damage`.
        file, frames: the GIF, and the folder of its pictures.
        restored, restored_frames: the same of its restoration; None before it was restored.
    """

    model_config = _STRICT

    kind: str
    parameters: dict[str, Any]
    seed: int
    file: str
    frames: str
    restored: str | None = None
    restored_frames: str | None = None


class GifClip(BaseModel):
    """A clip.

    Attributes:
        name: of its files.
        source: the video, as in :attr:`GifSource.file`; ``sha256`` of it.
        first_pts, last_pts: of the first and last frame taken, in ``time_base`` of the source.
        start_seconds, end_seconds: from the source's first frame; the end is that of the last frame's display.
        region: left, top, right, bottom of the part of the source's frame that is shown (px, ends excluded).
        width, height, frame_count: of the GIFs.
        pts: of each frame taken.
        liveliness: see :func:`revisage.datasets.gif_windows.expressiveness`.
        faces: the face that the clip was cut for, then the others that are seen with it.
        clean: the undamaged GIF, the reference of the damaged and restored ones.
    """

    model_config = _STRICT

    name: str
    source: str
    sha256: str
    time_base: str
    first_pts: int
    last_pts: int
    start_seconds: float
    end_seconds: float
    region: tuple[int, int, int, int]
    width: int
    height: int
    frame_count: int
    pts: list[int]
    liveliness: float
    faces: list[GifFace]
    clean: str
    damaged: list[DamagedGif]


@dataclass(frozen=True)
class Pair:
    """Files that belong together: a restored GIF, its reference, and the damaged GIF that it was made from."""

    kind: str
    restored: Path
    reference: Path
    input: Path


class GifSet(BaseModel):
    """The manifest of a set; all paths in it are relative to its folder.

    Attributes:
        version: of this format.
        made_by: version of revisage.
        options: that it was made with.
        restoration: options of the restoration; None before it was restored.
        sources, clips: what was looked at, and what came of it.
    """

    model_config = _STRICT

    version: Literal[1] = 1
    made_by: str = __version__
    options: GifSetOptions
    restoration: dict[str, Any] | None = None
    sources: list[GifSource] = []
    clips: list[GifClip] = []

    def save(self, folder: Path) -> None:
        """Write the manifest into the set's folder; it appears when it is complete.

        Raises:
            OutputError: it cannot be written.
        """
        text = json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False)
        write_text(folder / MANIFEST, text + "\n", overwrite=True)

    def pairs(self, folder: Path) -> Iterator[Pair]:
        """What can be measured: each restored GIF of the set in ``folder`` with its reference and its input."""
        for clip in self.clips:
            for copy in clip.damaged:
                if copy.restored is not None:
                    yield Pair(copy.kind, folder / copy.restored, folder / clip.clean, folder / copy.file)


def make_gif_options(**values: Any) -> GifSetOptions:
    """Checked options from those that were given (None means: not given).

    Raises:
        ConfigError: a value that is not allowed.
    """
    try:
        return GifSetOptions(**{key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_problem(error)) from None


def load_gif_set(folder: Path) -> GifSet:
    """The manifest of the set in a folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        return GifSet.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no {MANIFEST}; make a set with: revisage dataset gif VIDEOS {folder}"
        ) from None
    except ValidationError as error:
        raise InputError(f"{path} is no manifest of GIFs: {_problem(error)}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    text = first["msg"].removeprefix("Value error, ")
    text = text[:1].lower() + text[1:]
    return f"{place}: {text}" if place else text
