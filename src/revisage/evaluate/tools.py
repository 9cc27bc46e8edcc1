"""What the measures of a run are made of: functions, networks, and why one is not to be had."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from revisage.core import ModelError
from revisage.evaluate.fullref import psnr, ssim, vggd
from revisage.evaluate.identity import Embedder
from revisage.evaluate.perceptual import Lpips, in_tiles
from revisage.evaluate.structure import BRISQUE_FILE, brisque, brisque_weights, colour_shift, gmsd, ms_ssim, sharpness
from revisage.evaluate.weights import ALEXNET, IDENTITY, LPIPS_HEADS, VGG, Wanted, find_weights
from revisage.faces import niqe

if TYPE_CHECKING:
    from revisage.evaluate.weights import WeightsFile

__all__ = ["Tools"]

Image = NDArray[np.uint8]
Comparing = Callable[[Image, Image], float]
Own = Callable[[Image], float]


class Tools:
    """The measures that can be taken on this machine.

    Args:
        folder: looked through for weights before the model folder.

    Attributes:
        networks: for LPIPS, VGGD and identity the weights' file and SHA-256, or what is ``missing``.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.networks: dict[str, dict[str, Any]] = {}

    @cached_property
    def comparing(self) -> dict[str, Comparing]:
        """Measures of an image against its reference, by name."""
        found: dict[str, Comparing] = {
            "psnr": psnr,
            "ssim": ssim,
            "ms_ssim": ms_ssim,
            "gmsd": gmsd,
            "colour_shift": colour_shift,
        }
        backbone, heads = self._weights("lpips", ALEXNET), self._weights("lpips", LPIPS_HEADS)
        if backbone is not None and heads is not None:
            found["lpips"] = partial(in_tiles, Lpips(backbone.path, heads.path))
        vgg = self._weights("vggd", VGG)
        if vgg is not None:
            weights = vgg.path
            found["vggd"] = partial(in_tiles, lambda image, reference: vggd([image], [reference], weights)[0])
        return found

    @cached_property
    def own(self) -> dict[str, Own]:
        """Measures of an image by itself, by name."""
        found: dict[str, Own] = {"niqe": niqe, "sharpness": sharpness}
        if brisque_weights() is not None:
            found["brisque"] = brisque
        return found

    @cached_property
    def embedder(self) -> Embedder | None:
        """The identity network, if its weights are here."""
        found = self._weights("identity", IDENTITY)
        return None if found is None else Embedder(found.path)

    def missing(self, measure: str) -> str | None:
        """Why a measure cannot be taken on this machine; None when it can."""
        if measure in ("ids", "ids_spread", "vidd"):
            return None if self.embedder is not None else self.networks["identity"]["missing"]
        if measure in ("lpips", "vggd"):
            return None if measure in self.comparing else self.networks[measure]["missing"]
        if measure == "brisque" and measure not in self.own:
            return f"piq's weights are not here: {BRISQUE_FILE}, which piq.brisque() fetches into torch's cache"
        return None

    def _weights(self, measure: str, wanted: Wanted) -> WeightsFile | None:
        about = self.networks.setdefault(measure, {})
        try:
            found = find_weights(wanted, self._folder)
        except ModelError as error:
            about.setdefault("missing", str(error))
            return None
        about.setdefault("files", []).append({"file": found.path.name, "sha256": found.sha256})
        return found
