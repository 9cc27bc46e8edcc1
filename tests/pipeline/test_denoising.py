from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from revisage.media import Frame
from revisage.pipeline.restoration import denoising
from revisage.pipeline.restoration.denoising import denoised
from revisage.restorers import load_fine_restorer
from sample_media import face_frames


class LocalMean:
    """A stand-in that looks 8 px far, so that pieces with context give what the whole gives."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.shapes.add(picture.shape)
        return np.asarray(np.roll(picture, 8, axis=0).astype(np.float32) - picture)


def test_noise_is_taken_off_the_whole_picture() -> None:
    (clean,) = face_frames(1)
    noise = np.random.default_rng(2).normal(0, 8, clean.shape)
    noisy = Frame.from_array(np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8))
    net = load_fine_restorer()
    errors = [np.abs(denoised(noisy, net, share).rgb().astype(int) - clean).mean() for share in (0.0, 0.5, 1.0)]
    assert errors[1] < 0.75 * errors[0]
    assert errors[2] < 0.6 * errors[0]


def test_a_share_of_nothing_changes_nothing() -> None:
    frame = Frame.from_array(face_frames(1)[0])
    np.testing.assert_array_equal(denoised(frame, load_fine_restorer(), 0.0).rgb(), frame.rgb())


@pytest.mark.parametrize("size_hw", [(50, 60), (160, 200), (333, 500)])
def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch, size_hw: tuple[int, int]) -> None:
    frame = Frame.from_array(np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8))
    whole = denoised(frame, LocalMean(), 1.0).rgb()  # type: ignore[arg-type]
    monkeypatch.setattr(denoising, "_LARGEST", 160)
    net = LocalMean()
    pieces = denoised(frame, net, 1.0).rgb()  # type: ignore[arg-type]
    assert len(net.shapes) == 1
    np.testing.assert_array_equal(pieces[8:], whole[8:])
