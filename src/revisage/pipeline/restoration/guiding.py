"""The stage that gives restored faces the detail of their people's guide photos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from revisage import people
from revisage.pipeline.restoration.frame_stages import FrameInWork, StageClock
from revisage.pipeline.restoration.run_networks import Networks

__all__ = ["guide_faces"]


def guide_faces(items: Iterable[FrameInWork], networks: Networks, clock: StageClock) -> Iterator[FrameInWork]:
    """Put the detail of guides into the restored crops of each frame; those without a guide stay as they are.

    Each crop is guided by itself, so that no split into segments shows; what averages restored faces over time comes
    after it.

    Args:
        items: restored.
        networks: reader and flow are taken from here.
        clock: counts the time as ``guide``.
    """
    for item in items:
        if any(planned.guide is not None for planned, _ in item.faces):
            with clock("guide"), item.kept_on_failure():
                _guide(item, networks)
        yield item


def _guide(item: FrameInWork, networks: Networks) -> None:
    wanted = {
        place: share
        for place, (planned, face) in enumerate(item.faces)
        if planned.guide is not None and face.shows_restored
        if (share := people.wanted_detail(planned.guide, face.crop)) > 0
    }
    if not wanted:
        return
    readings = networks.landmark_reader(np.stack([item.restored[place] for place in wanted]))
    for number, (place, share) in enumerate(wanted.items()):
        planned, face = item.faces[place]
        assert planned.guide is not None
        item.restored[place] = people.with_detail(
            item.restored[place],
            face.input,
            readings.landmarks[number],
            readings.pose[number],
            planned.guide,
            networks.guide_flow,
            face.landmarks,
            share,
        )
