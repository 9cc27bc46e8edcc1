"""What the first pass makes of frames: tracks, and no work for what it has seen already."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from pipeline_fakes import FINGERPRINT

from revisage.core import RestoreConfig
from revisage.media import Frame
from revisage.pipeline import Networks, Scan, scan_frames
from sample_media import face_frames, plain_frames

CONFIG = RestoreConfig(temporal="off")


def scanned(frames: list[Frame]) -> Scan:
    numbered = [replace(frame, index=index, pts=index) for index, frame in enumerate(frames)]
    return scan_frames(lambda: iter(numbered), FINGERPRINT, CONFIG, Networks(CONFIG))


def as_frames(images: list) -> list[Frame]:
    return [Frame.from_array(image, time_base=Fraction(1, 25)) for image in images]


def test_frames_that_show_the_same_have_the_same_faces() -> None:
    """As if they came once: duplicated frames, and what a recording of a screen holds."""
    once = as_frames(face_frames(11))
    (track,) = scanned(once).tracks
    (held,) = scanned([frame for frame in once for _ in range(3)]).tracks
    assert held.boxes == [box for box in track.boxes for _ in range(3)]
    assert held.landmarks == [points for points in track.landmarks for _ in range(3)]


def test_frames_that_show_the_same_are_all_in_the_scan() -> None:
    """At the beginning and the end, before and behind a cut."""
    faces, plain = as_frames(face_frames(3)), as_frames(plain_frames(2, (270, 480)))
    scan = scanned([faces[0]] * 4 + faces[1:] + [plain[0]] * 5 + plain[1:] * 9)
    assert scan.pts == list(range(20))
    assert scan.shots == [(0, 6), (6, 20)]
    assert [(track.start, track.stop) for track in scan.tracks] == [(0, 6)]
