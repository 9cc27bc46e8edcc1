"""A restorer is the network's own result, rounded; twice the same; and says what is wrong with what it is given."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from revisage import engines, nets
from revisage.core import ConfigError, DeviceError, ModelError, ProcessingError, file_sha256
from revisage.engines import cpu_info, make_engine
from revisage.models import registry
from revisage.nets import build
from revisage.restorers import NetRestorer, RestorerInfo, load_restorer
from revisage.train.export import write_onnx
from revisage.train.restorer.pairs import degraded_pairs

Images = Callable[..., np.ndarray]

INFO = RestorerInfo("test", "compact", "torch", "fp32", "cpu", "some CPU", "0" * 64, "CC0-1.0")


def exact(net: nn.Module, crops: np.ndarray) -> np.ndarray:
    """What the network gives in torch, in steps of 255, not rounded."""
    batch = torch.from_numpy(crops).permute(0, 3, 1, 2).double() / 127.5 - 1
    with torch.inference_mode():
        output = net.eval().double()(batch)
    return ((output.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_it_is_the_networks_result_rounded(
    tiny_file: Path, tiny_net: nn.Module, crops: np.ndarray, engine: str
) -> None:
    restorer = load_restorer(tiny_file, device="cpu", engine=engine, precision="fp32")
    restored = restorer(crops)
    wanted = exact(tiny_net, crops)
    assert restored.dtype == np.uint8
    assert restored.shape == crops.shape
    assert restored.flags.c_contiguous
    assert wanted.std() > 5, "the network has nothing to show"
    assert np.abs(restored - wanted).max() <= 0.51
    assert np.array_equal(restored, restorer(crops))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_batch_equals_its_singles_in_any_order(tiny_file: Path, crops: np.ndarray, precision: str) -> None:
    if precision == "bf16" and not cpu_info().native_bf16:
        pytest.skip("this CPU has no bf16 in hardware")
    restorer = load_restorer(tiny_file, device="cpu", precision=precision)
    together = restorer(crops).astype(int)
    singles = np.concatenate([restorer(crops[i : i + 1]) for i in range(len(crops))])
    assert np.abs(together - singles).max() <= 1
    assert np.abs(together - restorer(crops[::-1])[::-1]).max() <= 1


def test_input_is_left_alone_and_none_is_fine(tiny_file: Path, crops: np.ndarray) -> None:
    restorer = load_restorer(tiny_file, device="cpu")
    before = crops.copy()
    restorer(crops)
    assert np.array_equal(crops, before)
    assert restorer(crops[:0]).shape == (0, 64, 64, 3)


class Recorder(nn.Module):
    """Gives its input back, and notes how many images came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        return x


def test_every_value_survives_the_round_trip_and_large_batches_are_cut() -> None:
    net = Recorder()
    restorer = NetRestorer(make_engine(net, (512, 512), device="cpu", engine="torch"), 512, INFO)
    crops = np.arange(10 * 512 * 512 * 3, dtype=np.uint64).astype(np.uint8).reshape(10, 512, 512, 3)
    assert np.array_equal(restorer(crops), crops)
    assert net.seen == [4, 4, 2]
    assert restorer.at_once == 4


def test_a_processor_takes_small_crops_one_by_one() -> None:
    net = Recorder()
    restorer = NetRestorer(make_engine(net, (256, 256), device="cpu", engine="torch"), 256, INFO)
    restorer(np.zeros((3, 256, 256, 3), np.uint8))
    assert net.seen == [1, 1, 1]
    assert restorer.at_once == 1


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, self.value)


@pytest.mark.parametrize(("value", "shown"), [(1.5, 255), (-1.5, 0), (0.0, 128), (1 / 255, 128), (1.1 / 127.5, 129)])
def test_values_are_clipped_and_rounded_to_nearest(value: float, shown: int) -> None:
    restorer = NetRestorer(make_engine(Constant(value), (32, 32), device="cpu", engine="torch"), 32, INFO)
    assert (restorer(np.zeros((1, 32, 32, 3), np.uint8)) == shown).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_are_an_error(value: float) -> None:
    restorer = NetRestorer(make_engine(Constant(value), (32, 32), device="cpu", engine="torch"), 32, INFO)
    with pytest.raises(ProcessingError, match="no numbers"):
        restorer(np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (np.zeros((1, 64, 64, 3), np.float32), r"float32 \(1, 64, 64, 3\)"),
        (np.zeros((64, 64, 3), np.uint8), r"uint8 \(64, 64, 3\)"),
        (np.zeros((1, 3, 64, 64), np.uint8), r"uint8 \(1, 3, 64, 64\)"),
        (np.zeros((2, 32, 32, 3), np.uint8), r"uint8 \(2, 32, 32, 3\)"),
        ([[1]], "list"),
    ],
)
def test_wrong_crops_are_named(tiny_file: Path, wrong: np.ndarray, named: str) -> None:
    restorer = load_restorer(tiny_file, device="cpu")
    with pytest.raises(ValueError, match=rf"expected crops as uint8 \(N, 64, 64, 3\) RGB, got {named}"):
        restorer(wrong)


