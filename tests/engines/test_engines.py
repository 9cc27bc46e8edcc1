"""Both engines give the network's own numbers, twice the same, whatever the batch; caches and int8 keep to that."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from revisage import models
from revisage.core.errors import ConfigError, MissingExtraError, ProcessingError
from revisage.engines import (
    Engine,
    ShippedNetwork,
    agreement_db,
    convert,
    cpu_info,
    is_quantised,
    make_engine,
    model_notes,
    network_cache,
    openvino_engine,
    read_model,
    split,
    write_model,
)
from revisage.engines.openvino_engine import check_agreement, threads
from revisage.engines.openvino_package import without_telemetry

HW = (32, 48)


class Net(nn.Module):
    """Small, with what restorers are made of: convolutions, resizing, a style that scales channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.style = nn.Linear(16, 16)
        self.last = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = nn.functional.leaky_relu(self.first(x), 0.2)
        style = self.style(features.mean(dim=(2, 3)))
        down = nn.functional.avg_pool2d(features * style[:, :, None, None], 2)
        up = nn.functional.interpolate(down, scale_factor=2.0, mode="bilinear", align_corners=False)
        return x + 0.2 * self.last(up), style


@pytest.fixture
def net() -> Net:
    torch.manual_seed(3)
    return Net()


@pytest.fixture
def batch() -> np.ndarray:
    return smooth(5)


