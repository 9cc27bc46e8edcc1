from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.core.errors import ConfigError, ModelError, UserError
from revisage.faces import FaceDetector, Found, load_detector, suppressed
from revisage.faces.detect.candidates import without_parts
from revisage.faces.detect.compact_finder import CompactFinder
from revisage.faces.detect.detector import working_scales
from revisage.faces.detect.official_finders import RetinaFaceFinder, YuNetFinder
from revisage.media import area_resized


def read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope="module")
def photo(shared: Path) -> np.ndarray:
    """A photo with two faces, 170 and 150 px."""
    return read(shared / "goldens/inputs/whole_imgs/Blake_Lively.jpg")


@pytest.fixture(scope="module")
def yunet(shared: Path) -> FaceDetector:
    return FaceDetector("yunet", YuNetFinder(shared / "weights/detection/yunet_s_640_640.onnx"), "")


@pytest.fixture(scope="module")
def compact() -> FaceDetector:
    return load_detector("compact", device="cpu")


@pytest.fixture(scope="module")
def retinaface(shared: Path) -> FaceDetector:
    path = shared / "weights/detection/retinaface_mobile0.25.safetensors"
    finder = RetinaFaceFinder.load(path, "retinaface_mobile0_25", "test", device="cpu", engine="openvino")
    return FaceDetector("retinaface-mobile", finder, "")


@pytest.fixture(params=["yunet", "compact", "retinaface"])
def detector(request: pytest.FixtureRequest) -> FaceDetector:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(("name", "photo_file"), [("10045", "10045.png"), ("Blake_Lively", "Blake_Lively.jpg")])
def test_retinaface_equals_the_official_detection(
    shared: Path, retinaface: FaceDetector, name: str, photo_file: str
) -> None:
    """Boxes, landmarks and scores as GFPGAN's own pipeline gets them, to the digits of the record."""
    goldens = shared / "goldens"
    expected = json.loads((goldens / f"align_mobile0.25/{name}.json").read_text())["faces"]
    found = sorted(retinaface(read(goldens / "inputs/whole_imgs" / photo_file)), key=lambda face: -face.score)
    assert len(found) == len(expected)
    for ours, official in zip(found, sorted(expected, key=lambda face: -face["score"]), strict=True):
        np.testing.assert_allclose(ours.box, official["box"], atol=0.01)
        np.testing.assert_allclose(ours.landmarks, official["landmarks5"], atol=0.01)
        assert abs(ours.score - official["score"]) < 1e-4


def test_finds_both_faces(detector: FaceDetector, photo: np.ndarray) -> None:
    faces = detector(photo)
    assert len(faces) == 2
    assert faces[0].size > faces[1].size
    for face, (x, y) in zip(faces, [(505, 208), (178, 215)], strict=True):
        assert np.hypot(face.centre[0] - x, face.centre[1] - y) < 30
        left_eye, right_eye, _, left_mouth, right_mouth = face.landmarks
        assert left_eye[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert left_eye[1] < left_mouth[1] and right_eye[1] < right_mouth[1]


def test_landmarks_agree_between_detectors(
    yunet: FaceDetector, compact: FaceDetector, retinaface: FaceDetector, photo: np.ndarray
) -> None:
    """One convention for all: each finds the points where the others do, within a tenth of the face."""
    reference = retinaface(photo)
    for other in (yunet, compact):
        for face, same in zip(reference, other(photo), strict=True):
            distance = np.linalg.norm(face.landmarks - same.landmarks, axis=1)
            assert distance.mean() < 0.06 * face.size and distance.max() < 0.12 * face.size


def test_small_faces_in_a_large_frame(yunet: FaceDetector, photo: np.ndarray) -> None:
    """Sixty-four faces of about 35 px in a picture of 4K."""
    small = cv2.resize(photo, None, fx=0.22, fy=0.22, interpolation=cv2.INTER_AREA)
    frame = np.full((2160, 3840, 3), 120, np.uint8)
    places = [(300 + 400 * (k % 8), 200 + 480 * (k // 8)) for k in range(32)]
    for k, (x, y) in enumerate(places):
        frame[y : y + small.shape[0], x : x + small.shape[1]] = small if k % 2 else small[:, ::-1]
    faces = yunet(frame)
    assert 60 <= len(faces) <= 64
    for x, y in places:
        assert any(x < face.centre[0] < x + 154 and y < face.centre[1] < y + 102 for face in faces)


@pytest.mark.parametrize("pad", [((0, 0), (700, 0)), ((600, 0), (0, 0)), ((0, 0), (1600, 1600))])
def test_portrait_landscape_and_panorama(detector: FaceDetector, photo: np.ndarray, pad: tuple) -> None:
    frame = cv2.copyMakeBorder(photo, *pad[0], *pad[1], cv2.BORDER_CONSTANT, value=(90, 90, 90))
    assert len(detector(frame)) == 2


def test_large_faces(detector: FaceDetector, photo: np.ndarray) -> None:
    closeup = cv2.resize(photo[40:360, 380:620], (1920, 2560), interpolation=cv2.INTER_CUBIC)
    best = max(detector(closeup), key=lambda face: face.score)
    assert best.size > 1300


def test_faces_at_the_edge(detector: FaceDetector, photo: np.ndarray) -> None:
    """A face whose cheek is cut off; boxes end with the image."""
    frame = np.ascontiguousarray(photo[:, :560])
    face = max(detector(frame), key=lambda face: face.centre[0])
    assert face.centre[0] > 400
    assert face.box[0] + face.box[2] <= 559.5 + 1e-3


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 200), (63, 64), (33, 400)])
def test_any_small_size(detector: FaceDetector, size_hw: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size_hw, 3)).astype(np.uint8)
    assert isinstance(detector(noise), list)


