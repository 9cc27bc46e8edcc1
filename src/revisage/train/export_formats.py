"""Exported networks as ONNX or OpenVINO files, and how far they agree with the trained one on real faces."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from revisage.core import MissingExtraError, ProcessingError
from revisage.engines import (
    WANTED_DB,
    OpenVinoEngine,
    agreement_db,
    compile_model,
    convert,
    core,
    load_openvino,
    make_engine,
    quantise,
    split,
)

if TYPE_CHECKING:
    import openvino

__all__ = ["LARGEST_DIFFERENCE", "Batch", "check_file", "write_onnx", "write_openvino"]

Batch = NDArray[np.float32]
Size = tuple[int, int] | None

LARGEST_DIFFERENCE = 0.002
"""What an output may differ from torch's at most: of a restorer's range of 2 a quarter of a step of 8 bits."""


def write_onnx(net: nn.Module, size_hw: Size, path: Path, about: dict[str, Any]) -> None:
    """Write a network as ONNX (opset 17), any batch; any height and width without `size_hw`.

    about: JSON for the metadata key "revisage". Raises MissingExtraError without the package `onnx`.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("export to ONNX", "export") from None
    example = torch.zeros((2, 3, *(size_hw or (128, 160))))
    free = {0: "n"} if size_hw else {0: "n", 2: "height", 3: "width"}
    with torch.no_grad():
        outputs = net(example)
    count = len(outputs) if isinstance(outputs, (tuple, list)) else 1
    names = ["output"] if count == 1 else [f"output{number}" for number in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks; the file is compared afterwards
        torch.onnx.export(
            _InputAlone(net),
            (example,),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["faces"],
            output_names=names,
            dynamic_axes={"faces": free, **({name: {0: "n"} for name in names} if size_hw else {})},
        )
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {"revisage": json.dumps(about)})
    onnx.save(model, str(path))


class _InputAlone(nn.Module):
    """A net without its options for training: the exporter would hand their defaults on as further inputs."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: torch.Tensor) -> Any:
        return self.net(faces)


def write_openvino(net: nn.Module, size_hw: Size, path: Path, about: dict[str, Any], calibration: Batch | None) -> None:
    """Write a network as OpenVINO's two files: `path` (.xml), and its weights beside it (.bin), float16.

    calibration: (N, 3, H, W) inputs to make an int8 network with; None leaves it in floating point. Raises
    MissingExtraError for int8 without NNCF.
    """
    model = convert(net, size_hw)
    if calibration is not None:
        model = quantise(model, calibration)
    model.set_rt_info(json.dumps(about), "revisage")
    load_openvino().save_model(model, str(path), compress_to_fp16=True)


def check_file(path: Path, net: nn.Module, size_hw: Size, batches: list[Batch], *, int8: bool) -> str:
    """Run a written file by OpenVINO on real inputs beside torch; returns a line about the agreement.

    Raises ProcessingError when it differs by more than `LARGEST_DIFFERENCE`, or in int8 by less than 40 dB.
    """
    engine = OpenVinoEngine(compile_model(_read(path), "fp32"), size_hw, "fp32")
    torch_engine = make_engine(net, size_hw, device="cpu", engine="torch", precision="fp32")
    pairs = [_outputs(batch, torch_engine, engine) for batch in batches]
    count = sum(len(batch) for batch in batches)
    if int8:
        wanted, found = (np.concatenate([pair[side][0] for pair in pairs]) for side in (0, 1))
        agreement = agreement_db(np.clip(wanted, -1, 1), np.clip(found, -1, 1))
        line = f"int8 against torch fp32 on {count} faces held out: {agreement:.1f} dB, {WANTED_DB:.0f} wanted"
        if not agreement >= WANTED_DB:
            raise ProcessingError(f"{path.name} was not written: {line}; calibrate on more faces, or leave int8 out")
        return line
    worst = max(_difference(wanted, found) for pair in pairs for wanted, found in zip(*pair, strict=True))
    allowed = f"at most {LARGEST_DIFFERENCE} allowed"
    line = f"against torch fp32 on {count} real pictures: largest difference {worst:.2g}, {allowed}"
    if not worst <= LARGEST_DIFFERENCE:
        raise ProcessingError(f"{path.name} was not written: {line}")
    return line


def held_out(batch: Batch) -> tuple[Batch, Batch]:
    """Inputs to calibrate on, and those to judge by. Raises ConfigError for fewer than four."""
    return split(batch)


def _outputs(batch: Batch, *engines: Callable[[Batch], list[Batch]]) -> tuple[list[Batch], ...]:
    return tuple(engine(batch) for engine in engines)


def _difference(wanted: Batch, found: Batch) -> float:
    """The largest difference; of outputs beyond -1 to 1, such as a detector's scores, relative to the largest."""
    return float(np.abs(wanted - found).max() / max(1.0, float(np.abs(wanted).max())))


def _read(path: Path) -> openvino.Model:
    return core().read_model(str(path))