def smooth(count: int, seed: int = 0) -> np.ndarray:
    """Images with neighbours alike, as photographs are."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 3, 4, 6)).astype(np.float32)
    return nn.functional.interpolate(torch.from_numpy(coarse), size=HW, mode="bilinear").numpy()


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("REVISAGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def refuse(*_: object) -> None:
    raise AssertionError("made although it was in the cache")


def reference(net: nn.Module, batch: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        return [output.numpy() for output in net.eval()(torch.from_numpy(batch))]


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("size_hw", [HW, None])
def test_fp32_equals_the_network(net: Net, batch: np.ndarray, engine: str, size_hw: tuple[int, int] | None) -> None:
    wanted = reference(net, batch)
    made = make_engine(net, size_hw, device="cpu", engine=engine, precision="fp32")
    found = made(batch)
    assert (made.name, made.device, made.precision) == (engine, "cpu", "fp32")
    assert len(found) == 2
    for have, want in zip(found, wanted, strict=True):
        assert have.dtype == np.float32
        np.testing.assert_allclose(have, want, atol=1e-4, rtol=0)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_twice_equal_and_batch_equals_singles(net: Net, batch: np.ndarray, engine: str) -> None:
    made = make_engine(net, HW, device="cpu", engine=engine)
    first = made(batch)
    singles = [made(batch[i : i + 1])[0] for i in range(len(batch))]
    second = made(batch)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)
    np.testing.assert_allclose(np.concatenate(singles), first[0], atol=1e-5, rtol=0)


def test_the_number_of_threads_changes_no_bit(net: Net, batch: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for count in (1, 2):
        monkeypatch.setattr(openvino_engine, "threads", lambda count=count: count)
        found.append(make_engine(net, HW, device="cpu")(batch)[0])
    assert np.array_equal(*found)


@pytest.mark.parametrize(("variable", "wanted"), [("1", 1), ("4096", None), ("", None), ("0", None), ("x", None)])
def test_threads_are_all_cores_or_fewer_if_asked(
    monkeypatch: pytest.MonkeyPatch, variable: str, wanted: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert threads() == (wanted or cpu_info().cores)


def test_arrays_of_any_layout_are_taken(net: Net, batch: np.ndarray) -> None:
    engine = make_engine(net, device="cpu", engine="openvino")
    expected = engine(batch)[0]
    fixed = batch.copy()
    fixed.flags.writeable = False
    turned = np.ascontiguousarray(batch[..., ::-1])[..., ::-1]
    for same in (fixed, turned):
        np.testing.assert_array_equal(engine(same)[0], expected)


def test_results_survive_the_next_call(net: Net, batch: np.ndarray) -> None:
    made = make_engine(net, HW, device="cpu")
    first = made(batch)[0]
    before = first.copy()
    made(-batch)
    assert np.array_equal(first, before)


def test_other_sizes_where_sizes_are_free(net: Net) -> None:
    made = make_engine(net, None, device="cpu", engine="openvino")
    image = np.random.default_rng(1).uniform(-1, 1, (1, 3, 96, 40)).astype(np.float32)
    np.testing.assert_allclose(made(image)[0], reference(net, image)[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_sizes_in_turn_change_no_bit(net: Net, engine: str) -> None:
    """More sizes than copies: each is seen by its own copy, by one that another size had, and alone."""
    rng = np.random.default_rng(2)
    images = [
        rng.uniform(-1, 1, (count, 3, 32, width)).astype(np.float32) for count, width in ((1, 48), (1, 64), (2, 48))
    ]
    made = make_engine(net, None, device="cpu", engine=engine, sizes=2)
    rounds = openvino_engine._CHANGES // len(images) + 2
    found = [[made(image)[0] for image in images] for _ in range(rounds)]
    for number, image in enumerate(images):
        alone = make_engine(net, None, device="cpu", engine=engine)(image)[0]
        assert all(np.array_equal(outputs[number], alone) for outputs in found)


def test_a_network_is_copied_when_its_shape_has_changed_often(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_engine(net, None, device="cpu", engine="openvino", sizes=3)
    copied: list[object] = []
    copy_one = openvino_engine._imported
    monkeypatch.setattr(openvino_engine, "_imported", lambda *a: copied.append(a) or copy_one(*a))
    monkeypatch.setattr(openvino_engine, "compile_model", refuse)

    def see(changes: int) -> int:
        for number in range(changes):
            made(np.zeros((1, 3, 32, 48 + 16 * (number % 2)), np.float32))
        return len(copied)

    # The first shape of all is no reason for a further copy, and two copies are enough for two shapes.
    assert see(openvino_engine._CHANGES) == 0
    assert see(4 * openvino_engine._CHANGES) == 1


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_bf16_is_close(net: Net, batch: np.ndarray, engine: str) -> None:
    if not cpu_info().native_bf16:
        pytest.skip("this CPU has no bf16 in hardware")
    wanted = reference(net, batch)[0]
    found = make_engine(net, HW, device="cpu", engine=engine, precision="bf16")(batch)[0]
    assert found.dtype == np.float32
    assert not np.array_equal(found, wanted)
    assert agreement_db(wanted, found) > 40


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_auto_precision_is_exact(net: Net, engine: str) -> None:
    assert make_engine(net, HW, device="cpu", engine=engine).precision == "fp32"


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 3, 32, 32), np.float32),
        np.zeros((1, 4, *HW), np.float32),
        np.zeros((0, 3, *HW), np.float32),
        np.zeros((3, *HW), np.float32),
        np.zeros((1, 3, *HW), np.float64),
    ],
    ids=["size", "channels", "empty", "rank", "dtype"],
)
def test_wrong_batches_are_named(net: Net, engine: str, wrong: np.ndarray) -> None:
    made = make_engine(net, HW, device="cpu", engine=engine)
    with pytest.raises(ValueError, match=r"expected float32 \(N, 3, 32, 48\), got float") as caught:
        made(wrong)
    assert str(wrong.shape) in str(caught.value)


def test_the_cache_gives_the_same_bytes_without_the_network(
    net: Net, batch: np.ndarray, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_engine(net, HW, device="cpu", cache_key="weights")(batch)[0]
    assert sorted(path.name for path in cache.glob("*/*")) == ["net.bin", "net.xml", "sha256"]

    with monkeypatch.context() as patch:
        patch.setattr(openvino_engine, "convert", refuse)
        second = make_engine(net, HW, device="cpu", cache_key="weights")(batch)[0]
        with pytest.raises(AssertionError):
            make_engine(net, HW, device="cpu", cache_key="other weights")
        with pytest.raises(AssertionError):
            make_engine(net, None, device="cpu", cache_key="weights")
    assert np.array_equal(first, second)


@pytest.mark.parametrize("file", ["net.bin", "net.xml", "sha256"])
def test_a_damaged_cache_is_made_again(
    net: Net, batch: np.ndarray, cache: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_engine(net, HW, device="cpu", cache_key="weights")(batch)[0]
    (path,) = cache.glob(f"*/{file}")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"x" * 9)
    second = make_engine(net, HW, device="cpu", cache_key="weights")(batch)[0]
    assert np.array_equal(first, second)
    assert [entry.name for entry in cache.iterdir()] == [path.parent.name]
    monkeypatch.setattr(openvino_engine, "convert", refuse)
    third = make_engine(net, HW, device="cpu", cache_key="weights")(batch)[0]
    assert np.array_equal(first, third)


def shipped() -> ShippedNetwork:
    """The detector's second stage, as the package holds it."""
    file = models.verify("compact-detector")
    path = models.compiled_path("compact-detector", file.sha256, "refine")
    assert path is not None
    return ShippedNetwork(path, file.path)


def test_a_shipped_network_tells_of_itself_before_it_is_read() -> None:
    file = models.verify("compact")
    for part in ("", "int8"):
        path = models.compiled_path("compact", file.sha256, part)
        assert path is not None
        network, model = ShippedNetwork(path, file.path), read_model(path, file.path)
        assert network.notes == model_notes(model)
        assert network.notes["weights_sha256"] == file.sha256
        assert network.is_int8 == is_quantised(model) == bool(part)


