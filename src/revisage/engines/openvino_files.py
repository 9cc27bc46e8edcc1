"""The files of networks that OpenVINO runs: read, written, and made to share the weights that they came from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from revisage.core import ModelError
from revisage.engines.engine import FloatArray
from revisage.engines.openvino_package import core, load_openvino

if TYPE_CHECKING:
    import openvino

__all__ = [
    "ShippedNetwork",
    "model_files",
    "model_notes",
    "read_model",
    "share_weights",
    "write_model",
]

_CONSTANTS = ".constants"
"""What a network that shares its weights has beside them."""

_CONSTANT = re.compile(
    r'element_type="(?P<type>\w+)" shape="(?P<shape>[^"]*)" offset="(?P<offset>\d+)" size="(?P<size>\d+)"'
)
_ALIGNMENT = 64
"""Bytes; OpenVINO's own files begin each constant so."""

_NOTES = re.compile(rb'<revisage value="(?P<notes>[^"]*)"')

_EXTERNAL = re.compile(rb"\x0a(?:\x08|\x88\x80*\x00)location")
"""The key of an external data entry of ONNX, as protobuf writes it, also where the length is written longer."""


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
        return core().read_model(path.read_bytes(), load_openvino().Tensor(_joined(weights, needed)))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise ModelError(f"{path} is damaged or no network that OpenVINO reads ({reason})") from error


class ShippedNetwork:
    """A network of the package, in OpenVINO's form, that shares the weights that it was made of.

    It is read when it must be. As it was compiled it is kept in the cache, and what one wants to know before stands in
    its file: reading it would take as long as taking it from there.

    Args:
        path: an .xml.
        weights: the .safetensors file that it takes its kernels from.
    """

    def __init__(self, path: Path, weights: Path) -> None:
        self._path, self._weights = path, weights
        self._text = path.read_bytes()

    @cached_property
    def sha256(self) -> str:
        """Hash of its file: with that of the weights, all that the network is made of."""
        return hashlib.sha256(self._text).hexdigest()

    @cached_property
    def notes(self) -> dict[str, Any]:
        """As :func:`model_notes` gives them."""
        found = _NOTES.search(self._text)
        return {} if found is None else _as_notes(_unescaped(found["notes"].decode("utf-8", "replace")))

    @property
    def is_int8(self) -> bool:
        """Whether it is in an int8 form."""
        return b'type="FakeQuantize"' in self._text

    def read(self) -> openvino.Model:
        """The network.

        Raises:
            ModelError: it is damaged.
        """
        return read_model(self._path, self._weights)


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
            return _as_notes(str(model.get_rt_info(place).value))
    return {}


def _as_notes(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _unescaped(text: str) -> str:
    """The text of an attribute in XML. Python's own parsers would be loaded for this alone."""
    for escaped, sign in (("&quot;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(escaped, sign)
    return text


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
