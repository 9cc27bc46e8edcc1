"""Restorers from ONNX and OpenVINO files: networks that are compiled as they are, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisage.core import ConfigError, ModelError, file_sha256
from revisage.engines import Choice, Engine
from revisage.restorers.weights import RestorerInfo

if TYPE_CHECKING:
    import openvino

__all__ = ["COMPILED_SUFFIXES", "load_compiled"]

COMPILED_SUFFIXES = (".onnx", ".xml")


def load_compiled(path: Path, choice: Choice) -> tuple[Engine, int, RestorerInfo]:
    """Engine, side of the crops (px) and description of a file that `revisage export` wrote, or one like it.

    Raises:
        ModelError: it is absent, damaged, or maps no (N, 3, size, size) crops.
        ConfigError: another engine than OpenVINO, or int8, was asked for.
    """
    from revisage.engines import OpenVinoEngine, compile_model

    if choice.engine != "openvino":
        raise ConfigError(f"{path} runs by OpenVINO on the CPU only: leave engine and device out, or use .safetensors")
    model = _read(path)
    about = _about(model)
    size = _side(model, path)
    quantised = any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops())
    if choice.precision == "int8" and not quantised:
        raise ConfigError(f"{path} is not an int8 file: export it with --int8, or leave precision out")
    precision = "int8" if quantised else choice.precision
    engine = OpenVinoEngine(compile_model(model, "fp32" if quantised else precision), (size, size), precision)
    info = RestorerInfo(
        name=path.name,
        architecture=str(about.get("arch", "not stated in the file")),
        engine="openvino",
        precision=precision,
        device="cpu",
        hardware=choice.hardware,
        sha256=file_sha256(path),
        licence=str(about.get("licence", "not stated in the file")),
    )
    return engine, size, info


def _read(path: Path) -> openvino.Model:
    from revisage.engines import core

    if not path.is_file():
        raise ModelError(f"no such model file: {path}")
    if path.suffix.lower() == ".xml" and not path.with_suffix(".bin").is_file():
        raise ModelError(f"{path} has no weights: {path.with_suffix('.bin').name} must lie beside it")
    try:
        return core().read_model(str(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{path} is damaged or no network that OpenVINO reads ({reason})") from error


def _about(model: openvino.Model) -> dict[str, Any]:
    """What revisage's export wrote into the file; ONNX metadata come under "framework"."""
    for place in (["revisage"], ["framework", "revisage"]):
        if model.has_rt_info(place):
            try:
                values = json.loads(str(model.get_rt_info(place).value))
            except ValueError:
                return {}
            return values if isinstance(values, dict) else {}
    return {}


def _side(model: openvino.Model, path: Path) -> int:
    shapes = [port.get_partial_shape() for port in (*model.inputs, *model.outputs)]
    sides = [[dim.get_length() if dim.is_static else None for dim in shape] for shape in shapes if len(shape) == 4]
    right = len(shapes) == len(sides) == 2 and sides[0][1:] == sides[1][1:] and sides[0][1] == 3
    if not right or sides[0][2] is None or sides[0][2] != sides[0][3] or sides[0][0] is not None:
        raise ModelError(f"{path} is no face restorer: it must map (N, 3, size, size) to the same")
    return int(sides[0][2])
