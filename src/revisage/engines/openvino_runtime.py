"""OpenVINO itself: imported quietly, one core for the process, networks converted and compiled."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage.engines.cpu import cpu_info

if TYPE_CHECKING:
    import openvino
    from torch import nn

__all__ = ["compile_model", "convert", "core", "load_openvino", "threads", "without_telemetry"]


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Imports inside find no `openvino_telemetry`.

    OpenVINO and NNCF report their use over the network from the moment they are imported; a program that works without
    a network, on people's faces, must not. Both accept that the package is absent.
    """
    before = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is None:
            del sys.modules["openvino_telemetry"]
        else:
            sys.modules["openvino_telemetry"] = before


def load_openvino() -> Any:
    """The `openvino` package, without its telemetry."""
    with without_telemetry():
        import openvino
    return openvino


@functools.lru_cache(maxsize=1)
def core() -> openvino.Core:
    """The one runtime core of this process; making one takes tens of milliseconds."""
    return load_openvino().Core()


def threads() -> int:
    """Threads of an engine: all cores, or OMP_NUM_THREADS where that is set lower (workers side by side set it)."""
    cores = cpu_info().cores
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else cores


def convert(net: nn.Module, size_hw: tuple[int, int] | None) -> openvino.Model:
    """A network as an OpenVINO model with one (N, 3, H, W) input, N free, and H and W free without size_hw.

    net: in fp32 on the CPU. It is traced, with two images so that nothing is fixed to a batch of one.
    """
    import torch

    ov = load_openvino()
    height, width = size_hw or (128, 160)
    example = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, height, width)).astype(np.float32))
    net = net.eval().requires_grad_(False).float().cpu()
    with warnings.catch_warnings(), torch.inference_mode(), without_telemetry():
        warnings.simplefilter("ignore")  # the tracer's remarks about Python values; the outputs are compared in tests
        # Left to do it itself, convert_model runs the net three times more to check the trace.
        traced = torch.jit.trace(net, example, check_trace=False, strict=False)
        model = ov.convert_model(traced, example_input=example)
    model.reshape(ov.PartialShape([-1, 3, *(size_hw or (-1, -1))]))
    return model


def _settings(precision: str) -> dict[str, Any]:
    ov = load_openvino()
    hints, properties = ov.properties.hint, ov.properties
    return {
        # Left to itself the CPU plugin takes bf16 (x86) or fp16 (ARM) wherever the hardware has it.
        hints.inference_precision: ov.Type.bf16 if precision == "bf16" else ov.Type.f32,
        properties.num_streams: 1,
        properties.inference_num_threads: threads(),
        # Pinned threads of several processes would all sit on the same first cores.
        hints.enable_cpu_pinning: False,
    }


def compile_model(model: openvino.Model, precision: str) -> openvino.CompiledModel:
    """A model ready to run on the CPU in fp32 or bf16; an int8 model keeps its own int8 parts."""
    return core().compile_model(model, "CPU", _settings(precision))
