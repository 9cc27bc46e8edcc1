from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.core.values import Face, Track
from revisage.temporal.landmark_smoothing import LandmarkSmoother, smooth_track

SHAPE = np.array([(30, 40), (70, 40), (50, 60), (35, 80), (65, 80)], dtype=np.float64)


def track_of(centres: np.ndarray, jitter: float = 0.0, seed: int = 0, seen: list[bool] | None = None) -> Track:
    """A face of 100 px, moved to ``centres`` (frames, 2), with noise of ``jitter`` px on each landmark."""
    noise = np.random.default_rng(seed).normal(0, jitter, (len(centres), 5, 2))
    faces = tuple(
        Face((x, y, 100, 100), SHAPE + np.array((x, y)) + shake) for (x, y), shake in zip(centres, noise, strict=True)
    )
    return Track(3, 7, faces, tuple(seen or [True] * len(faces)), strength=0.5)


def landmarks(track: Track) -> np.ndarray:
    return np.array([face.landmarks for face in track.faces], dtype=np.float64)


def line(count: int, step: float) -> np.ndarray:
    return np.outer(np.arange(count) * step, (1.0, 0.5)) + np.array((200, 100))


@pytest.mark.parametrize("jitter", [0.3, 1.0, 1.5])
def test_jitter_of_a_still_face_falls_threefold(jitter: float) -> None:
    before = track_of(np.full((90, 2), 50.0), jitter, seed=1)
    after = smooth_track(before)
    truth = SHAPE + 50
    assert np.std(landmarks(after) - truth) < np.std(landmarks(before) - truth) / 3
    steps = np.abs(np.diff(landmarks(after), axis=0)).mean() / np.abs(np.diff(landmarks(before), axis=0)).mean()
    assert steps < 1 / 6


@pytest.mark.parametrize("step", [0.2, 1.0, 4.0, 15.0])
def test_constant_motion_is_unbiased(step: float) -> None:
    before = track_of(line(60, step))
    np.testing.assert_allclose(landmarks(smooth_track(before)), landmarks(before), atol=0.02 + 0.02 * step)


@pytest.mark.parametrize("step", [1.0, 4.0, 15.0])
def test_noisy_motion_does_not_lag(step: float) -> None:
    truth = landmarks(track_of(line(120, step)))
    after = landmarks(smooth_track(track_of(line(120, step), 0.7, seed=2)))
    lag = (after - truth)[12:-12].mean(axis=(0, 1))
    assert np.abs(lag).max() < 0.12


def test_step_is_preserved() -> None:
    centres = np.full((60, 2), 50.0)
    centres[30:, 0] += 30
    error = np.abs(landmarks(smooth_track(track_of(centres, 0.5, seed=3))) - SHAPE - centres[:, None]).max(axis=(1, 2))
    assert error[28:32].max() < 2.0
    assert error.mean() < 0.6


def test_a_single_outlier_is_taken_off() -> None:
    centres = np.full((40, 2), 50.0)
    centres[20] += 12
    error = np.abs(landmarks(smooth_track(track_of(centres))) - SHAPE - 50)
    assert error.max() < 0.8


def test_reversed_in_time_is_the_same() -> None:
    centres = np.cumsum(np.random.default_rng(4).normal(0, 2, (50, 2)), axis=0) + 100
    forward = landmarks(smooth_track(track_of(centres, 0.5)))
    faces = track_of(centres, 0.5).faces[::-1]
    backward = landmarks(smooth_track(Track(0, 0, faces, (True,) * 50)))
    np.testing.assert_allclose(backward[::-1], forward, atol=1e-3)


@given(count=st.integers(1, 40), step=st.floats(-30, 30), jitter=st.floats(0, 20))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_any_track_stays_a_track(count: int, step: float, jitter: float) -> None:
    before = track_of(line(count, step), jitter)
    after = smooth_track(before)
    assert (after.id, after.start, after.stop, after.strength) == (3, 7, before.stop, 0.5)
    assert after.seen == before.seen and after.weights == before.weights
    # Never much further from what was seen than what was seen varies.
    spread = 1.5 * np.ptp(landmarks(before), axis=0).max() + 1e-3
    assert np.abs(landmarks(after) - landmarks(before)).max() <= spread


def test_filled_frames_lean_on_seen_ones() -> None:
    centres = np.full((41, 2), 50.0)
    centres[20] += 2.0
    seen = [True] * 41
    seen[20] = False
    filled = landmarks(smooth_track(track_of(centres, seen=seen)))[20]
    trusted = landmarks(smooth_track(track_of(centres)))[20]
    assert np.abs(filled - SHAPE - 50).max() < np.abs(trusted - SHAPE - 50).max()


def streamed(track: Track) -> np.ndarray:
    """The landmarks as they are shown while the track goes on."""
    smoother = LandmarkSmoother()
    return np.array([smoother(face).landmarks for face in track.faces], dtype=np.float64)


@pytest.mark.parametrize("jitter", [0.3, 1.0])
def test_from_the_past_alone_jitter_of_a_still_face_falls_to_half(jitter: float) -> None:
    track = track_of(np.full((90, 2), 50.0), jitter, seed=1)
    assert np.std(streamed(track)[13:] - SHAPE - 50) < jitter / 2


def test_from_the_past_alone_steady_motion_does_not_lag() -> None:
    centres = line(60, 1.5)
    lag = streamed(track_of(centres, 0.5, seed=2))[13:] - SHAPE - centres[13:, None]
    assert np.abs(lag.mean(axis=(0, 1))).max() < 0.3


def test_from_the_past_alone_a_jump_is_kept() -> None:
    centres = np.full((40, 2), 50.0)
    centres[20:] += 60
    assert np.abs(streamed(track_of(centres, 0.3, seed=3))[20:] - SHAPE - 110).max() < 3
