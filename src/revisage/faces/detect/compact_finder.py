"""The embedded detector."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

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
        on_engine = functools.partial(engines.make_engine, device=device, engine=engine, cache_key=weight_hash)
        first, second, threshold = (_shipped(weight_hash) if engine == "openvino" else None) or _in_torch(path)
        second_look = None
        if second is not None:
            second_look = CloserLook(on_engine(second, (nets.CROP, nets.CROP), precision="fp32", sizes=_CROWDS))
        # Without a second stage the first one's coordinates stand, and bf16 would make them jitter.
        proposing = on_engine(first, None, precision=precision if second_look else "fp32", sizes=_SCALES)
        return cls(proposing, second_look, threshold)

    def __call__(self, image: Image, min_score: float) -> Found:
        """Detections in an ``(H, W, 3) uint8 RGB`` image."""
        maps = self._engine(planes(padded(image, 32))[None])
        return Found(*nets.decode_maps(maps, min_score=min_score))


def _shipped(weight_hash: str) -> tuple[Any, Any, float] | None:
    """Both stages and the threshold in OpenVINO's form, which needs no torch, where it was made of these weights."""
    paths = [models.compiled_path("compact-detector", part) for part in ("", "refine")]
    first, second = (None if path is None else engines.read_model(path) for path in paths)
    if first is None or second is None:
        return None
    notes = engines.model_notes(first)
    if notes.get("weights_sha256") != weight_hash:
        return None
    return first, second, float(notes.get("threshold", _THRESHOLD))


def _in_torch(path: Path) -> tuple[Any, Any, float]:
    """The same from a weights file; None in place of a second stage that it has not."""
    about = models.metadata(path)
    net = loaded_network(path, "compact-detector", about.get("config"))
    second = net.get_submodule("refine") if about.get("config", {}).get("refine") else None
    return net, second, float(about.get("threshold", _THRESHOLD))
