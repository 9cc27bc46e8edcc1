from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from face_frames import RgbFrame, face_at, smooth_picture
from hypothesis import given, settings
from hypothesis import strategies as st

from revisage.faces.alignment import align, crop_affine, invert, transform
from revisage.faces.compositing import composite, scaled_affine
from revisage.media import Frame
from revisage.media.frame import Colour, PixelLayout


def native_frame(pixel_format: str, height: int = 120, width: int = 160) -> Frame:
    """Noise in the planes of a video frame, limited range."""
    layout = PixelLayout.find(pixel_format)
    assert layout is not None
    generator = np.random.default_rng(7)
    scale = 1 << (layout.depth - 8)
    planes = tuple(
        generator.integers(30 * scale, 220 * scale, layout.plane_hw(number, (height, width))).astype(layout.dtype)
        for number in range(3)
    )
    return Frame(planes, layout, Colour("bt709", full_range=False, chroma_offset_xy=(0, 0.5)))


def enlarged(frame: RgbFrame, factors: tuple[float, float]) -> RgbFrame:
    height, width = frame.size_hw
    size = round(width * factors[0]), round(height * factors[1])
    return RgbFrame(cv2.resize(frame.samples, size, interpolation=cv2.INTER_CUBIC), frame.bits)


def restored_crop(crop: np.ndarray, seed: int = 0) -> np.ndarray:
    detail = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 60, crop.shape), (0, 0), 1.5)
    return np.clip(crop + detail, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("bits", "upscale"), list(itertools.product((8, 10), (1, 1.5, 2, 4))))
def test_unrestored_crop_changes_nothing(bits: int, upscale: float) -> None:
    frame = RgbFrame.noise(90, 120, bits)
    output = enlarged(frame, (upscale, upscale))
    for scale in (0.05, 0.2, 0.9):
        aligned = align(frame, face_at(60, 45, scale, 20), 256)
        pasted = composite(output, [(aligned, aligned.crop.copy(), 1.0)], upscale)
        np.testing.assert_array_equal(pasted.samples, output.samples)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p", "gbrp"])
@pytest.mark.parametrize("upscale", [1, 1.5, 2, 4])
def test_native_planes_stay_bit_identical(pixel_format: str, upscale: float) -> None:
    frame = native_frame(pixel_format)
    height, width = frame.size_hw
    output = frame.resized((round(height * upscale), round(width * upscale)))
    aligned = align(frame, face_at(80.3, 60.2, 0.15, 25), 256)
    unrestored = composite(output, [(aligned, aligned.crop.copy(), 1.0)], upscale)
    strengthless = composite(output, [(aligned, restored_crop(aligned.crop), 0.0)], upscale)
    shown = composite(output, [(aligned, restored_crop(aligned.crop), 1.0)], upscale)
    for number, plane in enumerate(output.planes):
        np.testing.assert_array_equal(unrestored.planes[number], plane)
        np.testing.assert_array_equal(strengthless.planes[number], plane)
        assert (shown.planes[number] != plane).mean() > 0.05
    far = slice(0, 8), slice(0, 8)
    np.testing.assert_array_equal(shown.rgb()[far], output.rgb()[far])


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
def test_native_change_is_the_change_in_rgb(pixel_format: str) -> None:
    """What is added in the planes is seen in RGB: the luma of the difference, within rounding."""
    frame = native_frame(pixel_format)
    aligned = align(frame, face_at(80, 60, 0.15), 256)
    smooth_change = np.full_like(aligned.crop, 0)
    smooth_change[..., :] = (12 * np.sin(np.arange(256) / 6) + 12).astype(np.uint8)[None, :, None]
    restored = np.clip(aligned.crop.astype(int) + smooth_change, 0, 255).astype(np.uint8)
    weights = np.array([0.2126, 0.7152, 0.0722])
    before, after = frame.rgb() @ weights, composite(frame, [(aligned, restored, 1.0)]).rgb() @ weights
    plain = RgbFrame(frame.rgb().astype(np.uint16))
    expected = composite(plain, [(aligned, restored, 1.0)]).rgb() @ weights
    inside = before > 20
    assert np.abs((after - before) - (expected - before))[inside].mean() < 0.8


