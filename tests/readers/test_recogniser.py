"""What tells people apart, by a reader's file or by a network of identities."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from revisage.core import ModelError
from revisage.nets import CompactReader
from revisage.readers import is_reader_there, load_recogniser


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("reader") / "reader.safetensors"
    about = {"arch": "compact-reader", "config": {"width": 16, "hidden": 16}}
    save_file(CompactReader(width=16, hidden=16).state_dict(), path, metadata={"revisage": json.dumps(about)})
    return path


def test_a_reader_tells_identities_and_more(weights: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    recogniser = load_recogniser(weights)
    identities, readings = recogniser(crops)
    assert readings is not None
    assert np.array_equal(identities, readings.identity)
    assert recogniser.identities(crops) == pytest.approx(identities, abs=1e-5)
    assert (recogniser.name, len(recogniser.sha256)) == ("reader.safetensors", 64)
    assert is_reader_there(weights)


@pytest.mark.parametrize("name", ["mobilefacenet.onnx", "mobilefacenet.fp16.safetensors"])
def test_mobilefacenet_tells_people_apart_and_nothing_else(shared: Path, name: str) -> None:
    """Two people, neutral and smiling each."""
    recogniser = load_recogniser(shared / "weights" / "identity" / name)
    files = [f"london_{number:04}.webp" for number in (0, 9, 60)]
    crops = [cv2.resize(cv2.imread(str(shared / "faces/test512" / file)), (256, 256))[..., ::-1] for file in files]
    identities, readings = recogniser(np.stack(crops))
    assert readings is None
    other, one, same = identities
    assert np.linalg.norm(identities, axis=1) == pytest.approx(1, abs=1e-4)
    assert one @ same > 0.8
    assert abs(one @ other) < 0.4


def test_what_is_no_reader_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="no face reader"):
        load_recogniser(tiny_model)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged or another network"):
        load_recogniser(broken)
    with pytest.raises(ModelError, match="unknown model"):
        load_recogniser("no-such-reader")
    assert not is_reader_there("no-such-reader")
