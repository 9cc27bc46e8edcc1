"""From an architecture name, or from the shapes in a state dict, to a network."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from revisage.core import ModelError
from revisage.nets.recognise import recognise

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "Architecture", "build", "infer_arch"]


@dataclass(frozen=True)
class Architecture:
    """Where a network is defined and how it is set up.

    module, maker: the callable that makes it, imported on first use. preset: settings that this architecture fixes.
    """

    module: str
    maker: str
    preset: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def load(self) -> Callable[..., nn.Module]:
        """The callable itself."""
        found: Callable[..., nn.Module] = getattr(importlib.import_module(self.module), self.maker)
        return found


def _entry(module: str, maker: str, **preset: Any) -> Architecture:
    return Architecture(f"revisage.nets.{module}", maker, MappingProxyType(preset))


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "alexnet_features": _entry("lpips", "AlexNetFeatures"),
        "arcface_resnet18": _entry("arcface", "ArcFace"),
        "compact": _entry("build", "_compact"),
        "compact-detector": _entry("build", "_compact_detector"),
        "gfpgan_clean": _entry("gfpgan_clean", "GFPGANClean"),
        "gfpgan_clean_512": _entry("gfpgan_clean", "GFPGANClean", out_size=512, channel_multiplier=2),
        "gfpgan_v1": _entry("gfpgan_v1", "GFPGANv1"),
        "gfpgan_v1_512": _entry("gfpgan_v1", "GFPGANv1", out_size=512, channel_multiplier=1),
        "lpips_heads": _entry("lpips", "LPIPSHeads"),
        "mobilefacenet": _entry("mobilefacenet", "MobileFaceNet"),
        "parsenet": _entry("parsenet", "ParseNet"),
        "parsenet_512": _entry("parsenet", "ParseNet", in_size=512, out_size=512),
        "restoreformer_512": _entry("restoreformer", "RestoreFormer"),
        "retinaface_mobile0_25": _entry("retinaface", "RetinaFace", network_name="mobile0.25"),
        "retinaface_resnet50": _entry("retinaface", "RetinaFace", network_name="resnet50"),
        "rrdbnet": _entry("rrdbnet", "RRDBNet"),
        "rrdbnet_x2": _entry("rrdbnet", "RRDBNet", scale=2),
        "rrdbnet_x4": _entry("rrdbnet", "RRDBNet", scale=4),
        "srvgg": _entry("srvgg", "SRVGG"),
        "srvgg_x4": _entry("srvgg", "SRVGG", upscale=4),
        "stylegan2_512": _entry("stylegan2_original", "OriginalStyleDecoder", out_size=512, channel_multiplier=1),
    }
)


def _compact(**config: Any) -> nn.Module:
    from revisage.nets.compact import CompactGFPGAN

    return CompactGFPGAN.from_config(config)


def _compact_detector(**config: Any) -> nn.Module:
    from revisage.nets.compact_detector import CompactDetector, CompactDetectorConfig

    return CompactDetector(CompactDetectorConfig.from_dict(config))


def build(arch: str, config: Mapping[str, Any] | None = None) -> nn.Module:
    """A new network with random weights, in training mode.

    Args:
        arch: a key of `ARCHITECTURES`: the architecture names of the model registry, and generic ones.
        config: settings on top of the architecture's own, by the names of the published configurations (``out_size``,
            ``narrow``, ``channel_multiplier``, ``num_block`` ...).

    Raises ModelError for an unknown architecture or setting, or a value that the network refuses.
    """
    if arch not in ARCHITECTURES:
        near = difflib.get_close_matches(arch, ARCHITECTURES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"unknown architecture {arch!r}{hint} (there are: {', '.join(sorted(ARCHITECTURES))})")
    architecture = ARCHITECTURES[arch]
    settings = {**architecture.preset, **(config or {})}
    maker = architecture.load()
    try:
        _check_settings(settings, maker)
        return maker(**settings)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"the settings do not fit the architecture {arch!r}: {reason}") from error


def _check_settings(settings: Mapping[str, Any], maker: Callable[..., nn.Module]) -> None:
    parameters = inspect.signature(maker).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return  # the maker checks them itself
    unknown = sorted(set(settings) - set(parameters))
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r} (there are: {', '.join(sorted(parameters)) or 'none'})")


def infer_arch(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The architecture and settings that a state dict belongs to, so that ``build(*infer_arch(state))`` loads it.

    Official networks come out under their registry name with empty settings. Raises ModelError when the keys and
    shapes are those of no network here.
    """
    found = recognise({key: tuple(value.shape) for key, value in state.items()})
    if found is None:
        sample = ", ".join(sorted(state)[:3]) or "none"
        raise ModelError(
            f"these weights are of no architecture known here (first keys: {sample}); "
            "use a GFPGAN, RestoreFormer, RetinaFace, ParseNet, ArcFace or Real-ESRGAN checkpoint"
        )
    return found