@pytest.mark.parametrize(("bits", "upscale"), list(itertools.product((8, 10), (1, 2, 4))))
def test_strength_zero_changes_nothing(bits: int, upscale: float) -> None:
    frame = RgbFrame.noise(90, 120, bits)
    output = enlarged(frame, (upscale, upscale))
    aligned = align(frame, face_at(60, 45, 0.2), 256)
    pasted = composite(output, [(aligned, restored_crop(aligned.crop), 0.0)], upscale)
    np.testing.assert_array_equal(pasted.samples, output.samples)


@pytest.mark.parametrize("scale", [0.15, 0.5, 1.6])
def test_strength_is_continuous_and_monotone(scale: float) -> None:
    frame = RgbFrame(smooth_picture(400, 400).astype(np.uint16), 8)
    aligned = align(frame, face_at(200, 200, scale), 256)
    restored = restored_crop(aligned.crop)
    distances = []
    for strength in np.linspace(0, 1, 11):
        pasted = composite(frame, [(aligned, restored, float(strength))], 1.0)
        distances.append(np.abs(pasted.samples.astype(int) - frame.samples).mean())
    steps = np.diff(distances)
    assert distances[0] == 0
    assert (steps > 0).all()
    assert steps.max() < 0.2 * distances[-1]


@given(
    x=st.floats(20, 80),
    y=st.floats(20, 80),
    scale=st.floats(0.05, 2),
    degrees=st.floats(-180, 180),
    factors=st.tuples(st.floats(0.3, 8), st.floats(0.3, 8)),
)
@settings(derandomize=True, deadline=None)
def test_pixel_centres_are_exact(x, y, scale, degrees, factors) -> None:
    affine = crop_affine(face_at(x, y, scale, degrees).landmarks, 256)
    frame_points = np.random.default_rng(0).uniform(0, 100, (7, 2))
    output_points = (frame_points + 0.5) * factors - 0.5
    np.testing.assert_allclose(
        transform(scaled_affine(affine, factors), output_points), transform(affine, frame_points), atol=1e-6
    )


@pytest.mark.parametrize("upscale", [1, 1.5, 2, 3, 4])
@pytest.mark.parametrize("scale", [0.15, 0.35, 0.8])
def test_a_change_lands_where_the_crop_shows_it(upscale: float, scale: float) -> None:
    """The centre of gravity of a dot drawn into the crop, in the enlarged frame, within a twentieth of a pixel."""
    frame = RgbFrame(np.full((300, 300, 3), 100, np.uint16))
    aligned = align(frame, face_at(150.3, 140.7, scale, 15), 256)
    restored = aligned.crop.copy()
    spot = (130.0, 120.0)
    grid_y, grid_x = np.mgrid[:256, :256]
    # Detail without a mean, or the colour match would take a part of it: judged by its bright core.
    r2 = (grid_x - spot[0]) ** 2 + (grid_y - spot[1]) ** 2
    dot = np.exp(-r2 / (2 * 6.0**2))
    restored = (restored + (120 * dot)[..., None]).astype(np.uint8)
    output = enlarged(frame, (upscale, upscale))
    pasted = composite(output, [(aligned, restored, 1.0)], upscale)
    change = np.clip(pasted.samples[..., 0].astype(float) - 100 - 45, 0, None)
    ys, xs = np.mgrid[: change.shape[0], : change.shape[1]]
    found = np.array([(change * xs).sum(), (change * ys).sum()]) / change.sum()
    expected = (transform(invert(aligned.affine), [spot])[0] + 0.5) * upscale - 0.5
    np.testing.assert_allclose(found, expected, atol=0.06 * upscale)


def test_restored_crop_is_seen_at_full_strength() -> None:
    """Align the pasted frame again: inside the mask it is the colour-matched restored crop."""
    frame = RgbFrame(smooth_picture(400, 400).astype(np.uint16))
    face = face_at(200, 200, 0.75)
    aligned = align(frame, face, 256)
    detail = 25 * np.sin(np.arange(256) * 2 * np.pi / 12)[:, None, None] * np.ones((1, 256, 3))
    restored = np.clip(aligned.crop + detail, 0, 255).astype(np.uint8)
    again = align(composite(frame, [(aligned, restored, 1.0)]), face, 256).crop
    core = slice(100, 180)
    error = np.abs(again[core, core].astype(float) - restored[core, core]).mean()
    assert error < 3.0


