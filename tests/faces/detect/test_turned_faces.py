"""Faces in any turn of the picture: found with the landmarks that they have, and followed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from revisage.faces import FaceDetector, VideoDetector, load_detector
from revisage.media import Frame
from sample_media import face_frames


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return load_detector("compact", device="cpu")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """One face in a square picture."""
    (image,) = face_frames(1)
    return np.ascontiguousarray(image[:270, 100:370])


def turned(photo: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture turned about its centre, and the affine to it."""
    middle = (photo.shape[1] - 1) / 2, (photo.shape[0] - 1) / 2
    affine = cv2.getRotationMatrix2D(middle, degrees, 1.0)
    return cv2.warpAffine(photo, affine, photo.shape[1::-1], borderValue=(90, 90, 90)), affine


@pytest.mark.parametrize("degrees", [60, 90, 135, 180, -90])
def test_a_turned_face_has_its_own_landmarks(detector: FaceDetector, photo: np.ndarray, degrees: float) -> None:
    (upright,) = detector(photo)
    image, affine = turned(photo, degrees)
    (face,) = detector(image)
    expected = upright.landmarks @ affine[:, :2].T + affine[:, 2]
    assert np.linalg.norm(face.landmarks - expected, axis=1).mean() < 0.06 * upright.size
    assert face.lies and not upright.lies


def test_a_picture_of_upright_faces_is_searched_once(
    detector: FaceDetector, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []
    maps = detector._finder._maps  # type: ignore[attr-defined]
    monkeypatch.setattr(detector._finder, "_maps", lambda images: searched.append(len(images)) or maps(images))
    upright = detector.candidates(photo)
    count = len(searched)
    assert detector.candidates(photo, turned=True) == upright
    assert len(searched) == 2 * count


def test_a_face_is_followed_from_upright_to_lying(detector: FaceDetector, photo: np.ndarray) -> None:
    (upright,) = detector(photo)
    video = VideoDetector(detector)
    found = []
    affines = []
    for index in range(33):
        image, affine = turned(photo, 4 * index)
        affines.append(affine)
        found += video.add(Frame.from_array(image, index=index))
    found += video.close_shot()
    for faces, affine in zip(found, affines, strict=True):
        strong = [face for face in faces if face.score >= detector.threshold]
        assert len(strong) == 1
        expected = upright.landmarks @ affine[:, :2].T + affine[:, 2]
        assert np.linalg.norm(strong[0].landmarks - expected, axis=1).mean() < 0.08 * upright.size
