"""The engine for CPUs: OpenVINO, with converted networks kept in the user's cache folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import nn

from revisage.engines import cache
from revisage.engines.engine import check_batch
from revisage.engines.openvino_runtime import compile_model, convert
from revisage.engines.quantise import check_agreement, quantise, split

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenVinoEngine", "make_openvino_engine"]

FloatArray = npt.NDArray[np.float32]


class OpenVinoEngine:
    """Runs a compiled network on the CPU. See :class:`revisage.engines.Engine`."""

    name = "openvino"
    device = "cpu"

    def __init__(self, compiled: openvino.CompiledModel, size_hw: tuple[int, int] | None, precision: str) -> None:
        self.precision = precision
        self._size_hw = size_hw
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, batch: FloatArray) -> list[FloatArray]:
        """The outputs for (N, 3, H, W) float32; see :class:`revisage.engines.Engine`."""
        check_batch(batch, self._size_hw)
        with self._lock:
            results = self._request.infer([np.ascontiguousarray(batch)], share_inputs=True, share_outputs=True)
            # The runtime's own memory is used again by the next call.
            return [np.array(results[i], dtype=np.float32, order="C") for i in range(len(results))]


def make_openvino_engine(
    net: nn.Module,
    size_hw: tuple[int, int] | None,
    precision: str,
    cache_key: str | None = None,
    calibration: FloatArray | None = None,
) -> OpenVinoEngine:
    """Convert, quantise if asked, and compile a network; or take it converted from the cache.

    Arguments and errors as :func:`revisage.engines.make_engine`, everything settled.
    """
    name = None if cache_key is None else cache.fingerprint(net, size_hw, cache_key)

    def converted() -> openvino.Model:
        return _cached(name, lambda: convert(net, size_hw))

    if precision != "int8":
        return OpenVinoEngine(compile_model(converted(), precision), size_hw, precision)
    assert calibration is not None
    known = calibration
    name_int8 = None if name is None else cache.with_calibration(name, known)
    model = _cached(name_int8, lambda: _checked_int8(converted(), known))
    return OpenVinoEngine(compile_model(model, "fp32"), size_hw, precision)


def _cached(name: str | None, build: Callable[[], openvino.Model]) -> openvino.Model:
    model = cache.load(name) if name is not None else None
    if model is None:
        model = build()
        if name is not None:
            cache.store(name, model)
    return model


def _checked_int8(model: openvino.Model, calibration: FloatArray) -> openvino.Model:
    known, held_out = split(calibration)
    quantised = quantise(model, known)
    size_hw = (calibration.shape[2], calibration.shape[3])
    exact, rough = (OpenVinoEngine(compile_model(m, "fp32"), size_hw, "fp32")(held_out)[0] for m in (model, quantised))
    check_agreement(exact, rough)
    return quantised
