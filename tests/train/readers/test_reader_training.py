"""A reader's training: what is drawn before faces, how labels follow a view, and a run from settings to weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from runs import log_of

from revisage import models
from revisage.core import InputError, ModelError
from revisage.nets import CompactReader
from revisage.readers import load_reader
from revisage.train.readers.cover import cover_losses, shown_and_covered, train_cover
from revisage.train.readers.faces import View, sample, trusted_faces, window_units
from revisage.train.readers.hints import TrunkTeacher, map_error
from revisage.train.readers.occluders import OCCLUDERS, occlude
from revisage.train.readers.teachers import MIRRORED, Labels, Teachers, mirrored_landmarks
from revisage.train.readers.training import reader_losses, train_reader
from revisage.train.run_record import read_run
from revisage.train.settings import CoverTrainConfig, ReaderTrainConfig

FACES = ("london_0000", "london_0010", "us_council_0000", "us_council_0010", "faker_0000", "faker_0040")


@pytest.fixture(scope="module")
def faces(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    for name in FACES:
        [file] = list((shared / "faces" / "test512").glob(f"{name}.webp"))
        image = cv2.resize(cv2.imread(str(file)), (256, 256), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


@pytest.fixture(scope="module")
def labels(shared: Path, faces: Path) -> Labels:
    images = [cv2.imread(str(file))[..., ::-1] for file in sorted(faces.iterdir())]
    return Teachers(shared / "weights")(np.ascontiguousarray(images))


def test_teachers_see_the_face_where_an_aligned_crop_has_it(labels: Labels) -> None:
    assert trusted_faces(labels).all()
    assert np.abs(labels.pose).max() < 30
    assert (labels.identity * labels.mirrored).sum(1).min() > 0.8
    assert labels.expression.sum(1) == pytest.approx(1, abs=1e-5)


def test_mirroring_twice_gives_the_same_landmarks(labels: Labels) -> None:
    assert sorted(MIRRORED) == list(range(68))
    assert mirrored_landmarks(mirrored_landmarks(labels.landmarks)) == pytest.approx(labels.landmarks, abs=1e-6)
    # Frontal faces are about their own mirror image: a wrong order would tear them apart.
    assert np.abs(mirrored_landmarks(labels.landmarks) - labels.landmarks).max() < 0.15


def test_labels_follow_what_the_window_shows(labels: Labels) -> None:
    face = np.zeros((256, 256, 3), np.uint8)
    x, y = labels.landmarks[0, 30] * 256 - 0.5
    cv2.circle(face, (round(x), round(y)), 4, (255, 255, 255), -1)
    view = View(turn=20, zoom=0.1, shift=(0.05, -0.03))
    shown, _, pose, landmarks, _, visible = sample(face, labels, 0, view, mirrored=False, hidden=None)
    rows, columns = np.nonzero(shown[0].numpy() > 200)
    found = (np.array([columns.mean(), rows.mean()]) + 0.5) / 56 - 1
    assert landmarks[30].numpy() == pytest.approx(found, abs=0.02)
    assert float(pose[2]) == pytest.approx(labels.pose[0, 2] + 20)
    assert visible.all()


def test_mirrored_labels_follow_the_mirrored_face(labels: Labels) -> None:
    face = np.zeros((256, 256, 3), np.uint8)
    _, identity, pose, landmarks, _, _ = sample(face, labels, 0, View(), mirrored=True, hidden=None)
    assert np.array_equal(identity, labels.mirrored[0])
    assert pose.numpy() == pytest.approx(labels.pose[0] * (-1, 1, -1))
    mirrored = window_units(mirrored_landmarks(labels.landmarks[0]), View().affine(256), 256)
    assert landmarks.numpy() == pytest.approx(mirrored)


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_a_mask_is_of_the_pictures_size(kind: str) -> None:
    mask, paint = OCCLUDERS[kind](np.full((144, 144, 3), 120, np.uint8), np.random.default_rng(3))
    assert mask.shape == (144, 144)
    assert mask.any()
    assert np.shape(paint) in ((3,), (144, 144, 3))


def test_letters_are_of_one_colour_and_some_have_an_outline_of_another() -> None:
    face, outlined = np.full((256, 256, 3), 120, np.uint8), 0
    for seed in range(20):
        mask, paint = OCCLUDERS["lettering"](face, np.random.default_rng(seed))
        if np.ndim(paint) == 3:
            shades = np.asarray(paint)[mask == 255]
            ends = np.unique(shades.reshape(-1, 3), axis=0)
            outlined += len(ends) > 1
            assert 0.002 < (mask > 127).mean() < 0.5
    assert outlined > 5


def test_what_is_drawn_hides_and_the_rest_stays() -> None:
    image = np.random.default_rng(0).integers(0, 256, (144, 144, 3), np.uint8)
    for seed in range(12):
        covered, hidden = occlude(image, np.random.default_rng(seed))
        again, _ = occlude(image, np.random.default_rng(seed))
        assert np.array_equal(covered, again)
        assert 0 < hidden.mean() < 0.9
        changed = (covered != image).any(axis=2)
        assert changed[hidden].mean() > 0.95
        edge = cv2.dilate(hidden.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        assert not changed[~edge].any()


def test_a_surface_gives_texture_to_what_is_solid() -> None:
    image = np.full((144, 144, 3), 120, np.uint8)
    surface = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    deviations = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        covered, hidden = occlude(image, random, kinds=["veil"], surface=surface)
        inside = cv2.erode(hidden.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        deviations.append(covered[inside].astype(float).std(axis=0).mean())
    assert max(deviations) > 12
    plain, _ = occlude(image, np.random.default_rng(0), kinds=["veil"])
    assert (plain != 120).any()


def test_what_is_covered_follows_the_view() -> None:
    face, hidden = np.zeros((144, 144, 3), np.uint8), np.zeros((144, 144), bool)
    face[60:80, 50:90] = 255
    hidden[60:80, 50:90] = True
    shown, covered = shown_and_covered(face, hidden, View(turn=15, zoom=0.1, shift=(0.04, -0.02)))
    bright = cv2.resize(shown[0].numpy(), (56, 56), interpolation=cv2.INTER_AREA) / 255
    assert np.abs(bright - covered.numpy()).max() < 0.02
    assert 0.05 < covered.mean() < 0.5


def test_a_right_cover_costs_nothing_and_a_wrong_one_much() -> None:
    covered = torch.zeros(1, 56, 56)
    covered[:, 20:30] = 1
    right, wrong = (cover_losses(sign * (2 * covered - 1) * 20, covered) for sign in (1, -1))
    assert float(sum(right.values())) == pytest.approx(0, abs=1e-3)
    assert all(float(wrong[name]) > float(right[name]) + 0.1 for name in right)


def test_a_branch_is_learnt_beside_a_reader_that_stays_as_it_is(faces: Path, tmp_path: Path) -> None:
    start = models.local_path("compact-reader")
    config = CoverTrainConfig(
        data=({"path": faces},),
        start=start,
        surfaces=faces,
        steps=2,
        batch=2,
        held_out=2,
        warm_up_steps=1,
        precision="fp32",
        threads=1,
        workers=0,
        log_every=1,
        validate_every=2,
    )
    train_cover(config, tmp_path / "run")
    weights = tmp_path / "run" / "weights.safetensors"
    before, after = models.load_state(start), models.load_state(weights)
    assert before.keys() == after.keys()
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(same[name] for name in same if not name.startswith("cover."))
    assert not all(same[name] for name in same if name.startswith("cover."))
    assert models.metadata(weights)["config"]["cover"] == 24
    assert read_run(tmp_path / "run").is_reader
    assert load_reader(weights)(np.zeros((1, 64, 64, 3), np.uint8)).cover is not None
    with pytest.raises(ModelError, match="holds no face reader"):
        train_cover(config.model_copy(update={"start": models.local_path("compact")}), tmp_path / "second")


def test_a_right_answer_costs_nothing_and_a_hidden_landmark_less() -> None:
    targets = [torch.ones(1, 128), torch.zeros(1, 3), torch.zeros(1, 68, 2), torch.eye(7)[:1], torch.ones(1, 68)]
    right = [*targets[:3], 40 * torch.eye(7)[:1], 40 * torch.ones(1, 68)]
    assert all(float(loss) == pytest.approx(0, abs=1e-5) for loss in reader_losses(right, targets).values())
    wrong = [*right[:2], targets[2] + 0.1, *right[3:]]
    seen = reader_losses(wrong, targets)["landmarks"]
    unseen = reader_losses(wrong, [*targets[:4], torch.zeros(1, 68)])["landmarks"]
    assert 0 < unseen < seen


def test_a_run_leaves_weights_that_read(shared: Path, faces: Path, tmp_path: Path) -> None:
    config = ReaderTrainConfig(
        data=({"path": faces},),
        teachers=shared / "weights",
        blockwise_steps=1,
        imitation_steps=1,
        cache=tmp_path / "cache",
        steps=2,
        batch=2,
        held_out=2,
        warm_up_steps=1,
        precision="fp32",
        threads=1,
        workers=0,
        log_every=1,
        validate_every=2,
    )
    train_reader(config, tmp_path / "run")
    train_reader(config.model_copy(update={"steps": 3}), tmp_path / "run", resume=True)
    weights = tmp_path / "run" / "weights.safetensors"
    about = models.metadata(weights)
    assert about["step"] == 3
    assert about["config"] == {"width": 64, "hidden": 160}
    lines = [line for line in log_of(tmp_path / "run") if "identity" in line]
    lessons = [(line["step"], {"parts", "chain", "hints"} & line.keys()) for line in lines]
    assert lessons == [(1, {"parts"}), (2, {"chain"}), (3, {"hints"})]
    assert len(list((tmp_path / "cache").glob("*.labels.npz"))) == 1
    run = read_run(tmp_path / "run")
    assert run.is_reader
    assert run.size == 112
    assert len(load_reader(weights)(np.zeros((1, 64, 64, 3), np.uint8))) == 1


def test_parts_are_taught_by_the_teacher_s_maps_of_the_same_place(shared: Path) -> None:
    teacher, net = TrunkTeacher(shared / "weights"), CompactReader().eval()
    shown = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        maps, mine = teacher.maps(net, shown), net.identity.maps(net.normalised(shown))
        assert [map_.shape for map_ in maps] == [map_.shape for map_ in mine]
        assert teacher.part_errors(net, shown, maps).item() > 1
        assert teacher.hint_error(mine, maps).item() > 0.5
        assert teacher.chain_error(mine, maps).item() > teacher.hint_error(mine, maps).item()
        assert teacher.chain_error(maps, maps).item() == teacher.hint_error(maps, maps).item() == 0
        # Blocks that keep a map's size are built as the teacher's: with its weights they have nothing to learn.
        net.identity.features[0].load_state_dict(teacher.net.features[1].state_dict())
        assert map_error(net.identity.features[0](maps[0]), maps[1]).item() == pytest.approx(0, abs=1e-9)


def test_a_run_begins_with_a_reader_s_weights(shared: Path, faces: Path, tmp_path: Path) -> None:
    settings = {"data": ({"path": faces},), "teachers": shared / "weights", "batch": 2, "held_out": 2, "workers": 0}
    settings |= {"cache": tmp_path / "cache", "steps": 1, "threads": 1, "precision": "fp32"}
    config = ReaderTrainConfig.model_validate(settings)
    train_reader(config, tmp_path / "first")
    start = tmp_path / "first" / "weights.safetensors"
    train_reader(config.model_copy(update={"start": start, "learning_rate": 1e-9}), tmp_path / "second")
    first, second = (models.load_state(tmp_path / run / "weights.safetensors") for run in ("first", "second"))
    assert torch.allclose(first["answers.weight"].float(), second["answers.weight"].float(), atol=1e-4)
    with pytest.raises(ModelError, match="holds no reader of this size"):
        foreign = shared / "weights" / "identity" / "mobilefacenet.fp16.safetensors"
        train_reader(config.model_copy(update={"start": foreign}), tmp_path / "third")


def test_teachers_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no identity/mobilefacenet.fp16.safetensors: name the folder"):
        Teachers(tmp_path)
