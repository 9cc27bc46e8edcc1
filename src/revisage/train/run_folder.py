"""The folder of a run: its settings, what it was trained on, the log, the checkpoints.

config.json   the settings
data.json     what it learns from: how much, a hash, licences, files that could not be used; the revision of the code
log.jsonl     a line per look at the losses, per check, per start
last.pt       the checkpoint to go on from: ``stage``, ``step``, ``config`` (JSON), ``best``, and the state of each part
best.pt       the averaged weights at the best check so far: ``stage``, ``step``, ``config``, ``average``, ``best``
weights.safetensors   of detectors and readers: the averaged weights in float16, with what was measured of them
grids/        pictures of each check
tensorboard/  the log for TensorBoard, where asked for
"""

from __future__ import annotations

import json
import pickle
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import torch
from pydantic import ValidationError

from revisage._version import __version__
from revisage.core import (
    ConfigError,
    Image,
    InputError,
    MissingExtraError,
    OutputError,
    output_error,
    write_text,
    written_beside,
)
from revisage.train.settings import MAY_CHANGE, StageConfig

__all__ = ["WEIGHTS", "Report", "RunFolder", "read_checkpoint", "write_checkpoint"]

Report = Callable[[dict[str, Any]], None]

WEIGHTS = "weights.safetensors"
"""The file that a run of a detector or a reader leaves."""


class RunFolder:
    """A run as it is written. Of several processes that train together only the first (``leads``) writes.

    Nothing is written before :meth:`begin`, so that settings and data can be refused without a trace.

    Args:
        folder: of the run.
        config: its settings.
        stage: what is trained, by name.
        resume: go on with the run that the folder holds.
        leads: whether this process writes.
        progress: gets each line of the log.

    Raises:
        ConfigError: a run to resume was begun with other settings, or they are damaged.
        InputError: there is no run to resume.
        OutputError: the folder holds another run already.
    """

    def __init__(
        self,
        folder: Path,
        config: StageConfig,
        *,
        stage: str,
        resume: bool,
        leads: bool = True,
        progress: Report | None = None,
    ) -> None:
        self.folder, self.config, self.stage, self.resume, self.leads = folder, config, stage, resume, leads
        self._progress = progress
        self._board: Any = None
        if resume:
            _check_same(folder, config)
        elif leads and (folder / "config.json").exists():
            raise OutputError(f"{folder} already holds a run: resume it or choose another directory")

    def begin(self, data: Mapping[str, Any]) -> None:
        """Write down the settings and what the run learns from, and say which files were left out.

        Raises:
            MissingExtraError: TensorBoard is not installed.
            OutputError: the folder cannot be written to.
        """
        if not self.leads:
            return
        self._board = _open_board(self.folder / "tensorboard") if self.config.tensorboard else None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.folder, error) from error
        write_text(self.folder / "config.json", self.config.model_dump_json(indent=1), overwrite=True)
        record = json.dumps({"revision": _revision(), **data}, indent=1)
        write_text(self.folder / "data.json", record, overwrite=True)
        skipped = data.get("skipped", ())
        told = {"skipped": len(skipped), "first_skipped": skipped[0]} if skipped else {}
        counts = {name: value for name, value in data.items() if isinstance(value, int)}
        self.log({"event": "data", **counts, **told})

    def log(self, line: Mapping[str, Any]) -> None:
        """Append a line, and hand it on to whoever watches."""
        if not self.leads:
            return
        record = dict(line)
        path = self.folder / "log.jsonl"
        try:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise output_error(path, error) from error
        if self._progress is not None:
            self._progress(record)
        if self._board is not None and "step" in record:
            for name, value in _numbers(record):
                self._board.add_scalar(name, value, record["step"])

    def show(self, step: int, picture: Image) -> None:
        """Keep the (H, W, 3) uint8 RGB picture of a check, and hand it to TensorBoard if it listens."""
        _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        path = self.folder / "grids" / f"{step:07d}.png"
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data.tobytes())
        except OSError as error:
            raise output_error(path, error) from error
        if self._board is not None:
            self._board.add_image("grid", picture, step, dataformats="HWC")

    def save(self, step: int, states: Mapping[str, Any], name: str = "last.pt") -> None:
        """Write a checkpoint; errors as for :func:`write_checkpoint`."""
        if self.leads:
            content = {"stage": self.stage, "step": step, "config": self.config.model_dump_json(), **states}
            write_checkpoint(self.folder / name, content)

    def load(self, parts: Mapping[str, Any], may_join: Collection[str]) -> tuple[int, float | None]:
        """Bring each part to the state of the last checkpoint; returns its step and the best measure so far.

        A part that the checkpoint has not begins anew where it is among those that ``may_join``.

        Raises:
            InputError: the checkpoint is absent, damaged, or of another stage or architecture.
        """
        path = self.folder / "last.pt"
        content = read_checkpoint(path)
        if content.get("stage", "restorer") != self.stage:
            raise InputError(f"{path} is of a {content['stage']}, not of a {self.stage}: resume it by its own command")
        for name, part in parts.items():
            if name not in content and name in may_join:
                self.log({"event": "new part", "part": name, "step": content["step"]})
                continue
            try:
                part.load_state_dict(content[name])
            except (KeyError, RuntimeError, ValueError) as error:
                raise InputError(
                    f"{path} does not fit this run's {name}: it is of another architecture; start a new run"
                ) from error
        return int(content["step"]), content.get("best")


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write beside the old checkpoint, then take its place: a full disk leaves the old one as it was.

    Raises:
        DiskFullError: there is no room.
        OutputError: it cannot be written.
    """
    try:
        # By way of a stream: where torch writes a file itself, it does not tell why it could not.
        with written_beside(path) as partial, partial.open("wb") as stream:
            torch.save(dict(content), stream)
    except (OutputError, RuntimeError) as error:
        problem = error if isinstance(error, OutputError) else output_error(path, error)
        kept = "; the checkpoint before it is intact: resume from there" if path.exists() else ""
        raise type(problem)(f"{problem}{kept}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, by its file or by its run's folder (the last one then), on the CPU, without running any code in it.

    Raises:
        InputError: there is none, or it is damaged.
    """
    file = path / "last.pt" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"no checkpoint in {file.parent}: start the run anew")
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{file} is damaged or no checkpoint: start the run anew") from error
    if not isinstance(content, dict) or not {"step", "config", "average"} <= content.keys():
        raise InputError(f"{file} is no checkpoint of a training")
    return content


def _check_same(folder: Path, config: StageConfig) -> None:
    """Refuse to go on with a run that was begun with other settings."""
    record = folder / "config.json"
    if not record.is_file():
        raise InputError(f"no run to resume in {folder}: config.json is not there")
    try:
        saved = type(config).model_validate_json(record.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{record}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    changed = [name for name, value in config if name not in MAY_CHANGE and value != getattr(saved, name)]
    if changed:
        raise ConfigError(f"{folder} was begun with another {', '.join(changed)}: start a new run")


def _numbers(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a record of the log, nested ones by their path."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and name not in ("step", "seconds"):
            yield prefix + name, float(value)


def _revision() -> str:
    """The package's version, and in a checkout the commit and whether files differ from it."""
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
