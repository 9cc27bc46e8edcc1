"""The folder of a run: its settings, what it was trained on, the log, the checkpoints.

config.json   the settings
data.json     the images: how many, their hash, licences, files that could not be used; the revision of the code
log.jsonl     a line per look at the losses, per check, per start
last.pt       the checkpoint to go on from: `stage`, `step`, `config` (JSON) and the state of each part
best.pt       the averaged weights at the best check so far: `stage`, `step`, `config`, `average`, `best`
grids/        pictures of each check
tensorboard/  the log for TensorBoard, where asked for
"""

from __future__ import annotations

import contextlib
import errno
import json
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from revisage.core import ConfigError, DiskFullError, InputError, MissingExtraError, OutputError
from revisage.train.checkpoint import read_checkpoint, write_checkpoint
from revisage.train.data import ImageCache
from revisage.train.settings import StageConfig

__all__ = ["Clock", "Means", "Report", "RunFolder", "not_finite", "read_config"]

Report = Callable[[dict[str, Any]], None]
_Config = TypeVar("_Config", bound=StageConfig)


class RunFolder:
    """A run as it is written. Of several processes that train together only the first (`leads`) writes.

    Raises ConfigError or InputError when a run to resume is not the one that the settings describe, OutputError when
    the folder holds another run already, MissingExtraError for TensorBoard that is not installed.
    """

    def __init__(
        self,
        folder: Path,
        config: StageConfig,
        *,
        stage: str,
        resume: bool,
        may_change: Collection[str],
        leads: bool = True,
        progress: Report | None = None,
    ) -> None:
        self.folder = folder
        self.config = config
        self.stage = stage
        self.leads = leads
        self._progress = progress if leads else None
        if resume:
            _check_same(read_config(folder, type(config)), config, folder, may_change)
        elif leads and (folder / "config.json").exists():
            raise OutputError(f"{folder} already holds a run: resume it or choose another directory")
        self._board = _open_board(folder / "tensorboard") if config.tensorboard and leads else None
        if leads:
            with _writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                # By way of another name: a start on a full disk must not leave what looks like a run.
                part = folder / "config.json.part"
                part.write_text(config.model_dump_json(indent=1), encoding="utf-8")
                part.replace(folder / "config.json")

    def describe_data(self, cache: ImageCache) -> None:
        """Write down what the run is trained on, and say which files were left out."""
        if not self.leads:
            return
        record: dict[str, Any] = {"images": len(cache.files), "sha256": cache.digest, "licences": cache.licences}
        record["revision"] = _revision()
        text = json.dumps({**record, "skipped": cache.skipped}, indent=1)
        with _writing(self.folder):
            (self.folder / "data.json").write_text(text, encoding="utf-8")
        told = {"skipped": len(cache.skipped), "first_skipped": cache.skipped[0]} if cache.skipped else {}
        self.log({"event": "data", "images": len(cache.files), **told})

    def log(self, line: Mapping[str, Any]) -> None:
        """Append a line, and hand it on to whoever watches."""
        if not self.leads:
            return
        record = dict(line)
        with _writing(self.folder), (self.folder / "log.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        if self._progress is not None:
            self._progress(record)
        if self._board is not None and "step" in record:
            for name, value in _numbers(record):
                self._board.add_scalar(name, value, record["step"])

    def show(self, step: int, picture: Any) -> None:
        """Hand an (H, W, 3) uint8 RGB picture to TensorBoard, if it listens."""
        if self._board is not None:
            self._board.add_image("grid", picture, step, dataformats="HWC")

    def save(self, step: int, states: Mapping[str, Any], name: str = "last.pt") -> None:
        """Write a checkpoint beside the old one, then let it take its place: a full disk leaves the old one as it was.

        Raises OutputError when it cannot be written, DiskFullError when there is no room.
        """
        if not self.leads:
            return
        content = {"stage": self.stage, "step": step, "config": self.config.model_dump_json(), **states}
        write_checkpoint(self.folder / name, content)

    def load(self, parts: Mapping[str, Any], *, needed: Collection[str]) -> dict[str, Any]:
        """Bring each part to the state of the last checkpoint, and return the checkpoint.

        A part that the checkpoint has not, and that is not among the `needed`, begins anew. Raises InputError when
        the checkpoint is absent, damaged, or of another stage or architecture.
        """
        path = self.folder / "last.pt"
        content = read_checkpoint(path)
        if content.get("stage", "restorer") != self.stage:
            raise InputError(f"{path} is of a {content['stage']}, not of a {self.stage}: resume it by its own command")
        for name, part in parts.items():
            if name not in content and name not in needed:
                self.log({"event": "new part", "part": name, "step": content["step"]})
                continue
            try:
                part.load_state_dict(content[name])
            except (KeyError, RuntimeError, ValueError) as error:
                raise InputError(
                    f"{path} does not fit this run's {name}: it is of another architecture; start a new run"
                ) from error
        return content


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Says in our own words that the folder of a run cannot be written to."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(f"no space left in {folder}: free some, then start it again") from error
        raise OutputError(f"cannot write to {folder}: {error.strerror or error}") from error


def read_config(folder: Path, kind: type[_Config]) -> _Config:
    """The settings that a run was begun with.

    Raises InputError when there is no run, ConfigError when they are damaged.
    """
    record = folder / "config.json"
    if not record.is_file():
        raise InputError(f"no run to resume in {folder}: config.json is not there")
    try:
        return kind.model_validate_json(record.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{record}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _check_same(saved: StageConfig, config: StageConfig, folder: Path, may_change: Collection[str]) -> None:
    changed = [name for name, value in config if name not in may_change and value != getattr(saved, name)]
    if changed:
        raise ConfigError(f"{folder} was begun with another {', '.join(changed)}: start a new run")


def not_finite(step: int, images: int, last: Path) -> str:
    """Why a run stops whose loss is no longer a number: the step, its samples, and what is left.

    images: how many a step takes. last: the last checkpoint, if there is one.
    """
    indexes = f"samples {step * images} to {(step + 1) * images - 1}"
    advice = "there is no checkpoint yet: begin anew with a lower learning rate"
    if last.is_file():
        advice = f"the last good checkpoint is {last}: resume with a lower learning rate"
    return f"the loss is not finite at step {step + 1} ({indexes}); {advice}"


class Clock:
    """Seconds since the start, and images a second since the last look."""

    def __init__(self, step: int) -> None:
        self.started = self.looked = time.monotonic()
        self.step = step

    def read(self, step: int, images: int) -> dict[str, float]:
        """The pace up to a step; `images` is how many a step takes."""
        now = time.monotonic()
        pace = (step - self.step) * images / max(now - self.looked, 1e-9)
        self.looked, self.step = now, step
        return {"seconds": round(now - self.started, 1), "images_per_second": round(pace, 2)}


class Means:
    """The mean of each loss since the last look: single batches differ too much to be read."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor]] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Take the losses of one batch."""
        for name, loss in losses.items():
            self.values.setdefault(name, []).append(loss.detach())

    def read(self) -> dict[str, Tensor]:
        """The means, and begin anew."""
        means = {name: torch.stack(values).mean() for name, values in self.values.items()}
        self.values = {}
        return means


def _numbers(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers in a record of the log, nested ones by their path."""
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and name not in ("step", "seconds"):
            found.append((prefix + name, float(value)))
    return found


def _revision() -> str:
    """The package's version, and in a checkout the commit and whether files differ from it."""
    from revisage._version import __version__

    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():
        return __version__
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=checkout,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__} ({done.stdout.strip()})"


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("TensorBoard", "train") from None
    return SummaryWriter(str(folder))
