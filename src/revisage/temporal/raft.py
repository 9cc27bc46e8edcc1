"""Flow by RAFT (Teed and Deng, ECCV 2020), as torchvision has it: an alternative to DIS for those who have a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from revisage import models
from revisage.core import MissingExtraError
from revisage.temporal.flow import Flow, Grey, check_pair

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__all__ = ["RaftFlow", "load_raft"]

_MODELS = ("raft-large", "raft-small")
_SIDE = 8
"""RAFT works on sides that are multiples of this (px) ..."""
_SMALLEST = 128
"""... and at least this long: it compares pictures down to 1/64 of their size."""


class RaftFlow:
    """RAFT around a network of torchvision. See :class:`revisage.temporal.flow.FlowEstimator`.

    Args:
        net: maps two batches ``(N, 3, H, W) float32`` in [-1, 1] to a list of flows, the last of them the best.
        device: where it runs, as torch names it.
    """

    def __init__(self, net: nn.Module, device: str) -> None:
        self._net = net.to(device).eval()
        self._device = device

    def __call__(self, target: Grey, source: Grey) -> Flow:
        """The flow of two ``(H, W) uint8`` pictures.

        Raises:
            ValueError: the pictures differ in shape, or are not ``(H, W) uint8``.
        """
        import torch

        check_pair(target, source)
        height, width = target.shape
        with torch.inference_mode():
            flow = self._net(self._tensor(target), self._tensor(source))[-1]
        found: Flow = flow[0].permute(1, 2, 0).float().cpu().numpy()
        return np.ascontiguousarray(found[:height, :width])

    def _tensor(self, grey: Grey) -> Any:
        import torch

        height, width = (max(_SMALLEST, -(-side // _SIDE) * _SIDE) for side in grey.shape)
        padded = cv2.copyMakeBorder(grey, 0, height - grey.shape[0], 0, width - grey.shape[1], cv2.BORDER_REPLICATE)
        values = torch.from_numpy(padded).to(self._device).float() / 127.5 - 1
        return values.expand(1, 3, height, width)


def load_raft(device: str = "auto", path: Path | None = None) -> RaftFlow:
    """RAFT with its published weights: the large net where it is in the model folder, else the small one.

    Args:
        device: auto, cpu, cuda or mps.
        path: a file with the weights of the small or large net, in place of those of the model folder.

    Raises:
        MissingExtraError: torchvision is not installed.
        ModelError: the weights are absent and cannot be fetched, or damaged.
        DeviceError: the device is not on this machine.
    """
    from revisage.engines import resolve

    try:
        from torchvision.models import optical_flow
    except ImportError:
        raise MissingExtraError("--temporal raft", "flow") from None
    name = next((name for name in _MODELS if models.is_present(name)), _MODELS[-1])
    state = models.load_state(path or models.pull(name))
    large = "feature_encoder.convnormrelu.0.weight" in state and _is_large(state)
    net = (optical_flow.raft_large if large else optical_flow.raft_small)(weights=None, progress=False)
    net.load_state_dict(state)
    return RaftFlow(net, resolve(device, "torch", "fp32").device)


def _is_large(state: dict[str, Any]) -> bool:
    """The large net's first layer has 64 channels, the small one's 32."""
    return int(state["feature_encoder.convnormrelu.0.weight"].shape[0]) == 64
