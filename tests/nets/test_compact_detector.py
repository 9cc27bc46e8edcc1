"""The compact detector's network: its shapes, its size, and the decoding of its maps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.nets import (
    LYING_CHANNELS,
    STRIDES,
    CompactDetector,
    CompactDetectorConfig,
    cell_centres,
    decode_lying_maps,
    decode_maps,
)
from revisage.nets.compact_decoding import CHANNELS


@pytest.fixture(scope="module")
def net() -> CompactDetector:
    torch.manual_seed(0)
    return CompactDetector().eval()


def empty_maps(height: int, width: int) -> list[np.ndarray]:
    maps = [np.zeros((1, CHANNELS, height // s, width // s), np.float32) for s in STRIDES]
    for level in maps:
        level[:, 0] = -50
    return maps


def test_maps_have_one_cell_per_stride(net: CompactDetector) -> None:
    with torch.inference_mode():
        maps = net(torch.zeros(2, 3, 96, 160))
    assert [tuple(m.shape) for m in maps] == [(2, 15, 12, 20), (2, 15, 6, 10), (2, 15, 3, 5)]


def test_a_branch_for_faces_that_lie_changes_no_other_map(net: CompactDetector) -> None:
    more = CompactDetector(CompactDetectorConfig(lying=8)).eval()
    more.load_state_dict(net.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.inference_mode():
        maps = more(images)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(net(images), maps[:3], strict=True))
    assert [tuple(m.shape) for m in maps[3:]] == [(1, LYING_CHANNELS, 64 // s, 96 // s) for s in STRIDES]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_face_that_lies_is_where_its_cell_says(level: int) -> None:
    maps = [np.full((LYING_CHANNELS, 64 // s, 96 // s), -50, np.float32) for s in STRIDES]
    maps[level][:, 1, 2] = 0, 0.25, -0.5, np.log(3)
    boxes, landmarks, scores = decode_lying_maps(maps, min_score=0.1)
    x, y = (np.array([2, 1]) + 0.5 + [0.25, -0.5]) * STRIDES[level] - 0.5
    half = 1.5 * STRIDES[level]
    np.testing.assert_allclose(boxes, [[x - half, y - half, x + half, y + half]], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.5])
    assert landmarks.shape == (1, 5, 2) and np.isnan(landmarks).all()
    with pytest.raises(ValueError, match=r"shape \(4, rows, columns\)"):
        decode_lying_maps([np.zeros((CHANNELS, 8, 8), np.float32)] * 3)


def test_it_stays_small(net: CompactDetector) -> None:
    assert sum(p.numel() for p in net.parameters()) <= 900_000


def test_a_batch_gives_what_singles_give(net: CompactDetector) -> None:
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        batch = net(images)
        singles = [net(image[None]) for image in images]
    for level, together in enumerate(batch):
        alone = torch.cat([maps[level] for maps in singles])
        assert torch.isfinite(together).all()
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_a_trace_follows_other_sizes(net: CompactDetector) -> None:
    with torch.inference_mode():
        # Newer torch deprecates tracing, which OpenVINO's converter still rests on.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            traced = torch.jit.trace(net, torch.zeros(1, 3, 64, 64), check_trace=False)
        image = torch.rand(1, 3, 96, 160) * 2 - 1
        for ours, theirs in zip(net(image), traced(image), strict=True):
            torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)


def test_config_survives_json() -> None:
    config = CompactDetectorConfig(stem=8, stages=(8, 16, 24, 32), blocks=(0, 1, 1, 1), neck=16)
    assert CompactDetectorConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="necks"):
        CompactDetectorConfig.from_dict({"necks": 3})


@settings(max_examples=60, deadline=None)
@given(
    level=st.integers(0, 2),
    cell=st.integers(0, 3),
    sides=st.tuples(*[st.floats(0.05, 20.0)] * 4),
    points=st.lists(st.floats(-10, 10), min_size=10, max_size=10),
    logit=st.floats(-2, 8),
)
def test_decoding_inverts_the_encoding(
    level: int, cell: int, sides: tuple[float, ...], points: list[float], logit: float
) -> None:
    stride = STRIDES[level]
    maps = empty_maps(64, 64)
    columns = 64 // stride
    row, column = divmod(cell, columns)
    maps[level][0, :, row, column] = [logit, *np.log(sides), *points]
    boxes, landmarks, scores = decode_maps(maps, min_score=0.1)
    centre = np.array([(column + 0.5) * stride - 0.5, (row + 0.5) * stride - 0.5])
    expected = np.concatenate((centre - np.array(sides[:2]) * stride, centre + np.array(sides[2:]) * stride))
    np.testing.assert_allclose(boxes, expected[None], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(landmarks[0], centre + np.reshape(points, (5, 2)) * stride, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-logit))], rtol=1e-4)


def test_decoding_keeps_all_cells_without_a_threshold() -> None:
    boxes, landmarks, scores = decode_maps(empty_maps(64, 96))
    cells = sum((64 // s) * (96 // s) for s in STRIDES)
    assert (boxes.shape, landmarks.shape, scores.shape) == ((cells, 4), (cells, 5, 2), (cells,))
    assert boxes.dtype == landmarks.dtype == scores.dtype == np.float32


def test_decoding_survives_absurd_maps() -> None:
    maps = [np.full((CHANNELS, 64 // s, 64 // s), 1e6, np.float32) for s in STRIDES]
    boxes, _, scores = decode_maps(maps)
    assert np.isfinite(boxes).all()
    assert (scores == 1).all()


def test_decoding_refuses_other_maps() -> None:
    with pytest.raises(ValueError, match="expected 3 maps"):
        decode_maps(empty_maps(64, 64)[:2])
    with pytest.raises(ValueError, match=r"\(15, rows, columns\)"):
        decode_maps([np.zeros((2, CHANNELS, 8, 8), np.float32)] * 3)


def test_cell_centres_are_in_reading_order() -> None:
    centres = cell_centres(2, 3, 8)
    assert centres.tolist() == [[3.5, 3.5], [11.5, 3.5], [19.5, 3.5], [3.5, 11.5], [11.5, 11.5], [19.5, 11.5]]
