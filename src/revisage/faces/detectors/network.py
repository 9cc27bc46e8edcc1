"""A detector's network from its weights, on an engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisage.core import ModelError
from revisage.engines import Engine, make_engine
from revisage.models import load_state
from revisage.nets import build

if TYPE_CHECKING:
    from torch import nn

__all__ = ["loaded_network", "network_engine"]


def network_engine(
    path: Path, arch: str, config: Mapping[str, Any] | None, weight_hash: str, *, device: str, engine: str
) -> Engine:
    """Build a network, load its weights and hand it to an engine, in fp32 and for images of any size.

    Raises:
        ModelError: the file is damaged, or its weights are of another network.
        DeviceError: the device is not on this machine.
    """
    net = loaded_network(path, arch, config)
    return make_engine(net, None, device=device, engine=engine, precision="fp32", cache_key=weight_hash)


def loaded_network(path: Path, arch: str, config: Mapping[str, Any] | None) -> nn.Module:
    """A network with its weights.

    Raises:
        ModelError: the file is damaged, or its weights are of another network.
    """
    net = build(arch, config)
    try:
        net.load_state_dict(load_state(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights in {path} do not fit the detector {arch} ({reason})") from error
    return net
