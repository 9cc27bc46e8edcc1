"""The embedded detector."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from revisage.faces.detectors.closer import CROP, CloserLook
from revisage.faces.detectors.found import Found, padded, planes

if TYPE_CHECKING:
    from revisage.engines import Engine

__all__ = ["CompactFinder"]

_THRESHOLD = 0.5
_LOW = 0.6
# An image is searched at up to three sizes; its proposals, and then those that hold, fill batches of other sizes.
_SCALES, _CROWDS = 3, 6


class CompactFinder:
    """``compact-detector`` on an engine: proposals of its first stage. See :class:`revisage.faces.detectors.Finder`.

    Its threshold is the one that its training measured as best and wrote into the weights.
    """

    pixels = 640 * 480
    smallest = 16
    largest: int | None = 240

    def __init__(self, engine: Engine, closer: CloserLook | None = None, threshold: float = _THRESHOLD) -> None:
        self._engine = engine
        self.closer = closer
        self.threshold = threshold
        self.low_threshold = _LOW * threshold

    @classmethod
    def load(cls, path: Path, weight_hash: str, *, device: str, engine: str, precision: str = "fp32") -> CompactFinder:
        """From a weights file. Errors as :func:`revisage.faces.detectors.network.network_engine`.

        precision: of the first stage, which only proposes. The second, which sets the coordinates, runs in fp32.
        """
        from revisage.engines import make_engine
        from revisage.faces.detectors.network import loaded_network
        from revisage.models import metadata

        about = metadata(path)
        net = loaded_network(path, "compact-detector", about.get("config"))

        on_engine = functools.partial(make_engine, device=device, engine=engine, cache_key=weight_hash)
        closer = None
        if about.get("config", {}).get("refine"):
            second = net.get_submodule("refine")
            closer = CloserLook(on_engine(second, (CROP, CROP), precision="fp32", sizes=_CROWDS))
        # Without a second stage the first one's coordinates stand, and bf16 would make them jitter.
        first = on_engine(net, None, precision=precision if closer else "fp32", sizes=_SCALES)
        return cls(first, closer, float(about.get("threshold", _THRESHOLD)))

    def __call__(self, image: NDArray[np.uint8], min_score: float) -> Found:
        """Detections in an ``(H, W, 3) uint8 RGB`` image."""
        from revisage.nets import decode_maps

        maps = self._engine(planes(padded(image, 32))[None])
        return Found(*decode_maps(maps, min_score=min_score))
