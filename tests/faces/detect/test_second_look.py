"""The second_look look: crops of the right pixels, proposals set right, false ones gone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from revisage.core import Region
from revisage.engines import cpu_info
from revisage.faces import FaceDetector, Found, load_detector, upright_crop
from revisage.faces.detect.candidates import halvable
from revisage.media import Frame
from revisage.media.frame import Colour, PixelLayout
from revisage.nets import CROP, crop_affines

MODEL_PHOTO = Path(__file__).parents[3] / "src" / "revisage" / "demo_data" / "astronaut.webp"


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(MODEL_PHOTO))[..., ::-1])


@pytest.fixture(scope="module")
def compact() -> FaceDetector:
    return load_detector("compact", device="cpu")


@pytest.fixture(scope="module")
def seen(compact: FaceDetector, photo: np.ndarray) -> Found:
    """The one face of the photo."""
    (face,) = compact(photo)
    left, top, width, height = face.box
    box = np.array([[left, top, left + width, top + height]], np.float32)
    return Found(box, face.landmarks[None].astype(np.float32), np.array([face.score], np.float32))


def smooth(height: int, width: int) -> np.ndarray:
    """A picture whose red is the column and whose green is the row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack((columns, rows, np.zeros_like(rows)), axis=-1).astype(np.uint8)


