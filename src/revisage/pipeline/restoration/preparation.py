"""What restores faces, made ready while the source is still scanned."""

from __future__ import annotations

from collections.abc import Sequence

from revisage import faces
from revisage.core import Face
from revisage.pipeline.restoration.run_networks import Networks

__all__ = ["Preparation"]


class Preparation:
    """Told the faces of a scan, it has networks prepared as soon as one is seen that will want them.

    Where nobody is in view, or all faces are clean, nothing is prepared.

    Args:
        networks: loaded, to restore with.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def __call__(self, found: Sequence[Face]) -> None:
        """The faces of the next frame."""
        if any(map(self._wants_restorer, found)):
            self._networks.prepare()

    def _wants_restorer(self, face: Face) -> bool:
        if not self._networks.uses_detail:
            return face.score >= self._networks.detector.threshold
        return face.detail is not None and faces.wants_restorer(face.detail)
