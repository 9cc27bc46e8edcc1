"""The architectures there are: what each module here says of its networks, how they are built and recognised.

A module's records are found because they are there; nothing else lists them. So a new network is its module (with its
record), its entry in :mod:`revisage.models.registry`, and its parity test.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from revisage.core import MissingExtraError, ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "Architecture",
    "Role",
    "Settings",
    "Shapes",
    "architecture",
    "architectures",
    "build",
    "build_empty",
    "infer_arch",
    "names",
]

Role = Literal[
    "face restorer",
    "fine restorer",
    "upscaler",
    "face detector",
    "face identity",
    "face reader",
    "image features",
    "image prior",
]
Shapes = Mapping[str, tuple[int, ...]]
"""A state dict's keys and their shapes."""
Settings = Mapping[str, Any]
_NONE: Settings = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What the package knows of one kind of network.

    Attributes:
        name: by which `build` and weights files know it, with any settings.
        role: what it does.
        make: the network with new weights, from settings as keywords.
        marks: keys that, all together, only a state dict of this architecture has.
        read: its settings, all of those that are not fixed, from the shapes of a state dict that has the marks. It may
            raise KeyError, IndexError, ValueError or ZeroDivisionError for shapes that make no sense.
        published: further names, each with the settings that it stands for: what the model registry speaks of.
        size: of face restorers, the side in px of the square crops that it takes with these settings; of fine ones, of
            the faces that it learnt on.
        bf16_agrees: its output in bfloat16 was measured to agree with fp32 to 40 dB or better in 8 bits
            (`benchmarks/nets.py` measures it). Detectors leave it False: their coordinates would jitter.
        licence: that the published weights came under, for files that do not say theirs.
    """

    name: str
    role: Role
    make: Callable[..., nn.Module]
    marks: tuple[str, ...]
    read: Callable[[Shapes], Settings] = field(default=lambda _shapes: _NONE)
    published: Mapping[str, Settings] = field(default_factory=lambda: _NONE)
    size: Callable[[Settings], int] = field(default=lambda _settings: 0)
    bf16_agrees: bool = False
    licence: str

    @property
    def names(self) -> tuple[str, ...]:
        """Its own name and the published ones."""
        return (self.name, *self.published)

    def settings(self, name: str, changes: Settings) -> dict[str, Any]:
        """What `make` is called with under one of its names."""
        return {**self.published.get(name, _NONE), **changes}

    def recognise(self, shapes: Shapes) -> Settings | None:
        """All settings of the network whose state dict this is; None when it is of another architecture."""
        if not all(mark in shapes for mark in self.marks):
            return None
        try:
            return self.read(shapes)
        except (KeyError, IndexError, ValueError, ZeroDivisionError):
            return None

    def shortest(self, settings: Settings) -> tuple[str, dict[str, Any]]:
        """The most telling name for settings, and those of them that it leaves open."""
        fitting = (name for name, preset in self.published.items() if preset.items() <= settings.items())
        name = next(fitting, self.name)
        defaults = {key: parameter.default for key, parameter in inspect.signature(self.make).parameters.items()}
        known = self.settings(name, _NONE)
        changed = {key: value for key, value in settings.items() if known.get(key, defaults.get(key)) != value}
        return name, changed

    @property
    def named_settings(self) -> set[str]:
        """Those that `make` has by name; one that takes any and checks them itself has none."""
        parameters = inspect.signature(self.make).parameters.values()
        return {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}

    def check(self, settings: Settings) -> None:
        """Refuse settings that `make` does not have, unless it checks them itself.

        Raises:
            ValueError: there is one; it is named with those there are.
        """
        unknown = sorted(set(settings) - self.named_settings)
        checks_itself = len(self.named_settings) < len(inspect.signature(self.make).parameters)
        if unknown and not checks_itself:
            known = ", ".join(sorted(self.named_settings)) or "none"
            raise ValueError(f"unknown setting {unknown[0]!r} (there are: {known})")


@functools.cache
def architectures() -> tuple[Architecture, ...]:
    """All of them, by name. The first call imports the definitions, and torch with them.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError("this model", "torch")
    room = importlib.import_module("revisage.nets")
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(room.__path__, "revisage.nets.")]
    records = {
        id(value): value for module in modules for value in vars(module).values() if isinstance(value, Architecture)
    }
    return tuple(sorted(records.values(), key=lambda record: record.name))


def architecture(name: str) -> Architecture:
    """The architecture that has this name, its own or a published one.

    Raises:
        ModelError: there is none; the nearest is named.
    """
    known = {alias: record for record in architectures() for alias in record.names}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"unknown architecture {name!r}{hint} (there are: {', '.join(sorted(known))})")
    return known[name]


def names(role: Role) -> tuple[str, ...]:
    """All names of the architectures that have a role."""
    return tuple(name for record in architectures() if record.role == role for name in record.names)


def build(name: str, settings: Settings | None = None) -> nn.Module:
    """A new network with random weights, in training mode.

    Args:
        name: of an architecture: those that the model registry speaks of, and generic ones.
        settings: on top of those that the name stands for, by the names of the published configurations (``out_size``,
            ``narrow``, ``channel_multiplier``, ``num_block`` ...).

    Raises:
        ModelError: an unknown architecture or setting, or a value that the network refuses.
    """
    found = architecture(name)
    wanted = found.settings(name, settings or _NONE)
    try:
        found.check(wanted)
        return found.make(**wanted)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the settings do not fit the architecture {name!r}: {reason}") from error


def build_empty(name: str, settings: Settings | None = None) -> nn.Module:
    """A network as `build` makes it, but with whatever lay in memory for weights: for those that are loaded at once.

    Drawing the random ones of a network of 512 px takes most of a second.
    """
    from revisage.nets.random_weights import WithoutRandomWeights  # brings torch

    with WithoutRandomWeights():
        return build(name, settings)


def infer_arch(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The name and settings that a state dict belongs to, so that ``build(*infer_arch(state))`` loads it.

    Official networks come out under their registry name with empty settings. Only a few telling keys are looked at;
    loading the weights checks the rest.

    Raises:
        ModelError: the keys and shapes are those of no network here.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    for record in architectures():
        settings = record.recognise(shapes)
        if settings is not None:
            return record.shortest(settings)
    sample = ", ".join(sorted(state)[:3]) or "none"
    known = ", ".join(record.name for record in architectures())
    raise ModelError(f"these weights are of no architecture known here (first keys: {sample}; known are {known})")
