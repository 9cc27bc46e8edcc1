"""Training of the detector's second stage: samples, loss, false alarms, a run that goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from runs import log_of, stopping_at

import revisage.models
from revisage.cli.app import run
from revisage.core.errors import InputError
from revisage.faces.detect import Found
from revisage.nets import CROP, OUTPUTS, decode_crops
from revisage.train.detector.accuracy import DetectorMeasures
from revisage.train.detector.patches import (
    RefineDataset,
    RefinePatch,
    behind_hand,
    coded_copies,
    cut_off,
    face_patches,
    load_patches,
    mine_false_alarms,
    proposal_affine,
    save_patches,
    targets_of,
    upright_size,
    vary,
    weighed,
)
from revisage.train.detector.scenes import LabelledImage, load_scenes
from revisage.train.detector.training import load_detector_weights, refine_loss, save_detector, train_refiner
from revisage.train.settings import RefineTrainConfig

PLACES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)


def scene_with(*boxes: tuple[float, float, float, float]) -> LabelledImage:
    rows = np.array(boxes, np.float32).reshape(-1, 4)
    landmarks = rows[:, None, :2] + PLACES * (rows[:, None, 2:] - rows[:, None, :2])
    pixels = np.random.default_rng(0).integers(0, 256, (160, 200, 3)).astype(np.uint8)
    return LabelledImage(pixels, rows, landmarks, np.ones(len(rows), bool))


def test_targets_are_what_decoding_gives_back() -> None:
    (patch,) = face_patches([scene_with((40, 30, 100, 110))])
    rng = np.random.default_rng(1)
    for _ in range(20):
        varied = vary(patch, rng)
        affine = proposal_affine(varied, rng)
        target = targets_of(varied, affine)
        raw = np.concatenate(([4.0], target[2:16]))[None]
        boxes, landmarks, _ = decode_crops(raw, affine[None])
        np.testing.assert_allclose(landmarks[0], varied.landmarks, atol=1e-3)
        centre = (varied.box[:2] + varied.box[2:]) / 2
        np.testing.assert_allclose((boxes[0, :2] + boxes[0, 2:]) / 2, centre, atol=1e-3)


def test_a_mirrored_patch_keeps_the_left_eye_on_the_left() -> None:
    (patch,) = face_patches([scene_with((40, 30, 100, 110))])
    for seed in range(8):
        points = vary(patch, np.random.default_rng(seed)).landmarks
        assert points[0, 0] < points[1, 0]
        assert points[3, 0] < points[4, 0]


def test_the_upright_size_undoes_a_turn() -> None:
    size = np.array([40.0, 60.0])
    for degrees in (0, 10, -20, 29):
        angle = np.radians(degrees)
        turned = np.sqrt(
            np.array([[np.cos(angle) ** 2, np.sin(angle) ** 2], [np.sin(angle) ** 2, np.cos(angle) ** 2]]) @ size**2
        )
        np.testing.assert_allclose(upright_size(turned, angle), size, rtol=1e-6)
    np.testing.assert_allclose(upright_size(size, np.pi / 4), np.sqrt(2400), rtol=1e-6)


def batch_of(dataset: RefineDataset, count: int) -> list[torch.Tensor]:
    return [torch.stack(parts) for parts in zip(*(dataset[index] for index in range(count)), strict=True)]


def test_samples_are_functions_of_their_number() -> None:
    patches = face_patches([scene_with((40, 30, 100, 110), (120, 60, 140, 90))])
    first = batch_of(RefineDataset(patches, [], seed=3), 6)
    again = batch_of(RefineDataset(patches, [], seed=3), 6)
    assert first[0].shape == (6, 3, CROP, CROP)
    assert len(torch.unique(first[0], dim=0)) == 6
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with pytest.raises(ValueError, match="nothing to learn"):
        RefineDataset([], [], seed=3)


def test_the_loss_of_a_perfect_answer_is_nearly_nothing() -> None:
    patches = face_patches([scene_with((40, 30, 100, 110))])
    targets = batch_of(RefineDataset(patches, [], seed=0), 8)[1]
    perfect = torch.cat((targets[:, :1] * 60 - 30, targets[:, 2:16]), 1)
    loss, parts = refine_loss(perfect, targets)
    assert float(loss) < 0.05  # the landmark term is rounded off at a hundredth of the eyes' distance
    assert float(parts["score"]) < 1e-6
    worse = perfect.clone()
    worse[:, 5] += 0.05
    assert float(refine_loss(worse, targets)[0]) > float(loss) + 0.01


def test_a_batch_of_false_alarms_alone_has_a_loss() -> None:
    loss, _ = refine_loss(torch.zeros(4, OUTPUTS, requires_grad=True), torch.zeros(4, 17))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(np.log(2), abs=1e-5)


def test_false_alarms_are_those_beside_faces_and_ignore_regions(tmp_path: Path) -> None:
    scene = scene_with((40, 30, 100, 110))
    boxes = np.array([[44, 34, 102, 112], [130, 20, 160, 60], [20, 120, 44, 150]], np.float32)
    points = boxes[:, None, :2] + PLACES * (boxes[:, None, 2:] - boxes[:, None, :2])
    found = Found(boxes, points, np.array([0.9, 0.5, 0.3], np.float32))
    alarms = mine_false_alarms([scene], lambda _: found, views=0, seed=0)
    assert len(alarms) == 2
    assert not any(alarm.face for alarm in alarms)
    save_patches(alarms, tmp_path / "alarms.npz")
    for kept, loaded in zip(alarms, load_patches(tmp_path / "alarms.npz"), strict=True):
        np.testing.assert_array_equal(kept.image, loaded.image)
        np.testing.assert_allclose(kept.box, loaded.box)
    save_patches([], tmp_path / "none.npz")
    assert load_patches(tmp_path / "none.npz") == []


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    folder = tmp_path / "scenes"
    folder.mkdir()
    rng = np.random.default_rng(0)
    points = [[30, 30], [50, 30], [40, 40], [32, 50], [48, 50]]
    face = {"box": [20, 15, 40, 50], "landmarks": points, "certain": True}
    perhaps = {"box": [70, 40, 20, 25], "landmarks": points, "certain": False}
    for index in range(5):
        cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (80, 100, 3), np.uint8))
    labels = {f"{k}.png": {"faces": [face, {**perhaps, "score": k / 5}]} for k in range(5)}
    (folder / "labels.json").write_text(json.dumps(labels), "utf-8")
    return folder


@pytest.fixture
def embedded() -> Path:
    return Path(revisage.models.__file__).parent / "embedded" / "compact-detector.safetensors"


@pytest.fixture
def first_stage(tmp_path: Path) -> Path:
    from revisage.nets import CompactDetector

    torch.manual_seed(0)
    save_detector(
        CompactDetector(), tmp_path / "first.safetensors", step=1, measures=DetectorMeasures(0.5, 0, 0, 0, 0, 0)
    )
    return tmp_path / "first.safetensors"


def alarm_of(level: int) -> RefinePatch:
    """A grey square that was taken for a face."""
    (patch,) = face_patches([scene_with((40, 30, 100, 110))])
    return replace(patch, image=np.full_like(patch.image, level), face=False)


def test_a_false_alarm_that_looks_like_a_face_is_drawn_more_often(tmp_path: Path) -> None:
    alarms = [alarm_of(level) for level in (0, 100, 250)]
    darkness = weighed(alarms, lambda crops: crops.mean(axis=(1, 2, 3), dtype=np.float32) / 255, surest=0.9)
    assert [round(alarm.weight, 2) for alarm in darkness] == [0.1, 0.49, 0.1]  # the surest may be a face
    save_patches(darkness, tmp_path / "alarms.npz")
    assert [alarm.weight for alarm in load_patches(tmp_path / "alarms.npz")] == [alarm.weight for alarm in darkness]

    (face,) = face_patches([scene_with((40, 30, 100, 110))])
    often = RefineDataset([face], [replace(alarms[0], weight=0.0), replace(alarms[2], weight=1.0)], seed=0)
    crops, targets = batch_of(often, 60)
    assert 10 < int((targets[:, 0] == 0).sum()) < 40
    assert (crops[targets[:, 0] == 0].float().mean(dim=(1, 2, 3)) > 40).all(), "one of no weight was drawn"


def test_a_face_behind_a_hand_is_the_same_face() -> None:
    (face,) = face_patches([scene_with((40, 30, 100, 110))])
    covered = behind_hand(face, np.random.default_rng(0))
    np.testing.assert_array_equal(covered.landmarks, face.landmarks)
    np.testing.assert_array_equal(covered.box, face.box)
    changed = (covered.image != face.image).any(axis=2).mean()
    assert 0.02 < changed < 0.8
    samples = [RefineDataset([face], [], seed=3, hands=hands) for hands in (False, True)]
    with_hands = [not torch.equal(samples[0][k][0], samples[1][k][0]) for k in range(20)]
    assert any(with_hands)


def test_a_face_cut_by_the_border_keeps_its_place_and_half_of_its_pixels() -> None:
    (face,) = face_patches([scene_with((40, 30, 100, 110))])
    for seed in range(12):
        cut = cut_off(face, np.random.default_rng(seed))
        np.testing.assert_array_equal(cut.landmarks, face.landmarks)
        np.testing.assert_array_equal(cut.box, face.box)
        left, top, right, bottom = (int(v) for v in face.box)
        same = (cut.image == face.image).all(axis=2)[top:bottom, left:right].mean()
        assert 0.35 < same < 0.85


def test_hard_false_alarms_need_weights_to_begin_with(scenes: Path, first_stage: Path) -> None:
    with pytest.raises(ValueError, match="set start"):
        RefineTrainConfig(scenes=scenes, detector=first_stage, hard=True)


def test_a_run_learns_from_drawn_hands(scenes: Path, embedded: Path, tmp_path: Path) -> None:
    config = RefineTrainConfig(
        scenes=scenes, detector=embedded, start=embedded, held_out=2, views=0, hands=3, hard=True, cut=True,
        batch=4, steps=1, warm_up_steps=0, log_every=1, checkpoint_every=1, workers=0,
    )  # fmt: skip
    train_refiner(config, tmp_path / "run")
    alarms = load_patches(tmp_path / "run" / "alarms.npz")
    assert len(alarms) > 3
    assert len({alarm.weight for alarm in alarms}) > 3, "all weigh the same"


@pytest.mark.parametrize("more", [{}, {"likely": 0.1, "coded": True, "optimiser": "muon"}], ids=["plain", "all of it"])
def test_a_stopped_run_goes_on_to_the_same_weights(scenes: Path, first_stage: Path, tmp_path: Path, more: dict) -> None:
    config = RefineTrainConfig(
        scenes=scenes, detector=first_stage, held_out=2, views=0, batch=4, steps=4, warm_up_steps=0, log_every=1,
        validate_every=2, checkpoint_every=2, workers=0, **more,
    )  # fmt: skip
    train_refiner(config, tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        train_refiner(config, tmp_path / "parts", progress=stopping_at(3))
    records: list[dict] = []
    train_refiner(config, tmp_path / "parts", resume=True, progress=records.append)
    assert [record["step"] for record in records if "loss" in record] == [3, 4]
    whole, about = load_detector_weights(tmp_path / "whole" / "weights.safetensors")
    parts, _ = load_detector_weights(tmp_path / "parts" / "weights.safetensors")
    assert whole.refine is not None
    assert about["config"]["refine"]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, atol=0, rtol=0, msg=name)


def test_a_run_goes_on_with_the_settings_it_was_begun_with(scenes: Path, first_stage: Path, tmp_path: Path) -> None:
    quick = ["held_out=2", "views=0", "batch=4", "steps=2", "log_every=1", "checkpoint_every=2", "workers=0"]
    pairs = [word for pair in [f"scenes={scenes}", f"detector={first_stage}", *quick] for word in ("--set", pair)]
    folder = tmp_path / "run"
    assert run(["train", "refiner", str(folder), *pairs]) == 0
    assert run(["train", "refiner", str(folder), *pairs]) == 2, "begun anew over a run"
    assert run(["train", "refiner", str(folder), "--resume", "--set", "steps=3", "--set", "validate_every=1"]) == 0
    assert [line["step"] for line in log_of(folder) if "loss" in line] == [1, 2, 3]


def test_missing_scenes_leave_no_folder(first_stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--set", f"scenes={tmp_path / 'none'}", "--set", f"detector={first_stage}"]
    assert run(["train", "refiner", str(tmp_path / "run"), *words]) == 2
    assert "labels.json is missing" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_likely_faces_are_learned_without_their_landmarks(scenes: Path) -> None:
    loaded, _ = load_scenes(scenes, likely=0.5)
    assert [scene.certain.tolist() for scene in loaded] == [[False, k / 5 >= 0.5] for k in range(5)]
    patches = face_patches(loaded, sure=False)
    assert len(patches) == 2
    targets = batch_of(RefineDataset(patches, [], seed=0), 8)[1]
    assert (targets[:, 0] == 1).all()
    answer = torch.zeros(8, OUTPUTS, requires_grad=True)
    refine_loss(answer, targets)[0].backward()
    assert (answer.grad[:, 5:] == 0).all()
    assert (answer.grad[:, :5].abs().sum(0) > 0).all()


def test_coded_copies_are_the_same_scenes_with_less_detail() -> None:
    scene = scene_with((40, 30, 100, 110))
    (coded,) = coded_copies([scene], seed=1)
    (again,) = coded_copies([scene], seed=1)
    np.testing.assert_array_equal(coded.image, again.image)
    np.testing.assert_array_equal(coded.boxes, scene.boxes)
    assert coded.image.shape == scene.image.shape
    assert coded.image.std() < 0.7 * scene.image.std()  # much of the noise is gone
    assert abs(float(coded.image.mean()) - float(scene.image.mean())) < 6


def test_no_scenes_to_learn_from_is_said(first_stage: Path, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.json is missing"):
        train_refiner(RefineTrainConfig(scenes=tmp_path, detector=first_stage), tmp_path / "run")
    with pytest.raises(InputError, match="too few readable scenes"):
        train_refiner(RefineTrainConfig(scenes=scenes, detector=first_stage, held_out=5), tmp_path / "run")
