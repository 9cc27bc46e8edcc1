"""The engine for CPUs: OpenVINO, imported quietly; networks converted, kept in the user's cache folder, and compiled.

int8 is post-training quantisation (NNCF), calibrated on real inputs and accepted only where it agrees with fp32. Where
do the inputs come from? From the footage itself: the caller hands in the first crops of the run, in the order of the
scan, so that the result does not depend on how many workers share it. No image set is bundled for this: range
statistics of other pictures would be a guess.

Each converted network is kept in the cache, named after everything that it depends on. fp32 and bf16 share one. So is
each network that ships converted, as it was compiled: to take that from there costs a quarter of compiling.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import platform
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage import __version__
from revisage.engines.engine import FloatArray, check_batch
from revisage.engines.network_cache import keep, kept, kept_file
from revisage.engines.openvino_files import ShippedNetwork
from revisage.engines.openvino_package import core, load_openvino, without_telemetry
from revisage.engines.processor import cpu_info
from revisage.engines.quantisation import check_agreement, quantise, split
from revisage.engines.winograd import with_fewer_products

if TYPE_CHECKING:
    import openvino
    from torch import nn

__all__ = [
    "OpenVinoEngine",
    "compile_model",
    "convert",
    "make_openvino_engine",
    "threads",
]

_FILES = ("net.xml", "net.bin")
_COMPILED = "net.blob"

_CHANGES = 32
"""Changes of shape that a network goes through before it is copied for another one. They cost about what a copy does:
1.2 ms each on the detector, where a copy takes 24 to 39 and prepares its shapes anew. A short clip needs none."""

_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
"""Kernels for other processors were not measured, and may save products themselves."""


def threads() -> int:
    """Threads of an engine: all cores, or OMP_NUM_THREADS where that is set lower (workers side by side set it)."""
    cores = cpu_info().cores
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else cores


def convert(net: nn.Module, size_hw: tuple[int, int] | None) -> openvino.Model:
    """A network as an OpenVINO model with one (N, 3, H, W) input, N free, and H and W free without size_hw.

    Args:
        net: in fp32 on the CPU. It is traced, with two images so that nothing is fixed to a batch of one.
        size_hw: the only size that it will see, or None.
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


def _runs_bf16(precision: str) -> bool:
    return precision == "bf16" or (precision == "int8" and cpu_info().native_bf16)


def _settings(precision: str) -> dict[str, Any]:
    ov = load_openvino()
    hints, properties = ov.properties.hint, ov.properties
    return {
        # Left to itself the CPU plugin takes bf16 (x86) or fp16 (ARM) wherever the hardware has it.
        hints.inference_precision: ov.Type.bf16 if _runs_bf16(precision) else ov.Type.f32,
        properties.num_streams: 1,
        properties.inference_num_threads: threads(),
        # Pinned threads of several processes would all sit on the same first cores.
        hints.enable_cpu_pinning: False,
    }


def compile_model(model: openvino.Model, precision: str) -> openvino.CompiledModel:
    """A model ready to run on the CPU in fp32 or bf16; what an int8 one has not in int8 runs in what is faster."""
    if precision == "fp32" and _IS_X86:
        model = with_fewer_products(model)
    return core().compile_model(model, "CPU", _settings(precision))


@dataclass(eq=False)
class _Copy:
    """A compiled network in use, and the shapes that it has seen."""

    request: openvino.InferRequest
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    last: tuple[int, ...] = ()


