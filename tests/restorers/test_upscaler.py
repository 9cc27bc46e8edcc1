"""Tiles leave no seam, sizes are free, and the result is the network's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from revisage.core.errors import ConfigError, ModelError
from revisage.nets import build
from revisage.restorers import NetUpscaler, load_upscaler
from revisage.restorers.upscaler import windows

Photo = Callable[[int, int], np.ndarray]
SMALL = {"num_feat": 8, "num_conv": 3, "upscale": 4}


@pytest.fixture
def srvgg() -> nn.Module:
    torch.manual_seed(1)
    return build("srvgg", SMALL)


@pytest.fixture
def srvgg_file(srvgg: nn.Module, save_net: Callable[..., Path]) -> Path:
    return save_net(srvgg, arch="srvgg", config=SMALL)


@pytest.fixture
def photo(smooth_images: Callable[..., np.ndarray]) -> Callable[[int, int], np.ndarray]:
    """photo(height, width): an image with detail that differs from place to place."""

    def make(height: int, width: int) -> np.ndarray:
        grain = np.random.default_rng(2).integers(-20, 21, (height, width, 3))
        return np.clip(smooth_images(1, height, width)[0].astype(int) + grain, 0, 255).astype(np.uint8)

    return make


@given(
    length=st.integers(1, 3000),
    tile=st.integers(0, 500),
    overlap=st.integers(0, 80),
    multiple=st.sampled_from([1, 2, 4]),
)
@settings(derandomize=True, deadline=None)
def test_windows_cover_an_axis_once(length: int, tile: int, overlap: int, multiple: int) -> None:
    length += -length % multiple
    cut = list(windows(length, tile, overlap, multiple))
    assert cut[0].first == 0
    assert cut[-1].last == length
    for window in cut:
        assert 0 <= window.start <= window.first < window.last <= window.stop <= length
        assert window.start % multiple == 0
        assert window.first - window.start >= (overlap if window.first else 0)
        assert window.stop - window.last >= (overlap if window.last < length else 0)
        assert window.stop - window.start == cut[0].stop
    for before, after in itertools.pairwise(cut):
        assert before.last == after.first
    if tile:
        assert cut[0].stop <= tile + 2 * overlap + 3 * multiple


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("size_hw", [(70, 101), (33, 200), (5, 1)])
def test_tiles_equal_the_whole(
    srvgg: nn.Module, srvgg_file: Path, engine: str, size_hw: tuple[int, int], photo: Photo
) -> None:
    image = photo(*size_hw)
    whole = load_upscaler(srvgg_file, tile=0, device="cpu", engine=engine, precision="fp32")(image)
    tiled = load_upscaler(srvgg_file, tile=32, device="cpu", engine=engine, precision="fp32")(image)
    assert whole.shape == (4 * size_hw[0], 4 * size_hw[1], 3)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        wanted = srvgg.eval()(batch)[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert np.abs(whole - wanted).max() <= 0.51


@pytest.mark.parametrize("scale", [2, 4])
def test_rrdbnet_of_odd_sizes(save_net: Callable[..., Path], scale: int, photo: Photo) -> None:
    torch.manual_seed(2)
    net = build("rrdbnet", {"scale": scale, "num_feat": 8, "num_block": 1, "num_grow_ch": 4})
    path = save_net(net)
    image = photo(37, 151)
    upscaler = load_upscaler(path, tile=32, device="cpu", precision="fp32")
    whole = load_upscaler(path, tile=0, device="cpu", precision="fp32")(image)
    assert upscaler.scale == scale
    tiled = upscaler(image)
    assert tiled.shape == (37 * scale, 151 * scale, 3)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


class Enlarged:
    """An engine whose network only repeats pixels; it notes the sizes it met."""

    name, precision, device = "torch", "fp32", "cpu"

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        self.sizes.append(batch.shape)
        return [batch.repeat(2, axis=2).repeat(2, axis=3)]


def test_memory_is_bounded_by_the_tile_and_every_pixel_comes_through(photo: Photo) -> None:
    engine = Enlarged()
    info = None
    upscaler = NetUpscaler(engine, 2, info, tile=40, overlap=6, multiple=2)  # type: ignore[arg-type]
    image = photo(203, 333)
    assert np.array_equal(upscaler(image), image.repeat(2, axis=0).repeat(2, axis=1))
    assert set(engine.sizes) == {(1, 3, 52, 52)}


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
     np.zeros((0, 4, 3), np.uint8)],
)  # fmt: skip
def test_wrong_images_are_named(srvgg_file: Path, wrong: np.ndarray) -> None:
    upscaler = load_upscaler(srvgg_file, device="cpu", engine="torch")
    with pytest.raises(ValueError, match=r"expected an image as uint8 \(H, W, 3\) RGB, got") as caught:
        upscaler(wrong)
    assert str(wrong.shape) in str(caught.value)


def test_what_cannot_be_used(srvgg_file: Path, tiny_file: Path) -> None:
    with pytest.raises(ModelError, match="no upscaler: choose one of realesrgan-x2, realesrgan-x4"):
        load_upscaler(tiny_file)
    with pytest.raises(ConfigError, match="tile cannot be -1"):
        load_upscaler(srvgg_file, tile=-1)


def test_int8_counts_as_auto(srvgg_file: Path) -> None:
    upscaler = load_upscaler(srvgg_file, device="cpu", engine="torch", precision="int8")
    assert upscaler.info.precision in ("fp32", "bf16")


def test_the_general_network_sharpens_a_photo(shared: Path) -> None:
    path = shared / "weights" / "upscale" / "realesr-general-x4v3.fp16.safetensors"
    with Image.open(sorted((shared / "faces" / "test512").glob("*.webp"))[0]) as opened:
        photo = opened.convert("RGB").crop((128, 128, 384, 320)).resize((64, 48), Image.Resampling.BOX)
    enlarged = load_upscaler(path, tile=32, device="cpu", engine="torch", precision="fp32")(np.asarray(photo))
    plain = np.asarray(photo.resize((256, 192), Image.Resampling.BICUBIC))
    assert enlarged.shape == plain.shape

    def sharpness(image: np.ndarray) -> float:
        return float(np.abs(np.diff(image.astype(float), axis=1)).mean())

    reduced = np.asarray(Image.fromarray(enlarged).resize(photo.size, Image.Resampling.BOX)).astype(float)
    error = np.mean((reduced - np.asarray(photo)) ** 2)
    # Sharper than interpolation, and still the same picture once it is small again.
    assert sharpness(enlarged) > 1.05 * sharpness(plain)
    assert 10 * np.log10(255**2 / error) > 28
