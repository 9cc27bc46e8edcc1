"""Restore the faces of one image in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from revisage.core import ProcessingError, RestoreConfig
from revisage.media import Frame, scaled_size
from revisage.pipeline.facework import FaceWork
from revisage.pipeline.fingerprint import Fingerprint
from revisage.pipeline.networks import Networks
from revisage.pipeline.plan import make_plan, planned_faces, whole
from revisage.pipeline.scanner import scan_image
from revisage.pipeline.stages import Item, StageClock, align_faces, restore_faces, show_faces

__all__ = ["restored_image"]

Image = NDArray[np.uint8]

_NOT_A_FILE = Fingerprint(name="image", size=0, sha256="0" * 64, hashed="whole")


def restored_image(image: Image, config: RestoreConfig, networks: Networks | None = None) -> Image:
    """The image with its faces restored.

    Args:
        image: ``(H, W, 3) uint8 RGB``, contiguous; not changed.
        config: what to do.
        networks: loaded for that config, to save loading them again.

    Returns:
        ``(H * upscale, W * upscale, 3) uint8 RGB``, a new array.

    Raises:
        UserError: an option or model is not there.
        ProcessingError: the restoration failed.
    """
    networks = networks or Networks(config)
    frame = Frame.from_array(image.copy())
    found = scan_image(frame, _NOT_A_FILE, config, networks)
    plan = make_plan(found, config)
    planned = planned_faces(found, plan, whole(found))[0]
    size_hw = scaled_size(frame.size_hw, config.upscale, even=False)
    work, clock = FaceWork(config, networks.uncalibrated, size_hw), StageClock()
    restorer = networks.uncalibrated.restorer if planned else None
    aligned = align_faces([Item(frame, planned)], work.align, clock)
    restored = restore_faces(aligned, restorer, config.batch, clock)
    (item,) = show_faces(restored, work.canvas, work.show, clock)
    if item.problem:
        raise ProcessingError(f"the faces could not be restored: {item.problem}")
    return np.ascontiguousarray(item.shown.rgb())
