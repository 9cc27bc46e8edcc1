"""What an evaluation may be told, and what it found: records, as JSON without NaN or infinity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from revisage._version import __version__
from revisage.core import ConfigError

__all__ = ["EvaluateSettings", "Evaluation", "FaceRegion", "FileEvaluation", "Score", "Side", "make_settings"]

_RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)


class EvaluateSettings(BaseModel):
    """How files are paired and which frames are measured.

    Attributes:
        area: where to measure.
        resize: which side gives way where sizes differ; None makes that an error.
        match: ``exact`` pairs frames of the same time and makes a missing one an error, ``nearest`` takes for each
            frame of the reference the one nearest in time.
        every: measure each N-th frame of the reference, and changes over time between frames this far apart.
        max_frames: stop after this many measured frames.
        samples: on how many frames the heavy measures are taken, spread evenly; 0 takes all.
        detector: finds the faces in the reference.
        weights: a folder to look for the weights of LPIPS, VGGD and identity in, before the model folder.
        device: of the detector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    area: Literal["both", "whole", "faces"] = "both"
    resize: Literal["restored", "reference"] | None = None
    match: Literal["exact", "nearest"] = "exact"
    every: int = Field(default=1, ge=1)
    max_frames: int | None = Field(default=None, ge=1)
    samples: int = Field(default=12, ge=0)
    detector: str = "compact"
    weights: Path | None = None
    device: str = "auto"

    @property
    def whole(self) -> bool:
        """Whether whole frames are measured."""
        return self.area != "faces"

    @property
    def faces(self) -> bool:
        """Whether faces are measured."""
        return self.area != "whole"


def make_settings(**options: Any) -> EvaluateSettings:
    """Settings from options; those that are None keep their default.

    Raises:
        ConfigError: an option is unknown or out of range, in one line.
    """
    try:
        settings = EvaluateSettings.model_validate(
            {name: value for name, value in options.items() if value is not None}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "-".join(map(str, first["loc"])).replace("_", "-")
        raise ConfigError(f"--{name}: {first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']!r}") from None
    if settings.weights is not None and not settings.weights.is_dir():
        raise ConfigError(f"--weights: there is no folder {settings.weights}; name the one that holds the files")
    return settings


class Score(BaseModel):
    """One measure of one side, over the whole frame or inside the faces.

    Attributes:
        value: mean over the frames measured (NIQE: all frames pooled); None where there is no number.
        note: why there is none.
        frames: on how many frames the value rests.
        identical: frames that equal the reference's, whose PSNR is infinite; they are left out of the mean.
        worst: the worst frame's value, and ``worst_frame`` its place in :attr:`FileEvaluation.seconds`.
        series: one value for each entry of :attr:`FileEvaluation.seconds`; None where not measured or identical.
    """

    model_config = _RECORD

    value: float | None = None
    note: str | None = None
    frames: int = 0
    identical: int = 0
    worst: float | None = None
    worst_frame: int | None = None
    series: list[float | None] = []


class Side(BaseModel):
    """One of the files that were measured.

    Attributes:
        path: of the file.
        size_hw: of its frames before they were resized (px).
        frames: that it holds, as far as it was read.
        whole, faces: the scores by name of the measure (see :data:`revisage.measures.MEASURES`); those of
            the reference are only the ones that need none.
    """

    model_config = _RECORD

    path: str
    size_hw: tuple[int, int]
    frames: int = 0
    whole: dict[str, Score] = {}
    faces: dict[str, Score] = {}

    def area(self, name: str) -> dict[str, Score]:
        """The scores of ``whole`` or ``faces``."""
        return self.faces if name == "faces" else self.whole


class FaceRegion(BaseModel):
    """Where a face was measured, in px of the frames as they were compared; ends excluded."""

    model_config = _RECORD

    track: int
    left: int
    top: int
    right: int
    bottom: int


class FileEvaluation(BaseModel):
    """One reference and the files that were measured against it.

    Attributes:
        name: of the reference.
        kind: ``video``, ``animation`` or ``image``.
        size_hw: at which frames were compared (px).
        frames: number of each measured frame in the reference, from 0.
        seconds: its time from the first frame.
        regions: the faces in each measured frame.
        tracks: persons in the reference.
        sides: by name; ``reference`` is always there, ``restored`` and ``input`` where one restoration was measured,
            any other names where several were.
        warnings: what the reader of the numbers should know.
        error: why the file could not be measured (in a folder).
    """

    model_config = _RECORD

    name: str
    kind: str = "image"
    size_hw: tuple[int, int] = (0, 0)
    frames: list[int] = []
    seconds: list[float] = []
    regions: list[list[FaceRegion]] = []
    tracks: int = 0
    sides: dict[str, Side] = {}
    warnings: list[str] = []
    error: str | None = None


class Evaluation(BaseModel):
    """What :func:`revisage.api.evaluate` found.

    Attributes:
        revisage: version that measured.
        settings: of the evaluation.
        networks: for LPIPS, VGGD and identity the file and SHA-256 of the weights, or why there are none.
        files: one entry per reference.
        mean: for each side, area and measure the mean over the files that have a value.
        total_seconds: wall clock.
    """

    model_config = _RECORD

    revisage: str = __version__
    settings: dict[str, Any] = {}
    networks: dict[str, dict[str, Any]] = {}
    files: list[FileEvaluation] = []
    mean: dict[str, dict[str, dict[str, float]]] = {}
    total_seconds: float = 0.0

    def to_json(self) -> str:
        """This record as JSON, without NaN or infinity."""
        return json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
