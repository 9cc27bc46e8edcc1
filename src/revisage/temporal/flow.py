"""Where each pixel of a picture was in another one: optical flow, warping along it, and where it can be believed.

A flow is ``(H, W, 2) float32``, x and y in px, for each pixel of ``target``: what is seen there at ``p`` is seen in
``source`` at ``p + flow[p]``. To bring the frame before onto this one, ``target`` is this frame and ``source`` the
frame before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import engines, models
from revisage.core import MissingExtraError
from revisage.faces import pixel_grid

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "DisFlow",
    "Flow",
    "FlowEstimator",
    "RaftFlow",
    "consistent",
    "disagreement",
    "load_raft",
    "squared_lengths",
    "warp",
    "warp_sharply",
]

Flow = NDArray[np.float32]
Grey = NDArray[np.uint8]
Preset = Literal["ultrafast", "fast", "medium"]

_PRESETS: dict[Preset, int] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
_SMALLEST = 16
"""Sides that DIS can work with (px): smaller pictures are repeated at their border."""

_TAPS = np.arange(-3.5, 4.0)
_HALFWAY = (np.sinc(_TAPS) * np.sinc(_TAPS / 4)).astype(np.float32)
_HALFWAY /= _HALFWAY.sum()
"""Lanczos' weights of the eight pixels around a place halfway between two."""

_PIXEL = np.dtype((np.void, 3))
"""Three bytes, moved as one: numpy copies them four times as fast."""

_RAFT_MODELS = ("raft-large", "raft-small")

_RAFT_SIDE, _RAFT_SMALLEST = 8, 128
"""RAFT works on sides that are multiples of the one (px) and at least as long as the other: it compares pictures down
to 1/64 of their size."""


class FlowEstimator(Protocol):
    """Estimates flow. Pure and deterministic."""

    def __call__(self, target: Grey, source: Grey) -> Flow:
        """The flow of two ``(H, W) uint8`` pictures of one size, as the module's first lines define it.

        Raises:
            ValueError: the pictures differ in shape, or are not ``(H, W) uint8``.
        """
        ...


class DisFlow:
    """Dense inverse search (Kroeger et al., ECCV 2016) as OpenCV has it.

    Args:
        preset: ``medium`` refines by a variational step and costs ten times what ``ultrafast`` does. Measured on noise
            of 5/255 and a shift of 1.3 px, the error is 0.05 px against 0.1.
    """

    def __init__(self, preset: Preset = "medium") -> None:
        self._dis = cv2.DISOpticalFlow.create(_PRESETS[preset])

    def __call__(self, target: Grey, source: Grey) -> Flow:
        """See :class:`FlowEstimator`."""
        _check_pair(target, source)
        height, width = target.shape
        below, right = max(0, _SMALLEST - height), max(0, _SMALLEST - width)
        if below or right:
            target, source = (
                cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE) for grey in (target, source)
            )
        flow: Flow = self._dis.calc(np.ascontiguousarray(target), np.ascontiguousarray(source), None)
        return flow[:height, :width]


