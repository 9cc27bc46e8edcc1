"""The restoring core takes frames from anywhere and touches no file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import revisage
from revisage.core import CancelledError, CancelToken, make_config
from revisage.media import Frame
from revisage.pipeline import FrameInWork, Networks, PlannedFace, Tally, restore_frames
from revisage.pipeline.restoration.frame_restoration import FaceQuality
from revisage.pipeline.scan import Fingerprint
from revisage.pipeline.scanner import scan_frames
from sample_media import face_frames

SIZE_HW = (270, 480)


@pytest.fixture
def networks(tiny_model: Path) -> Networks:
    return Networks(make_config(model=str(tiny_model), temporal="off", batch=2))


def frames(count: int) -> list[Frame]:
    return [Frame.from_array(image, pts=number) for number, image in enumerate(face_frames(count))]


def every_other(frame: Frame) -> FrameInWork:
    """Restore the largest face of even frames."""
    faces = [] if frame.pts % 2 else revisage.detect_faces(frame.rgb())[:1]
    return FrameInWork(frame, [PlannedFace(0, face, 1.0) for face in faces], index=frame.pts)


def test_frames_in_frames_out(networks: Networks) -> None:
    tally = Tally()
    given = frames(5)
    done = list(restore_frames(given, every_other, networks, networks.config, size_hw=SIZE_HW, tally=tally))
    assert [item.frame for item in done] == given
    changed = [not np.array_equal(item.shown.rgb(), item.frame.rgb()) for item in done]
    assert changed == [True, False, True, False, True]
    assert (tally.frames, tally.changed, tally.faces, tally.failures) == (5, 3, 3, [])
    assert {"align", "restore", "composite"} <= tally.seconds.keys()


def test_an_image_is_one_frame_of_it(networks: Networks, tiny_model: Path) -> None:
    (image,) = face_frames(1)
    frame, nowhere = Frame.from_array(image), Fingerprint(name="image", size=0, sha256="0" * 64, hashed="whole")
    (track,) = scan_frames(lambda: iter([frame]), nowhere, networks.config, networks).tracks
    given = FrameInWork(frame, [PlannedFace(0, track.face(0), 1.0)])
    (item,) = restore_frames([frame], lambda _: given, networks, networks.config, size_hw=SIZE_HW)
    assert np.array_equal(item.shown.rgb(), revisage.restore_image(image, model=str(tiny_model)))


def test_without_a_tally_nothing_is_measured(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr(FaceQuality, "look", lambda *_: looked.append(_))
    given = frames(1)
    (item,) = restore_frames(given, every_other, networks, networks.config, size_hw=SIZE_HW)
    assert item.problem is None
    assert not looked
    (item,) = restore_frames(given, every_other, networks, networks.config, size_hw=SIZE_HW, tally=Tally())
    assert item.problem is None
    assert looked


def test_leaving_early_closes_what_the_frames_come_from(networks: Networks) -> None:
    closed = []

    def camera() -> Iterator[Frame]:
        try:
            while True:
                yield from frames(1)
        finally:
            closed.append(threading.current_thread().name)

    items = restore_frames(camera(), every_other, networks, networks.config, size_hw=SIZE_HW)
    assert next(items).problem is None
    items.close()
    assert closed == ["revisage-decode"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("revisage-")]


def test_what_goes_wrong_while_reading_is_heard(networks: Networks) -> None:
    def torn() -> Iterator[Frame]:
        yield from frames(1)
        raise OSError("the cable came out")

    items = restore_frames(torn(), every_other, networks, networks.config, size_hw=SIZE_HW)
    with pytest.raises(OSError, match="the cable came out"):
        list(items)


def test_a_stop_is_noticed(networks: Networks) -> None:
    token = CancelToken()
    items = restore_frames(frames(9), every_other, networks, networks.config, size_hw=SIZE_HW, cancel=token)
    next(items)
    token.cancel()
    with pytest.raises(CancelledError):
        list(items)
