"""Windows of large faces: cut before they are damaged, and a net of any size that learns from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from runs import config_of, losses_of

from revisage import nets
from revisage.restorers import load_fine_restorer
from revisage.train.degrade import PRESETS, LargeDegradation
from revisage.train.export import export_run
from revisage.train.images import ImageCache
from revisage.train.restorer import train_restorer
from revisage.train.restorer.pairs import DegradedFaces

FINE = {"architecture": "compact-fine", "size": 64, "channels": (8, 8, 8)}


@pytest.fixture
def cache() -> ImageCache:
    """One face of noise, so that each place in it is like no other."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    return ImageCache(torch.from_numpy(pixels), ("face.png",), np.ones(1))


def test_a_window_is_a_part_of_the_face(cache: ImageCache) -> None:
    untouched = LargeDegradation(clean_probability=1.0, grey_probability=0.0, light_probability=0.0)
    faces = DegradedFaces(cache, [(untouched, 1.0)], seed=3, window=32)
    image = cache.pixels[0].permute(2, 0, 1)
    places = set()
    for index in range(6):
        inputs, targets = faces[index]
        assert torch.equal(inputs, targets)
        windows = image.unfold(1, 32, 1).unfold(2, 32, 1)
        same = [(windows == shown[:, None, None]).all(dim=(0, 3, 4)).nonzero() for shown in (targets, targets.flip(2))]
        found = torch.cat(same)
        assert len(found) == 1
        places.add(tuple(found[0].tolist()))
    assert len(places) == 6


def test_half_of_the_windows_are_enlarged(cache: ImageCache) -> None:
    faces = DegradedFaces(cache, [(PRESETS["large"], 1.0)], seed=3, window=32, zoom=(2.0, 2.0))
    rough = [float(faces[index][1].float().diff(dim=2).abs().mean()) for index in range(24)]
    # Neighbours in noise are 85 levels apart on average, enlarged twice half of that.
    assert 5 <= sum(value > 65 for value in rough) <= 19


def test_a_net_of_any_size_learns_from_windows(material: Path, tmp_path: Path) -> None:
    changes = {"net": FINE, "window": 32, "mixture": [("large", 1.0)], "perceptual_weight": 0, "learning_rate": 1e-3}
    train_restorer(config_of(material, steps=3, **changes), tmp_path / "run")
    assert len(losses_of(tmp_path / "run", "pixel")) == 3
    output = export_run(tmp_path / "run", tmp_path / "fine.safetensors")
    restorer = load_fine_restorer(output, device="cpu", engine="torch", precision="fp32")
    picture = np.full((50, 70, 3), 100, np.uint8)
    assert restorer(picture).shape == picture.shape


def test_its_weights_are_recognised() -> None:
    settings = {"channels": (8, 16, 24), "blocks": (2, 1, 3)}
    name, found = nets.infer_arch(nets.build("compact-fine", settings).state_dict())
    assert name == "compact-fine"
    assert {key: found[key] for key in settings} == settings


def test_windows_need_a_net_of_any_size(material: Path) -> None:
    with pytest.raises(ValidationError, match="window is for nets that take any size"):
        config_of(material, window=32)
    with pytest.raises(ValidationError, match="zoom: the range"):
        config_of(material, net=FINE, window=32, zoom=(2.0, 1.0))
