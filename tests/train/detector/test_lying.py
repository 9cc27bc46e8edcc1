"""The branch for faces that lie: what its cells learn, what that costs, and that nothing else of a detector changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from revisage import models
from revisage.core import ModelError
from revisage.nets import LYING_CHANNELS, STRIDES, cell_centres
from revisage.train.detector.lying import LYING_COLUMNS, assign_lying, lying_loss, quarter_turned, train_lying
from revisage.train.detector.scenes import LabelledImage, warp_faces
from revisage.train.run_record import read_run
from revisage.train.settings import LyingTrainConfig

SIZE = 128
PLACES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


def scene(box: tuple[float, float, float, float] = (50, 45, 80, 85)) -> LabelledImage:
    """One upright face."""
    rows = np.array([box], np.float32)
    points = rows[:, None, :2] + PLACES * (rows[:, None, 2:] - rows[:, None, :2])
    return LabelledImage(np.zeros((SIZE, SIZE, 3), np.uint8), rows, points.astype(np.float32), np.ones(1, bool))


def leaning(degrees: float) -> LabelledImage:
    affine = cv2.getRotationMatrix2D(((SIZE - 1) / 2, (SIZE - 1) / 2), -degrees, 1.0)
    return warp_faces(scene(), affine, SIZE)


def perfect_maps(target: np.ndarray) -> list[torch.Tensor]:
    """Maps that say exactly what the targets ask for."""
    maps, start = [], 0
    for stride in STRIDES:
        side = SIZE // stride
        rows = target[start : start + side * side]
        cells = np.zeros((len(rows), LYING_CHANNELS), np.float32)
        cells[:, 0] = np.where(rows[:, 1] > 0, 30, -30)
        here = rows[:, 1] > 0
        cells[here, 1:3] = (rows[here, 2:4] - cell_centres(side, side, stride)[here]) / stride
        cells[here, 3] = np.log(rows[here, 4] / stride)
        maps.append(torch.from_numpy(cells.T.reshape(1, LYING_CHANNELS, side, side).copy()))
        start += side * side
    return maps


@pytest.mark.parametrize("degrees", [60, 90, 135, 180, -90])
def test_a_face_that_lies_is_learnt_at_its_middle(degrees: float) -> None:
    view = leaning(degrees)
    target = assign_lying(view, SIZE)
    wanted = target[target[:, 1] > 0]
    assert target.shape == (sum((SIZE // s) ** 2 for s in STRIDES), LYING_COLUMNS)
    assert len(wanted) > 0 and (target[:, 0] == 1).all()
    middle = (view.boxes[0, :2] + view.boxes[0, 2:]) / 2
    np.testing.assert_allclose(wanted[:, 2:4], np.broadcast_to(middle, (len(wanted), 2)), rtol=1e-5)


def test_a_face_that_stands_is_background_and_one_between_is_nothing() -> None:
    upright, between = assign_lying(leaning(15), SIZE), assign_lying(leaning(46), SIZE)
    assert (upright[:, 0] == 1).all() and not upright[:, 1].any()
    assert (between[:, 0] == 0).any() and not between[:, 1].any()


def test_what_has_no_landmarks_is_ignored() -> None:
    unknown = replace(leaning(90), landmarks=np.full((1, 5, 2), np.nan, np.float32))
    target = assign_lying(unknown, SIZE)
    assert (target[:, 0] == 0).any() and not target[:, 1].any()


def test_a_right_answer_costs_nothing() -> None:
    target = assign_lying(leaning(90), SIZE)
    maps, targets = perfect_maps(target), torch.from_numpy(target)[None]
    assert float(lying_loss(maps, targets)[0]) == pytest.approx(0, abs=1e-4)
    wrong = [level + 1 for level in maps]
    assert all(float(part) > 0 for name, part in lying_loss(wrong, targets)[1].items() if name != "score")
    assert float(lying_loss([-level for level in maps], targets)[1]["score"]) > 1


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_scene_turns_with_its_labels(quarters: int) -> None:
    before = scene((20, 10, 40, 34))
    image = np.zeros((60, 90, 3), np.uint8)
    x, y = np.round(before.landmarks[0, 2]).astype(int)
    image[y, x] = 255
    turned = quarter_turned(replace(before, image=image), quarters)
    place = np.argwhere(turned.image[..., 0])[0][::-1]
    assert np.abs(turned.landmarks[0, 2] - place).max() <= 0.51


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    folder = tmp_path / "scenes"
    folder.mkdir()
    labels = {}
    random = np.random.default_rng(0)
    for number in range(5):
        cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 256, (SIZE, SIZE, 3), np.uint8))
        face = {"box": [50, 45, 30, 40], "landmarks": scene().landmarks[0].tolist(), "certain": True}
        labels[f"{number}.png"] = {"faces": [face]}
    (folder / "labels.json").write_text(json.dumps(labels), "utf-8")
    return folder


def test_a_branch_is_learnt_beside_a_detector_that_stays_as_it_is(scenes: Path, tmp_path: Path) -> None:
    start = models.local_path("compact-detector")
    config = LyingTrainConfig(
        scenes=scenes, start=start, held_out=2, size=64, batch=2, steps=2, warm_up_steps=1, log_every=1,
        validate_every=2, checkpoint_every=2, workers=0, precision="fp32",
    )  # fmt: skip
    train_lying(config, tmp_path / "run")
    weights = tmp_path / "run" / "weights.safetensors"
    before, after = models.load_state(start), models.load_state(weights)
    assert before.keys() == after.keys()
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(same[name] for name in same if not name.startswith("lying."))
    assert not all(same[name] for name in same if name.startswith("lying."))
    about = models.metadata(weights)
    assert about["threshold"] == models.metadata(start)["threshold"]
    assert {"step", "score", "recall_90", "recall_180", "recall_270"} == set(about["lying"])
    assert read_run(tmp_path / "run").is_detector
    with pytest.raises(ModelError, match="a branch of another width"):
        train_lying(config.model_copy(update={"width": 8}), tmp_path / "second")
