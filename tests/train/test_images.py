"""Reading training faces, and the stream of samples."""

from __future__ import annotations

import io
import pickle
import tarfile
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from revisage.core.errors import InputError, OutputError
from revisage.train.compute import Compute, Group
from revisage.train.degrade.presets import PRESETS
from revisage.train.images import FaceSource, ImageCache, load_images
from revisage.train.loop import sample_batches
from revisage.train.restorer.pairs import DegradedFaces
from revisage.train.settings import StageConfig

CPU = torch.device("cpu")
ALONE = Compute(CPU)
MIXTURE = [(PRESETS["paper"], 0.5), (PRESETS["mild"], 0.5)]


def write_image(path: Path, colour: tuple[int, int, int], size: int = 64) -> None:
    """A flat RGB picture with a little texture."""
    image = np.full((size, size, 3), colour, np.uint8)
    image[::8] //= 2
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(4):
        write_image(tmp_path / f"face_{index}.png", (50 * index, 100, 200))
    return tmp_path


@pytest.fixture
def cache(folder: Path) -> ImageCache:
    return load_images([FaceSource(path=folder)], 64)


def test_a_folder_is_read_as_rgb_in_order(cache: ImageCache) -> None:
    assert [Path(file).name for file in cache.files] == [f"face_{index}.png" for index in range(4)]
    assert cache.pixels.shape == (4, 64, 64, 3)
    assert cache.pixels[3, 1, 0].tolist() == [150, 100, 200]
    assert cache.skipped == ()


def test_what_is_hidden_is_not_learnt_from(folder: Path) -> None:
    hidden = folder / ".align-left"
    hidden.mkdir()
    write_image(hidden / "face_0.png", (1, 2, 3))
    write_image(folder / ".face.png", (1, 2, 3))
    assert len(load_images([FaceSource(path=folder)], 64).files) == 4


def test_larger_images_are_reduced(tmp_path: Path) -> None:
    write_image(tmp_path / "large.png", (10, 20, 30), size=128)
    assert load_images([FaceSource(path=tmp_path)], 64).pixels.shape == (1, 64, 64, 3)


