"""Spots of dust on film: there in one frame, and neither in the one before nor in the one after.

Both neighbours are brought onto the frame along the motion. A spot differs from both of them to the same side, by more
than the noise, while they agree with each other there and, around it, with the frame. What moves too fast for the flow,
is hidden or comes into view fails one of the last two, and stays. This is the spike detector of Kokaram (Motion
Picture Restoration, 1998) with a look at each spot's surroundings.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Image, Region, median
from revisage.temporal.flow import Flow, FlowEstimator, warp

__all__ = ["spot_changes"]

_FLOW_SIDE = 480
"""Longer side (px) of the pictures that flow is estimated on."""

_LEAST, _TIMES_NOISE = 18.0, 6.0
"""A spot differs by so many levels at least, and by so many times the noise."""

_AGREEMENT = 0.5
"""Neighbours differ from each other by less than this part of what the spot differs by."""

_EDGE = 0.35
"""Around pixels that differ enough, those that differ by this part of it belong to the spot too."""

_LARGEST, _SMALLEST = 0.03, 2
"""Longest side of a spot as a part of the picture's longer side, and its least area (px)."""

_RING = 3
"""Width of its surroundings (px)."""

_CALM = 0.35
"""Surroundings differ from both neighbours by less than this part of what the spot does, in the mean."""


def spot_changes(
    before: Image, now: Image, after: Image, estimate: FlowEstimator
) -> list[tuple[Region, NDArray[np.float32]]]:
    """What takes the spots off a frame: regions that do not overlap, each with ``(h, w, 3) float32 RGB`` in 1/255.

    Args:
        before, now, after: frames in a row, of one size.
        estimate: finds the flow.
    """
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, now, after)]
    flows = [_flow(greys[1], neighbour, estimate) for neighbour in (greys[0], greys[2])]
    warped = [warp(grey, flow) for grey, flow in zip((greys[0], greys[2]), flows, strict=True)]
    mask = _spots(greys[1], *warped)
    if not mask.any():
        return []
    # A spot has soft edges, and what coding spread around it.
    soft = cv2.GaussianBlur(cv2.dilate(mask, np.ones((5, 5), np.uint8)).astype(np.float32), (0, 0), 1.0)
    soft[cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0] = 1
    count, _, boxes, _ = cv2.connectedComponentsWithStats((soft > 0).astype(np.uint8), connectivity=8)
    changes = []
    for x, y, width, height, _ in _apart(boxes[1:count]):
        region = Region(int(x), int(y), int(x + width), int(y + height))
        shown = [_cut(picture, flow, region) for picture, flow in zip((before, after), flows, strict=True)]
        delta = (shown[0] + shown[1]) / 2 - now[region.slices]
        changes.append((region, np.asarray(delta * soft[region.slices][..., None], np.float32)))
    return changes


def _apart(boxes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Boxes (x, y, width, height, area) that overlap, joined until none do."""
    joined = [box.copy() for box in boxes]
    number = 0
    while number < len(joined):
        one = joined[number]
        other = next((k for k in range(number + 1, len(joined)) if _overlap(one, joined[k])), None)
        if other is None:
            number += 1
            continue
        box = joined.pop(other)
        corner = np.maximum(one[:2] + one[2:4], box[:2] + box[2:4])
        one[:2] = np.minimum(one[:2], box[:2])
        one[2:4] = corner - one[:2]
        number = 0
    return np.array(joined)


def _overlap(one: NDArray[np.int32], other: NDArray[np.int32]) -> bool:
    return bool((one[:2] < other[:2] + other[2:4]).all() and (other[:2] < one[:2] + one[2:4]).all())


def _flow(target: NDArray[np.uint8], source: NDArray[np.uint8], estimate: FlowEstimator) -> Flow:
    """The flow at the pictures' size, found on smaller ones without spots."""
    height, width = target.shape
    scale = min(1.0, _FLOW_SIDE / max(height, width))
    side = (max(16, round(width * scale)), max(16, round(height * scale)))
    small = [cv2.medianBlur(cv2.resize(picture, side, interpolation=cv2.INTER_AREA), 5) for picture in (target, source)]
    flow = estimate(*small)
    large = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large * np.array([width / side[0], height / side[1]], np.float32), np.float32)


def _spots(now: NDArray[np.uint8], before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Where spots are, ``(h, w) uint8`` 0 or 1."""
    first, second = (cv2.subtract(now, other, dtype=cv2.CV_32F) for other in (before, after))
    noise = 1.4826 * median(np.abs(first))
    least = max(_LEAST, _TIMES_NOISE * noise)
    differ = np.where(first * second > 0, np.minimum(np.abs(first), np.abs(second)), 0)
    agree = np.abs(first - second) < _AGREEMENT * differ
    wide = (differ > _EDGE * least) & agree
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(wide.astype(np.uint8), connectivity=8)
    # The largest difference in each, so that most are passed over at once.
    peaks = np.zeros(count, np.float32)
    np.maximum.at(peaks, labels[wide], differ[wide])
    mask = np.zeros(now.shape, np.uint8)
    longest = max(12, round(_LARGEST * max(now.shape)))
    for number in np.flatnonzero(peaks > least):
        box = boxes[number]
        if number and box[4] >= _SMALLEST and max(box[2:4]) <= longest:
            _mark(mask, labels, int(number), box, np.abs(first), np.abs(second), differ)
    return mask


def _mark(
    mask: NDArray[np.uint8],
    labels: NDArray[np.int32],
    number: int,
    box: NDArray[np.int32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    differ: NDArray[np.float32],
) -> None:
    """Put a spot into the mask if its surroundings are as the neighbours have them."""
    margin = 2 * _RING
    place = (
        slice(max(0, box[1] - margin), box[1] + box[3] + margin),
        slice(max(0, box[0] - margin), box[0] + box[2] + margin),
    )
    inside = (labels[place] == number).astype(np.uint8)
    # Next to the spot are its own soft edges.
    near, far = (cv2.dilate(inside, np.ones((2 * size + 1,) * 2, np.uint8)) for size in (_RING - 1, margin))
    ring = (far > 0) & (near == 0)
    height = float(differ[place][inside > 0].mean())
    if ring.any() and max(float(side[place][ring].mean()) for side in (first, second)) < _CALM * height:
        mask[place] |= inside


def _cut(picture: Image, flow: Flow, region: Region) -> NDArray[np.float32]:
    """A region of a picture brought along the flow."""
    rows, columns = region.slices
    y, x = np.mgrid[rows, columns].astype(np.float32)
    places = flow[region.slices] + np.stack((x, y), axis=-1)
    return cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