def test_a_thumbnail(detector: FaceDetector, photo: np.ndarray) -> None:
    thumbnail = cv2.resize(photo[60:340, 390:620], (40, 48), interpolation=cv2.INTER_AREA)
    faces = detector(thumbnail)
    assert len(faces) == 1 and 20 < faces[0].size < 48


def test_a_moved_picture_gives_moved_faces(detector: FaceDetector, photo: np.ndarray) -> None:
    """A shift by the largest stride; 1280 px wide, so that scaling is part of it."""
    frame = cv2.resize(photo, (1280, 848), interpolation=cv2.INTER_CUBIC)
    moved = cv2.copyMakeBorder(frame, 64, 0, 64, 0, cv2.BORDER_REPLICATE)[:848, :1280]
    for before, after in zip(detector(frame), detector(np.ascontiguousarray(moved)), strict=True):
        np.testing.assert_allclose(after.landmarks - before.landmarks, 64, atol=0.03 * before.size)


def test_twice_is_equal(detector: FaceDetector, photo: np.ndarray) -> None:
    assert detector(photo) == detector(photo)


def test_candidates_reach_further_down(yunet: FaceDetector, photo: np.ndarray) -> None:
    strict = FaceDetector("yunet", yunet._finder, "", threshold=0.99)
    assert strict(photo) == []
    assert len(strict.candidates(photo)) == 2


@pytest.mark.parametrize(
    "image", [np.zeros((10, 10), np.uint8), np.zeros((10, 10, 4), np.uint8), np.zeros((10, 10, 3), np.float32)]
)
def test_refuses_other_images(yunet: FaceDetector, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 RGB"):
        yunet(image)


@given(height=st.integers(1, 20000), width=st.integers(1, 20000))
@settings(derandomize=True, deadline=None)
def test_scales_bound_the_work(height: int, width: int) -> None:
    scales = working_scales((height, width), 640 * 480, 16)
    assert 1 <= len(scales) <= 2
    assert all(0 < scale <= 1 for scale in scales)
    assert max(scales) ** 2 * height * width <= 2.4e6
    assert min(scales) ** 2 * height * width <= 640 * 480 * 1.01


@pytest.mark.parametrize(
    ("size_hw", "searched"),
    [
        ((720, 1280), [(104, 185), (416, 739)]),
        ((1080, 1920), [(144, 256), (576, 1024)]),
        ((2160, 3840), [(104, 185), (416, 739), (1152, 2048)]),
    ],
)
def test_a_picture_is_searched_in_two_sizes_where_one_is_much_finer(
    compact: FaceDetector, size_hw: tuple[int, int], searched: list[tuple[int, int]]
) -> None:
    class Finder(CompactFinder):
        def __call__(self, image: np.ndarray, min_score: float) -> Found:
            seen.append(image.shape[:2])
            return Found.none()

    seen: list[tuple[int, int]] = []
    finder = Finder(compact._finder._engine, compact._finder.second_look)
    assert FaceDetector("compact", finder, "").candidates(np.zeros((*size_hw, 3), np.uint8)) == []
    assert seen == searched


def found(boxes: list[tuple[float, float, float, float]], scores: list[float]) -> Found:
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros((len(scores), 5, 2), np.float32),
        np.array(scores, np.float32),
    )


