"""Measures against closed forms, reference packages and known orders."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from revisage.measures import Vggd, niqe, psnr, ssim


def photo(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.fixture
def noise_image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)


def test_psnr_of_a_constant_shift(noise_image: np.ndarray) -> None:
    base = np.full((32, 32, 3), 100, np.uint8)
    assert psnr(base, base + 5) == pytest.approx(20 * math.log10(255 / 5))
    assert psnr(noise_image, noise_image) == math.inf


def test_ssim_falls_with_noise_and_agrees_with_piq(noise_image: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    from skimage.data import astronaut

    clean = astronaut()
    noisy = np.clip(clean + np.random.default_rng(1).normal(0, 20, clean.shape), 0, 255).astype(np.uint8)
    value = ssim(noisy, clean)
    import piq

    tensors = [torch.from_numpy(a).permute(2, 0, 1)[None] / 255.0 for a in (noisy, clean)]
    # piq leaves out the border instead of reflecting it, hence the tolerance
    assert value == pytest.approx(float(piq.ssim(*tensors, downsample=False)), abs=2e-3)
    assert 0 < value < 0.8
    assert ssim(clean, clean) == 1


def test_pairs_must_match(noise_image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="equal in size"):
        psnr(noise_image, noise_image[:-1])
    with pytest.raises(ValueError, match="uint8"):
        ssim(noise_image / 255.0, noise_image / 255.0)


def test_vggd_is_zero_for_equals_and_grows_with_blur(shared: Path) -> None:
    weights = shared / "weights" / "quality" / "vgg19_normalised_conv3_1.safetensors"
    clean = photo(_first(shared))[128:384, 128:384]  # the face: the network takes seconds for all of it
    blurred = [cv2.GaussianBlur(clean, (0, 0), sigma) for sigma in (1.0, 3.0)]
    values = [Vggd(weights)(image, clean) for image in (clean, *blurred)]
    assert values[0] == 0
    assert 0 < values[1] < values[2]


def test_niqe_prefers_the_undamaged_and_follows_the_published_model(shared: Path) -> None:
    published = shared / "weights" / "quality" / "niqe_pris_params.npz"
    clean = photo(_first(shared))
    small = cv2.resize(clean, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, clean.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 20, clean.shape), 0, 255).astype(np.uint8)
    for pristine in (None, published):
        values = [niqe(image, pristine=pristine) for image in (clean, soft, noisy)]
        assert values[0] < values[1] < values[2]
    assert niqe(clean) == pytest.approx(niqe(clean, pristine=published), rel=0.35)


def test_niqe_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(ValueError, match="at least 96 px"):
        niqe(np.zeros((95, 200, 3), np.uint8))
    with pytest.raises(ValueError, match="without any texture"):
        niqe(np.zeros((192, 192, 3), np.uint8))


def _first(shared: Path) -> Path:
    return sorted((shared / "faces" / "test512").glob("london*"))[0]
