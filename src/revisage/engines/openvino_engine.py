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
import json
import os
import platform
import re
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from revisage import __version__
from revisage.core import ModelError
from revisage.engines.engine import FloatArray, check_batch
from revisage.engines.network_cache import keep, kept
from revisage.engines.openvino_package import load_openvino, without_telemetry
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
    "core",
    "make_openvino_engine",
    "model_files",
    "model_notes",
    "read_model",
    "share_weights",
    "threads",
    "write_model",
]

_FILES = ("net.xml", "net.bin")
_COMPILED = "net.blob"
_SHIPPED = "revisage_shipped"
"""Where a network that shares its weights holds the hash of its file: with the weights', all that it is made of."""

_CHANGES = 32
"""Changes of shape that a network goes through before it is copied for another one. They cost about what a copy does:
1.2 ms each on the detector, where a copy takes 24 to 39 and prepares its shapes anew. A short clip needs none."""

_CONSTANTS = ".constants"
"""What a network that shares its weights has beside them."""

_CONSTANT = re.compile(
    r'element_type="(?P<type>\w+)" shape="(?P<shape>[^"]*)" offset="(?P<offset>\d+)" size="(?P<size>\d+)"'
)
_ALIGNMENT = 64
"""Bytes; OpenVINO's own files begin each constant so."""

_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
"""Kernels for other processors were not measured, and may save products themselves."""

_EXTERNAL = re.compile(rb"\x0a(?:\x08|\x88\x80*\x00)location")
"""The key of an external data entry of ONNX, as protobuf writes it, also where the length is written longer."""


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


def read_model(path: Path, weights: Path | None = None) -> openvino.Model:
    """A network from an .onnx file, or from an .xml file with its .bin beside it.

    Args:
        path: the file.
        weights: the .safetensors file that an .xml shares its weights with, in place of a .bin; see `share_weights`.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    if not path.is_file():
        raise ModelError(f"no such model file: {path}")
    needed = path.with_suffix(".bin" if weights is None else _CONSTANTS)
    if path.suffix.lower() == ".xml" and not needed.is_file():
        raise ModelError(f"{path} has no weights: {needed.name} must lie beside it")
    if path.suffix.lower() == ".onnx" and _names_other_files(path):
        raise ModelError(f"{path} names other files for its weights, which are not read: export it with all inside")
    try:
        if weights is None:
            return core().read_model(str(path))
        text = path.read_bytes()
        model = core().read_model(text, load_openvino().Tensor(_joined(weights, needed)))
        model.set_rt_info(hashlib.sha256(text).hexdigest(), _SHIPPED)
        return model
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{path} is damaged or no network that OpenVINO reads ({reason})") from error


def model_files(path: Path) -> list[Path]:
    """A network's file, and what `read_model` reads beside it: an .xml has its weights in a .bin."""
    weights = path.with_suffix(".bin")
    return [path, weights] if path.suffix.lower() == ".xml" and weights.is_file() else [path]


def _names_other_files(path: Path) -> bool:
    """Whether an ONNX file has weights outside of it: a file from a stranger would have any file of ours read."""
    return _EXTERNAL.search(path.read_bytes()) is not None


def model_notes(model: openvino.Model) -> dict[str, Any]:
    """What revisage's export wrote into a file; ONNX metadata come under "framework". Empty for others' files."""
    for place in (["revisage"], ["framework", "revisage"]):
        if model.has_rt_info(place):
            try:
                values = json.loads(str(model.get_rt_info(place).value))
            except ValueError:
                return {}
            return values if isinstance(values, dict) else {}
    return {}


