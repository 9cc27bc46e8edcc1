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
    count = len(identities)
    alike = (identities @ identities.T).astype(np.float64)
    if worths is not None:
        both = np.minimum.outer(worths, worths)
        alike -= _CLEARER * np.clip((both - _CLEAR[0]) / (_CLEAR[1] - _CLEAR[0]), 0, 1)
    for one, other in together:
        alike[one, other] = alike[other, one] = -np.inf
    np.fill_diagonal(alike, -np.inf)
    sizes, heads = np.ones(count), np.arange(count)
    while count > 1:
        best = int(alike.argmax())
        kept, gone = sorted(divmod(best, len(heads)))
        if alike[kept, gone] < threshold:
            break
        # The mean over all pairs of members; what cannot be together stays at -inf.
        weights = sizes[kept], sizes[gone]
        mean = (weights[0] * alike[kept] + weights[1] * alike[gone]) / sum(weights)
        mean[[kept, gone]] = -np.inf
        alike[kept] = alike[:, kept] = mean
        alike[gone] = alike[:, gone] = -np.inf
        sizes[kept] += sizes[gone]
        heads[heads == gone] = kept
    numbers: dict[int, int] = {}
    return [numbers.setdefault(int(head), len(numbers)) for head in heads]
