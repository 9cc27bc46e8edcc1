"""Weights that ship as their difference from others: put together they are the same on every machine, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from revisage import models
from revisage.core import ModelError, OutputError, file_sha256
from revisage.models.differences import put_together, save_difference

Weights = dict[str, NDArray[np.float16]]
ABOUT = {"arch": "compact", "config": {"size": 256}}


def weights_of(seed: int, spread: float, around: Weights | None = None) -> Weights:
    random = np.random.default_rng(seed)
    shapes = {"conv.weight": (6, 4, 3, 3), "conv.bias": (6,), "same": (2, 3), "scalar": ()}
    found = {}
    for name, shape in shapes.items():
        drawn = random.normal(0, spread, shape) * (name != "same" or around is None)
        found[name] = np.asarray(drawn + (around[name] if around else 0)).astype(np.float16)
    return found


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two files: the weights that were begun with, and what they became."""
    base, tuned = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    save_file(weights_of(0, 1.0), base)
    save_file(weights_of(1, 0.1, load_file(base)), tuned, {"revisage": json.dumps(ABOUT)})
    return base, tuned


def test_together_they_are_the_tuned_weights(pair: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = pair
    sha256 = save_difference(tmp_path / "d.npz", tuned, base)
    whole = put_together(tmp_path / "d.npz", base, sha256, tmp_path / "cache")
    assert file_sha256(whole) == sha256
    (tmp_path / "plain").write_text("")
    assert whole.stat().st_mode == (tmp_path / "plain").stat().st_mode, "not for its maker alone"
    assert models.metadata(whole) == ABOUT
    began, wanted, found = load_file(base), load_file(tuned), load_file(whole)
    assert {name: value.dtype for name, value in found.items()} == dict.fromkeys(wanted, np.dtype(np.float16))
    assert np.array_equal(found["same"], wanted["same"])
    for name, value in wanted.items():
        step = np.abs(value.astype(float) - began[name]).max() / 63
        assert np.abs(found[name].astype(float) - value).max() <= step / 2 + 2e-3


def test_what_is_there_is_taken_and_what_is_damaged_made_anew(pair: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = pair
    sha256 = save_difference(tmp_path / "d.npz", tuned, base)
    whole = put_together(tmp_path / "d.npz", base, sha256, tmp_path / "cache")
    content, made = whole.read_bytes(), whole.stat().st_mtime_ns
    assert put_together(tmp_path / "d.npz", base, sha256, tmp_path / "cache").stat().st_mtime_ns == made
    whole.write_bytes(content[:-1])
    assert put_together(tmp_path / "d.npz", base, sha256, tmp_path / "cache").read_bytes() == content
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [whole.name]


def test_what_does_not_belong_together_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = pair
    difference, cache = tmp_path / "d.npz", tmp_path / "cache"
    sha256 = save_difference(difference, tuned, base)
    with pytest.raises(ModelError, match="together they are other weights; reinstall revisage"):
        put_together(difference, tuned, sha256, cache)
    save_file({"other": np.zeros(3, np.float16)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="is damaged or of other weights"):
        put_together(difference, tmp_path / "other.safetensors", sha256, cache)
    with pytest.raises(ModelError, match="are not of one network"):
        save_difference(tmp_path / "e.npz", tuned, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"is missing or no \.safetensors file"):
        save_difference(tmp_path / "e.npz", tuned, difference)
    content = difference.read_bytes()
    for damaged in (content[: len(content) // 2], content[:200] + bytes(100) + content[300:], b""):
        difference.write_bytes(damaged)
        with pytest.raises(ModelError, match="damaged"):
            put_together(difference, base, sha256, cache)
    assert not cache.exists()


def test_a_folder_that_cannot_be_written_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = pair
    sha256 = save_difference(tmp_path / "d.npz", tuned, base)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        put_together(tmp_path / "d.npz", base, sha256, tmp_path / "file" / "models")


def test_the_embedded_one_is_put_together_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVISAGE_CACHE", str(tmp_path))
    found = models.verify("compact-natural")
    assert found.path.parent == tmp_path / "models"
    assert (found.source, found.sha256) == ("registry", models.find("compact-natural").sha256)
    assert models.metadata(found.path)["config"] == models.metadata(models.local_path("compact"))["config"]
