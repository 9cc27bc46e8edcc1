"""What the page says."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("streamlit", reason="the extra `ui` is not installed")

from revisage.ui import display
from revisage.ui.display import (
    a_while,
    before_after,
    bytes_of,
    likeness_in_words,
    measures_in_words,
    plain,
    seconds_of,
    what_it_is,
)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.3, "a second"),
        (7, "about 7 seconds"),
        (43, "about 45 seconds"),
        (130, "about 2 minutes"),
        (9000, "about 2.5 hours"),
    ],
)
def test_a_length_of_time_as_one_says_it(seconds: float, said: str) -> None:
    assert a_while(seconds) == said


def test_text_is_shown_as_it_is() -> None:
    assert plain("![x](https:evil.example)") == r"\!\[x\]\(https\:evil\.example\)"
    assert plain("Übung 1…") == "Übung 1…"


def test_the_divider_begins_at_what_was_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, object]] = []
    monkeypatch.setattr(display, "_component", lambda *_, **__: lambda data, **___: shown.append(data))
    before = np.zeros((40, 200, 3), np.uint8)
    after = before.copy()
    after[10:20, 140:160] = 90
    before_after(before, after, alt="", key="a")
    before_after(before, np.repeat(np.repeat(after, 2, 0), 2, 1), alt="", key="b")
    before_after(before, before, alt="", key="c")
    assert [data["cut"] for data in shown] == [75, 75, 50]


def test_sizes_and_files() -> None:
    assert [bytes_of(size) for size in (10, 43_000, 2_450_000, 3_000_000_000)] == ["1 kB", "43 kB", "2.5 MB", "3.00 GB"]
    assert what_it_is("video", 640, 360, 149 / 50, None) == "Video, 640 × 360, 3.0 s"
    assert what_it_is("video", 640, 360, 125.0, 3000) == "Video, 640 × 360, 2:05 min, 3000 frames"
    assert what_it_is("animation", 10, 20, None, 1) == "Animation, 10 × 20, 1 frame"
    assert what_it_is("image", 10, 20, None, 1) == "Photo, 10 × 20"
    assert seconds_of({"duration": "149/50"}) == 2.98
    assert seconds_of({"duration": None}) == 0


def test_who_was_moved_away_from_themselves_is_told() -> None:
    text, is_same = likeness_in_words({"identity": 0.91, "expression_kept": 0.75})
    kept = "eyes and mouth as far open as before in 75 % of the faces compared"
    assert (is_same, text) == (True, f"Still the same person (likeness 0.91 of 1); {kept}.")
    text, is_same = likeness_in_words({"identity": 0.31})
    assert (is_same, text[:28]) == (False, "Looks like somebody else now")


def test_measures_leave_out_what_was_not_measured() -> None:
    bare = measures_in_words({"frr": None, "avs_ms": None}, faces=0, frames=3, seconds=1.0)
    assert bare == [("0 faces restored in 3 frames", "1.0 s")]
    (row,) = measures_in_words({}, faces=1, frames=1, seconds=1.0)
    assert row == ("1 face restored in 1 frame", "1.0 s")
    measured = {"frr": "1", "fei_measured": 0.995, "avs_ms": 0.0, "niqe_before": 7.9, "niqe_after": 6.0, "fpa": 1.0}
    rows = dict(measures_in_words(measured, faces=75, frames=75, seconds=4.2))
    assert rows["The speed of the film is unchanged"] == "ratio 1"
    assert rows["Sound and picture are as much in step as before"] == "0.00 ms"
    assert rows["The faces look more natural (NIQE, lower is better)"] == "7.90 → 6.00"