class OpenVinoEngine:
    """Runs a compiled network on the CPU. See :class:`revisage.engines.Engine`."""

    name = "openvino"
    device = "cpu"
    notes = ()

    def __init__(
        self,
        compiled: Callable[[], openvino.CompiledModel],
        size_hw: tuple[int, int] | None,
        precision: str,
        copies: Sequence[Callable[[], openvino.CompiledModel]] = (),
    ) -> None:
        """Take a network.

        Args:
            compiled: gives it compiled, for the first batch; its inputs are (N, 3, H, W).
            size_hw: the only size that it will see, or None.
            precision: what it was compiled to, for people.
            copies: make the same compiled network again, where shapes of batches are seen in turn again and again.
        """
        self.precision = precision
        self._size_hw = size_hw
        self._tensor = load_openvino().Tensor
        self._unused = [*copies, compiled]
        self._copies: list[_Copy] = []
        self._changes = 0
        self._lock = threading.Lock()

    def __call__(self, batch: FloatArray) -> list[FloatArray]:
        """The outputs for (N, 3, H, W) float32; see :class:`revisage.engines.Engine`."""
        check_batch(batch, self._size_hw)
        with self._lock:
            request = self._request(batch.shape)
            # Handed to infer(), inputs are looked at one by one in Python: half a millisecond for a small network. The
            # tensor has no memory of its own: that of this name lives until the outputs are there.
            held = np.require(batch, requirements=["C", "W"])
            request.set_input_tensor(self._tensor(held, shared_memory=True))
            request.infer(share_outputs=True)
            # The runtime's own memory is used again by the next call.
            return [np.array(tensor.data, dtype=np.float32, order="C") for tensor in request.output_tensors]

    def _request(self, shape: tuple[int, ...]) -> openvino.InferRequest:
        """The one that saw this shape last; else one more, where that is due; else one that ever saw it; else any. Of
        several the one that is unused for the longest time.

        A compiled network prepares itself whenever the shape changes, also between its requests: as long as it runs
        for a shape that is new to it, a tenth of that for one that it knows.
        """
        ready = [copy for copy in self._copies if copy.last == shape]
        self._changes += not ready
        if not ready and self._unused and (not self._copies or self._changes > _CHANGES):
            self._changes = 0
            copy = _Copy(self._unused[-1]().create_infer_request())
            del self._unused[-1]
        else:
            known = [copy for copy in self._copies if shape in copy.shapes]
            copy = (ready or known or self._copies)[0]
            self._copies.remove(copy)
        copy.shapes.add(shape)
        copy.last = shape
        self._copies.append(copy)
        return copy.request


def make_openvino_engine(
    net: nn.Module | openvino.Model | ShippedNetwork,
    size_hw: tuple[int, int] | None,
    precision: str,
    cache_key: str | None = None,
    calibration: FloatArray | None = None,
    sizes: int = 1,
) -> OpenVinoEngine:
    """Convert, quantise if asked, and compile a network; or take it converted from the cache.

    Arguments and errors as :func:`revisage.engines.make_engine`, everything settled.
    """
    name = None if cache_key is None else _fingerprint(net, size_hw, cache_key)

    def converted() -> openvino.Model:
        if isinstance(net, ShippedNetwork):
            return net.read()
        if isinstance(net, load_openvino().Model):
            return net
        return _cached(name, lambda: convert(net, size_hw))

    if precision != "int8" or calibration is None:
        if isinstance(net, ShippedNetwork):
            return _shipped_engine(net, size_hw, precision, name, sizes)
        return _engine_of(converted(), size_hw, precision, sizes)
    known = calibration
    name_int8 = None if name is None else _with_calibration(name, known)
    quantised = _cached(name_int8, lambda: _checked_int8(converted(), known))
    return _engine_of(quantised, size_hw, precision)


def _engine_of(
    model: openvino.Model, size_hw: tuple[int, int] | None, precision: str, sizes: int = 1
) -> OpenVinoEngine:
    """An engine of a network in OpenVINO's form, of which it is known at once whether it compiles."""
    ready, blob = _newly_compiled(model, precision)
    copies = [lambda: _imported(blob(), precision)] * (sizes - 1)
    return OpenVinoEngine(lambda: ready, size_hw, precision, copies)


def _shipped_engine(
    net: ShippedNetwork, size_hw: tuple[int, int] | None, precision: str, name: str | None, sizes: int
) -> OpenVinoEngine:
    """An engine of a network that ships: known to compile, it is read and compiled when it is first needed, which of
    footage without faces most are not."""
    blobs: list[Callable[[], bytes]] = []

    def compiled() -> openvino.CompiledModel:
        network, blob = _compiled(net, precision, name)
        blobs.append(blob)
        return network

    copies = [lambda: _imported(blobs[0](), precision)] * (sizes - 1)
    return OpenVinoEngine(compiled, size_hw, precision, copies)


