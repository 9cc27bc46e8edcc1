"""A detector's network from its weights, on an engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from revisage.core.errors import ModelError
from revisage.engines import Engine, make_engine
from revisage.models.loading import load_state
from revisage.nets.build import build

__all__ = ["network_engine"]


def network_engine(
    path: Path, arch: str, config: Mapping[str, Any] | None, weight_hash: str, *, device: str, engine: str
) -> Engine:
    """Build a network, load its weights and hand it to an engine, in fp32 and for images of any size.

    Raises:
        ModelError: the file is damaged, or its weights are of another network.
        DeviceError: the device is not on this machine.
    """
    net = build(arch, config)
    try:
        net.load_state_dict(load_state(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the weights in {path} do not fit the detector {arch} ({reason})") from error
    return make_engine(net, None, device=device, engine=engine, precision="fp32", cache_key=weight_hash)
