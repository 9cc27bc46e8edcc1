"""The engine for CPUs: OpenVINO, with converted networks kept in the user's cache folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
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

    def __init__(
        self,
        compiled: openvino.CompiledModel,
        size_hw: tuple[int, int] | None,
        precision: str,
        copies: Sequence[Callable[[], openvino.CompiledModel]] = (),
    ) -> None:
        """copies: make the same compiled network again, for further shapes of batches that are seen in turn."""
        self.precision = precision
        self._size_hw = size_hw
        self._unused = [*copies, lambda: compiled]
        self._requests: dict[tuple[int, ...], openvino.InferRequest] = {}
        self._lock = threading.Lock()

    def __call__(self, batch: FloatArray) -> list[FloatArray]:
        """The outputs for (N, 3, H, W) float32; see :class:`revisage.engines.Engine`."""
        check_batch(batch, self._size_hw)
        with self._lock:
            request = self._request(batch.shape)
            results = request.infer([np.ascontiguousarray(batch)], share_inputs=True, share_outputs=True)
            # The runtime's own memory is used again by the next call.
            return [np.array(results[i], dtype=np.float32, order="C") for i in range(len(results))]

    def _request(self, shape: tuple[int, ...]) -> openvino.InferRequest:
        """The one that saw this shape last; else one that saw none; else the one that is unused for the longest time.

        A compiled network prepares itself anew whenever the shape changes, also between its requests.
        """
        request = self._requests.pop(shape, None)
        if request is None and self._unused:
            request = self._unused.pop()().create_infer_request()
        elif request is None:
            request = self._requests.pop(next(iter(self._requests)))
        self._requests[shape] = request
        return request


def make_openvino_engine(
    net: nn.Module,
    size_hw: tuple[int, int] | None,
    precision: str,
    cache_key: str | None = None,
    calibration: FloatArray | None = None,
    sizes: int = 1,
) -> OpenVinoEngine:
    """Convert, quantise if asked, and compile a network; or take it converted from the cache.

    Arguments and errors as :func:`revisage.engines.make_engine`, everything settled.
    """
    name = None if cache_key is None else cache.fingerprint(net, size_hw, cache_key)

    def converted() -> openvino.Model:
        return _cached(name, lambda: convert(net, size_hw))

    if precision != "int8":
        model = converted()
        copies = [lambda: compile_model(model, precision)] * (sizes - 1)
        return OpenVinoEngine(compile_model(model, precision), size_hw, precision, copies)
    assert calibration is not None
    known = calibration
    name_int8 = None if name is None else cache.with_calibration(name, known)
    quantised = _cached(name_int8, lambda: _checked_int8(converted(), known))
    return OpenVinoEngine(compile_model(quantised, "fp32"), size_hw, precision)


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
