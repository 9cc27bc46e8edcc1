"""Measures against the packages and networks that define them, and against closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from revisage.core.errors import ModelError
from revisage.core.values import Face, Region
from revisage.faces import ffhq_template
from revisage.measures import (
    IDENTITY,
    VGG,
    Embedder,
    FrameStep,
    Lpips,
    ReferenceMotion,
    cosine,
    find_weights,
    flicker,
    kept_components,
    landmark_distance,
    motion_between,
    t_mse,
    warping_error,
)
from revisage.measures.full_reference import colour_shift, gmsd, in_tiles, ms_ssim, ssim, unit_tensor
from revisage.measures.no_reference import brisque, brisque_weights, sharpness
from sample_media import face_frames

Image = np.ndarray


@pytest.fixture(scope="module")
def pair() -> tuple[Image, Image]:
    """A noisy photo and the photo, 270 x 480."""
    clean = face_frames(1)[0]
    noise = np.random.default_rng(1).normal(0, 12, clean.shape)
    return np.clip(cv2.GaussianBlur(clean, (0, 0), 1) + noise, 0, 255).astype(np.uint8), clean


def test_ssim_is_that_of_scikit_image(pair: tuple[Image, Image]) -> None:
    from skimage.metrics import structural_similarity

    for image, reference in (pair, pair[::-1], (pair[0], np.zeros_like(pair[0]))):
        expected = structural_similarity(
            image,
            reference,
            channel_axis=2,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert ssim(image, reference) == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_and_gmsd_are_those_of_piq(pair: tuple[Image, Image]) -> None:
    import piq

    tensors = [unit_tensor(image) for image in pair]
    assert ms_ssim(*pair) == pytest.approx(float(piq.multi_scale_ssim(*tensors)), abs=1e-6)
    assert gmsd(*pair) == pytest.approx(float(piq.gmsd(*tensors)), abs=1e-6)
    assert gmsd(pair[1], pair[1]) == 0
    assert ms_ssim(pair[1], pair[1]) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:.*pretrained.*:UserWarning", "ignore:.*weight enum.*:UserWarning")
def test_lpips_is_that_of_its_package(pair: tuple[Image, Image], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    lpips = pytest.importorskip("lpips", reason="the package lpips defines the value")
    torch.manual_seed(0)
    published = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    layers = [getattr(published.net, f"slice{number}") for number in range(1, 6)]
    convolutions = {
        f"features.{key}.{part}": value
        for layer in layers
        for key, module in layer.named_children()
        for part, value in module.state_dict().items()
    }
    torch.save(convolutions, tmp_path / "backbone.pth")
    heads = {key: value for key, value in published.state_dict().items() if key.startswith("lin") and "lins" not in key}
    torch.save(heads, tmp_path / "heads.pth")
    measure = Lpips(tmp_path / "backbone.pth", tmp_path / "heads.pth")
    with torch.inference_mode():
        expected = float(published(*(2 * unit_tensor(image) - 1 for image in pair)))
    assert expected > 1e-3
    assert measure(*pair) == pytest.approx(expected, abs=1e-4 * max(1, expected))
    assert measure(pair[1], pair[1]) == 0
    with pytest.raises(ValueError, match="at least 35 px"):
        measure(pair[0][:30], pair[1][:30])


def test_brisque_is_that_of_piq_where_its_weights_are(
    pair: tuple[Image, Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    assert brisque_weights() is None
    (tmp_path / "checkpoints").mkdir()
    generator = torch.Generator().manual_seed(0)
    vectors = torch.rand((5, 36), generator=generator)
    torch.save((torch.rand((5, 1), generator=generator), vectors), tmp_path / "checkpoints" / "brisque_svm_weights.pt")
    assert brisque_weights() is not None
    import piq

    assert brisque(pair[0]) == pytest.approx(float(piq.brisque(unit_tensor(pair[0]))), abs=1e-4)
    with pytest.raises(ValueError, match="without any texture"):
        brisque(np.zeros((64, 64, 3), np.uint8))


def test_identity_is_that_of_the_network(shared: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from revisage.nets.face_embedding import MobileFaceNet

    found = find_weights(IDENTITY, shared / "weights")
    embedder = Embedder(found.path)
    image = np.ascontiguousarray(face_frames(1)[0])
    face = Face((0, 0, 112, 112), ARCFACE)
    ours = embedder(image[:112, :112].copy(), face)
    net = MobileFaceNet().eval()
    state = load_file(shared / "weights" / "identity" / "mobilefacenet.fp16.safetensors")
    net.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    mean, deviation = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    pixels = (unit_tensor(image[:112, :112]) - mean[:, None, None]) / deviation[:, None, None]
    with torch.inference_mode():
        theirs = torch.nn.functional.normalize(net(pixels)).numpy()[0]
    assert cosine(ours, theirs) > 0.999
    assert cosine(ours, ours) == pytest.approx(1)


ARCFACE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])


def test_weights_that_are_not_what_their_name_says_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mobilefacenet.onnx").write_bytes(b"something else")
    with pytest.raises(ModelError, match="damaged or another file"):
        find_weights(IDENTITY, tmp_path)
    with pytest.raises(ModelError, match="not on this machine"):
        find_weights(VGG, tmp_path)


def test_landmarks_are_told_at_512_px() -> None:
    template = ffhq_template(256)
    assert landmark_distance(template + np.array([3, 4]), template, 256) == pytest.approx(10)
    eyes = float(np.hypot(*(template[1] - template[0])))
    moved = template.copy()
    moved[2] += (0.16 * eyes, 0)
    moved[3] += (0.14 * eyes, 0)
    assert kept_components(moved, template) == [True, True, False, True, True]
    assert kept_components(None, template) == [False] * 5


def test_sharpness_and_colour_have_closed_forms() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 100).astype(np.uint8)[..., None].repeat(3, axis=-1)
    assert sharpness(board) == pytest.approx(400.0**2, rel=0.02)
    grey = np.full((8, 8, 3), 119, np.uint8)
    assert colour_shift(grey, grey) == 0
    # CIEDE2000 of neutral greys is their difference in lightness over its weight.
    assert 1 < colour_shift(grey + np.uint8(5), grey) < 3


def test_changes_over_time_have_closed_forms() -> None:
    clean = face_frames(2)
    offset = [frame // 2 + np.uint8(40) for frame in clean]
    still = [clean[0], clean[0]]
    motion = motion_between(*still)
    assert t_mse(FrameStep(*clean, *clean, motion)) == 0
    assert t_mse(FrameStep(*still, *still, motion)) == 0
    pulsing = FrameStep(clean[0] // 2, clean[0] // 2 + np.uint8(6), *still, motion)
    assert t_mse(pulsing) == pytest.approx(36)
    assert motion.still.all()
    assert flicker(pulsing) == pytest.approx(6)
    assert warping_error(pulsing) == pytest.approx((6 / 255) ** 2 * 1000, rel=1e-3)
    assert warping_error(FrameStep(*still, *still, motion, Region(10, 10, 60, 60))) == 0
    assert t_mse(FrameStep(*offset, *clean, motion)) > 0


def test_a_moved_picture_has_next_to_no_warping_error() -> None:
    frame = cv2.GaussianBlur(face_frames(1)[0], (0, 0), 1.5)
    moved = np.roll(frame, 3, axis=1)
    inside = Region(20, 20, 460, 250)
    motion = motion_between(frame, moved)
    shifted = np.square(moved.astype(float) - frame)[inside.slices].mean() / 255**2 * 1000
    assert warping_error(FrameStep(frame, moved, frame, moved, motion, inside)) < 0.1 * shifted
    nowhere = ReferenceMotion(motion.flow, np.zeros_like(motion.believed), np.zeros_like(motion.still))
    with pytest.raises(ValueError, match="cannot be followed"):
        warping_error(FrameStep(frame, moved, frame, moved, nowhere))
    with pytest.raises(ValueError, match="nothing is still"):
        flicker(FrameStep(frame, moved, frame, moved, nowhere))


def test_tiles_are_weighted_by_their_area() -> None:
    image = np.zeros((1500, 40, 3), np.uint8)
    image[:750] = 10
    seen: list[tuple[int, ...]] = []

    def mean(part: Image, _reference: Image) -> float:
        seen.append(part.shape[:2])
        return float(part.mean())

    assert in_tiles(mean, image, image) == pytest.approx(5)
    assert seen == [(750, 40), (750, 40)]
    assert math.isclose(in_tiles(mean, image[:100], image[:100]), 10)
