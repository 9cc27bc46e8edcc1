from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from face_frames import face_at, smooth_picture

from revisage.faces.alignment import AlignedFace, align
from revisage.faces.compositing import composite, shown_face
from revisage.faces.grain import GrainShare, place_of, whole_place, with_grain
from revisage.media import Frame
from revisage.media.frame import Colour, PixelLayout

SIDE = 240


def grainy(sigma: float, size: float, seed: int = 0, pixel_format: str = "yuv444p") -> tuple[Frame, Frame]:
    """A smooth picture without and with noise of the luma, as video frames."""
    layout = PixelLayout.find(pixel_format)
    assert layout is not None
    picture = 60 + smooth_picture(SIDE, SIDE)[..., 1].astype(np.float32) / 2
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32)
    if size:
        noise = cv2.GaussianBlur(noise, (0, 0), size)
    noise *= sigma / noise.std()
    scale = 1 << (layout.depth - 8)
    neutral = [np.full(layout.plane_hw(number, (SIDE, SIDE)), 128 * scale, layout.dtype) for number in (1, 2)]
    colour = Colour("bt601", full_range=True, chroma_offset_xy=(0, 0.5))
    return tuple(  # type: ignore[return-value]
        Frame((np.rint(luma * scale).astype(layout.dtype), *neutral), layout, colour)
        for luma in (picture, picture + noise)
    )


def cleaned(clean: Frame, noisy: Frame) -> tuple[AlignedFace, Frame]:
    """The face of a noisy frame, and the frame with that of the clean one in it, as an ideal restorer gives it."""
    face = face_at(SIDE / 2, SIDE / 2, 0.35)
    found = align(noisy, face, 256)
    return found, composite(noisy, [(found, align(clean, face, 256).crop, 1.0)])


def noise_of(frame: Frame, clean: Frame) -> tuple[float, float]:
    """Deviation of a frame's luma from the clean one in the middle of the face, and how much of it is fine."""
    inner = slice(SIDE // 2 - 30, SIDE // 2 + 30)
    scale = 1 << (frame.layout.depth - 8)
    noise = (frame.planes[0][inner, inner].astype(np.float32) - clean.planes[0][inner, inner]) / scale
    fine = noise - cv2.GaussianBlur(noise, (0, 0), 1.0)
    return float(noise.std()), float(fine.std() / noise.std())


def restored_with_grain(noisy: Frame, pasted: Frame, found: AlignedFace, part: float) -> Frame:
    shown = shown_face(found, noisy.size_hw)
    assert shown is not None
    place = place_of(shown)
    return with_grain(noisy, pasted, [place], GrainShare(part))


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p10le"])
@pytest.mark.parametrize(("sigma", "size"), [(4.0, 0.0), (8.0, 0.0), (6.0, 1.2)])
def test_a_cleaned_face_gets_noise_as_strong_and_as_coarse_as_it_had(
    sigma: float, size: float, pixel_format: str
) -> None:
    clean, noisy = grainy(sigma, size, pixel_format=pixel_format)
    found, pasted = cleaned(clean, noisy)
    had, has, gets = (
        noise_of(frame, clean) for frame in (noisy, pasted, restored_with_grain(noisy, pasted, found, 1.0))
    )
    assert has[0] < 0.5 * had[0]
    assert gets[0] == pytest.approx(had[0], rel=0.2)
    assert gets[1] == pytest.approx(had[1], rel=0.25)  # what is coarser than grain usually is stays away


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_share_of_what_was_taken_comes_back(share: float) -> None:
    clean, noisy = grainy(6.0, 0.0)
    found, pasted = cleaned(clean, noisy)
    had, has, gets = (
        noise_of(frame, clean)[0] for frame in (noisy, pasted, restored_with_grain(noisy, pasted, found, share))
    )
    assert gets == pytest.approx(has + share * (had - has), rel=0.1)


def test_of_strong_noise_no_more_comes_back_than_is_allowed() -> None:
    clean, noisy = grainy(12.0, 0.0)
    found, pasted = cleaned(clean, noisy)
    shown = shown_face(found, noisy.size_hw)
    assert shown is not None
    place = place_of(shown)
    had, has = noise_of(noisy, clean)[0], noise_of(pasted, clean)[0]
    held, free = (
        noise_of(with_grain(noisy, pasted, [place], GrainShare(0.5, most)), clean)[0] - has for most in (2.5, 99.0)
    )
    assert 1.2 < held <= 2.5
    assert free == pytest.approx(0.5 * (had - has), rel=0.15)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.5])
def test_a_clean_face_stays_as_it_is(sigma: float) -> None:
    clean, noisy = grainy(sigma, 0.0)
    found, pasted = cleaned(clean, noisy)
    assert restored_with_grain(noisy, pasted, found, 1.0) is pasted


def test_where_the_noise_was_kept_none_is_added() -> None:
    _, noisy = grainy(6.0, 0.0)
    assert with_grain(noisy, noisy, [whole_place(noisy.size_hw)], GrainShare(1.0)) is noisy


def test_detail_that_was_restored_stays() -> None:
    """Lines that the source has lost are far stronger than its noise: of the blur little more comes back than that."""
    clean, noisy = grainy(3.0, 0.0)
    lines = np.zeros((SIDE, SIDE), np.float32)
    lines[:, SIDE // 2 - 12 : SIDE // 2 + 12 : 4] = 60
    restored = Frame((np.rint(clean.planes[0] + lines).astype(np.uint8), *clean.planes[1:]), clean.layout, clean.colour)
    found, _ = cleaned(clean, noisy)
    pasted = composite(noisy, [(found, align(restored, face_at(SIDE / 2, SIDE / 2, 0.35), 256).crop, 1.0)])
    change = restored_with_grain(noisy, pasted, found, 1.0).planes[0].astype(int) - pasted.planes[0]
    middle = slice(SIDE // 2 - 8, SIDE // 2 + 8)
    assert np.square(change[middle, middle]).mean() < 2.5 * 3.0**2


def test_the_grain_is_the_sources_own_so_that_it_flickers_as_that_does() -> None:
    clean, noisy = grainy(6.0, 0.0)
    found, pasted = cleaned(clean, noisy)
    result = restored_with_grain(noisy, pasted, found, 1.0)
    inner = slice(SIDE // 2 - 30, SIDE // 2 + 30)
    source, shown = (
        frame.planes[0][inner, inner].astype(float) - pasted.planes[0][inner, inner] for frame in (noisy, result)
    )
    assert np.corrcoef(source.ravel(), shown.ravel())[0, 1] > 0.9


def test_grain_ends_with_the_face() -> None:
    clean, noisy = grainy(6.0, 0.0)
    found, pasted = cleaned(clean, noisy)
    result = restored_with_grain(noisy, pasted, found, 1.0)
    np.testing.assert_array_equal(result.planes[0][:, :40], noisy.planes[0][:, :40])


def test_what_is_before_a_face_gets_no_grain() -> None:
    clean, noisy = grainy(6.0, 0.0)
    found, pasted = cleaned(clean, noisy)
    covered = np.zeros((8, 8), np.float32)
    covered[:, :4] = 1
    change = restored_with_grain(noisy, pasted, replace(found, covered=covered), 1.0).planes[0].astype(int)
    change -= pasted.planes[0]
    middle = slice(SIDE // 2 - 20, SIDE // 2 + 20)
    assert not change[middle, SIDE // 2 - 40 : SIDE // 2 - 20].any()
    assert change[middle, SIDE // 2 + 20 : SIDE // 2 + 40].any()
