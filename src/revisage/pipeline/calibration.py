"""The faces of the footage that an int8 restorer is made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from revisage import engines, media
from revisage.core import CancelToken, Crop, RestoreConfig
from revisage.pipeline.plan import Plan, planned_faces, whole
from revisage.pipeline.restoration import FaceWork, Networks
from revisage.pipeline.scan import Scan

__all__ = ["calibration_crops"]


def calibration_crops(
    source: Path, scan: Scan, plan: Plan, config: RestoreConfig, networks: Networks, cancel: CancelToken
) -> Crop | None:
    """Some 24 faces spread evenly over the footage, ``(N, size, size, 3) uint8 RGB``; None when it has fewer than 4.

    They follow from the scan and the run's config alone, so that every worker makes the same network. The config is
    the run's: networks that stay loaded from run to run know only what networks depend on.

    Raises:
        CancelledError: a stop was asked for.
    """
    planned = planned_faces(scan, plan, whole(scan))
    places = [(index, face) for index, faces in enumerate(planned) for face in faces]
    if len(places) < engines.MINIMUM_CROPS:
        return None
    picked = np.unique(np.linspace(0, len(places) - 1, engines.WANTED_CROPS).round().astype(int))
    work = FaceWork(config, networks.uncalibrated, scan.size_hw)
    crops: list[Crop] = []
    with media.open_source(source, deinterlace=config.deinterlace) as opened:
        for place in picked:
            cancel.check()
            index, face = places[place]
            number = scan.first + index
            frames = opened.frames(number, number + 1, first_pts=scan.pts[index])
            crops += [work.align(frame, face).crop for frame in frames]
    return np.stack(crops)
