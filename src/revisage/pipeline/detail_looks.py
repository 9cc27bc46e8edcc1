"""Looks at the fine detail of large faces while a source is scanned: at each now and then, as long as it is in view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from revisage import faces
from revisage.core import CancelledError, Detail, Face, Image, UserError
from revisage.media import Frame
from revisage.pipeline.restoration import Networks

__all__ = ["DetailLooks"]

_EVERY = 12
"""Frames from one look at a face to the next: half a second. A look costs about what its fine change does."""

_CROP = 256
"""Side of the crops (px) of the restorer that the measures were made with."""

_SAME_PLACE = 0.5
"""A face less than this part of its size away from where one was in the frame before is the same."""


@dataclass
class _InView:
    """A face that is in view, and frames until it is looked at."""

    face: Face
    due: int


class DetailLooks:
    """Feed it the faces of a source frame by frame.

    A face is looked at first when it is seen for the second time: of a photo's one frame nothing need be known before
    it is restored.

    Args:
        networks: hold what looks, and say whether anything will be made of it.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._in_view: list[_InView] = []

    def seen(self, frame: Frame, found: Sequence[Face], *, anew: bool) -> list[Face]:
        """The faces of the next frame, with their detail where that was looked at.

        Args:
            frame: that they are in.
            found: weak ones, too; these are not looked at.
            anew: whether a shot begins.
        """
        before = [] if anew else self._in_view
        self._in_view = []
        return [self._looked_at(frame, face, before) for face in found]

    def _looked_at(self, frame: Frame, face: Face, before: Sequence[_InView]) -> Face:
        if not self._networks.uses_detail or face.score < self._networks.detector.threshold:
            return face
        known = next((one for one in before if _same(one.face, face)), None)
        if known is None or known.due > 1:
            self._in_view.append(_InView(face, 1 if known is None else known.due - 1))
            return face
        self._in_view.append(_InView(face, _EVERY))
        return replace(face, detail=self._detail(frame, face))

    def _detail(self, frame: Frame, face: Face) -> Detail | None:
        try:
            return faces.detail_of(frame, face, self._change, _CROP)
        except (UserError, CancelledError):
            raise
        except Exception:  # hours of scanning do not hang on a look; frames are then judged one by one
            return None

    def _change(self, picture: Image) -> NDArray[np.float32]:
        """What the fine network would change; it is loaded for the first large face."""
        net = self._networks.fine
        assert net is not None
        return net(picture)


def _same(one: Face, other: Face) -> bool:
    return math.dist(one.centre, other.centre) < _SAME_PLACE * max(one.size, other.size)
