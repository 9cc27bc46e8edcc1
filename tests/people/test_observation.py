"""Looking at faces of a source: what is read of it, and what is passed over."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from colour_people import COLOURS, SIDE, face_at, recogniser

from revisage.core import ProcessingError, Track
from revisage.people import Footage, observe
from sample_media import write_video

LENGTH = 700


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red in the first second and in the last, with nobody between."""
    empty = np.full((120, 120, 3), 93, np.uint8)
    red = empty.copy()
    red[15:95, 5 : SIDE + 25] = COLOURS["red"]
    red[15:95:4, 5 : SIDE + 25] += 30
    red[17:95:4, 5 : SIDE + 25] -= 30
    frames = (red if min(index, LENGTH - 1 - index) < 25 else empty for index in range(LENGTH))
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    return write_video(path, frames, options={"preset": "ultrafast", "crf": "12", "g": "50"})


def footage(film: Path, *spans: tuple[int, int]) -> Footage:
    tracks = [
        Track(number, start, (face_at(10),) * (stop - start), (True,) * (stop - start))
        for number, (start, stop) in enumerate(spans)
    ]
    pts = [512 * index for index in range(LENGTH)]
    return Footage(film, 0, pts, Fraction(1, 12800), [(0, LENGTH)], tracks)


def test_what_nobody_looks_at_is_passed_over(film: Path) -> None:
    told: list[int] = []
    first, last = observe(footage(film, (0, 25), (LENGTH - 25, LENGTH)), recogniser(), every=None, tell=told.append)
    assert len(told) < 60
    assert told == sorted(told)
    assert float(first.identity @ last.identity) > 0.999
    assert np.abs(first.portrait.astype(int) - last.portrait).mean() < 2


def test_a_source_that_is_not_what_it_was_is_refused_behind_a_gap_too(film: Path) -> None:
    shown = footage(film, (0, 25), (LENGTH - 25, LENGTH))
    shifted = [pts + (100 if index > 600 else 0) for index, pts in enumerate(shown.pts)]
    with pytest.raises(ProcessingError, match="is not where the scan saw it; scan the file again"):
        observe(Footage(film, 0, shifted, shown.time_base, shown.shots, shown.tracks), recogniser(), every=None)
