"""The reference outputs under the shared folder, and the deterministic weights they were computed with."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from revisage import nets

# Layers that would drown the signal, or pass none, with a factor around zero.
_AROUND_ONE = ("modulation.bias", "norm1.weight", "norm2.weight", "bn.weight")


def fill_value(key: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The values of one state-dict entry, drawn from the CRC-32 of its key; the rule of the references."""
    draw = np.random.RandomState(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        values = 0.5 + draw.random_sample(shape)
    elif "noises." in key:
        values = draw.standard_normal(shape)
    elif len(shape) >= 2:
        inputs = int(np.prod(shape[-3:])) if len(shape) >= 4 else shape[-1]
        values = draw.standard_normal(shape) / np.sqrt(inputs)
    else:
        values = float(key.endswith(_AROUND_ONE)) + 0.1 * draw.standard_normal(shape)
    return np.asarray(values, dtype=np.float32)


def filled(arch: str, config: Mapping[str, Any] | None = None) -> nn.Module:
    """A network in evaluation mode with the deterministic weights."""
    net = nets.build(arch, config)
    state = {
        key: torch.from_numpy(fill_value(key, tuple(value.shape))) if value.is_floating_point() else value
        for key, value in net.state_dict().items()
    }
    net.load_state_dict(state)
    return net.eval()


@dataclass(frozen=True)
class Reference:
    """The stored input and outputs of one network, and its state-dict shapes and configuration."""

    arrays: Mapping[str, npt.NDArray[np.float32]]
    shapes: Mapping[str, tuple[int, ...]]
    config: Mapping[str, Any]

    @classmethod
    def load(cls, shared: Path, name: str) -> Reference:
        with np.load(shared / "parity" / f"{name}.npz") as stored:
            arrays = {key: stored[key] for key in stored.files}
        listed = json.loads((shared / "parity" / f"{name}.keys.json").read_text(encoding="utf-8"))
        shapes = {key: tuple(shape) for key, shape in listed.get("state_dict", listed).items()}
        return cls(arrays, shapes, listed.get("config", {}))

    @property
    def input(self) -> Tensor:
        return torch.from_numpy(next(value for key, value in self.arrays.items() if key.startswith("in_")))

    def difference(self, name: str, output: Tensor) -> float:
        """The largest difference as a part of the reference's range; large outputs are stored with a stride."""
        expected = self.arrays[name]
        stride = output.shape[-1] // expected.shape[-1] if output.ndim == 4 else 1
        found = output.numpy()[..., ::stride, ::stride] if stride > 1 else output.numpy()
        assert found.shape == expected.shape
        assert np.isfinite(found).all()
        return float(np.abs(found - expected).max() / np.ptp(expected))


def shapes_of(net: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}
