"""From a model's name or a file to a network that an engine can run, and what there is to tell about it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from revisage import engines, models, nets
from revisage.core import ConfigError, ModelError, file_sha256

if TYPE_CHECKING:
    import openvino
    from torch import nn

    from revisage.engines import Choice, Engine

__all__ = [
    "INT8",
    "Compiled",
    "RestorerInfo",
    "Weights",
    "check_model",
    "compiled_file",
    "describe",
    "load_compiled",
    "load_weights",
    "ships_int8",
]

COMPILED_SUFFIXES = (".onnx", ".xml")
_RUN_AS_THEY_ARE = "gfpgan-onnx"
"""Architecture of the models of the registry that are such files. In bf16 GFP-GAN agrees with fp32 as in torch."""
INT8 = "int8"
"""Part of a model's name that is its int8 form."""
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
        net: in torch, or in OpenVINO's form where it ships so.
        settings: the configuration that the network was built with.
        size: side of a restorer's crops in px; 0 for others.
        bf16_agrees: see :class:`revisage.nets.Architecture`.
        See :class:`RestorerInfo` for the others.
    """

    net: nn.Module | engines.ShippedNetwork
    name: str
    architecture: str
    settings: dict[str, Any]
    sha256: str
    licence: str
    size: int
    bf16_agrees: bool

    @property
    def cache_key(self) -> str:
        """What a converted network depends on: the file, and settings that are not in it."""
        return f"{self.sha256} {json.dumps(self.settings, sort_keys=True)}"


def check_model(name_or_path: str | Path) -> None:
    """Refuse a name that no model has, before anything is read or loaded.

    Raises:
        ModelError: it is neither a name in the registry, nor a file, nor named as files of weights are.
    """
    if not _is_file(Path(name_or_path).expanduser()):
        models.find(str(name_or_path))


@dataclass(frozen=True)
class CompiledFile:
    """A file that OpenVINO runs as it is.

    Attributes:
        path: of the file.
        entry: the model that it is, or None.
    """

    path: Path
    entry: models.ModelEntry | None = None


def compiled_file(name_or_path: str | Path, engine: str) -> CompiledFile | None:
    """The .onnx or .xml file that is meant, fetched where it is absent; None where something else is.

    Of a model that needs torch it is the ONNX form, where there is one and torch is not installed.

    Raises:
        ModelError: the model cannot be fetched, or its file is damaged.
        ConfigError: another engine than OpenVINO was asked for.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() in COMPILED_SUFFIXES:
        _check_engine(str(path), engine)
        return CompiledFile(path)
    if _is_file(path):
        return None
    entry = models.find_usable(str(name_or_path))
    if entry.arch != _RUN_AS_THEY_ARE:
        return None
    _check_engine(entry.name, engine)
    if not models.is_present(entry):
        models.pull(entry.name)
    return CompiledFile(models.verify(entry).path, entry)


def _check_engine(name: str, engine: str) -> None:
    if engine != "openvino":
        raise ConfigError(f"{name} runs by OpenVINO on the CPU only: leave engine and device out, or use .safetensors")


def _is_file(path: Path) -> bool:
    return path.suffix.lower() in (*_SUFFIXES, *COMPILED_SUFFIXES) or path.is_file()


def load_weights(
    name_or_path: str | Path,
    what: str,
    architectures: Collection[str] | None = None,
    *,
    changes: Mapping[str, Any] = _NONE,
    compiled: bool = False,
    part: str = "",
) -> Weights:
    """The network of a registry name (fetched when it is absent) or of a .safetensors or .pth file.

    Args:
        name_or_path: a name of ``revisage models list``, or a file. A file's architecture comes from its metadata
            or, without any, from the shapes of its weights.
        what: the task, for errors: ``face restorer``.
        architectures: those that can do it; None: all whose role it is.
        changes: settings of the network to make other than the file says.
        compiled: whether the OpenVINO file of an embedded model will do, which needs no torch.
        part: which one, ``int8`` for that form.

    Raises:
        ModelError: the model is unknown, absent, damaged, or of another kind.
        ConfigError: its architecture has no setting of that name.
        MissingExtraError: torch is needed and not installed.
    """
    path = Path(name_or_path).expanduser()
    if _is_file(path):
        return _from_file(path, architectures, what, changes)
    entry = models.find(str(name_or_path))
    shipped = _shipped(entry, what, part) if compiled and not changes else None
    return shipped or _from_registry(entry, architectures, what, changes)


def ships_int8(name_or_path: str | Path) -> bool:
    """Whether a model is embedded in an int8 form too, which needs nothing to be calibrated on."""
    if _is_file(Path(name_or_path).expanduser()):
        return False
    entry = models.find(str(name_or_path))
    return entry.embedded and models.compiled_path(entry, models.verify(entry).sha256, INT8) is not None


def _shipped(entry: models.ModelEntry, role: str, part: str) -> Weights | None:
    """The OpenVINO form of an embedded model, where it is there and of the weights that are."""
    if not entry.embedded:
        return None
    weights = models.verify(entry)
    path = models.compiled_path(entry, weights.sha256, part)
    if path is None:
        return None
    net = engines.ShippedNetwork(path, weights.path)
    notes = net.notes
    if notes.get("role") != role:
        return None
    agrees, config = bool(notes["bf16_agrees"]), dict(notes["config"])
    side = int(config["size"]) if role == "face restorer" else 0
    return Weights(net, entry.name, entry.arch, config, weights.sha256, entry.licence, side, agrees)


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


