"""YuNet, through OpenCV."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from revisage.core import Image, ModelError
from revisage.faces.detect.candidates import Found, SecondLook

__all__ = ["YuNetFinder"]

_OVERLAP = 0.45
_MOST = 5000


class YuNetFinder:
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