def test_info_says_what_runs(tiny_file: Path) -> None:
    restorer = load_restorer(tiny_file, device="cpu")
    info = restorer.info
    assert restorer.size == 64
    assert dataclasses.asdict(info) == {
        "name": "tiny.safetensors",
        "architecture": "gfpgan_clean",
        "engine": "openvino",
        "precision": "bf16" if cpu_info().native_bf16 else "fp32",
        "device": "cpu",
        "hardware": str(cpu_info()),
        "sha256": file_sha256(tiny_file),
        "licence": "CC0-1.0",
    }
    assert cpu_info().name in str(info)


def test_a_file_without_metadata_is_recognised(
    tiny_net: nn.Module, tiny_file: Path, save_net: Callable[..., Path], crops: np.ndarray, tmp_path: Path
) -> None:
    bare = load_restorer(save_net(tiny_net, "bare.safetensors"), device="cpu", engine="torch")
    torch.save({"params_ema": tiny_net.state_dict()}, tmp_path / "bare.pth")
    pickled = load_restorer(str(tmp_path / "bare.pth"), device="cpu", engine="torch")
    wanted = load_restorer(tiny_file, device="cpu", engine="torch")(crops)
    assert bare.size == pickled.size == 64
    assert np.array_equal(bare(crops), wanted)
    assert np.array_equal(pickled(crops), wanted)


def test_compact_in_a_file(save_net: Callable[..., Path], smooth_images: Images) -> None:
    config = {"size": 64, "channels": [8, 12], "style_features": 16, "bottleneck_channels": 4}
    net = build("compact", config)
    half = net.half()
    restorer = load_restorer(save_net(half, arch="compact", config=config), device="cpu", precision="fp32")
    images = smooth_images(2, 64, 64)
    assert restorer.size == 64
    # An untrained compact net is the identity.
    assert np.array_equal(restorer(images), images)