def write_model(
    model: openvino.Model, path: Path, notes: Mapping[str, Any], kernels: Sequence[FloatArray] = ()
) -> None:
    """Write OpenVINO's two files, `path` (.xml) and the weights beside it (.bin), with notes for `model_notes`.

    Nothing is rounded. Numbers that float16 holds exactly, as weights that were trained to be stored so, are written in
    it. So are the kernels into which the conversion multiplied the scale of a normalisation: as they were, with that
    scale, where the product gives the same numbers. All others are written in float32. The same network gives the same
    bytes: names that count what the process converted before are replaced.

    Args:
        model: the network; it is changed.
        path: an .xml.
        notes: JSON values.
        kernels: of the network as it was before the conversion.
    """
    ov = load_openvino()
    for constant in [node for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]:
        _store_in_halves(ov, constant, kernels)
    for number, node in enumerate(model.get_ordered_ops()):
        node.set_friendly_name(f"{node.get_type_name()}_{number}")
    model.set_friendly_name(str(notes.get("arch", "network")))
    model.set_rt_info(json.dumps(dict(notes)), "revisage")
    ov.save_model(model, str(path), compress_to_fp16=False)


def share_weights(path: Path, weights: Path) -> None:
    """Let a network that `write_model` wrote take its kernels from the .safetensors file that they came from.

    The two files of a model would else hold the same bytes twice. What is not in the .safetensors file stays beside
    the .xml, in .constants in place of .bin; both are read as one, one after the other.
    """
    stored, shared = path.with_suffix(".bin").read_bytes(), weights.read_bytes()
    places, begin = _places(shared), _aligned(len(shared))
    rest = bytearray()
    moved: dict[bytes, int] = {}

    def place(found: re.Match[str]) -> str:
        offset, size = int(found["offset"]), int(found["size"])
        values = stored[offset : offset + size]
        at = places.get(values) if found["type"] == "f16" else None
        if at is None:
            if values not in moved:
                rest.extend(bytes(_aligned(len(rest)) - len(rest)))
                moved[values] = begin + len(rest)
                rest.extend(values)
            at = moved[values]
        return f'element_type="{found["type"]}" shape="{found["shape"]}" offset="{at}" size="{size}"'

    path.write_text(_CONSTANT.sub(place, path.read_text(encoding="utf-8")), encoding="utf-8")
    path.with_suffix(_CONSTANTS).write_bytes(rest)
    path.with_suffix(".bin").unlink()


def _places(data: bytes) -> dict[bytes, int]:
    """Where each tensor of a .safetensors file lies in it: a length in 8 bytes, a header in JSON, the tensors."""
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    spans = (entry["data_offsets"] for name, entry in header.items() if name != "__metadata__")
    return {data[begin + first : begin + last]: begin + first for first, last in spans}


def _joined(*paths: Path) -> NDArray[np.uint8]:
    """Files one after the other, each from an aligned place on."""
    sizes = [path.stat().st_size for path in paths]
    begins = np.cumsum([0] + [_aligned(size) for size in sizes])
    joined = np.zeros(begins[-1], np.uint8)
    for path, begin, size in zip(paths, begins, sizes, strict=False):
        with path.open("rb") as stream:
            stream.readinto(joined[begin : begin + size].data)
    return joined


def _aligned(size: int) -> int:
    return size + -size % _ALIGNMENT


def _store_in_halves(ov: Any, constant: Any, kernels: Sequence[FloatArray]) -> None:
    """Let a constant be stored in float16 where that is exact, alone or as a kernel and its scale."""
    if constant.get_element_type() != ov.Type.f32:
        return
    values = constant.get_data()
    stored, scale = (values, None) if _fits_halves(values) else _unscaled(values, kernels)
    if stored is None:
        return
    node = ov.opset13.convert(ov.opset13.constant(stored.astype(np.float16)), "f32")
    if scale is not None:
        node = ov.opset13.multiply(node, ov.opset13.constant(scale))
    for reader in constant.output(0).get_target_inputs():
        reader.replace_source_output(node.output(0))


def _fits_halves(values: FloatArray) -> bool:
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(np.float16).astype(np.float32), values)


