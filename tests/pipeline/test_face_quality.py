"""What a report says about restored faces: measures before and after, and components found again."""

from __future__ import annotations

import cv2
import numpy as np

from revisage.core import make_config
from revisage.faces import align, load_detector
from revisage.media import Frame
from revisage.pipeline import Networks
from revisage.pipeline.restoration.frame_restoration import FaceQuality, QualitySums
from sample_media import face_frames


def test_sums_of_spans_add_up_to_means() -> None:
    sums = QualitySums({"niqe": 6.0}, {"niqe": 4.0}, {"niqe": 1}, kept=4, parts=5)
    sums.add(QualitySums({"niqe": 8.0}, {"niqe": 5.0}, {"niqe": 1}, kept=5, parts=5))
    assert sums.means == {"niqe": (7.0, 4.5)}
    assert sums.fpa == 0.9
    assert QualitySums().means == {} and QualitySums().fpa is None


def test_a_face_is_measured_before_and_after() -> None:
    frame = face_frames(1)[0]
    face = load_detector("compact")(frame)[0]
    clean = align(Frame.from_array(frame), face, 256)
    damaged = np.asarray(cv2.GaussianBlur(frame, (0, 0), 3), np.uint8)
    quality = FaceQuality(Networks(make_config()))
    quality.look(align(Frame.from_array(damaged), face, 256), clean.crop)
    before, after = quality.sums.means["niqe"]
    assert after < before
    before, after = quality.sums.means["face_sharpness"]
    assert before < 0.5 * after
    assert quality.sums.parts == 5 and quality.sums.kept >= 4


def test_what_is_not_defined_for_a_crop_is_left_out() -> None:
    frame = face_frames(1)[0]
    small = align(Frame.from_array(frame), load_detector("compact")(frame)[0], 64)
    quality = FaceQuality(Networks(make_config()))
    quality.look(small, small.crop)
    assert "niqe" not in quality.sums.means
    assert quality.sums.parts == 5