def _cached(name: str | None, build: Callable[[], openvino.Model]) -> openvino.Model:
    model = _stored(name) if name is not None else None
    if model is None:
        model = build()
        if name is not None:
            keep(name, functools.partial(_save_converted, model))
    return model


def _save_converted(model: openvino.Model, folder: Path) -> None:
    load_openvino().save_model(model, folder / _FILES[0], compress_to_fp16=False)


def _compiled(
    net: ShippedNetwork, precision: str, name: str | None
) -> tuple[openvino.CompiledModel, Callable[[], bytes]]:
    """A network compiled, and that as bytes: from the cache, where it is there under its name."""
    if name is None:
        return _newly_compiled(net.read(), precision)
    name = f"{name}-{precision}-{threads()}"
    stored = _stored_compiled(name, precision)
    if stored is not None:
        return stored
    compiled, blob = _newly_compiled(net.read(), precision)
    keep(name, lambda folder: (folder / _COMPILED).write_bytes(blob()))
    return compiled, blob


def _newly_compiled(model: openvino.Model, precision: str) -> tuple[openvino.CompiledModel, Callable[[], bytes]]:
    compiled = compile_model(model, precision)
    # What was made of such bytes cannot be exported again.
    return compiled, functools.cache(lambda: compiled.export_model().getvalue())


def _imported(blob: bytes, precision: str) -> openvino.CompiledModel:
    """A compiled network from its bytes, for a quarter of what compiling it costs."""
    return core().import_model(blob, "CPU", _settings(precision))


def _checked_int8(model: openvino.Model, calibration: FloatArray) -> openvino.Model:
    known, held_out = split(calibration)
    quantised = quantise(model, known)
    size_hw = (calibration.shape[2], calibration.shape[3])
    exact, rough = (_engine_of(each, size_hw, "fp32")(held_out)[0] for each in (model, quantised))
    check_agreement(exact, rough)
    return quantised


def _fingerprint(
    net: nn.Module | openvino.Model | ShippedNetwork, size_hw: tuple[int, int] | None, weights_hash: str
) -> str:
    """A name that changes with the weights, the network's code, the engine's version and the CPU."""
    cpu = cpu_info()
    version = load_openvino().get_version()
    parts = (__version__, version, cpu.name, *cpu.features, str(size_hw), weights_hash, _code_hash(net))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def _with_calibration(name: str, calibration: FloatArray) -> str:
    """The name of the int8 form of a network, which also depends on what it was calibrated with."""
    return hashlib.sha256(name.encode() + calibration.tobytes()).hexdigest()[:40] + "-int8"


def _stored(name: str) -> openvino.Model | None:
    """The network of that name, or None when it is not there or not whole."""
    path = kept(name)
    if path is None:
        return None
    try:
        return core().read_model(path / _FILES[0])
    except RuntimeError:
        return None


def _stored_compiled(name: str, precision: str) -> tuple[openvino.CompiledModel, Callable[[], bytes]] | None:
    """The compiled network of that name, and its bytes, or None when it is not there or not whole."""
    blob = kept_file(name, _COMPILED)
    if blob is None:
        return None
    try:
        return _imported(blob, precision), lambda: blob
    except RuntimeError:
        return None


def _code_hash(net: nn.Module | openvino.Model | ShippedNetwork) -> str:
    """A hash of the source files that define the network, so that a changed forward is converted anew."""
    if isinstance(net, ShippedNetwork):
        return net.sha256
    if isinstance(net, load_openvino().Model):
        return "converted before"
    names = sorted({type(m).__module__ for m in net.modules() if not type(m).__module__.startswith("torch.")})
    digest = hashlib.sha256(str(net).encode())
    for name in names:
        file = inspect.getsourcefile(sys.modules[name])
        digest.update(Path(file).read_bytes() if file and Path(file).is_file() else name.encode())
    return digest.hexdigest()