def _unscaled(values: FloatArray, kernels: Sequence[FloatArray]) -> tuple[FloatArray | None, FloatArray | None]:
    """The kernel, and a scale ``(outputs, 1, ...)`` for it, whose product is these very values; None where none is."""
    for kernel in kernels:
        if kernel.ndim > 1 and kernel.shape == values.shape and _fits_halves(kernel):
            scale = _scale(values.reshape(len(values), -1), kernel.reshape(len(kernel), -1))
            if scale is not None:
                return kernel, scale.reshape(-1, *[1] * (kernel.ndim - 1))
    return None, None


def _scale(values: FloatArray, rows: FloatArray) -> FloatArray | None:
    """By what each of the rows was multiplied; None where one of them was not."""
    largest = np.abs(rows).argmax(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.take_along_axis(values, largest, 1) / np.take_along_axis(rows, largest, 1)
    # The product was rounded, so its quotient may be the number beside the scale.
    near = [quotient, np.nextafter(quotient, np.float32(-np.inf)), np.nextafter(quotient, np.float32(np.inf))]
    exact = [(rows * scale == values).all(axis=1, keepdims=True) for scale in near]
    return np.select(exact, near).astype(np.float32) if np.logical_or.reduce(exact).all() else None


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
    net: nn.Module | openvino.Model,
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
        if isinstance(net, load_openvino().Model):
            return net
        return _cached(name, lambda: convert(net, size_hw))

    if precision != "int8" or calibration is None:
        return _engine_of(converted(), size_hw, precision, name, sizes)
    known = calibration
    name_int8 = None if name is None else _with_calibration(name, known)
    quantised = _cached(name_int8, lambda: _checked_int8(converted(), known))
    return _engine_of(quantised, size_hw, precision)


def _engine_of(
    model: openvino.Model,
    size_hw: tuple[int, int] | None,
    precision: str,
    name: str | None = None,
    sizes: int = 1,
) -> OpenVinoEngine:
    """An engine of a network in OpenVINO's form. One that ships is known to compile, and is when it is first needed: of
    footage without faces most are not. Of any other it is known at once whether it does."""
    blobs: list[Callable[[], bytes]] = []

    def compiled() -> openvino.CompiledModel:
        network, blob = _compiled(model, precision, name)
        blobs.append(blob)
        return network

    copies = [lambda: _imported(blobs[0](), precision)] * (sizes - 1)
    if model.has_rt_info(_SHIPPED):
        return OpenVinoEngine(compiled, size_hw, precision, copies)
    ready = compiled()
    return OpenVinoEngine(lambda: ready, size_hw, precision, copies)


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
    model: openvino.Model, precision: str, name: str | None
) -> tuple[openvino.CompiledModel, Callable[[], bytes]]:
    """A network compiled, and that as bytes; one that ships converted comes from the cache, where it is there."""
    if name is None or not model.has_rt_info(_SHIPPED):
        return _newly_compiled(model, precision)
    name = f"{name}-{precision}-{threads()}"
    stored = _stored_compiled(name, precision)
    if stored is not None:
        return stored
    compiled, blob = _newly_compiled(model, precision)
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


def _fingerprint(net: nn.Module | openvino.Model, size_hw: tuple[int, int] | None, weights_hash: str) -> str:
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
    path = kept(name)
    if path is None:
        return None
    try:
        blob = (path / _COMPILED).read_bytes()
        return _imported(blob, precision), lambda: blob
    except (OSError, RuntimeError):
        return None


def _code_hash(net: nn.Module | openvino.Model) -> str:
    """A hash of the source files that define the network, so that a changed forward is converted anew."""
    if isinstance(net, load_openvino().Model):
        return str(net.get_rt_info(_SHIPPED).value) if net.has_rt_info(_SHIPPED) else "converted before"
    names = sorted({type(m).__module__ for m in net.modules() if not type(m).__module__.startswith("torch.")})
    digest = hashlib.sha256(str(net).encode())
    for name in names:
        file = inspect.getsourcefile(sys.modules[name])
        digest.update(Path(file).read_bytes() if file and Path(file).is_file() else name.encode())
    return digest.hexdigest()
