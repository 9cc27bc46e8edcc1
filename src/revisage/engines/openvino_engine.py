"""The engine for CPUs: OpenVINO, with compiled networks kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import nn

from revisage import __version__
from revisage.engines.cpu import cpu_info
from revisage.engines.engine import check_batch
from revisage.engines.openvino_runtime import compile_model, convert, import_blob, load_openvino
from revisage.engines.quantise import check_agreement, quantise, split

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenVinoEngine", "cache_folder", "make_openvino_engine"]

FloatArray = npt.NDArray[np.float32]

DIGEST = 32  # bytes of a SHA-256


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
    """Convert, quantise if asked, and compile a network; or take all that from the cache.

    Arguments and errors as :func:`revisage.engines.make_engine`, everything settled.
    """
    arithmetic = "bf16" if precision == "bf16" else "fp32"

    def build() -> openvino.CompiledModel:
        model = convert(net, size_hw)
        if precision == "int8":
            assert calibration is not None
            model = _checked_int8(model, calibration)
        return compile_model(model, arithmetic)

    if cache_key is None:
        return OpenVinoEngine(build(), size_hw, precision)
    path = cache_folder() / f"{_fingerprint(net, size_hw, precision, cache_key, calibration)}.blob"
    return OpenVinoEngine(_cached(path, arithmetic, build), size_hw, precision)


def _checked_int8(model: openvino.Model, calibration: FloatArray) -> openvino.Model:
    known, held_out = split(calibration)
    quantised = quantise(model, known)
    size_hw = (calibration.shape[2], calibration.shape[3])
    exact, rough = (OpenVinoEngine(compile_model(m, "fp32"), size_hw, "fp32")(held_out)[0] for m in (model, quantised))
    check_agreement(exact, rough)
    return quantised


def cache_folder() -> Path:
    """Where compiled networks are kept: REVISAGE_CACHE, or the user's cache folder. They can be deleted at any time."""
    import pooch

    return Path(os.environ.get("REVISAGE_CACHE") or pooch.os_cache("revisage")) / "engines"


def _fingerprint(
    net: nn.Module,
    size_hw: tuple[int, int] | None,
    precision: str,
    cache_key: str,
    calibration: FloatArray | None,
) -> str:
    """A name that changes with everything the compiled network depends on."""
    calibrated = hashlib.sha256(calibration.tobytes()).hexdigest() if calibration is not None else ""
    parts = (
        __version__,
        load_openvino().get_version(),
        str(cpu_info().name),
        str(cpu_info().features),
        cache_key,
        str(size_hw),
        precision,
        calibrated,
        _code_hash(net),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def _code_hash(net: nn.Module) -> str:
    """A hash of the source files that define the network, so that a changed forward is converted anew."""
    names = sorted({type(m).__module__ for m in net.modules() if not type(m).__module__.startswith("torch.")})
    digest = hashlib.sha256(str(net).encode())
    for name in names:
        file = inspect.getsourcefile(sys.modules[name])
        digest.update(Path(file).read_bytes() if file and Path(file).is_file() else name.encode())
    return digest.hexdigest()


def _cached(path: Path, arithmetic: str, build: Callable[[], openvino.CompiledModel]) -> openvino.CompiledModel:
    try:
        content = path.read_bytes()
        # A damaged blob could bring the runtime down instead of raising, so its hash stands before it.
        if content[:DIGEST] == hashlib.sha256(memoryview(content)[DIGEST:]).digest():
            return import_blob(content[DIGEST:], arithmetic)
    except (OSError, RuntimeError):
        pass  # not there yet, or of no use to this runtime: make it again
    compiled = build()
    _store(path, compiled.export_model().getvalue())
    return compiled


def _store(path: Path, blob: bytes) -> None:
    """Write the whole file or none; a cache that cannot be written costs time, not the result."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(blob).digest())
            file.write(blob)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
