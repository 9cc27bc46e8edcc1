"""Where each pixel of a picture was in another one: optical flow, warping along it, and where it can be believed.

A flow is ``(H, W, 2) float32``, x and y in px, for each pixel of ``target``: what is seen there at ``p`` is seen in
``source`` at ``p + flow[p]``. To bring the frame before onto this one, ``target`` is this frame and ``source`` the
frame before.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["DisFlow", "Flow", "FlowEstimator", "consistent", "disagreement", "squared_lengths", "warp"]

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


class FlowEstimator(Protocol):
    """Estimates flow. Pure and deterministic."""

    def __call__(self, target: Grey, source: Grey) -> Flow:
        """The flow of two ``(H, W) uint8`` pictures of one size, as the module's first lines define it."""
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
        """See :class:`FlowEstimator`.

        Raises:
            ValueError: the pictures differ in shape, or are not ``(H, W) uint8``.
        """
        check_pair(target, source)
        height, width = target.shape
        below, right = max(0, _SMALLEST - height), max(0, _SMALLEST - width)
        if below or right:
            target, source = (
                cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE) for grey in (target, source)
            )
        flow: Flow = self._dis.calc(np.ascontiguousarray(target), np.ascontiguousarray(source), None)
        return flow[:height, :width]


def check_pair(target: Grey, source: Grey) -> None:
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
    return _taken(source, flow + _grid(*flow.shape[:2]), interpolation)


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
    places = flow + _grid(height, width)
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


@functools.lru_cache(maxsize=4)
def _grid(height: int, width: int) -> Flow:
    """x and y of each pixel; read-only."""
    rows, columns = np.mgrid[:height, :width]
    grid = np.stack((columns, rows), axis=-1).astype(np.float32)
    grid.flags.writeable = False
    return grid
