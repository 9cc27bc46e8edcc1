"""From a run to a file that `revisage restore --model FILE` takes: averaged weights, checked, and a card about them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save

from revisage.core import ConfigError, OutputError
from revisage.nets import CompactGFPGAN
from revisage.train.export_formats import Batch, check_file, held_out, write_onnx, write_openvino
from revisage.train.export_inputs import detector_inputs, restorer_inputs
from revisage.train.lattice import remove_lattice
from revisage.train.model_card import model_card
from revisage.train.run_record import Choice, TrainedRun, read_run

__all__ = ["FORMATS", "Format", "card_path", "export_run"]

Format = Literal["safetensors", "onnx", "openvino"]
FORMATS: dict[str, Format] = {".safetensors": "safetensors", ".onnx": "onnx", ".xml": "openvino"}
_CALIBRATION_FACES = 48
_CHECKED_FACES = 8


def export_run(
    run_dir: Path,
    output_path: Path,
    *,
    format: Format | None = None,  # noqa: A002 - the option's name
    int8: bool = False,
    without_lattice: bool = False,
    checkpoint: Choice | None = None,
    faces: Path | None = None,
    overwrite: bool = True,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Write the averaged weights of a run of a restorer or a detector, and a model card beside them.

    Files appear under their names when all is written and checked. The card is NAME.md (NAME.onnx.md, NAME.xml.md), the
    run's last sample grid .png beside it, the weights of an OpenVINO file .bin.

    Args:
        run_dir: of `revisage train`.
        output_path: its suffix tells the format: .safetensors (float16), .onnx, .xml (OpenVINO).
        format: the same in words; must agree with the suffix.
        int8: quantise an OpenVINO file; the result agrees with torch to 40 dB on faces held out, or is refused.
        without_lattice: take the lattice of rows and columns out of a compact's head (`revisage.train.lattice`).
        checkpoint: the best is taken where there is one, else the last.
        faces: folder of aligned faces (of pictures, for a detector) to check and calibrate with; the run's own if None.
        overwrite: whether existing files are replaced.
        say: told how the file was checked.

    Raises:
        InputError: no run, no checkpoint, one of another kind, or no faces to check with.
        ConfigError: format, suffix and int8 do not go together.
        OutputError: a file exists or cannot be written.
        MissingExtraError: ONNX or int8 without the extra `export`.
        ProcessingError: the file does not agree with the trained network.
    """
    kind = _format(output_path, format)
    if int8 and kind != "openvino":
        raise ConfigError("int8 is for OpenVINO: name the output .xml")
    run = read_run(run_dir, checkpoint)
    if int8 and run.is_detector:
        raise ConfigError(f"{run_dir} is the run of a detector: in int8 its coordinates would jitter; leave int8 out")
    _check_target(output_path, kind, run.grid, overwrite)
    levelled = [_levelled(run, run_dir, faces)] if without_lattice else []
    for line in [*levelled, *_exported(run, output_path, kind, int8, faces, levelled)]:
        if say is not None:
            say(line)
    return output_path


def _levelled(run: TrainedRun, run_dir: Path, faces: Path | None) -> str:
    """Take the lattice out of the run's net; returns what there is to tell."""
    if not isinstance(run.net, CompactGFPGAN):
        raise ConfigError(f"{run_dir} is no run of a compact: only its head leaves a lattice")
    inputs = restorer_inputs(faces, run.faces, run.size, _CALIBRATION_FACES)
    share = remove_lattice(run.net, inputs)
    return f"lattice of rows and columns: {share:.0%} of its energy on {len(inputs)} faces taken out of the head"


def _exported(
    run: TrainedRun, output_path: Path, kind: Format, int8: bool, faces: Path | None, known: list[str]
) -> list[str]:
    """Write all files in a folder of their own, then give them their names; returns what there is to tell."""
    try:
        with tempfile.TemporaryDirectory(dir=output_path.parent, prefix=".export-") as folder:
            written = Path(folder) / output_path.name
            lines = _write(run, written, kind, int8, faces)
            _publish(run, written, output_path, _form(kind, int8), [*known, *lines])
    except OSError as error:
        raise OutputError(f"cannot write {output_path}: {error.strerror or error}") from error
    return lines