def _from_registry(
    entry: models.ModelEntry, architectures: Collection[str] | None, what: str, changes: Mapping[str, Any]
) -> Weights:
    _check_kind(entry.name, entry.arch, architectures, what)
    _check_changes(entry.name, entry.arch, changes)
    if not entry.embedded and not models.is_present(entry):
        models.pull(entry.name)
    verified = models.verify(entry)
    state = models.load_state(verified.path, entry.params_key)
    settings = {**(models.metadata(verified.path).get("config") or {}), **changes}
    net = _filled(entry.arch, settings, state, verified.path)
    return _in_torch(net, entry.name, entry.arch, settings, verified.sha256, entry.licence)


def _from_file(path: Path, architectures: Collection[str] | None, what: str, changes: Mapping[str, Any]) -> Weights:
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
    return _in_torch(net, path.name, architecture, settings, file_sha256(path), licence)


def _in_torch(net: nn.Module, name: str, arch: str, settings: dict[str, Any], sha256: str, licence: str) -> Weights:
    record = nets.architecture(arch)
    size = record.size(record.settings(arch, settings))
    return Weights(net, name, arch, settings, sha256, licence, size, record.bf16_agrees)


def _check_kind(name: str, architecture: str, architectures: Collection[str] | None, what: str) -> None:
    if architectures is None:
        architectures = nets.names(cast("nets.Role", what))
    if architecture not in architectures:
        fitting = [entry.name for entry in models.entries() if entry.arch in architectures]
        raise ModelError(f"{name} is a {architecture} network and no {what}: choose one of {', '.join(fitting)}")


def _check_changes(name: str, architecture: str, changes: Mapping[str, Any]) -> None:
    lacking = sorted(set(changes) - nets.architecture(architecture).named_settings)
    if lacking:
        raise ConfigError(f"the model {name} has no setting {lacking[0]}: leave it out, or choose another model")


def _filled(architecture: str, settings: dict[str, Any], state: dict[str, Any], path: Path) -> nn.Module:
    net = nets.build_empty(architecture, settings)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights in {path} do not fit the architecture {architecture} ({reason})") from error
    return net


@dataclass(frozen=True)
class Compiled:
    """A restorer out of a file that OpenVINO runs as it is.

    Attributes:
        size: side of its crops, px.
        one_by_one: whether it takes single crops only.
        unit_range: whether it maps [0, 1] instead of [-1, 1].
    """

    engine: Engine
    size: int
    info: RestorerInfo
    one_by_one: bool
    unit_range: bool


def load_compiled(file: CompiledFile, choice: Choice) -> Compiled:
    """A restorer from an .onnx or .xml file that `revisage export` wrote, or from somebody else's.

    Raises:
        ModelError: it is absent, damaged, or maps no (N, 3, size, size) crops.
        ConfigError: int8 was asked for, and the file is not.
    """
    path, entry = file.path, file.entry
    model = engines.read_model(path)
    notes = engines.model_notes(model)
    size = _side(model, path)
    quantised = engines.is_quantised(model)
    if choice.precision == "int8" and not quantised:
        raise ConfigError(f"{path} is not an int8 file: export it with --int8, or leave precision out")
    precision = "int8" if quantised else choice.precision
    compiled = engines.compile_model(model, precision)
    engine = engines.OpenVinoEngine(lambda: compiled, (size, size), precision)
    info = RestorerInfo(
        name=path.name if entry is None else entry.name,
        architecture=str(notes.get("arch", _NOT_STATED)) if entry is None else entry.arch,
        engine="openvino",
        precision=precision,
        device="cpu",
        hardware=choice.hardware,
        sha256=file_sha256(path),
        licence=str(notes.get("licence", _NOT_STATED)) if entry is None else entry.licence,
    )
    is_foreign = entry is None and not notes
    return Compiled(engine, size, info, _batch(model) == 1, is_foreign and _takes_unit_range(engine, size))


def _batch(model: openvino.Model) -> int | None:
    """How many crops it takes at once; None for any number."""
    first = model.inputs[0].get_partial_shape()[0]
    return int(first.get_length()) if first.is_static else None


def _takes_unit_range(engine: Engine, size: int) -> bool:
    """Whether a restorer maps [0, 1] instead of [-1, 1], found out on a picture of one dark grey, -0.8.

    A restorer of [-1, 1] gives about that back; one of [0, 1] has never learnt to give a negative number.
    """
    dark = np.full((1, 3, size, size), -0.8, np.float32)
    return bool(engine(dark)[0].mean() > -0.4)


def _side(model: openvino.Model, path: Path) -> int:
    shapes = [port.get_partial_shape() for port in (*model.inputs, *model.outputs)]
    sides = [[dim.get_length() if dim.is_static else None for dim in shape] for shape in shapes if len(shape) == 4]
    right = len(shapes) == len(sides) == 2 and sides[0][1:] == sides[1][1:] and sides[0][1] == 3
    if not right or sides[0][2] is None or sides[0][2] != sides[0][3] or sides[0][0] not in (None, 1):
        raise ModelError(f"{path} is no face restorer: it must map (N, 3, size, size) to the same, N free or 1")
    return int(sides[0][2])
