"""The embedded detector."""

from __future__ import annotations

import functools
from pathlib import Path

from revisage import engines, models, nets
from revisage.core import Image
from revisage.faces.detect.candidates import Found, loaded_network, padded, planes
from revisage.faces.detect.second_stage import CloserLook

__all__ = ["CompactFinder"]

_THRESHOLD = 0.5
_LOW = 0.6
_SCALES, _CROWDS = 3, 6
"""An image is searched at up to three sizes; its proposals, and then those that hold, fill batches of other sizes."""


class CompactFinder:
    """``compact-detector`` on an engine: proposals of its first stage. See :class:`.candidates.Finder`.

    Its threshold is the one that its training measured as best and wrote into the weights.
    """

    pixels = 640 * 480
    smallest = 16
    largest: int | None = 240

    def __init__(
        self, engine: engines.Engine, second_look: CloserLook | None = None, threshold: float = _THRESHOLD
    ) -> None:
        self._engine = engine
        self.second_look = second_look
        self.threshold = threshold
        self.low_threshold = _LOW * threshold

    @classmethod
    def load(cls, path: Path, weight_hash: str, *, device: str, engine: str, precision: str = "fp32") -> CompactFinder:
        """From a weights file.

        Args:
            path: of the weights.
            weight_hash: SHA-256 of the file, under which compiled networks are kept.
            device, engine: where and by what it runs.
            precision: of the first stage, which only proposes. The second, which sets the coordinates, runs in fp32.

        Raises:
            ModelError: the file is damaged, or its weights are of another network.
            DeviceError: the device is not on this machine.
        """
        about = models.metadata(path)
        net = loaded_network(path, "compact-detector", about.get("config"))
        on_engine = functools.partial(engines.make_engine, device=device, engine=engine, cache_key=weight_hash)
        second_look = None
        if about.get("config", {}).get("refine"):
            second = net.get_submodule("refine")
            second_look = CloserLook(on_engine(second, (nets.CROP, nets.CROP), precision="fp32", sizes=_CROWDS))
        # Without a second stage the first one's coordinates stand, and bf16 would make them jitter.
        first = on_engine(net, None, precision=precision if second_look else "fp32", sizes=_SCALES)
        return cls(first, second_look, float(about.get("threshold", _THRESHOLD)))

    def __call__(self, image: Image, min_score: float) -> Found:
        """Detections in an ``(H, W, 3) uint8 RGB`` image."""
        maps = self._engine(planes(padded(image, 32))[None])
        return Found(*nets.decode_maps(maps, min_score=min_score))
