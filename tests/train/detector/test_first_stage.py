"""The detector's loss, measures and training loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from runs import log_of, same, stopping_at
from safetensors.torch import save_file

from revisage.core.errors import InputError, ModelError, ProcessingError
from revisage.faces import Found
from revisage.nets import STRIDES, CompactDetector, cell_centres
from revisage.nets.compact_decoding import CHANNELS
from revisage.train.detector.accuracy import (
    DetectorMeasures,
    choose_threshold,
    judge_all,
    measure_detector,
)
from revisage.train.detector.scenes import LabelledImage, assign_targets
from revisage.train.detector.training import (
    detector_loss,
    generalised_iou,
    load_detector_weights,
    save_detector,
    train_detector,
)
from revisage.train.run_folder import read_checkpoint
from revisage.train.run_record import read_status
from revisage.train.settings import DetectorTrainConfig

PLACES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


def scene_of(boxes: list[list[float]], certain: list[bool]) -> LabelledImage:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return LabelledImage(np.zeros((128, 128, 3), np.uint8), rows, points_in(rows), np.array(certain, bool))


def points_in(rows: np.ndarray) -> np.ndarray:
    return (rows[:, None, :2] + PLACES * (rows[:, None, 2:] - rows[:, None, :2])).astype(np.float32)


def found(boxes: list[list[float]], scores: list[float]) -> Found:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    return Found(rows, points_in(rows), np.array(scores, np.float32))


def perfect_maps(target: np.ndarray, size: int) -> list[torch.Tensor]:
    """Maps that say exactly what the targets ask for."""
    cells = np.zeros((len(target), CHANNELS), np.float32)
    cells[:, 0] = np.where(target[:, 1] > 0, 30, -30)
    maps, start = [], 0
    for stride in STRIDES:
        side = size // stride
        rows = slice(start, start + side * side)
        centres = cell_centres(side, side, stride)
        here = target[rows, 1] > 0
        box, points = target[rows, 2:6], target[rows, 6:16].reshape(-1, 5, 2)
        sides = np.concatenate((centres - box[:, :2], box[:, 2:] - centres), 1) / stride
        level = cells[rows]
        level[here, 1:5] = np.log(sides[here])
        level[here, 5:] = ((points - centres[:, None]) / stride).reshape(-1, 10)[here]
        maps.append(torch.from_numpy(level.T.reshape(1, CHANNELS, side, side).copy()))
        start += side * side
    return maps


def test_generalised_iou_of_known_boxes() -> None:
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]])
    second = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [3, 0, 4, 1]])
    overlap, generalised = generalised_iou(first, second)
    torch.testing.assert_close(overlap, torch.tensor([1.0, 1 / 3, 0.0]))
    torch.testing.assert_close(generalised, torch.tensor([1.0, 1 / 3, -0.5]))


def test_the_loss_of_a_perfect_answer_is_zero() -> None:
    target = assign_targets(scene_of([[20, 24, 70, 84], [90, 90, 102, 104]], [True, True]), 128)
    loss, _ = detector_loss(perfect_maps(target, 128), torch.from_numpy(target)[None])
    assert float(loss) < 1e-4


def test_ignored_cells_have_no_gradient() -> None:
    target = assign_targets(scene_of([[20, 24, 70, 84]], [False]), 128)
    maps = [m.requires_grad_() for m in (torch.zeros(1, CHANNELS, 128 // s, 128 // s) for s in STRIDES)]
    detector_loss(maps, torch.from_numpy(target)[None])[0].backward()
    gradients = torch.cat([m.grad[0, 0].flatten() for m in maps if m.grad is not None]).numpy()
    assert (gradients[target[:, 0] == 0] == 0).all()
    assert (gradients[target[:, 0] == 1] > 0).all()


def test_measures_count_as_they_say() -> None:
    scene = scene_of(
        [[10, 10, 50, 50], [60, 10, 100, 50], [10, 70, 26, 90], [60, 60, 120, 120]], [True, True, True, False]
    )
    detections = found(
        [
            [10, 10, 50, 50],  # finds the first face
            [12, 10, 52, 50],  # finds it again: a false alarm
            [11, 70, 27, 90],  # finds the third, too small to count for recall
            [70, 70, 100, 100],  # in the ignore region: left out
            [0, 100, 20, 127],  # a false alarm
        ],
        [0.9, 0.8, 0.7, 0.6, 0.3],
    )
    measures = measure_detector([scene], lambda _: detections, threshold=0.25)
    assert (measures.faces, measures.detections) == (2, 4)
    assert measures.recall == pytest.approx(1 / 2)
    assert measures.precision == pytest.approx(2 / 4)
    assert measures.landmark_error == 0
    assert measure_detector([scene], lambda _: detections, threshold=0.5).precision == pytest.approx(2 / 3)


def test_landmark_error_is_in_eye_distances() -> None:
    scene = scene_of([[10, 10, 50, 50]], [True])
    seen = found([[10, 10, 50, 50]], [0.9])
    moved = seen.landmarks + np.array([1.6, 0], np.float32)  # the eyes are 16 px apart
    measures = measure_detector([scene], lambda _: Found(seen.boxes_xyxy, moved, seen.scores), threshold=0.5)
    assert measures.landmark_error == pytest.approx(0.1, abs=1e-5)


def test_nothing_found_nowhere_is_precise_but_useless() -> None:
    scene = scene_of([[10, 10, 50, 50]], [True])
    measures = measure_detector([scene], lambda _: found([], []), threshold=0.5)
    assert (measures.recall, measures.precision) == (0.0, 1.0)


def test_the_threshold_parts_true_from_false() -> None:
    scene = scene_of([[10, 10, 50, 50]], [True])
    detections = found([[10, 10, 50, 50], [70, 70, 100, 100]], [0.6, 0.4])
    chosen = choose_threshold(judge_all([scene], lambda _: detections))
    assert 0.4 < chosen.threshold <= 0.6
    assert (chosen.recall, chosen.precision) == (1.0, 1.0)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Six scenes, one of them corrupt, one without a face."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    labels = {}
    rng = np.random.default_rng(0)
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (80, 100, 3), np.uint8))
        points = [[30, 30], [50, 30], [40, 40], [32, 50], [48, 50]]
        face = {"box": [20, 15, 40, 50], "landmarks": points, "certain": True}
        labels[f"{index}.png"] = {"faces": [face] if index else []}
    (folder / "3.png").write_bytes(b"broken")
    (folder / "labels.json").write_text(json.dumps(labels), "utf-8")
    return folder


def quick_config(scenes: Path, steps: int) -> DetectorTrainConfig:
    return DetectorTrainConfig(
        scenes=scenes, held_out=2, size=64, batch=2, steps=steps, warm_up_steps=0, log_every=1,
        validate_every=2, checkpoint_every=2, workers=0,
    )  # fmt: skip


def test_a_stopped_run_goes_on_to_the_same_weights(scenes: Path, tmp_path: Path, monkeypatch) -> None:
    config = quick_config(scenes, steps=4)
    train_detector(config, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        train_detector(config, tmp_path / "parts", progress=stopping_at(3))
    records: list[dict] = []
    train_detector(config, tmp_path / "parts", resume=True, progress=records.append)
    assert [record["step"] for record in records if "loss" in record] == [3, 4]
    assert same(read_checkpoint(tmp_path / "parts"), read_checkpoint(tmp_path / "whole"))
    whole, _ = load_detector_weights(tmp_path / "whole" / "weights.safetensors")
    parts, _ = load_detector_weights(tmp_path / "parts" / "weights.safetensors")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, atol=0, rtol=0, msg=name)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", {"step": 3}, {"step": 3, "net": {"w": torch.zeros(1)}}])
def test_a_checkpoint_of_something_else_is_refused(scenes: Path, tmp_path: Path, content: Any) -> None:
    train_detector(quick_config(scenes, steps=2), tmp_path / "run")
    path = tmp_path / "run" / "last.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=r"last\.pt is (damaged or )?no checkpoint"):
        train_detector(quick_config(scenes, steps=4), tmp_path / "run", resume=True)


def test_a_loss_that_is_no_number_stops_the_run(scenes: Path, tmp_path: Path, monkeypatch) -> None:
    calls = iter(range(9))

    def spoilt(outputs: Any, targets: Any) -> Any:
        loss, parts = detector_loss(outputs, targets)
        return loss * (float("nan") if next(calls) == 2 else 1), parts

    monkeypatch.setattr("revisage.train.detector.training.detector_loss", spoilt)
    with pytest.raises(
        ProcessingError, match=r"not finite at step 3 \(samples 4 to 5\); the last good checkpoint is .*"
    ):
        train_detector(quick_config(scenes, steps=4), tmp_path / "run")
    assert (tmp_path / "run" / "weights.safetensors").is_file()


def test_a_run_says_what_it_was(scenes: Path, tmp_path: Path) -> None:
    train_detector(quick_config(scenes, steps=2), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "data.json").read_text("utf-8"))
    assert record["skipped"] == ["3.png is no image that can be decoded"]
    assert record["scenes"] + record["held_out"] == 5
    assert len(record["labels_sha256"]) == 64
    first, *steps, check = log_of(tmp_path / "run")
    assert (first["event"], first["skipped"]) == ("data", 1)
    assert [line["step"] for line in steps] == [1, 2]
    assert all(np.isfinite(line["loss"]) for line in steps)
    assert check["validation"]["held_out"].keys() >= {"threshold", "recall", "precision", "landmark_error"}
    status = "\n".join(read_status(tmp_path / "run").lines())
    assert "step 2 of 2" in status and "held_out at step 2: threshold" in status


def test_settings_are_checked(scenes: Path) -> None:
    with pytest.raises(ValidationError, match="batches"):
        DetectorTrainConfig.model_validate({"scenes": scenes, "batches": 3})
    with pytest.raises(ValidationError, match="multiple of 64"):
        DetectorTrainConfig(scenes=scenes, size=100)


def test_a_folder_without_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.json is missing"):
        train_detector(DetectorTrainConfig(scenes=tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_scenes_that_hold_out_leaves_none_of_are_refused(scenes: Path, tmp_path: Path) -> None:
    config = quick_config(scenes, steps=2).model_copy(update={"held_out": 6})
    with pytest.raises(InputError, match="too few readable scenes"):
        train_detector(config, tmp_path / "run")


def test_the_learning_rate_rises_then_falls() -> None:
    config = DetectorTrainConfig(scenes=Path(), steps=1000, warm_up_steps=100, learning_rate=1e-3)
    rates = [config.rate_at(step) for step in range(1001)]
    assert rates[99] == pytest.approx(1e-3)
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[1000] == pytest.approx(1e-5)


def test_weights_survive_the_file_at_half_precision(tmp_path: Path) -> None:
    model = CompactDetector()
    measures = DetectorMeasures(0.4, 0.9, 0.95, 0.05, 10, 12)
    save_detector(model, tmp_path / "w.safetensors", step=7, measures=measures)
    loaded, about = load_detector_weights(tmp_path / "w.safetensors")
    assert (about["threshold"], about["step"]) == (0.4, 7)
    assert not loaded.training
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=1e-3, rtol=1e-3, msg=name)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "w.safetensors", metadata={"revisage": '{"arch": "compact"}'})
    with pytest.raises(ModelError, match="does not hold a compact detector"):
        load_detector_weights(tmp_path / "w.safetensors")
