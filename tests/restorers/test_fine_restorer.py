"""The fine restorer: the network's own change, at any size, alike by both engines; wrong input is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import revisage
from revisage.core import ModelError
from revisage.engines import cpu_info
from revisage.nets import build
from revisage.restorers import load_fine_restorer, load_weights


def skin(height: int = 128, width: int = 144) -> np.ndarray:
    """Folds in the colour of skin."""
    y, x = np.mgrid[0:height, 0:width]
    light = 0.75 + 0.15 * np.sin(x / 11) * np.cos(y / 13) + 0.1 * np.sin((x + 2 * y) / 7)
    return light[..., None] * (205.0, 160.0, 140.0)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Skin under noise of 12 levels."""
    clean = skin()
    return np.clip(clean + np.random.default_rng(0).normal(0, 12, clean.shape), 0, 255).astype(np.uint8)


def test_both_engines_agree_with_the_network_to_a_ten_thousandth(picture: np.ndarray) -> None:
    net = load_weights("compact-fine", "fine restorer").net.eval()
    batch = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        wanted = ((net(batch)[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy() - picture
    for engine in ("torch", "openvino"):
        found = load_fine_restorer(device="cpu", engine=engine, precision="fp32")(picture)
        assert found.dtype == np.float32
        assert np.abs(found - wanted).max() <= 1e-4 * 127.5


@pytest.mark.skipif(not cpu_info().native_bf16, reason="this CPU has no bf16")
def test_low_precision_rounds_the_change_alone(picture: np.ndarray) -> None:
    exact, low = (load_fine_restorer(device="cpu", precision=precision) for precision in ("fp32", "bf16"))
    for shown in (picture, np.rint(skin()).astype(np.uint8)):
        assert np.square(low(shown) - exact(shown)).mean() < 255**2 / 10**6


def test_noise_goes_and_a_clean_face_is_changed_little() -> None:
    restorer = load_fine_restorer(device="cpu", precision="fp32")
    with Image.open(Path(revisage.__file__).parent / "demo_data" / "astronaut.webp") as photo:
        clean = np.asarray(photo.convert("RGB"))[:200, 120:320].copy()
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 12, clean.shape), 0, 255).astype(np.uint8)
    left = np.abs(noisy + restorer(noisy) - clean).mean() / np.abs(noisy.astype(np.float32) - clean).mean()
    assert left < 0.5
    assert np.abs(restorer(clean)).mean() < 0.2 * np.abs(restorer(noisy)).mean()


@pytest.mark.parametrize("size_hw", [(1, 1), (7, 200), (33, 47), (64, 64)])
def test_any_size_keeps_its_shape_and_its_range(size_hw: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    restorer = load_fine_restorer(device="cpu", engine="torch")
    change = restorer(picture)
    assert change.shape == picture.shape
    assert (picture + change).min() >= -1e-3
    assert (picture + change).max() <= 255 + 1e-3
    assert np.array_equal(change, restorer(picture))


def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    restorer = load_fine_restorer(device="cpu", engine="torch")
    for wrong in (picture.astype(np.float32), picture[None], picture[..., :1], picture[:0]):
        with pytest.raises(ValueError, match="expected a picture as uint8"):
            restorer(wrong)


def test_another_network_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "other.safetensors"
    save_file(build("srvgg").state_dict(), file)
    with pytest.raises(ModelError, match="no fine restorer"):
        load_fine_restorer(file)
