"""Crops of the footage at hand, to make an int8 network with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from revisage.core import CancelToken, RestoreConfig
from revisage.engines import MINIMUM_CROPS, WANTED_CROPS
from revisage.pipeline.facework import FaceWork
from revisage.pipeline.networks import Networks
from revisage.pipeline.plan import Plan, planned_faces, whole
from revisage.pipeline.scan import Scan
from revisage.pipeline.stages import Crop

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
    from revisage.media import open_source

    planned = planned_faces(scan, plan, whole(scan))
    places = [(index, face) for index, faces in enumerate(planned) for face in faces]
    if len(places) < MINIMUM_CROPS:
        return None
    picked = np.unique(np.linspace(0, len(places) - 1, WANTED_CROPS).round().astype(int))
    work = FaceWork(config, networks.uncalibrated, scan.size_hw)
    crops: list[Crop] = []
    with open_source(source, deinterlace=config.deinterlace) as opened:
        for place in picked:
            cancel.check()
            index, face = places[place]
            number = scan.first + index
            frames = opened.frames(number, number + 1, first_pts=scan.pts[index])
            crops += [work.align(frame, face).crop for frame in frames]
    return np.stack(crops)