@pytest.mark.parametrize("scale", [0.06, 0.12, 0.4])
def test_noise_does_not_stay_in_a_face_that_is_enlarged(scale: float) -> None:
    """Lanczos keeps finer noise than the bilinear crop has, which a restorer took the noise off."""
    clean = smooth_picture(200, 200)
    noise = np.random.default_rng(3).normal(0, 10, clean.shape)
    frame = RgbFrame(np.clip(np.rint(clean + noise), 0, 255).astype(np.uint16))
    face = face_at(100, 100, scale)
    output, wanted = (
        RgbFrame(np.clip(cv2.resize(picture.astype(np.float32), (800, 800), interpolation=cv2.INTER_LANCZOS4), 0, 255))
        for picture in (frame.samples, clean)
    )
    restored = align(RgbFrame(clean.astype(np.uint16)), face, 256).crop
    pasted = composite(output, [(align(frame, face, 256), restored, 1.0)], 4.0)
    core = slice(400 - round(200 * scale), 400 + round(200 * scale))
    before, after = (float((picture.samples - wanted.samples)[core, core].std()) for picture in (output, pasted))
    assert after < 0.15 * before


def test_overlapping_faces_share_the_pixels() -> None:
    """Where two masks are full, the same face twice is the face once; the order does not matter."""
    frame = RgbFrame(smooth_picture(300, 300).astype(np.uint16))
    first = align(frame, face_at(140, 150, 0.3), 256)
    second = align(frame, face_at(175, 150, 0.3), 256)
    a, b = restored_crop(first.crop, 1), restored_crop(second.crop, 2)
    once = composite(frame, [(first, a, 1.0)])
    twice = composite(frame, [(first, a, 1.0), (first, a, 1.0)])
    core = np.abs(once.samples.astype(int) - twice.samples)[140:165, 128:152]
    assert core.max() <= 1
    one_way = composite(frame, [(first, a, 1.0), (second, b, 1.0)])
    other_way = composite(frame, [(second, b, 1.0), (first, a, 1.0)])
    np.testing.assert_array_equal(one_way.samples, other_way.samples)
    largest = max(np.abs(a.astype(int) - first.crop).max(), np.abs(b.astype(int) - second.crop).max())
    assert np.abs(one_way.samples.astype(int) - frame.samples).max() <= largest * 1.3


def test_nothing_outside_the_crop_changes() -> None:
    frame = RgbFrame.noise(300, 300)
    aligned = align(frame, face_at(120, 140, 0.2, 33), 256)
    pasted = composite(frame, [(aligned, 255 - aligned.crop, 1.0)])
    changed = np.argwhere((pasted.samples != frame.samples).any(axis=2))[:, ::-1]
    in_crop = transform(aligned.affine, changed)
    assert len(changed) > 1000
    assert in_crop.min() > 0 and in_crop.max() < 255


@pytest.mark.parametrize(("x", "y"), [(0, 60), (299, 150), (60, 299), (-60, -60), (-5000, 90)])
def test_faces_at_and_outside_the_border(x: float, y: float) -> None:
    frame = RgbFrame(smooth_picture(300, 300).astype(np.uint16))
    aligned = align(frame, face_at(x, y, 0.3), 256)
    pasted = composite(frame, [(aligned, restored_crop(aligned.crop), 1.0)])
    assert pasted.size_hw == frame.size_hw
    assert (pasted is frame) == (x < -1000)


def test_refuses_wrong_input() -> None:
    frame = RgbFrame(smooth_picture(100, 100).astype(np.uint16))
    aligned = align(frame, face_at(50, 50, 0.1), 256)
    with pytest.raises(ValueError, match="strength"):
        composite(frame, [(aligned, aligned.crop, 1.5)])
    with pytest.raises(ValueError, match="restored crop"):
        composite(frame, [(aligned, aligned.crop[::2, ::2], 1.0)])
