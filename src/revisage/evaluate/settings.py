"""What an evaluation may be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from revisage.core import ConfigError

__all__ = ["EvaluateSettings", "make_settings"]


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
