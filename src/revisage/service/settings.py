"""What a service may do and keep: its settings, and the limits that they set to media and processes."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from revisage.core import ConfigError, InputError

if TYPE_CHECKING:
    from revisage.media import Extent, MediaInfo

__all__ = ["MediumTooLargeError", "ServiceSettings", "check_medium", "default_data_dir", "limit_process", "set_up_log"]

PREFIX = "REVISAGE_SERVICE_"
_GIGABYTE = 10**9


def default_data_dir() -> Path:
    """Where jobs are kept unless another folder is named: ``revisage`` in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or (os.environ.get("LOCALAPPDATA") if os.name == "nt" else None)
    return (Path(base) if base else Path.home() / ".local" / "share") / "revisage" / "service"


class ServiceSettings(BaseModel):
    """Limits and places of one service. The page, the server and every worker of a store use the same.

    Each field may be given in the environment as ``REVISAGE_SERVICE_`` and its name in capitals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    data_dir: Path = Field(default_factory=default_data_dir, description="Folder for uploads and results.")
    storage: str | None = Field(
        None, description="Address of a store for uploads and results, such as s3://BUCKET/FOLDER."
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL of the job store; by default an SQLite file in the data folder.", repr=False
    )

    max_upload_bytes: int = Field(2 * _GIGABYTE, ge=1, description="Largest upload, in bytes.")
    max_seconds: float = Field(4 * 3600, gt=0, description="Longest video, in seconds.")
    max_frames: int = Field(4 * 3600 * 60, ge=1, description="Most frames of a video or animation.")
    max_pixels: int = Field(4096 * 2304, ge=1, description="Largest picture of a video, width times height.")
    max_image_pixels: int = Field(64_000_000, ge=1, description="Largest photo, width times height.")
    max_active_jobs: int = Field(100, ge=1, description="Jobs that may be queued or running at once.")
    max_disk_bytes: int = Field(100 * _GIGABYTE, ge=1, description="What uploads and results may take together.")
    keep_days: float = Field(7, gt=0, description="Finished jobs are deleted after so many days.")
    allowed_folders: tuple[Path, ...] = Field((), description="Folders whose files may be named by path in a request.")

    max_job_seconds: float = Field(6 * 3600, gt=0, description="A job that takes longer is stopped.")
    max_quick_seconds: float = Field(300, gt=0, description="A scan, preview or photo that takes longer is stopped.")
    max_memory_bytes: int = Field(12 * _GIGABYTE, ge=_GIGABYTE, description="Memory that a worker may ask for.")
    max_attempts: int = Field(5, ge=1, description="A job whose worker died so often is given up.")
    niceness: int = Field(10, ge=0, le=19, description="How far workers stand back behind the server.")
    preload: bool = Field(True, description="Load the default networks before anybody waits for them.")
    spread: str | None = Field(None, description="Address of a Ray cluster whose workers share long restorations.")
    lease_seconds: float = Field(20, ge=1, description="A worker that is silent for so long has lost its job.")

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("allowed_folders")
    @classmethod
    def _resolved(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(folder.expanduser().resolve() for folder in value)

    def environment(self) -> dict[str, str]:
        """These settings as variables for a worker process; a command line could be read by everybody."""
        values = self.model_dump(mode="json", exclude_none=True)
        values["allowed_folders"] = os.pathsep.join(values["allowed_folders"])
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in values.items() if value != ""}

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ, /, **options: Any) -> ServiceSettings:
        """Settings from the environment; options that are not None win.

        Raises:
            ConfigError: a value is not allowed.
        """
        values: dict[str, Any] = {
            name: environment[f"{PREFIX}{name.upper()}"]
            for name in cls.model_fields
            if environment.get(f"{PREFIX}{name.upper()}")
        }
        if isinstance(values.get("allowed_folders"), str):
            values["allowed_folders"] = tuple(filter(None, values["allowed_folders"].split(os.pathsep)))
        values.update({name: value for name, value in options.items() if value is not None})
        try:
            return cls(**values)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(map(str, problem["loc"]))
            raise ConfigError(f"service setting {name}: {problem['msg'].lower()}") from None


class MediumTooLargeError(InputError):
    """A video or picture is longer or wider, or has more frames, than the service allows."""


def limit_process(settings: ServiceSettings, niceness: int) -> None:
    """Bound the memory that this process may ask for, and let the server go first.

    Data, not address space, is bounded: runtimes of graphics cards reserve far more addresses than they use. Where
    the system has no such limit nothing happens.
    """
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = settings.max_memory_bytes if hard < 0 else min(hard, settings.max_memory_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, wanted))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold somebody's pictures
    with contextlib.suppress(AttributeError, OSError):
        os.nice(niceness)


def check_medium(medium: Extent | MediaInfo, settings: ServiceSettings) -> None:
    """Refuse what is longer, wider or of more frames than allowed.

    Raises:
        MediumTooLargeError: it is.
    """
    most = settings.max_image_pixels if medium.kind == "image" else settings.max_pixels
    if medium.width * medium.height > most:
        raise MediumTooLargeError(
            f"the picture is {medium.width} x {medium.height} px; up to {most / 1e6:g} million pixels are taken"
        )
    if medium.duration is not None and medium.duration > settings.max_seconds:
        raise MediumTooLargeError(
            f"the video is {float(medium.duration):.0f} s long; up to {settings.max_seconds:g} s are taken"
        )
    frames = _frames(medium)
    if frames > settings.max_frames:
        raise MediumTooLargeError(f"the video has {frames} frames; up to {settings.max_frames} are taken")


def _frames(medium: Extent | MediaInfo) -> int:
    """How many frames there are, as stated or from length and rate; 0 when nothing tells."""
    if medium.frame_count is not None:
        return medium.frame_count
    return round((medium.duration or 0) * (medium.average_rate or 0))


def set_up_log() -> None:
    """Send what the service says to stderr. Libraries are heard from warnings on."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("revisage").setLevel(logging.INFO)
