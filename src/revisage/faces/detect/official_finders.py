"""Published detectors: YuNet, through OpenCV, and RetinaFace, as facexlib and GFPGAN run it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import engines
from revisage.core import Image, ModelError
from revisage.faces.detect.candidates import Found, SecondLook, loaded_network

__all__ = ["RetinaFaceFinder", "YuNetFinder"]


_OVERLAP = 0.45
_MOST = 5000
"""OpenCV's suppression of duplicates: the IoU of one face, and how many candidates go into it."""


class _OneByOne:
    """What sees images one after another."""

    def __call__(self, image: Image, min_score: float) -> Found:
        raise NotImplementedError

    def each(self, images: Sequence[Image], min_score: float) -> list[Found]:
        """Detections in each of several images."""
        return [self(image, min_score) for image in images]


class YuNetFinder(_OneByOne):
    """YuNet (Wu et al. 2023) run by OpenCV on the CPU. See :class:`revisage.faces.detect.candidates.Finder`."""

    threshold = 0.6
    low_threshold = 0.4
    pixels = 640 * 480
    smallest = 12
    largest: int | None = None
    second_look: SecondLook | None = None

    def __init__(self, path: Path) -> None:
        """From an ONNX file.

        Raises:
            ModelError: OpenCV cannot read it.
        """
        # OpenCV warns on stderr about a default that it chose itself.
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.5, _OVERLAP, _MOST)
        except cv2.error as error:
            raise ModelError(f"{path} is damaged or not a YuNet network; fetch it again") from error
        finally:
            cv2.utils.logging.setLogLevel(level)
        # Size and threshold are the detector's state.
        self._lock = threading.Lock()

    def __call__(self, image: Image, min_score: float) -> Found:
        """Detections in an ``(H, W, 3) uint8 RGB`` image."""
        with self._lock:
            self._net.setInputSize((image.shape[1], image.shape[0]))
            self._net.setScoreThreshold(min_score)
            rows = self._net.detect(np.ascontiguousarray(image[..., ::-1]))[1]
        if rows is None:
            rows = np.zeros((0, 15), np.float32)
        boxes = np.concatenate((rows[:, :2], rows[:, :2] + rows[:, 2:4]), axis=1)
        return Found(boxes, rows[:, 4:14].reshape(-1, 5, 2), np.clip(rows[:, 14], 0, 1))

    def with_hints(self, image: Image, min_score: float) -> tuple[Found, Found]:
        """See :meth:`.candidates.Finder.with_hints`: no hints."""
        return self(image, min_score), Found.none()


_MEAN_BGR = np.array((104, 117, 123), np.float32)
_ANCHORS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
_CENTRE_VARIANCE, _SIZE_VARIANCE = np.float32(0.1), np.float32(0.2)


class RetinaFaceFinder(_OneByOne):
    """RetinaFace (Deng et al. 2020) on an engine. See :class:`revisage.faces.detect.candidates.Finder`.

    The threshold is that of GFPGAN. An image of up to 1.3 million pixels is searched at its own size, as there.
    """

    threshold = 0.97
    low_threshold = 0.7
    pixels = 1280 * 1024
    smallest = 16
    largest: int | None = None
    second_look: SecondLook | None = None

    def __init__(self, engine: engines.Engine) -> None:
        self._engine = engine

    @classmethod
    def load(cls, path: Path, arch: str, weight_hash: str, *, device: str, engine: str) -> RetinaFaceFinder:
        """From a weights file, in fp32 and for images of any size.

        Raises:
            ModelError: the file is damaged, or its weights are of another network.
            DeviceError: the device is not on this machine.
        """
        net = loaded_network(path, arch, None)
        on_engine = engines.make_engine
        return cls(on_engine(net, None, device=device, engine=engine, precision="fp32", cache_key=weight_hash))

    def __call__(self, image: Image, min_score: float) -> Found:
        """Detections in an ``(H, W, 3) uint8 RGB`` image."""
        batch = (image[..., ::-1].astype(np.float32) - _MEAN_BGR).transpose(2, 0, 1)[None]
        boxes, classes, points = (output[0] for output in self._engine(np.ascontiguousarray(batch)))
        scores = classes[:, 1]
        chosen = np.flatnonzero(scores >= min_score)
        anchors = _anchors(*image.shape[:2])[chosen]
        return _decoded(anchors, boxes[chosen], points[chosen], scores[chosen])

    def with_hints(self, image: Image, min_score: float) -> tuple[Found, Found]:
        """See :meth:`.candidates.Finder.with_hints`: no hints."""
        return self(image, min_score), Found.none()


def _decoded(
    anchors: NDArray[np.float32],
    boxes: NDArray[np.float32],
    points: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> Found:
    """Boxes and landmarks from what the network says relative to its anchors (centre x, y and side, px)."""
    centres, sides = anchors[:, :2], anchors[:, 2:]
    middle = centres + boxes[:, :2] * _CENTRE_VARIANCE * sides
    half = sides * np.exp(boxes[:, 2:] * _SIZE_VARIANCE) / 2
    landmarks = centres[:, None] + points.reshape(-1, 5, 2) * _CENTRE_VARIANCE * sides[:, None]
    return Found(np.concatenate((middle - half, middle + half), axis=1), landmarks, scores.copy())


@functools.lru_cache(maxsize=4)
def _anchors(height: int, width: int) -> NDArray[np.float32]:
    """``(A, 3) float32``: centre x, y and side of each anchor, in the order of the network's outputs (px)."""
    levels = []
    for stride, sides in _ANCHORS:
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        cells = np.stack(((x + 0.5) * stride, (y + 0.5) * stride), axis=-1).reshape(-1, 1, 2)
        side = np.broadcast_to(np.array(sides, np.float64)[None, :, None], (len(cells), 2, 1))
        levels.append(np.concatenate((np.broadcast_to(cells, (len(cells), 2, 2)), side), axis=2).reshape(-1, 3))
    return np.concatenate(levels).astype(np.float32)