class RaftFlow:
    """RAFT (Teed and Deng, ECCV 2020) as torchvision has it: an alternative to DIS for those who have a GPU.

    Args:
        net: maps two batches ``(N, 3, H, W) float32`` in [-1, 1] to a list of flows, the last of them the best.
        device: where it runs, as torch names it.
    """

    def __init__(self, net: nn.Module, device: str) -> None:
        self._net = net.to(device).eval()
        self._device = device

    def __call__(self, target: Grey, source: Grey) -> Flow:
        """See :class:`FlowEstimator`."""
        import torch

        _check_pair(target, source)
        height, width = target.shape
        with torch.inference_mode():
            flow = self._net(self._tensor(target), self._tensor(source))[-1]
        found: Flow = flow[0].permute(1, 2, 0).float().cpu().numpy()
        return np.ascontiguousarray(found[:height, :width])

    def _tensor(self, grey: Grey) -> Any:
        import torch

        height, width = (max(_RAFT_SMALLEST, -(-side // _RAFT_SIDE) * _RAFT_SIDE) for side in grey.shape)
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
    try:
        from torchvision.models import optical_flow
    except ImportError:
        raise MissingExtraError("--temporal raft", "flow") from None
    name = next((name for name in _RAFT_MODELS if models.is_present(name)), _RAFT_MODELS[-1])
    state = models.load_state(path or models.pull(name))
    large = "feature_encoder.convnormrelu.0.weight" in state and _is_large(state)
    net = (optical_flow.raft_large if large else optical_flow.raft_small)(weights=None, progress=False)
    net.load_state_dict(state)
    return RaftFlow(net, engines.resolve(device, "torch", "fp32").device)


def _is_large(state: dict[str, Any]) -> bool:
    """The large net's first layer has 64 channels, the small one's 32."""
    return int(state["feature_encoder.convnormrelu.0.weight"].shape[0]) == 64


def _check_pair(target: Grey, source: Grey) -> None:
    """Raise ValueError unless both are grey pictures of one size."""
    if target.ndim != 2 or target.shape != source.shape or target.dtype != np.uint8 or source.dtype != np.uint8:
        raise ValueError(
            "flow needs two (H, W) uint8 pictures of one size, "
            f"got {target.shape} {target.dtype} and {source.shape} {source.dtype}"
        )


def warp(source: NDArray[Any], flow: Flow, *, interpolation: int = cv2.INTER_LINEAR) -> NDArray[Any]:
    """``source`` as seen from the picture that ``flow`` was estimated for: ``source[p + flow[p]]``.

    Args:
        source: ``(H, W)`` or ``(H, W, C)``, uint8 or float32; not changed.
        flow: of the same height and width.
        interpolation: OpenCV interpolation. Beyond the border the border's pixels are repeated.
    """
    return _taken(source, flow + pixel_grid(*flow.shape[:2]), interpolation)


def warp_sharply(source: NDArray[np.uint8], flow: Flow) -> NDArray[np.uint8]:
    """As :func:`warp`, without the blur of bicubic interpolation, and exact where the flow is 0.

    Halfway between pixels Lanczos' interpolation is taken, and bicubic between these. OpenCV's own Lanczos of 64 pixels
    is no sharper, and takes more than twice as long.

    Args:
        source: ``(H, W, 3) uint8``; not changed.
        flow: of the same height and width.
    """
    places = (flow + pixel_grid(*flow.shape[:2])) * np.float32(2)
    return _taken(_with_halfway(source), places, cv2.INTER_CUBIC)


def _with_halfway(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(2H, 2W, 3)`` from ``(H, W, 3)``: each pixel, and beyond it in both directions what is halfway to the next."""
    height, width = picture.shape[:2]
    across = _halfway(picture, _HALFWAY[None])
    both = np.empty((height, 2, width, 2), _PIXEL)
    both[:, 0, :, 0], both[:, 0, :, 1] = _as_pixels(picture), _as_pixels(across)
    both[:, 1, :, 0] = _as_pixels(_halfway(picture, _HALFWAY[:, None]))
    both[:, 1, :, 1] = _as_pixels(_halfway(across, _HALFWAY[:, None]))
    return both.view(np.uint8).reshape(2 * height, 2 * width, 3)


def _halfway(picture: NDArray[np.uint8], kernel: NDArray[np.float32]) -> NDArray[np.uint8]:
    anchor = ((kernel.shape[1] - 1) // 2, (kernel.shape[0] - 1) // 2)
    return cv2.filter2D(picture, -1, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE)


def _as_pixels(picture: NDArray[np.uint8]) -> NDArray[np.void]:
    return np.ascontiguousarray(picture).view(_PIXEL)[..., 0]


def squared_lengths(flow: Flow) -> NDArray[np.float32]:
    """How far each pixel moves, squared (px²), ``(H, W) float32``."""
    x, y = flow[..., 0], flow[..., 1]
    return x * x + y * y


def disagreement(flow: Flow, back: Flow) -> NDArray[np.float32]:
    """Squared distance (px²) by which going along ``flow`` and back along ``back`` misses where it began.

    Args:
        flow: from target to source.
        back: the flow of the same two pictures, with target and source exchanged.

    Returns:
        ``(H, W) float32`` in the target; infinite where the flow leaves the picture.
    """
    height, width = flow.shape[:2]
    places = flow + pixel_grid(height, width)
    squared = squared_lengths(flow + _taken(back, places, cv2.INTER_LINEAR))
    x, y = places[..., 0], places[..., 1]
    squared[(x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)] = np.inf
    return squared


def consistent(flow: Flow, back: Flow) -> NDArray[np.bool_]:
    """Where forward and backward flow tell the same, ``(H, W) bool``: neither hidden nor out of the picture.

    The test of Sundaram, Brox and Keutzer (ECCV 2010): the disagreement stays below 0.01 of the two squared lengths
    plus 0.5 px².
    """
    lengths = squared_lengths(flow) + squared_lengths(warp(back, flow))
    agree: NDArray[np.bool_] = disagreement(flow, back) < 0.01 * lengths + 0.5
    return agree


def _taken(source: NDArray[Any], places: Flow, interpolation: int) -> NDArray[Any]:
    return cv2.remap(source, places, None, interpolation, borderMode=cv2.BORDER_REPLICATE)