SHIPPED_HW = (64, 64)


def shipped_engine(sizes: int = 1) -> Engine:
    return make_engine(shipped(), SHIPPED_HW, device="cpu", engine="openvino", cache_key="weights", sizes=sizes)


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(-1, 1, (count, 3, *SHIPPED_HW)).astype(np.float32)


def test_a_shipped_network_is_taken_from_the_cache_as_it_was_compiled(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shipped_engine()(crops(3))[0]
    (blob,) = cache.glob("*/net.blob")
    with monkeypatch.context() as patch:
        patch.setattr(openvino_engine, "compile_model", refuse)
        patch.setattr(ShippedNetwork, "read", refuse)
        second = shipped_engine()(crops(3))[0]
    assert np.array_equal(first, second)
    # Damaged, it is compiled again.
    blob.write_bytes(blob.read_bytes()[:-9] + b"x" * 9)
    third = shipped_engine()(crops(3))[0]
    assert np.array_equal(first, third)
    assert network_cache.is_whole(blob.parent)
    # A changed file of the network is another one.
    other = shipped()
    monkeypatch.setattr(ShippedNetwork, "sha256", "0" * 64)
    make_engine(other, SHIPPED_HW, device="cpu", engine="openvino", cache_key="weights")(crops(1))
    assert len(list(cache.glob("*/net.blob"))) == 2


def test_a_shipped_network_is_compiled_when_it_is_needed(cache: Path) -> None:
    made = shipped_engine()
    assert not list(cache.glob("*/net.blob"))
    made(crops(1))
    assert list(cache.glob("*/net.blob"))


@pytest.mark.parametrize("is_known", [False, True])
def test_copies_for_further_shapes_give_the_same_bytes(is_known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_known:
        shipped_engine()(crops(1))
    alone = shipped_engine()
    several = shipped_engine(sizes=3)
    several(crops(1))
    expected = {count: alone(crops(count))[0] for count in (1, 2, 4)}
    monkeypatch.setattr(openvino_engine, "compile_model", refuse)
    monkeypatch.setattr(openvino_engine, "_CHANGES", 1)
    for count in (1, 4, 2, 1, 4):
        assert np.array_equal(several(crops(count))[0], expected[count])


def old(cache: Path, name: str, days: float, size: int = 1000) -> Path:
    """A folder in the cache that was used some days ago."""
    path = cache / name
    path.mkdir(parents=True)
    (path / "net.bin").write_bytes(bytes(size))
    then = time.time() - days * 24 * 3600
    os.utime(path, (then, then))
    return path


def test_what_nobody_used_for_long_is_deleted_when_something_is_added(net: Net, cache: Path) -> None:
    kept, unused, torn = old(cache, "kept", 80), old(cache, "unused", 100), old(cache, ".part-torn", 0.5)
    writing = old(cache, ".part-writing", 0.001)
    make_engine(net, HW, device="cpu", cache_key="weights")
    assert kept.exists() and writing.exists()
    assert not unused.exists() and not torn.exists()


def test_the_cache_is_bounded_and_what_was_used_last_stays(
    net: Net, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_engine(net, HW, device="cpu", cache_key="weights")
    (first,) = cache.iterdir()
    then = time.time() - 50 * 24 * 3600
    os.utime(first, (then, then))
    older, oldest = old(cache, "older", 20, 400_000), old(cache, "oldest", 30, 700_000)
    monkeypatch.setattr(network_cache, "_KEPT_BYTES", 1_000_000)
    make_engine(net, HW, device="cpu", cache_key="weights")  # taken from the cache, which is a use
    make_engine(net, HW, device="cpu", cache_key="other weights")
    assert first.exists() and older.exists()
    assert not oldest.exists()


def test_both_precisions_share_a_converted_network(net: Net, cache: Path) -> None:
    if not cpu_info().native_bf16:
        pytest.skip("this CPU has no bf16 in hardware")
    make_engine(net, HW, device="cpu", precision="fp32", cache_key="weights")
    make_engine(net, HW, device="cpu", precision="bf16", cache_key="weights")
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_costs_only_time(
    net: Net, batch: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("REVISAGE_CACHE", str(blocked))
    found = make_engine(net, HW, device="cpu", cache_key="weights")(batch)[0]
    np.testing.assert_allclose(found, reference(net, batch)[0], atol=1e-4, rtol=0)


def test_kernels_that_float16_holds_are_written_in_it_though_a_normalisation_was_folded_into_them(
    batch: np.ndarray, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    net = nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64), nn.Conv2d(64, 64, 3, bias=False)).eval()
    net[1].running_var.uniform_(0.5, 2)
    net = nn.Sequential(*net, nn.BatchNorm2d(64)).half().float().eval()
    written = {name: tmp_path / f"{name}.xml" for name in ("plain", "kernels")}
    write_model(convert(net, HW), written["plain"], {})
    write_model(convert(net, HW), written["kernels"], {}, [value.numpy() for value in net.parameters()])
    plain, halved = (path.with_suffix(".bin").stat().st_size for path in written.values())
    assert halved < 0.55 * plain
    plain, halved = (make_engine(read_model(path), HW)(batch)[0] for path in written.values())
    assert np.array_equal(plain, halved)


def test_int8_needs_inputs_to_calibrate_on(net: Net) -> None:
    with pytest.raises(ConfigError, match="needs real inputs"):
        make_engine(net, HW, device="cpu", precision="int8")
    with pytest.raises(ConfigError, match="at least 4 faces"):
        make_engine(net, HW, device="cpu", precision="int8", calibration=smooth(2))


def test_int8_without_nncf_names_the_extra(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match=r"revisage\[export\]"):
        make_engine(net, HW, device="cpu", precision="int8", calibration=smooth(8))


def test_int8_agrees_and_is_silent(
    net: Net, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nncf", reason="needs the extra export")
    calibration, fresh = smooth(12), smooth(3, seed=9)
    int8 = {"device": "cpu", "precision": "int8", "cache_key": "weights"}
    made = make_engine(net, HW, calibration=calibration, **int8)
    again = make_engine(net, HW, calibration=calibration, **int8)
    found = made(fresh)[0]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert made.precision == "int8"
    assert 38 < agreement_db(reference(net, fresh)[0], found) < 100
    assert np.array_equal(found, again(fresh)[0])
    monkeypatch.setattr(openvino_engine, "quantise", refuse)
    make_engine(net, HW, calibration=calibration, **int8)
    with pytest.raises(AssertionError):
        make_engine(net, HW, calibration=fresh.repeat(2, axis=0), **int8)


def test_int8_that_disagrees_is_refused() -> None:
    exact = smooth(2)
    check_agreement(exact, exact + np.float32(0.015))
    with pytest.raises(ProcessingError, match=r"to 36\.5 dB on this footage and 40 dB are wanted"):
        check_agreement(exact * np.float32(0.5), exact * np.float32(0.5) + np.float32(0.03))
    with pytest.raises(ProcessingError, match="nan dB"):
        check_agreement(exact, exact * np.float32("nan"))


def test_every_fourth_crop_is_held_out() -> None:
    crops = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    known, held_out = split(crops)
    assert held_out.ravel().tolist() == [3, 7]
    assert known.ravel().tolist() == [0, 1, 2, 4, 5, 6, 8, 9]


def test_importing_the_room_loads_no_engine_and_openvino_no_telemetry() -> None:
    code = (
        "import sys, revisage.engines\n"
        "assert not {'torch', 'openvino', 'cv2'} & set(sys.modules), 'heavy import'\n"
        "from revisage.engines import load_openvino\n"
        "openvino = load_openvino()\n"
        "assert 'openvino.tools.ovc' not in sys.modules, 'a converter that nobody asked for'\n"
        "assert openvino.convert_model.__module__ == 'openvino.tools.ovc.convert'\n"
        "assert not hasattr(openvino, 'nothing')\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry')], 'telemetry'\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_telemetry_that_was_kept_away_before_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    with without_telemetry():
        pass
    assert "openvino_telemetry" in sys.modules
    monkeypatch.delitem(sys.modules, "openvino_telemetry")
    with without_telemetry():
        assert "openvino_telemetry" in sys.modules
    assert "openvino_telemetry" not in sys.modules


class Hungry(Net):
    """Takes more memory than there is for more than ``most`` images at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(x)


def test_what_does_not_fit_into_memory_goes_through_in_halves(net: Net, batch: np.ndarray) -> None:
    hungry = Hungry(2)
    hungry.load_state_dict(net.state_dict())
    engine = make_engine(hungry, HW, engine="torch", device="cpu")
    whole = make_engine(net, HW, engine="torch", device="cpu")(batch)
    for _ in range(2):
        for got, wanted in zip(engine(batch), whole, strict=True):
            assert np.allclose(got, wanted, atol=1e-6)
    assert hungry.seen == [5, 2, 2, 1, 2, 2, 1], "what is known not to fit is not tried again"
    assert list(engine.notes) == ["the memory of cpu did not hold 5 images at once; 2 were run"]


def test_what_does_not_fit_at_all_is_said(batch: np.ndarray) -> None:
    with pytest.raises(ProcessingError, match="does not hold a single image"):
        make_engine(Hungry(0), HW, engine="torch", device="cpu")(batch)
