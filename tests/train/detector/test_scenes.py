"""Samples for the detector: labels follow the pixels, targets reach the right cells, bad files are counted."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.nets import STRIDES, cell_centres
from revisage.train.detector.scenes import (
    TARGET_COLUMNS,
    DetectorDataset,
    LabelledImage,
    assign_targets,
    cover_mouth,
    damage_image,
    face_weights,
    load_aligned_faces,
    load_scenes,
    random_view,
    warp_faces,
)

SIZE = 128
CENTRES = np.concatenate([cell_centres(SIZE // s, SIZE // s, s) for s in STRIDES])


def scene_of(*boxes: tuple[float, float, float, float], certain: bool = True) -> LabelledImage:
    """Grey scene of 128 px with a face per box; landmarks at fixed places in it."""
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    landmarks = rows[:, None, :2] + places * (rows[:, None, 2:] - rows[:, None, :2])
    return LabelledImage(np.full((SIZE, SIZE, 3), 90, np.uint8), rows, landmarks, np.full(len(rows), certain))


def test_identity_changes_no_label() -> None:
    scene = scene_of((20, 30, 60, 80))
    same = warp_faces(scene, np.eye(2, 3), SIZE)
    np.testing.assert_allclose(same.boxes, scene.boxes, atol=1e-4)
    np.testing.assert_allclose(same.landmarks, scene.landmarks, atol=1e-4)
    assert same.certain.all()


def test_mirroring_keeps_the_left_eye_on_the_left() -> None:
    mirror = np.array([[-1.0, 0, SIZE - 1], [0, 1, 0]])
    points = warp_faces(scene_of((20, 30, 60, 80)), mirror, SIZE).landmarks[0]
    assert points[0, 0] < points[1, 0]
    assert points[3, 0] < points[4, 0]


def test_a_quarter_turn_swaps_the_sides_of_a_box() -> None:
    turn = np.array([[0.0, -1, SIZE - 1], [1, 0, 0]])
    box = warp_faces(scene_of((20, 30, 60, 90)), turn, SIZE).boxes[0]
    np.testing.assert_allclose(box, [SIZE - 1 - 90, 20, SIZE - 1 - 30, 60], atol=1e-3)


def test_a_face_half_out_of_view_or_tiny_is_ignored_not_background() -> None:
    away = np.array([[1.0, 0, -50], [0, 1, 0]])
    assert warp_faces(scene_of((20, 30, 60, 80)), away, SIZE).certain.tolist() == [False]
    shrunk = np.array([[0.1, 0, 0], [0, 0.1, 0]])
    assert warp_faces(scene_of((20, 30, 60, 80)), shrunk, SIZE).certain.tolist() == [False]


def test_a_face_out_of_view_is_dropped() -> None:
    away = np.array([[1.0, 0, -200], [0, 1, 0]])
    assert len(warp_faces(scene_of((20, 30, 60, 80)), away, SIZE).boxes) == 0


@settings(max_examples=80, deadline=None)
@given(side=st.floats(8, 120), x=st.floats(0, 1), y=st.floats(0, 1))
def test_every_face_has_cells_that_learn_it(side: float, x: float, y: float) -> None:
    left, top = x * (SIZE - 1 - side), y * (SIZE - 1 - side)
    scene = scene_of((left, top, left + side, top + side))
    target = assign_targets(scene, SIZE)
    assert target.shape == (len(CENTRES), TARGET_COLUMNS)
    learning = target[:, 1] > 0
    assert learning.any()
    np.testing.assert_allclose(target[learning, 2:6], np.repeat(scene.boxes, learning.sum(), 0))
    np.testing.assert_allclose(target[learning, 6:16], np.repeat(scene.landmarks.reshape(1, 10), learning.sum(), 0))
    assert (target[:, 0] == 1).all()


def test_an_uncertain_face_is_neither_target_nor_background() -> None:
    target = assign_targets(scene_of((20, 30, 60, 80), certain=False), SIZE)
    inside = ((CENTRES > (20, 30)) & (CENTRES < (60, 80))).all(1)
    assert (target[:, 1] == 0).all()
    assert (target[inside, 0] == 0).all()
    assert (target[-1, 0], target[0, 0]) == (1, 1)


def test_the_smaller_of_two_faces_has_the_shared_cells() -> None:
    small, large = (40.0, 40.0, 60.0, 60.0), (30.0, 30.0, 74.0, 74.0)
    target = assign_targets(scene_of(small, large), SIZE)
    cell = np.flatnonzero((CENTRES == (51.5, 51.5)).all(1))[0]
    assert target[cell, 2:6].tolist() == list(small)


def test_unknown_landmarks_have_no_weight() -> None:
    scene = scene_of((20, 30, 60, 80))
    scene.landmarks[:] = np.nan
    target = assign_targets(scene, SIZE)
    assert np.isfinite(target).all()
    assert (target[:, 16] == 0).all()


def test_pixels_and_labels_move_together() -> None:
    """A white face on black: the centre of its box in the view is that of the white, which the box cannot cut."""
    scene = scene_of((40, 40, 79, 79))
    scene.image[:] = 0
    scene.image[40:80, 40:80] = 255
    compared = 0
    for seed in range(40):
        view = random_view(scene, np.zeros((SIZE, SIZE, 3), np.uint8), np.random.default_rng(seed))
        ys, xs = np.nonzero(view.image[..., 0] > 127)
        if len(xs) and min(xs.min(), ys.min()) > 0 and max(xs.max(), ys.max()) < SIZE - 1:
            left, top, right, bottom = view.boxes[0]
            assert abs((left + right) / 2 - xs.mean()) < 0.6
            assert abs((top + bottom) / 2 - ys.mean()) < 0.6
            compared += 1
    assert compared >= 10


def test_samples_depend_on_seed_and_index_alone() -> None:
    scenes = [scene_of((20, 30, 60, 80)), scene_of()]
    first, again = (DetectorDataset(scenes, [], size=64, seed=5) for _ in range(2))
    for index in (7, 0, 3):
        for ours, theirs in zip(first[index], again[index], strict=True):
            assert (ours == theirs).all()
    other = DetectorDataset(scenes, [], size=64, seed=6)
    assert any((first[i][0] != other[i][0]).any() for i in range(3))


def test_scenes_without_a_face_are_refused() -> None:
    with pytest.raises(ValueError, match="no scene with a certain face"):
        DetectorDataset([scene_of()], [], size=64, seed=0)


def test_a_corrupt_image_is_skipped_and_counted(tmp_path: Path) -> None:
    face = {"box": [1, 2, 20, 30], "landmarks": None, "certain": True}
    cv2.imwrite(str(tmp_path / "good.png"), np.full((40, 50, 3), (10, 20, 30), np.uint8))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG not really")
    labels = {name: {"faces": [face]} for name in ("good.png", "bad.png", "missing.png")}
    (tmp_path / "labels.json").write_text(json.dumps(labels), "utf-8")
    scenes, skipped = load_scenes(tmp_path)
    assert len(scenes) == 1
    assert skipped == [f"{name}.png is no image that can be decoded" for name in ("bad", "missing")]
    assert scenes[0].image[0, 0].tolist() == [30, 20, 10]  # RGB, from a BGR writer
    assert scenes[0].boxes.tolist() == [[1, 2, 21, 32]]


def test_aligned_faces_get_the_template_box(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((128, 128, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"")
    scenes, skipped = load_aligned_faces([tmp_path / "a.png", tmp_path / "b.png"])
    assert skipped == ["b.png is no image that can be decoded"]
    np.testing.assert_allclose(scenes[0].boxes, [[30.2, 23.6, 98.85, 116.75]], atol=0.01)
    assert np.isnan(scenes[0].landmarks).all()


def test_damage_keeps_the_shape_and_follows_the_generator() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    changed = 0
    for seed in range(30):
        first, again = (damage_image(image.copy(), np.random.default_rng(seed)) for _ in range(2))
        assert first.shape == image.shape
        assert first.dtype == np.uint8
        assert (first == again).all()
        changed += bool((first != image).any())
    assert 20 <= changed < 30


def test_a_mask_covers_the_mouth_and_spares_the_eyes() -> None:
    landmarks = scene_of((20, 20, 100, 110)).landmarks[0]
    for seed in range(10):
        image = np.full((SIZE, SIZE, 3), 255, np.uint8)
        cover_mouth(image, landmarks, np.random.default_rng(seed))
        (ex, ey), (mx, my) = landmarks[0], landmarks[3:].mean(0)
        assert (image[round(ey), round(ex)] == 255).all()
        assert (image[round(my), round(mx)] != 255).any()


def test_turned_faces_count_more_and_uncertain_ones_not() -> None:
    scene = scene_of((0, 0, 40, 40), (50, 0, 90, 40), (50, 50, 90, 90), (0, 50, 40, 90))
    scene.landmarks[1, 1] = scene.landmarks[1, 0] + (12, 0)
    scene.landmarks[2, 1] = scene.landmarks[2, 0] + (2, 0)
    scene.certain[3] = False
    assert face_weights(scene).tolist() == [1, 3, 6, 0]