def _format(path: Path, wanted: Format | None) -> Format:
    found = FORMATS.get(path.suffix.lower())
    suffixes = ", ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items())
    if found is None:
        raise ConfigError(f"{path}: the suffix tells the format, and {path.suffix or 'none'} is not one of {suffixes}")
    if wanted is not None and wanted != found:
        raise ConfigError(f"{path}: format {wanted} and the suffix {path.suffix} do not go together: {suffixes}")
    return found


def _form(kind: Format, int8: bool) -> str:
    numbers = {"safetensors": "float16", "onnx": "float32 arithmetic", "openvino": "float16 weights"}[kind]
    names = {"safetensors": "safetensors", "onnx": "ONNX", "openvino": "OpenVINO IR"}
    return f"{names[kind]}, {'int8 by NNCF' if int8 else numbers}"


def _check_target(path: Path, kind: Format, grid: Path | None, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}; make it first, or name another")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} is read-only; name another")
    companions = [card_path(path)]
    if kind == "openvino":
        companions.append(path.with_suffix(".bin"))
    picture = path.with_suffix(".png")
    if grid is not None and not (picture.is_file() and picture.read_bytes() == grid.read_bytes()):
        companions.append(picture)
    for file in (path, *companions):
        if file.is_dir():
            raise OutputError(f"{file} is a folder; name a file")
        if file.exists() and not overwrite:
            raise OutputError(f"{file} exists; use --overwrite to replace it")


def _write(run: TrainedRun, path: Path, kind: Format, int8: bool, faces: Path | None) -> list[str]:
    """Write the file and compare it with the network; returns what there is to tell."""
    about = {"arch": run.arch, "config": run.settings, **run.metadata}
    if kind == "safetensors":
        _write_safetensors(run, path, about)
        return []
    size_hw = None if run.is_detector else (run.size, run.size)
    if run.is_detector:
        inputs = detector_inputs(faces, run.faces, _CHECKED_FACES)
    else:
        inputs = [restorer_inputs(faces, run.faces, run.size, _CALIBRATION_FACES if int8 else _CHECKED_FACES)]
    calibration: Batch | None = None
    lines = []
    if int8:
        calibration, judged = held_out(inputs[0])
        inputs = [judged]
        lines.append(f"int8 calibrated on {len(calibration)} faces, every second of them degraded")
    if kind == "onnx":
        write_onnx(run.net, size_hw, path, about)
    else:
        write_openvino(run.net, size_hw, path, about, calibration)
    return [*lines, check_file(path, run.net, size_hw, inputs, int8=int8)]


def _write_safetensors(run: TrainedRun, path: Path, about: dict[str, Any]) -> None:
    halves = {
        name: (value.half() if value.is_floating_point() else value).contiguous().clone()
        for name, value in run.net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert all(torch.isfinite(value).all() for value in halves.values())
    path.write_bytes(save(halves, metadata={"revisage": json.dumps(about)}))


def card_path(path: Path) -> Path:
    """NAME.md of the weights themselves, NAME.onnx.md and NAME.xml.md of what was made of them."""
    return path.with_suffix(".md" if path.suffix.lower() == ".safetensors" else f"{path.suffix}.md")


def _publish(run: TrainedRun, written: Path, output_path: Path, form: str, lines: list[str]) -> None:
    """Card and picture first, the model itself last: where it is, all is there."""
    picture = output_path.with_suffix(".png")
    if run.grid is not None:
        shutil.copyfile(run.grid, written.with_suffix(".png"))
    card = model_card(run, output_path.stem, form, lines, picture.name if run.grid is not None else None)
    card_path(written).write_text(card, encoding="utf-8")
    companions = [written.with_suffix(".png"), card_path(written), written.with_suffix(".bin")]
    for file in [*(file for file in companions if file.is_file()), written]:
        file.replace(output_path.with_name(file.name))
