"""From a model's name or a file to a network that an engine can run, and what there is to tell about it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from revisage import engines, models, nets
from revisage.core import ConfigError, ModelError, file_sha256

if TYPE_CHECKING:
    import openvino
    from torch import nn

    from revisage.engines import Choice, Engine

__all__ = ["COMPILED_SUFFIXES", "RestorerInfo", "Weights", "describe", "load_compiled", "load_weights"]

COMPILED_SUFFIXES = (".onnx", ".xml")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
_NOT_STATED = "not stated in the file"
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class RestorerInfo:
    """What runs, and where: which weights by which engine.

    Attributes:
        name: the model's name, or the file name of weights given as a file.
        architecture: its name in :mod:`revisage.nets`.
        engine, precision, device: as settled; never ``auto``.
        hardware: the device in words, with the CPU's features.
        sha256: hash of the weights file.
        licence: of the weights, as far as it is known.
    """

    name: str
    architecture: str
    engine: str
    precision: str
    device: str
    hardware: str
    sha256: str
    licence: str

    def __str__(self) -> str:
        return f"{self.name} ({self.architecture}): {self.engine} {self.precision} on {self.hardware}"


@dataclass(frozen=True)
class Weights:
    """A network with its weights loaded, and where they came from.

    Attributes:
        settings: the configuration that the network was built with.
        See :class:`RestorerInfo` for the others.
    """

    net: nn.Module
    name: str
    architecture: str
    settings: dict[str, Any]
    sha256: str
    licence: str

    @property
    def cache_key(self) -> str:
        """What a converted network depends on: the file, and settings that are not in it."""
        return f"{self.sha256} {json.dumps(self.settings, sort_keys=True)}"


def load_weights(
    name_or_path: str | Path, architectures: Collection[str], what: str, changes: Mapping[str, Any] = _NONE
) -> Weights:
    """The network of a registry name (fetched when it is absent) or of a .safetensors or .pth file.

    Args:
        name_or_path: a name of ``revisage models list``, or a file. A file's architecture comes from its metadata
            or, without any, from the shapes of its weights.
        architectures: those that can do the task.
        what: the task in words, for errors: ``face restorer``.
        changes: settings of the network to make other than the file says.

    Raises:
        ModelError: the model is unknown, absent, damaged, or of another kind.
        ConfigError: its architecture has no setting of that name.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() in _SUFFIXES or path.is_file():
        return _from_file(path, architectures, what, changes)
    return _from_registry(str(name_or_path), architectures, what, changes)


def describe(weights: Weights, engine: Engine, choice: Choice) -> RestorerInfo:
    """The info of weights that run by an engine."""
    return RestorerInfo(
        name=weights.name,
        architecture=weights.architecture,
        engine=engine.name,
        precision=engine.precision,
        device=engine.device,
        hardware=choice.hardware,
        sha256=weights.sha256,
        licence=weights.licence,
    )


def _from_registry(name: str, architectures: Collection[str], what: str, changes: Mapping[str, Any]) -> Weights:
    entry = models.find(name)
    _check_kind(entry.name, entry.arch, architectures, what)
    _check_changes(entry.name, entry.arch, changes)
    if not entry.embedded and not models.is_present(entry):
        models.pull(entry.name)
    verified = models.verify(entry)
    state = models.load_state(verified.path, entry.params_key)
    settings = {**(models.metadata(verified.path).get("config") or {}), **changes}
    net = _filled(entry.arch, settings, state, verified.path)
    return Weights(net, entry.name, entry.arch, settings, verified.sha256, entry.licence)


def _from_file(path: Path, architectures: Collection[str], what: str, changes: Mapping[str, Any]) -> Weights:
    state = models.load_state(path)
    known = models.metadata(path)
    if "arch" in known:
        architecture, settings = str(known["arch"]), dict(known.get("config") or {})
    else:
        architecture, settings = nets.infer_arch(state)
    _check_kind(str(path), architecture, architectures, what)
    _check_changes(str(path), architecture, changes)
    settings = {**settings, **changes}
    net = _filled(architecture, settings, state, path)
    published = nets.architecture(architecture).licence
    licence = str(known.get("licence", f"{_NOT_STATED} (published weights: {published})"))
    return Weights(net, path.name, architecture, settings, file_sha256(path), licence)


def _check_kind(name: str, architecture: str, architectures: Collection[str], what: str) -> None:
    if architecture not in architectures:
        fitting = [entry.name for entry in models.entries() if entry.arch in architectures]
        raise ModelError(f"{name} is a {architecture} network and no {what}: choose one of {', '.join(fitting)}")


def _check_changes(name: str, architecture: str, changes: Mapping[str, Any]) -> None:
    lacking = sorted(set(changes) - nets.architecture(architecture).named_settings)
    if lacking:
        raise ConfigError(f"the model {name} has no setting {lacking[0]}: leave it out, or choose another model")


def _filled(architecture: str, settings: dict[str, Any], state: dict[str, Any], path: Path) -> nn.Module:
    net = nets.build(architecture, settings)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights in {path} do not fit the architecture {architecture} ({reason})") from error
    return net


def load_compiled(path: Path, choice: Choice) -> tuple[Engine, int, RestorerInfo]:
    """Engine, side of the crops (px) and description of a file that `revisage export` wrote, or one like it.

    Raises:
        ModelError: it is absent, damaged, or maps no (N, 3, size, size) crops.
        ConfigError: another engine than OpenVINO, or int8, was asked for.
    """
    if choice.engine != "openvino":
        raise ConfigError(f"{path} runs by OpenVINO on the CPU only: leave engine and device out, or use .safetensors")
    model = _read(path)
    about = _about(model)
    size = _side(model, path)
    quantised = any(operation.get_type_name() == "FakeQuantize" for operation in model.get_ops())
    if choice.precision == "int8" and not quantised:
        raise ConfigError(f"{path} is not an int8 file: export it with --int8, or leave precision out")
    precision = "int8" if quantised else choice.precision
    engine = engines.OpenVinoEngine(
        engines.compile_model(model, "fp32" if quantised else precision), (size, size), precision
    )
    info = RestorerInfo(
        name=path.name,
        architecture=str(about.get("arch", _NOT_STATED)),
        engine="openvino",
        precision=precision,
        device="cpu",
        hardware=choice.hardware,
        sha256=file_sha256(path),
        licence=str(about.get("licence", _NOT_STATED)),
    )
    return engine, size, info


def _read(path: Path) -> openvino.Model:
    if not path.is_file():
        raise ModelError(f"no such model file: {path}")
    if path.suffix.lower() == ".xml" and not path.with_suffix(".bin").is_file():
        raise ModelError(f"{path} has no weights: {path.with_suffix('.bin').name} must lie beside it")
    try:
        return engines.core().read_model(str(path))
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