def test_bad_files_are_left_out_and_named(folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (folder / "empty.png").touch()
    write_image(folder / "small.png", (1, 2, 3), size=32)
    cache = load_images([FaceSource(path=folder)], 64)
    assert len(cache.files) == len(cache.pixels) == len(cache.weights) == 4
    assert [line.removeprefix(str(folder))[1:] for line in cache.skipped] == [
        "broken.jpg is no image that can be decoded",
        "empty.png is no image that can be decoded",
        "small.png is 32x32, smaller than 64x64",
    ]


def test_a_list_gives_weights_and_licences(folder: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text("file,licence\nface_2.png,CC0\nface_0.png,MIT\ngone.png,MIT\n", encoding="utf-8")
    cache = load_images([FaceSource(path=listing, weights={"*_0*": 4.0}, weight=2.0)], 64)
    assert [Path(file).name for file in cache.files] == ["face_2.png", "face_0.png"]
    assert cache.weights.tolist() == [2.0, 4.0]
    assert cache.licences == {"CC0": 1, "MIT": 1}
    assert "gone.png cannot be read" in cache.skipped[0]


@pytest.mark.parametrize("kind", ["empty", "missing", "no column"])
def test_a_source_without_images_says_so(kind: str, tmp_path: Path) -> None:
    path = {"empty": tmp_path, "missing": tmp_path / "nowhere", "no column": tmp_path / "list.csv"}[kind]
    if kind == "no column":
        path.write_text("name\nx.png\n", encoding="utf-8")
    with pytest.raises(InputError, match=path.name) as caught:
        load_images([FaceSource(path=path)], 64)
    assert "\n" not in str(caught.value)


def test_the_digest_follows_the_pixels(folder: Path, cache: ImageCache) -> None:
    assert load_images([FaceSource(path=folder)], 64).digest == cache.digest
    write_image(folder / "face_1.png", (9, 9, 9))
    assert load_images([FaceSource(path=folder)], 64).digest != cache.digest


def test_a_sample_depends_on_seed_and_index_alone(cache: ImageCache) -> None:
    first, second = (DegradedFaces(cache, MIXTURE, seed=3, tone_probability=0.5) for _ in range(2))
    second[7]  # another order of reading
    for index in (0, 5):
        assert all(torch.equal(a, b) for a, b in zip(first[index], second[index], strict=True))
    other = DegradedFaces(cache, MIXTURE, seed=4, tone_probability=0.5)
    assert any(not torch.equal(first[index][0], other[index][0]) for index in range(3))


def test_images_are_drawn_by_weight(cache: ImageCache) -> None:
    weighted = ImageCache(cache.pixels, cache.files, np.array([0.0, 1.0, 0.0, 3.0]))
    faces = DegradedFaces(weighted, [(PRESETS["mild"].model_copy(update={"grey_probability": 0.0}), 1.0)], seed=1)
    reds = [int(faces[index][1][0, 1, 0]) for index in range(200)]
    assert set(reds) == {50, 150}
    assert reds.count(150) == pytest.approx(150, abs=25)


def test_batches_go_on_where_they_stopped(cache: ImageCache) -> None:
    faces = DegradedFaces(cache, MIXTURE, seed=1)
    config = StageConfig(steps=4, batch=2, workers=0)
    whole, rest = (list(sample_batches(faces, config, ALONE, first)) for first in (0, 2))
    assert len(whole) == 4
    for (inputs, targets), (inputs_again, targets_again) in zip(whole[2:], rest, strict=True):
        assert inputs.shape == (2, 3, 64, 64)
        assert inputs.dtype == torch.uint8
        assert torch.equal(inputs, inputs_again)
        assert torch.equal(targets, targets_again)


def test_processes_share_what_one_would_read(cache: ImageCache) -> None:
    faces = DegradedFaces(cache, MIXTURE, seed=1)
    config = StageConfig(steps=2, batch=2, accumulate=2, workers=0)
    halves = [sample_batches(faces, config, Compute(CPU, group=Group(rank, 2)), 1) for rank in (0, 1)]
    whole = list(sample_batches(faces, config.model_copy(update={"batch": 4}), ALONE, 1))
    assert len(whole) == 2
    for together, *parts in zip(whole, *halves, strict=True):
        assert torch.equal(together[0], torch.cat([inputs for inputs, _ in parts]))


def test_a_worker_process_gives_the_same_batches_and_ends_when_left(cache: ImageCache) -> None:
    faces = DegradedFaces(cache, MIXTURE, seed=1)
    here = list(sample_batches(faces, StageConfig(steps=3, batch=2, workers=0), ALONE, 0))
    stream = sample_batches(faces, StageConfig(steps=1000, batch=2, workers=1), ALONE, 0)
    for inputs, targets in here:
        inputs_there, targets_there = next(stream)
        assert torch.equal(inputs, inputs_there)
        assert torch.equal(targets, targets_there)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "training batches"]


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def test_a_webdataset_shard_is_read_in_its_order(folder: Path, tmp_path: Path) -> None:
    images = [(folder / f"face_{index}.png").read_bytes() for index in (2, 1)]
    shards = tmp_path / "shards"
    shards.mkdir()
    members = {"b/7.png": images[0], "b/7.json": b'{"license": "CC0"}', "a/1.face.png": images[1], "a/1.json": b"[]"}
    write_shard(shards / "set-000.tar", {**members, "a/broken.jpg": b"no picture"})
    for path in (shards, shards / "set-000.tar"):
        cache = load_images([FaceSource(path=path, weights={"7*": 3.0})], 64)
        assert cache.pixels[:, 1, 0].tolist() == [[100, 100, 200], [50, 100, 200]]
        assert cache.weights.tolist() == [3.0, 1.0]
        assert cache.licences == {"CC0": 1, "not stated": 1}
        assert "set-000.tar/a/broken.jpg is no image" in cache.skipped[0]


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    shard = tmp_path / "bad.tar"
    shard.write_bytes(b"this is no archive" * 100)
    with pytest.raises(InputError, match=r"bad\.tar is no uncompressed tar"):
        load_images([FaceSource(path=shard)], 64)


def test_a_jpeg_that_ends_early_is_left_out(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    _, data = cv2.imencode(".jpg", noise)
    (folder / "whole.jpg").write_bytes(data.tobytes())
    (folder / "cut.jpg").write_bytes(data.tobytes()[: len(data) * 2 // 3])
    cache = load_images([FaceSource(path=folder)], 64)
    assert len(cache.files) == 5
    assert [line.rpartition("/")[2] for line in cache.skipped] in (
        ["cut.jpg is a JPEG that ends early"],
        ["cut.jpg is no image that can be decoded"],
    )


def test_decoded_images_are_kept_and_mapped(folder: Path, tmp_path: Path, cache: ImageCache) -> None:
    (folder / "empty.png").touch()
    kept = tmp_path / "decoded"
    first = load_images([FaceSource(path=folder)], 64, cache=kept)
    written = sorted(path.name for path in kept.iterdir())
    again = load_images([FaceSource(path=folder, weight=2.0)], 64, cache=kept)
    assert sorted(path.name for path in kept.iterdir()) == written
    assert [Path(name).suffix for name in written] == [".json", ".pixels"]
    for found in (first, again):
        assert torch.equal(found.pixels, cache.pixels)
        assert found.digest == cache.digest
        assert "empty.png" in found.skipped[0]
    assert again.weights.tolist() == [2.0] * 4


def test_a_changed_or_damaged_decoded_set_is_made_anew(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "decoded"
    first = load_images([FaceSource(path=folder)], 64, cache=kept)
    assert first.mapped is not None
    with first.mapped.pixels.open("r+b") as stream:
        stream.truncate(100)
    assert load_images([FaceSource(path=folder)], 64, cache=kept).digest == first.digest
    write_image(folder / "face_1.png", (9, 9, 9), size=72)
    assert load_images([FaceSource(path=folder)], 64, cache=kept).digest != first.digest


def test_mapped_images_travel_as_a_name(folder: Path, tmp_path: Path) -> None:
    cache = load_images([FaceSource(path=folder)], 64, cache=tmp_path / "decoded")
    sent = pickle.dumps(cache)
    assert len(sent) < 4 * 64 * 64 * 3 / 4
    assert torch.equal(pickle.loads(sent).pixels, cache.pixels)


def test_a_set_too_large_for_memory_asks_for_a_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name a folder for decoded images") as caught:
        load_images([FaceSource(path=folder)], 64, memory=30_000)
    assert "\n" not in str(caught.value)
    assert len(load_images([FaceSource(path=folder)], 64, memory=30_000, cache=tmp_path / "decoded").files) == 4


def test_decoded_images_need_a_folder_that_can_be_made(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="taken"):
        load_images([FaceSource(path=folder)], 64, cache=tmp_path / "taken")
    assert load_images([FaceSource(path=folder)], 64).files


def test_every_new_preset_feeds_a_training(cache: ImageCache) -> None:
    faces = DegradedFaces(
        cache, [(PRESETS[name], 1.0) for name in ("video", "gif", "archive", "webcam", "large")], seed=5
    )
    for index in range(8):
        inputs, targets = faces[index]
        assert inputs.shape == targets.shape == (3, 64, 64)