def test_auto_precision_is_bf16_only_for_architectures_that_agree(
    tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = dataclasses.replace(nets.architecture("gfpgan_clean"), bf16_agrees=False)
    monkeypatch.setattr("revisage.nets.architecture", lambda _name: record)
    assert load_restorer(tiny_file, device="cpu").info.precision == "fp32"


def test_int8_is_calibrated_on_crops_that_are_handed_in(save_net: Callable[..., Path], smooth_images: Images) -> None:
    pytest.importorskip("nncf", reason="needs the extra export")
    config = {"size": 64, "channels": [8, 12], "style_features": 16, "bottleneck_channels": 4}
    torch.manual_seed(4)
    net = build("compact", config)
    nn.init.normal_(net.head.weight, std=0.02)
    path = save_net(net, arch="compact", config=config)
    calibration = smooth_images(12, 64, 64, seed=3)
    with pytest.raises(ConfigError, match="needs real inputs"):
        load_restorer(path, precision="int8")
    with pytest.raises(ValueError, match="expected crops as uint8"):
        load_restorer(path, precision="int8", calibration=calibration[:, :32])
    restorer = load_restorer(path, precision="int8", calibration=calibration)
    crops = smooth_images(4, 64, 64, seed=4)
    wanted = exact(net, crops)
    assert restorer.info.precision == "int8"
    assert np.abs(wanted - crops).mean() > 2, "the network does nothing"
    assert 10 * np.log10(255**2 / np.mean((restorer(crops) - wanted) ** 2)) > 38


@pytest.fixture(scope="module")
def faces(shared: Path) -> np.ndarray:
    """Six real faces of 256 px, reduced and enlarged again."""
    found = []
    for file in sorted((shared / "faces" / "test512").glob("*.webp"))[:60:10]:
        with Image.open(file) as opened:
            small = opened.convert("RGB").resize((96, 96), Image.Resampling.BOX)
        found.append(np.asarray(small.resize((256, 256), Image.Resampling.BICUBIC)))
    return np.stack(found)


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """PSNR in dB."""
    return float(10 * np.log10(255**2 / max(np.mean((one.astype(float) - other) ** 2), 1e-9)))


@pytest.mark.parametrize("name", ["compact", "compact-natural"])
def test_the_embedded_restorers_and_their_auto_precision(name: str, faces: np.ndarray) -> None:
    wanted = load_restorer(name, device="cpu", engine="torch", precision="fp32")(faces)
    fp32 = load_restorer(name, device="cpu", precision="fp32")(faces)
    restorer = load_restorer(name, device="cpu")
    auto = restorer(faces)
    assert (restorer.size, restorer.info.name) == (256, name)
    assert agreement(wanted, faces) < 45, "it changes nothing"
    assert np.abs(wanted.astype(int) - fp32).max() <= 1
    assert agreement(auto, wanted) > 44
    assert np.array_equal(auto, restorer(faces))
    singles = np.concatenate([restorer(faces[i : i + 1]) for i in range(len(faces))])
    assert np.abs(singles.astype(int) - auto).max() <= 1


@pytest.fixture(scope="module")
def int8_and_fp32() -> tuple[NetRestorer, NetRestorer]:
    """The embedded restorer in both forms."""
    return load_restorer(device="cpu", precision="int8"), load_restorer(device="cpu", precision="fp32")


@pytest.mark.parametrize("level", ["medium", "heavy", "paper"])
def test_the_embedded_int8_form_agrees_on_damaged_faces(
    level: str, int8_and_fp32: tuple[NetRestorer, NetRestorer], shared: Path
) -> None:
    files = sorted((shared / "faces" / "test512").glob("*.webp"))[5::60]
    pairs = degraded_pairs([cv2.imread(str(file))[..., ::-1] for file in files], level, 256, seed=11)
    crops = np.stack([damaged for damaged, _ in pairs])
    restorer, fp32 = int8_and_fp32
    assert (restorer.info.name, restorer.info.precision) == ("compact", "int8")
    assert agreement(restorer(crops), fp32(crops)) >= 44


def test_the_natural_look_is_as_crisp_as_the_source(shared: Path) -> None:
    """Fine detail of faces at the level heavy: the faithful look has too little of it, the natural one more."""
    files = sorted((shared / "faces" / "test512").glob("*.webp"))[5::60]
    pairs = list(degraded_pairs([cv2.imread(str(file))[..., ::-1] for file in files], "heavy", 256, seed=11))
    crops, sources = (np.stack(part) for part in zip(*pairs, strict=True))
    faithful, natural = (load_restorer(name, device="cpu")(crops) for name in ("compact", "compact-natural"))
    wanted, less, more = (
        np.mean([cv2.Laplacian(face, cv2.CV_32F).std() for face in each]) for each in (sources, faithful, natural)
    )
    assert less < more < 1.1 * wanted


@pytest.mark.slow
def test_the_embedded_restorer_in_int8(faces: np.ndarray) -> None:
    pytest.importorskip("nncf", reason="needs the extra export")
    wanted = load_restorer(device="cpu", engine="torch", precision="fp32")(faces)
    turned = np.concatenate([faces, faces[:, :, ::-1]])
    found = load_restorer(device="cpu", precision="int8", calibration=turned)(faces)
    assert agreement(found, wanted) > 40


def test_settings_are_checked_before_anything_is_loaded(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no CUDA"):
            load_restorer(tmp_path / "absent.pth", device="cuda")
    with pytest.raises(ConfigError, match="int8"):
        load_restorer(tmp_path / "absent.pth", engine="torch", precision="int8")


def test_models_that_cannot_be_used(
    tiny_net: nn.Module, save_net: Callable[..., Path], tmp_path: Path, tiny_file: Path
) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(tiny_file.read_bytes()[:-1000])
    upscaler = save_net(build("rrdbnet", {"num_block": 1, "num_feat": 4}), "rrdbnet.safetensors")
    misfit = save_net(tiny_net, "misfit.safetensors", arch="gfpgan_clean", config={"out_size": 64})
    for asked, match in (
        ("gfpgan-9", "unknown model 'gfpgan-9'"),
        (
            "retinaface-r50",
            "is a retinaface_resnet50 network and no face restorer: choose one of compact, compact-natural, gfpgan-1,",
        ),
        (tmp_path / "absent.pth", "no such weights file"),
        (damaged, "damaged"),
        (upscaler, "no face restorer"),
        (misfit, "do not fit the architecture gfpgan_clean"),
    ):
        with pytest.raises(ModelError, match=match) as caught:
            load_restorer(asked, device="cpu")
        assert "\n" not in str(caught.value)


def test_importing_the_room_loads_no_engine() -> None:
    code = "import sys, revisage.restorers\nassert not {'torch', 'openvino', 'cv2', 'av'} & set(sys.modules)\n"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_setting_that_the_network_has_not_is_refused(tiny_file: Path, save_net: Callable[..., Path]) -> None:
    config = {"size": 64, "channels": [8, 12], "style_features": 16, "bottleneck_channels": 4}
    compact = save_net(build("compact", config), "compact.safetensors", arch="compact", config=config)
    for file in (tiny_file, compact):
        with pytest.raises(ConfigError, match="has no setting fidelity: leave it out"):
            load_restorer(file, device="cpu", engine="torch", settings={"fidelity": 0.5})


def test_a_changed_setting_makes_another_network(tiny_file: Path, crops: np.ndarray) -> None:
    changed = load_restorer(tiny_file, device="cpu", settings={"num_mlp": 1, "different_w": True})
    assert np.array_equal(changed(crops), load_restorer(tiny_file, device="cpu")(crops))
    with pytest.raises(ModelError, match="do not fit the architecture"):
        load_restorer(tiny_file, device="cpu", engine="torch", settings={"different_w": False})


@pytest.mark.parametrize(("low", "batch"), [(-1.0, 1), (0.0, 1), (0.0, -1)])
def test_anybodys_network_runs_in_its_own_range(low: float, batch: int, tmp_path: Path, crops: np.ndarray) -> None:
    """A network that darkens by a fifth, of [-1, 1] or of [0, 1], as others export theirs."""
    ops = engines.load_openvino().opset13
    faces = ops.parameter([batch, 3, 64, 64], np.float32)
    inside = ops.clamp(faces, low, 1.0)
    darker = ops.add(ops.multiply(inside, np.float32(0.8)), np.float32(0.2 * low))
    engines.load_openvino().save_model(engines.load_openvino().Model([darker], [faces]), str(tmp_path / "theirs.xml"))
    restorer = load_restorer(tmp_path / "theirs.xml", device="cpu", precision="fp32")
    assert restorer.size == 64
    assert np.abs(restorer(crops) - 0.8 * crops).max() <= 0.51


def test_a_network_of_another_form_is_refused(tmp_path: Path) -> None:
    ops = engines.load_openvino().opset13
    faces = ops.parameter([2, 3, 64, 64], np.float32)
    model = engines.load_openvino().Model([ops.relu(faces)], [faces])
    engines.load_openvino().save_model(model, str(tmp_path / "pairs.xml"))
    with pytest.raises(ModelError, match="N free or 1"):
        load_restorer(tmp_path / "pairs.xml", device="cpu")


@pytest.fixture
def onnx_model(tiny_net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder in which the ONNX file of gfpgan-1.4 is that of a tiny net."""
    monkeypatch.setenv("REVISAGE_MODELS", str(tmp_path))
    path = tmp_path / registry.find("gfpgan-1.4-onnx").file
    write_onnx(tiny_net.eval(), (64, 64), path, {})
    known = [
        dataclasses.replace(entry, sha256=file_sha256(path)) if entry.name == "gfpgan-1.4-onnx" else entry
        for entry in registry.entries()
    ]
    monkeypatch.setattr(registry, "DEFAULT", registry.Registry(known))
    return path


def test_gfpgan_runs_without_torch_by_its_onnx_file(
    onnx_model: Path, tiny_net: nn.Module, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = exact(tiny_net, crops)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        restorer = load_restorer("gfpgan-1.4", precision="fp32")
        restored = restorer(crops)
    assert np.abs(restored - wanted).max() <= 0.51
    assert (restorer.info.name, restorer.info.architecture) == ("gfpgan-1.4-onnx", "gfpgan-onnx")
    assert "converted by a third party" in restorer.info.licence
    assert restorer.info.sha256 == file_sha256(onnx_model)


def test_an_onnx_model_runs_by_openvino_only(onnx_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"gfpgan-1\.4-onnx runs by OpenVINO on the CPU only"):
        load_restorer("gfpgan-1.4-onnx", engine="torch")
