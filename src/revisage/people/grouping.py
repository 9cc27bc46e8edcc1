"""Which tracks show the same person: clusters of identities that respect who is in view at the same time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["group"]

FloatArray = NDArray[np.float32]


_CLEAR, _CLEARER = (0.6, 0.8), 0.15
"""Two faces whose worth is above the second must be so much more alike than two that are below the first: clear views
of one person are very alike, and two people of one age, skin and hair may reach 0.6 there."""

_OUTER = 0.8
"""Groups of several faces each are held to so much of the likeness within the looser one of the two, up to what clear
faces are held to: where many views agree among themselves, those of one person would agree with them."""


def group(
    identities: FloatArray,
    together: Sequence[tuple[int, int]],
    threshold: float,
    worths: Sequence[float] | None = None,
) -> list[int]:
    """Agglomerative clustering with average linkage (Sokal & Michener, 1958) of cosines.

    Whoever is in view at the same time as somebody is another person, however alike they look: twins, a face in a
    mirror.

    Args:
        identities: ``(N, D) float32`` of length one.
        together: pairs that cannot be one person.
        threshold: mean cosine between two clusters from which they are one.
        worths: how clearly each can be seen, 0 to 1; without them all are taken for unclear.

    Returns:
        For each identity the number of its cluster, counted from 0 by the first identity of each.
    """
    alike = (identities @ identities.T).astype(np.float64)
    clearer = np.zeros_like(alike)
    if worths is not None:
        both = np.minimum.outer(worths, worths)
        clearer = _CLEARER * np.clip((both - _CLEAR[0]) / (_CLEAR[1] - _CLEAR[0]), 0, 1)
    for one, other in together:
        alike[one, other] = alike[other, one] = -np.inf
    np.fill_diagonal(alike, -np.inf)
    clusters = _Clusters(alike, clearer, threshold)
    while (pair := clusters.nearest()) is not None:
        clusters.join(*pair)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(head), len(numbers)) for head in clusters.heads]


class _Clusters:
    """Clusters under way, each at the place of its first member.

    Args:
        alike: ``(N, N)``, the cosine of each pair; -inf of what cannot be together. Changed, as is ``clearer``: means
            over the pairs of two clusters.
        clearer: ``(N, N)``, how much beyond the threshold a pair is held to, since both can be seen clearly.
        threshold: of the cosine.
    """

    def __init__(self, alike: NDArray[np.float64], clearer: NDArray[np.float64], threshold: float) -> None:
        count = len(alike)
        self.heads = np.arange(count)
        self._alike, self._clearer, self._threshold = alike, clearer, threshold
        self._sizes, self._within = np.ones(count), np.zeros(count)
        self._beyond = alike - clearer - threshold

    def nearest(self) -> tuple[int, int] | None:
        """The two clusters that are furthest beyond what they are held to; None where none are."""
        if len(self.heads) < 2:
            return None
        kept, gone = sorted(divmod(int(self._beyond.argmax()), len(self.heads)))
        return (kept, gone) if self._beyond[kept, gone] >= 0 else None

    def join(self, kept: int, gone: int) -> None:
        """Make two clusters one."""
        sizes = self._sizes
        self._within[kept] += self._within[gone] + sizes[kept] * sizes[gone] * self._alike[kept, gone]
        for means in (self._alike, self._clearer):
            # The mean over all pairs of members; what cannot be together stays at -inf.
            mean = (sizes[kept] * means[kept] + sizes[gone] * means[gone]) / (sizes[kept] + sizes[gone])
            means[kept] = means[:, kept] = mean
        sizes[kept] += sizes[gone]
        self.heads[self.heads == gone] = kept
        self._alike[kept, kept] = -np.inf
        self._alike[gone] = self._alike[:, gone] = -np.inf
        held = self._threshold + np.maximum(self._clearer[kept], self._agreeing(kept))
        self._beyond[kept] = self._beyond[:, kept] = self._alike[kept] - held
        self._beyond[gone] = self._beyond[:, gone] = -np.inf

    def _agreeing(self, one: int) -> NDArray[np.float64]:
        """How much beyond the threshold a cluster and each other are held to, since their own faces agree."""
        pairs = self._sizes * (self._sizes - 1) / 2
        inner = self._within / np.maximum(pairs, 1)
        return np.clip(_OUTER * np.minimum(inner, inner[one]) - self._threshold, 0, _CLEARER)
