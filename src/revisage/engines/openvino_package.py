"""The `openvino` package, imported without what this program does not want of it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openvino

__all__ = ["core", "load_openvino", "without_telemetry"]

_CONVERTER = "openvino.tools.ovc"


def load_openvino() -> Any:
    """The `openvino` package, without its telemetry; its converter is loaded when somebody asks for it."""
    with without_telemetry(), _without_converter():
        import openvino
    return openvino


@functools.lru_cache(maxsize=1)
def core() -> openvino.Core:
    """The one runtime core of this process; making one takes tens of milliseconds."""
    return load_openvino().Core()


@contextlib.contextmanager
def _without_converter() -> Iterator[None]:
    """The first import of OpenVINO finds no converter, which takes more than half of its time and which networks that
    ship converted do not need. OpenVINO accepts that; `openvino.convert_model` is there all the same, from its first
    use on."""
    if "openvino" in sys.modules:
        yield
        return
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_CONVERTER]
    sys.modules["openvino"].__getattr__ = _converter  # type: ignore[method-assign]


def _converter(name: str) -> Any:
    """OpenVINO's own `convert_model`, as an attribute of the package that is looked for when it is not there."""
    if name != "convert_model":
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")
    with without_telemetry():
        return importlib.import_module(_CONVERTER).convert_model


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Imports inside find no `openvino_telemetry`.

    OpenVINO and NNCF report their use over the network from the moment they are imported; a program that works without
    a network, on people's faces, must not. Both accept that the package is absent.
    """
    was_known, before = "openvino_telemetry" in sys.modules, sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if was_known:
            sys.modules["openvino_telemetry"] = before  # type: ignore[assignment]
        else:
            del sys.modules["openvino_telemetry"]