@pytest.mark.parametrize("side", [20, 40, 100, 170])
def test_a_crop_holds_the_pixels_of_its_place(side: int) -> None:
    """Enlarged or reduced by averaging: red and green still tell where a pixel was."""
    image = smooth(256, 256)
    box = np.array([[128 - side / 2, 120 - side / 2, 128 + side / 2, 120 + side / 2]])
    affine = crop_affines(box, np.array([0.2]))[0]
    crop = upright_crop(image, affine, CROP).astype(float)
    rows, columns = np.mgrid[4 : CROP - 4, 4 : CROP - 4]
    points = np.stack((columns.ravel(), rows.ravel()), axis=1)
    source = (points - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T
    inside = ((source > 8) & (source < 247)).all(axis=1)
    shown = crop[rows.ravel(), columns.ravel(), :2]
    np.testing.assert_allclose(shown[inside], source[inside], atol=1.6)


def test_a_crop_of_a_frame_that_is_not_reduced_has_the_colours_of_its_pixels() -> None:
    """Asked for its own size, a frame averages its chroma instead of reading it between its samples."""
    layout = PixelLayout.find("yuv420p")
    assert layout is not None
    noise = np.random.default_rng(7)
    planes = tuple(noise.integers(30, 220, layout.plane_hw(n, (120, 160))).astype(np.uint8) for n in range(3))
    frame = Frame(planes, layout, Colour("bt709", full_range=False, chroma_offset_xy=(0, 0.5)))
    affine = crop_affines(np.array([[40.0, 30.0, 80.0, 70.0]]), np.array([0.3]))[0]
    np.testing.assert_array_equal(upright_crop(frame, affine, CROP), upright_crop(frame.rgb(), affine, CROP))


def test_a_crop_far_outside_is_made_of_the_border() -> None:
    image = np.full((40, 60, 3), 77, np.uint8)
    for place in (-500.0, 2000.0):
        box = np.array([[place, place, place + 300, place + 300]])
        crop = upright_crop(image, crop_affines(box, np.zeros(1))[0], CROP)
        assert (crop == 77).all()


@pytest.mark.parametrize(("axis", "first"), [(0, True), (0, False), (1, True), (1, False)])
def test_half_a_face_at_the_border_is_found(
    compact: FaceDetector, photo: np.ndarray, seen: Found, axis: int, first: bool
) -> None:
    """The first or the last half of it, across (0) or down (1), with its landmarks about where they would be."""
    low, high = seen.boxes_xyxy[0, axis], seen.boxes_xyxy[0, axis + 2]
    middle = round(float(low + high) / 2)
    part = slice(0, middle) if first else slice(middle, None)
    (half,) = compact.candidates(np.ascontiguousarray(photo[:, part] if axis == 0 else photo[part]))
    off = np.zeros(2)
    off[axis] = 0 if first else middle
    assert half.score >= compact.threshold
    assert np.linalg.norm(half.landmarks + off - seen.landmarks[0], axis=1).mean() < 0.12 * float(high - low)


def test_proposals_beside_a_face_are_set_right(compact: FaceDetector, photo: np.ndarray, seen: Found) -> None:
    second_look = compact._finder.second_look
    assert second_look is not None
    root = float(np.sqrt((seen.boxes_xyxy[0, 2:] - seen.boxes_xyxy[0, :2]).prod()))
    for shift in ((0.12, 0), (-0.12, 0), (0, 0.12), (0, -0.12)):
        moved = np.array(shift, np.float32) * root
        proposal = Found(seen.boxes_xyxy + np.tile(moved, 2), seen.landmarks + moved, seen.scores)
        found = second_look(photo, proposal, 0.3)
        assert len(found) == 1
        assert np.linalg.norm(found.landmarks - seen.landmarks, axis=2).mean() < 0.04 * root


def test_a_proposal_without_a_face_is_dropped(compact: FaceDetector, photo: np.ndarray, seen: Found) -> None:
    second_look = compact._finder.second_look
    assert second_look is not None
    away = np.array([0, photo.shape[0] - 90], np.float32) - seen.boxes_xyxy[0, :2]
    wrong = Found(seen.boxes_xyxy + np.tile(away, 2), seen.landmarks + away, np.array([0.5], np.float32))
    assert len(second_look(photo, wrong, 0.3)) == 0
    assert len(second_look(photo, Found.none(), 0.3)) == 0


def test_many_proposals_of_one_face_are_one_face(compact: FaceDetector, photo: np.ndarray, seen: Found) -> None:
    """More of them than fill a batch."""
    second_look = compact._finder.second_look
    assert second_look is not None
    rng = np.random.default_rng(0)
    moved = rng.normal(0, 0.1 * (seen.boxes_xyxy[0, 2] - seen.boxes_xyxy[0, 0]), (70, 2)).astype(np.float32)
    many = Found(seen.boxes_xyxy + np.tile(moved, 2), seen.landmarks + moved[:, None], np.full(70, 0.5, np.float32))
    assert len(second_look(photo, many, 0.2)) == 1


def test_a_rolled_face_has_rolled_landmarks(compact: FaceDetector, photo: np.ndarray, seen: Found) -> None:
    height, width = photo.shape[:2]
    affine = cv2.getRotationMatrix2D((width / 2, height / 2), 30, 1.0)
    turned = cv2.warpAffine(photo, affine, (width, height)).astype(np.uint8)
    expected = seen.landmarks[0] @ affine[:, :2].T + affine[:, 2]
    best = max(compact(turned), key=lambda face: face.score)
    assert np.linalg.norm(best.landmarks - expected, axis=1).mean() < 0.06 * best.size


def test_engines_agree(photo: np.ndarray) -> None:
    (by_openvino,) = load_detector("compact", device="cpu", precision="fp32")(photo)
    (by_torch,) = load_detector("compact", device="cpu", engine="torch", precision="fp32")(photo)
    np.testing.assert_allclose(by_torch.landmarks, by_openvino.landmarks, atol=0.05)
    np.testing.assert_allclose(by_torch.box, by_openvino.box, atol=0.05)
    assert by_torch.score == pytest.approx(by_openvino.score, abs=1e-3)


@pytest.mark.skipif(not cpu_info().native_bf16, reason="this CPU has no bf16")
def test_proposals_in_bf16_lead_to_the_same_faces(photo: np.ndarray, compact: FaceDetector) -> None:
    """The stage that sets the coordinates stays in fp32."""
    (by_proposals_in_bf16,) = compact(photo)
    (exact,) = load_detector("compact", device="cpu", precision="fp32")(photo)
    np.testing.assert_allclose(by_proposals_in_bf16.landmarks, exact.landmarks, atol=0.005 * exact.size)
    assert by_proposals_in_bf16.score == pytest.approx(exact.score, abs=0.01)


@pytest.mark.parametrize(("scale", "step"), [(1.5, 1), (1.0, 1), (0.6, 1), (0.5, 2), (0.3, 2), (0.12, 8)])
def test_a_part_that_is_reduced_can_be_halved(scale: float, step: int) -> None:
    part = Region(101, 67, 333, 222)
    wider = halvable(part, scale, (720, 1280))
    assert wider.left <= part.left < wider.left + step
    assert wider.top <= part.top < wider.top + step
    assert wider.right - step < part.right <= wider.right
    assert wider.bottom - step < part.bottom <= wider.bottom
    assert all(side % step == 0 for side in (*wider.size_hw, wider.left, wider.top))


def test_a_part_stays_inside_its_picture() -> None:
    assert halvable(Region(3, 5, 101, 67), 0.2, (67, 101)) == Region(0, 4, 101, 67)
