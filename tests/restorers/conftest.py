"""Small networks in files, as a user would hand them in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from revisage.nets import build

TINY = {"out_size": 64, "narrow": 0.0625, "channel_multiplier": 1, "num_style_feat": 64, "num_mlp": 1}


@pytest.fixture
def save_net(tmp_path: Path) -> Callable[..., Path]:
    """save_net(net, name, **metadata) writes a network as safetensors, with metadata when there is any."""

    def save(net: nn.Module, name: str = "net.safetensors", **metadata: Any) -> Path:
        path = tmp_path / name
        state = {key: value.contiguous() for key, value in net.state_dict().items()}
        save_file(state, path, {"revisage": json.dumps(metadata)} if metadata else None)
        return path

    return save


@pytest.fixture
def tiny_net() -> nn.Module:
    """A narrow 64 px GFP-GAN with random weights, its output within [-1, 1] for the most part."""
    torch.manual_seed(5)
    net = build("gfpgan_clean", TINY)
    with torch.no_grad():
        for rgb in net.stylegan_decoder.to_rgbs:
            rgb.modulated_conv.weight.mul_(0.1)
        net.stylegan_decoder.to_rgb1.modulated_conv.weight.mul_(0.1)
    return net


@pytest.fixture
def tiny_file(tiny_net: nn.Module, save_net: Callable[..., Path]) -> Path:
    return save_net(tiny_net, "tiny.safetensors", arch="gfpgan_clean", config=TINY, licence="CC0-1.0")


def _smooth_images(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (count, 3, 6, 5)).astype(np.float32)
    images = nn.functional.interpolate(torch.from_numpy(coarse), size=(height, width), mode="bicubic")
    return np.ascontiguousarray(images.clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy())


@pytest.fixture(scope="session")
def smooth_images() -> Callable[..., np.ndarray]:
    """smooth_images(count, height, width, seed=0): uint8 RGB with neighbours alike, as photographs are."""
    return _smooth_images


@pytest.fixture
def crops() -> np.ndarray:
    return _smooth_images(5, 64, 64)