@pytest.mark.parametrize("size", [(256, 144), (160, 90), (79, 53), (320, 360)])
@pytest.mark.parametrize("source", [(640, 360), (641, 363), (320, 400)])
def test_reducing_by_halves_moves_nothing(source: tuple[int, int], size: tuple[int, int]) -> None:
    """Red tells the column and green the row: each pixel of the result is the middle of those it stands for."""
    columns, rows = np.meshgrid(*(np.linspace(0, 255, side) for side in source))
    image = np.stack((columns, rows, np.zeros_like(rows)), axis=-1).round().astype(np.uint8)
    found = area_resized(image, size[::-1])
    middles = [((np.arange(s) + 0.5) * side / s - 0.5) * 255 / (side - 1) for s, side in zip(size, source, strict=True)]
    wanted = np.stack(np.meshgrid(*middles), axis=-1)
    assert found.shape == (size[1], size[0], 3)
    assert np.abs(found[..., :2] - wanted).max() < 1.5


def test_parts_of_a_large_face_are_no_faces() -> None:
    coarse = found([(0, 0, 100, 100)], [0.8])
    fine = found([(20, 20, 50, 50), (2, 2, 98, 98), (90, 90, 130, 130)], [0.9, 0.9, 0.9])
    assert without_parts(fine, coarse).boxes_xyxy[:, 0].tolist() == [2, 90]


def test_suppression_keeps_the_best_of_each_face() -> None:
    kept = suppressed(
        found([(0, 0, 10, 10), (1, 1, 11, 11), (30, 0, 40, 10), (8, 8, 18, 18)], [0.6, 0.9, 0.5, 0.7]), 0.4
    )
    assert kept.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert len(suppressed(found([], []), 0.4)) == 0


@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4, st.integers(1, 9)), max_size=12), st.randoms())
@settings(derandomize=True, deadline=None, max_examples=50)
def test_suppression_does_not_depend_on_order(rows: list[tuple[int, ...]], random) -> None:
    shuffled = random.sample(rows, len(rows))
    results = []
    for order in (rows, shuffled):
        boxes = [(x, y, x + 1 + w, y + 1 + h) for x, y, w, h, _ in order]
        kept = suppressed(found(boxes, [row[4] / 10 for row in order]), 0.4)
        results.append((kept.boxes_xyxy.tolist(), kept.scores.tolist()))
    assert results[0] == results[1]


def test_unknown_detector_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'yunet'"):
        load_detector("yunett")
    with pytest.raises(ConfigError, match="threshold"):
        load_detector("compact", threshold=1.5)


def test_damaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    broken = tmp_path / "face.onnx"
    broken.write_bytes(b"no network")
    with pytest.raises(ModelError, match="damaged"):
        YuNetFinder(broken)
    other = tmp_path / "other.safetensors"
    shutil.copy(shared / "weights/detection/yunet_n.safetensors", other)
    with pytest.raises(ModelError, match="do not fit"):
        RetinaFaceFinder.load(other, "retinaface_mobile0_25", "", device="cpu", engine="torch")
    monkeypatch.setenv("REVISAGE_MODELS", str(tmp_path))
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"no network")
    with pytest.raises(UserError) as refused:
        load_detector("yunet")
    assert "\n" not in str(refused.value)


def test_weights_by_name_from_the_model_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Path, photo: np.ndarray
) -> None:
    monkeypatch.setenv("REVISAGE_MODELS", str(tmp_path))
    shutil.copy(shared / "weights/detection/yunet_s_640_640.onnx", tmp_path / "face_detection_yunet_2023mar.onnx")
    detector = load_detector("yunet")
    assert len(detector(photo)) == 2
    assert detector.weight_hash.startswith("8f2383e4")
