"""The result of an evaluation as records: JSON without NaN or infinity, read back by the same classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from revisage._version import __version__
from revisage.core import InputError

__all__ = ["Evaluation", "FaceRegion", "FileEvaluation", "Score", "Side", "load_evaluation"]

_RECORD = ConfigDict(extra="forbid", allow_inf_nan=False)


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


def load_evaluation(path: Path) -> Evaluation:
    """An evaluation from the file that ``--json`` was written to.

    Raises:
        InputError: there is no such file, or it is none.
    """
    try:
        return Evaluation.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no evaluation: {' '.join(str(error).split())[:160]}") from None
