"""The embedded detector's weights keep what their card promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

import revisage.models
from revisage.faces import Found
from revisage.faces.detect import FaceDetector, load_detector
from revisage.nets import CompactDetector
from revisage.train.detector.accuracy import find_faces, measure_detector
from revisage.train.detector.scenes import LabelledImage, load_scenes, read_rgb, warp_faces
from revisage.train.detector.training import load_detector_weights

WEIGHTS = Path(revisage.models.__file__).parent / "embedded" / "compact-detector.safetensors"
CAUTIOUS = 0.57
"""The threshold that the first stage's floors were set at."""
HAND = range(489, 522, 4)
"""Frames of bottle-detection.mp4 that show a hand about a bottle's neck."""


@pytest.fixture(scope="module")
def first_stage() -> Iterator[CompactDetector]:
    """The first stage alone. One thread: on a busy machine two that wait for each other take far longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_detector_weights(WEIGHTS)[0].to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def search() -> FaceDetector:
    """Both stages, as ``revisage.detect_faces`` searches, at the threshold that is stored with the weights."""
    return load_detector("compact", device="cpu")


@pytest.fixture(scope="module")
def test_scenes(shared: Path) -> list[LabelledImage]:
    scenes, skipped = load_scenes(shared / "scenes" / "test")
    assert not skipped
    return scenes


def rolled(scene: LabelledImage, degrees: float) -> LabelledImage:
    """The middle of a scene turned about its centre, on black, in a square that holds its shorter side."""
    height, width = scene.image.shape[:2]
    size = -(-max(height, width) // 32) * 32
    affine = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    affine[:, 2] += (size / 2 - width / 2, size / 2 - height / 2)
    turned = warp_faces(scene, affine, size)
    image = cv2.warpAffine(scene.image, affine, (size, size)).astype(np.uint8, copy=False)
    return LabelledImage(image, turned.boxes, turned.landmarks, turned.certain)


def test_the_file_is_small_and_has_its_card() -> None:
    assert WEIGHTS.stat().st_size <= 2_050_000
    card = WEIGHTS.with_suffix(".md").read_text("utf-8")
    assert "recall" in card
    assert "licence" in card


def detections_of(search: FaceDetector, image: np.ndarray) -> Found:
    faces = search(np.ascontiguousarray(image))
    boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    landmarks = np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2)
    return Found(boxes, landmarks, np.array([face.score for face in faces], np.float32))


def test_the_first_stage_finds_faces_by_itself(first_stage, test_scenes: list[LabelledImage]) -> None:
    """At a cautious threshold, in one pass."""
    measures = measure_detector(test_scenes, lambda image: find_faces(first_stage, image), threshold=CAUTIOUS)
    assert measures.faces > 200
    assert measures.recall >= 0.81
    assert measures.precision >= 0.92
    assert measures.landmark_error <= 0.12


def test_users_get_nine_of_ten_faces_and_few_false_ones(search, test_scenes: list[LabelledImage]) -> None:
    """The aim is 0.95, 0.95 and 0.05."""
    measures = measure_detector(test_scenes, lambda image: detections_of(search, image), threshold=search.threshold)
    assert measures.recall >= 0.90
    # Of 302 faces 292 are right in fp32, 291 in bf16, where one box lies just too far from its label.
    assert measures.precision >= 0.96
    assert measures.landmark_error <= 0.125


@pytest.mark.parametrize("degrees", [-45, 45])
def test_it_finds_rolled_heads(search, test_scenes: list[LabelledImage], degrees: float) -> None:
    scenes = [rolled(scene, degrees) for scene in test_scenes if len(scene.boxes) == 1][::2]
    measures = measure_detector(scenes, lambda image: detections_of(search, image), threshold=search.threshold)
    assert measures.faces >= 20
    assert measures.recall >= 0.85


def test_it_sees_no_face_where_there_is_none(first_stage, search, shared: Path) -> None:
    """The first stage at its cautious threshold, both as users get them; a test of the scan asks for no track."""
    with av.open(str(shared / "clips" / "bottle-detection.mp4")) as clip:
        frames = [f.to_ndarray(format="rgb24") for n, f in enumerate(clip.decode(video=0)) if n % 60 == 0][:10]
    assert len(frames) >= 3
    for frame in frames:
        assert (find_faces(first_stage, frame).scores < CAUTIOUS).all()
    assert [search(frame) for frame in frames] == [[]] * len(frames)


def test_a_hand_that_lifts_a_bottle_is_no_face(search, shared: Path) -> None:
    """Enlarged, as a track is made of it: where frames are 640x360 each of these had a score of 0.5 to 0.82 once."""
    with av.open(str(shared / "clips" / "bottle-detection.mp4")) as clip:
        hand = [
            f.reformat(1280, 720).to_ndarray(format="rgb24") for n, f in enumerate(clip.decode(video=0)) if n in HAND
        ]
    scores = [max((face.score for face in search.candidates(frame)), default=0.0) for frame in hand]
    sure = search.threshold + 0.3 * (1 - search.threshold)  # what a quarter of a track's faces must have
    assert np.quantile(scores, 0.75) < sure


def test_it_finds_the_astronaut(search) -> None:
    """A picture that ships with the package: one face, its points where they are."""
    image = read_rgb(WEIGHTS.parents[2] / "demo_data" / "astronaut.webp")
    assert image is not None
    found = detections_of(search, image)
    boxes, landmarks, scores = found.boxes_xyxy, found.landmarks, found.scores
    assert len(scores) == 1
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert boxes[0, 0] < left_eye[0]
    assert right_eye[0] < boxes[0, 2]
