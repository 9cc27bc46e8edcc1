"""From a model's name or a file to a network with its weights in it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisage import models, nets
from revisage.core import ModelError, file_sha256

if TYPE_CHECKING:
    from torch import nn

    from revisage.engines import Choice, Engine

__all__ = ["RestorerInfo", "Weights", "describe", "load_weights"]

_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")


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


def load_weights(name_or_path: str | Path, architectures: Collection[str], what: str) -> Weights:
    """The network of a registry name (fetched when it is absent) or of a .safetensors or .pth file.

    Args:
        name_or_path: a name of ``revisage models list``, or a file. A file's architecture comes from its metadata
            or, without any, from the shapes of its weights.
        architectures: those that can do the task.
        what: the task in words, for errors: ``face restorer``.

    Raises ModelError when the model is unknown, absent, damaged, or of another kind.
    """
    path = Path(name_or_path).expanduser()
    if path.suffix.lower() in _SUFFIXES or path.is_file():
        return _from_file(path, architectures, what)
    return _from_registry(str(name_or_path), architectures, what)


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


def _from_registry(name: str, architectures: Collection[str], what: str) -> Weights:
    entry = models.find(name)
    _check_kind(entry.name, entry.arch, architectures, what)
    if not entry.embedded and not models.is_present(entry):
        models.pull(entry.name)
    verified = models.verify(entry)
    state = models.load_state(verified.path, entry.params_key)
    settings = dict(models.metadata(verified.path).get("config") or {})
    net = _filled(entry.arch, settings, state, verified.path)
    return Weights(net, entry.name, entry.arch, settings, verified.sha256, entry.licence)


def _from_file(path: Path, architectures: Collection[str], what: str) -> Weights:
    state = models.load_state(path)
    known = models.metadata(path)
    if "arch" in known:
        architecture, settings = str(known["arch"]), dict(known.get("config") or {})
    else:
        architecture, settings = nets.infer_arch(state)
    _check_kind(str(path), architecture, architectures, what)
    net = _filled(architecture, settings, state, path)
    published = nets.architecture(architecture).licence
    licence = str(known.get("licence", f"not stated in the file (published weights: {published})"))
    return Weights(net, path.name, architecture, settings, file_sha256(path), licence)


def _check_kind(name: str, architecture: str, architectures: Collection[str], what: str) -> None:
    if architecture not in architectures:
        fitting = [entry.name for entry in models.entries() if entry.arch in architectures]
        raise ModelError(f"{name} is a {architecture} network and no {what}: choose one of {', '.join(fitting)}")


def _filled(architecture: str, settings: dict[str, Any], state: dict[str, Any], path: Path) -> nn.Module:
    net = nets.build(architecture, settings)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights in {path} do not fit the architecture {architecture} ({reason})") from error
    return net
