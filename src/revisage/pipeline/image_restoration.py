"""One image in memory: the same steps as for a file, without any file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from revisage import media
from revisage.core import Image, ProcessingError, RestoreConfig
from revisage.people import Guide
from revisage.pipeline.plan import make_plan, planned_faces, planned_levels, whole
from revisage.pipeline.restoration import FrameInWork, Networks, restore_frames
from revisage.pipeline.scan import Fingerprint
from revisage.pipeline.scanner import scan_frames, told_apart

__all__ = ["restored_image"]


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
    # One frame has no motion to average along.
    config = config.model_copy(update={"temporal": "smooth", "temporal_passes": 1})
    frame = media.Frame.from_array(image.copy())
    nowhere = Fingerprint(name="image", size=0, sha256="0" * 64, hashed="whole")
    scan = scan_frames(lambda: iter([frame]), nowhere, config, networks)
    guides: Mapping[int, Guide] = {}
    if config.who or config.reference:
        told, analysis = told_apart(scan, Path("image"), networks, held=[frame])
        scan = told if config.who else scan
        guides = analysis.guidance.guides
    (planned,) = planned_faces(scan, make_plan(scan, config), whole(scan), guides)
    levels = next(iter(planned_levels(scan, whole(scan), config)), None)
    size_hw = media.scaled_size(frame.size_hw, config.upscale, even=False)
    networks = networks.uncalibrated
    item = FrameInWork(frame, planned, levels=levels)
    (item,) = restore_frames([frame], lambda _: item, networks, config, size_hw=size_hw)
    if item.problem:
        raise ProcessingError(f"the faces could not be restored: {item.problem}")
    return np.ascontiguousarray(item.shown.rgb())
