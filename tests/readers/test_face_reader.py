"""A reader around a network: crops of any size in, readings in the crops' own px out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from revisage.core import ModelError
from revisage.faces import ffhq_template
from revisage.nets import CompactReader
from revisage.readers import (
    EXPRESSIONS,
    FaceReadings,
    NetReader,
    believed_cover,
    eye_openings,
    load_reader,
    mouth_openings,
)
from revisage.restorers import RestorerInfo


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = CompactReader(width=16, hidden=16)
    path = tmp_path_factory.mktemp("reader") / "reader.safetensors"
    about = {"arch": "compact-reader", "config": {"width": 16, "hidden": 16}}
    save_file(net.state_dict(), path, metadata={"revisage": json.dumps(about)})
    return path


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), np.uint8)


def test_shapes_and_units(weights: Path, crops: np.ndarray) -> None:
    read = load_reader(weights)(crops)
    assert len(read) == 3
    assert np.linalg.norm(read.identity, axis=1) == pytest.approx(1, abs=1e-5)
    assert read.expression.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert read.expression.shape[1] == len(EXPRESSIONS)
    assert ((read.visibility >= 0) & (read.visibility <= 1)).all()
    assert read.eye_opening.shape == (3, 2)
    assert read.mouth_opening.shape == (3,)


def test_a_batch_reads_what_its_crops_read(weights: Path, crops: np.ndarray) -> None:
    reader = load_reader(weights)
    whole = reader(crops)
    for index in range(len(crops)):
        single = reader(crops[index : index + 1])
        for name in ("identity", "pose", "landmarks", "expression", "visibility"):
            assert getattr(single, name)[0] == pytest.approx(getattr(whole, name)[index], abs=2e-3), name


def test_openvino_reads_what_torch_reads(weights: Path, crops: np.ndarray) -> None:
    ours, theirs = (load_reader(weights, engine=engine)(crops) for engine in ("openvino", "torch"))
    for name in ("identity", "landmarks", "visibility"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-3), name


def test_what_is_before_a_face_is_told_in_cells_of_the_crop() -> None:
    """A network that says that something covers the left half of its window: of the crop it is the left half too."""

    class Fixed:
        name, precision, device = "fixed", "fp32", "cpu"

        def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
            shapes = ((128,), (3,), (68, 2), (7,), (68,))
            cover = np.full((len(batch), 56, 56), -20, np.float32)
            cover[:, :, :28] = 20
            return [*(np.ones((len(batch), *shape), np.float32) for shape in shapes), cover]

    read = NetReader(Fixed(), load_info())(np.zeros((2, 256, 256, 3), np.uint8))
    assert read.cover is not None
    assert read.cover.shape == (2, 64, 64)
    assert read.cover[:, :, :30].min() > 0.99
    assert read.cover[:, :, 34:].max() < 0.01
    assert read[:1].cover is not None and len(read[:1].cover) == 1
    with pytest.raises(ValueError, match="cover: expected"):
        FaceReadings(*(np.zeros((2, *s), np.float32) for s in ((128,), (3,), (68, 2), (7,), (68,), (9, 9))))


def test_a_patch_counts_where_it_is_sure_or_hides_a_landmark() -> None:
    cover, visibility = np.zeros((2, 64, 64), np.float32), np.ones((2, 68), np.float32)
    cover[:, 10:20, 10:20] = 0.9
    cover[:, 40:45, 30:41] = 0.7
    cover[:, 55:63, 20:30] = 0.8
    points = np.full((2, 68, 2), 128, np.float32)
    points[:, 0], visibility[0, 0] = (4 * 37, 4 * 44), 0.1
    rest = (np.zeros((2, wide), np.float32) for wide in (128, 3, 7))
    identity, pose, expression = rest
    believed = believed_cover(FaceReadings(identity, pose, points, expression, visibility, cover), 256)
    assert believed is not None
    assert believed[0, 40:45, 30:41].min() == np.float32(0.7)
    assert not believed[1, 30:50].any()
    # What is large and sure counts by itself, what is small or doubtful does not.
    assert believed[:, 10:20, 10:20].min() == np.float32(0.9)
    assert believed[:, 55:63, 20:30].min() == np.float32(0.8)
    small = np.where(cover == np.float32(0.9), np.float32(0.79), np.float32(0))
    small[:, 55:62, 20:31] = 0.99
    doubted = believed_cover(FaceReadings(identity, pose, points, expression, np.ones_like(visibility), small), 256)
    assert doubted is not None
    assert not doubted.any()
    assert believed_cover(FaceReadings(identity, pose, points, expression, visibility), 256) is None


def test_no_crops_give_no_readings(weights: Path) -> None:
    assert len(load_reader(weights)(np.zeros((0, 64, 64, 3), np.uint8))) == 0


def test_landmarks_are_in_the_crops_own_pixels() -> None:
    """A network that says the middle of the left and right eye, whatever it sees."""

    class Fixed:
        name, precision, device = "fixed", "fp32", "cpu"

        def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
            eyes = (np.array([[38.2946, 51.6963], [73.5318, 51.5014]]) + 0.5) / 56 - 1
            points = np.tile(eyes, (34, 1))[None].astype(np.float32)
            ones = [np.ones((1, n), np.float32) for n in (128, 3)]
            return [*ones, points, np.ones((1, 7), np.float32), np.ones((1, 68), np.float32)]

    for size in (128, 512):
        read = NetReader(Fixed(), load_info())(np.zeros((1, size, size, 3), np.uint8))
        # The two templates are not quite similar figures: a least-squares fit leaves some px of 512.
        assert read.landmarks[0, :2] == pytest.approx(ffhq_template(size)[:2], abs=size / 60)


def load_info() -> RestorerInfo:

    return RestorerInfo("fixed", "compact-reader", "torch", "fp32", "cpu", "this", "0" * 64, "none")


@pytest.mark.parametrize(
    "crops",
    [np.zeros((1, 8, 9, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.float32), [1]],
)
def test_other_arrays_are_refused(weights: Path, crops: object) -> None:
    with pytest.raises(ValueError, match="expected crops as uint8"):
        load_reader(weights)(crops)  # type: ignore[arg-type]


def test_another_network_is_refused() -> None:
    with pytest.raises(ModelError, match="no face reader"):
        load_reader("compact")


def test_openings_follow_from_landmarks() -> None:
    points = np.zeros((2, 68, 2), np.float32)
    points[:, 36:42] = [(0, 0), (1, -1), (2, -1), (3, 0), (2, 1), (1, 1)]
    points[:, 42:48] = [(6, 0), (7, 0), (8, 0), (9, 0), (8, 0), (7, 0)]
    points[:, 60:68] = [(0, 5), (1, 4), (2, 4), (3, 4), (4, 5), (3, 6), (2, 6), (1, 6)]
    assert eye_openings(points) == pytest.approx(np.array([[2 / 3, 0], [2 / 3, 0]]))
    assert mouth_openings(points) == pytest.approx(np.array([0.5, 0.5]))


def test_readings_of_unlike_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="pose: expected"):
        FaceReadings(*(np.zeros(shape, np.float32) for shape in ((2, 128), (1, 3), (2, 68, 2), (2, 7), (2, 68))))
