"""auto settles on what a machine does best; what does not go together is refused in one line."""

from __future__ import annotations

import pytest

from revisage.core.errors import ConfigError, DeviceError
from revisage.engines import Choice, CpuInfo, choice, resolve

NEW = CpuInfo("New", ("avx512_bf16", "avx2"), 2)
OLD = CpuInfo("Old", ("avx2",), 2)
OLDEST = CpuInfo("Oldest", (), 2)
LAPTOP = CpuInfo("Laptop", ("avx_vnni", "avx2"), 2)
SERVER = CpuInfo("Server", ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx512f", "avx2"), 2)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Makes this machine another one: machine(cpu, cuda=False, mps=False)."""

    def become(cpu: CpuInfo, *, cuda: bool = False, mps: bool = False) -> None:
        monkeypatch.setattr(choice, "cpu_info", lambda: cpu)
        monkeypatch.setattr(choice, "_has_cuda", lambda: cuda)
        monkeypatch.setattr(choice, "_has_mps", lambda: mps)
        monkeypatch.setattr(choice, "_hardware", lambda device, cpu: f"{device} {cpu.name}")

    return become


def settled(found: Choice) -> tuple[str, str, str]:
    return found.device, found.engine, found.precision


def test_auto_on_a_cpu_without_bf16(machine) -> None:
    machine(OLD)
    assert settled(resolve(bf16_agrees=True)) == ("cpu", "openvino", "fp32")


def test_auto_takes_bf16_only_where_it_agrees(machine) -> None:
    machine(NEW)
    assert settled(resolve(bf16_agrees=True)) == ("cpu", "openvino", "bf16")
    assert settled(resolve()) == ("cpu", "openvino", "fp32")


@pytest.mark.parametrize(
    ("cpu", "precision"),
    [(OLDEST, "fp32"), (OLD, "int8"), (NEW, "bf16"), (LAPTOP, "int8"), (SERVER, "bf16")],
    ids=lambda each: str(each),
)
def test_auto_takes_int8_where_it_is_the_fastest(machine, cpu: CpuInfo, precision: str) -> None:
    machine(cpu)
    assert resolve(bf16_agrees=True, int8_agrees=True).precision == precision
    assert resolve(bf16_agrees=True, int8_agrees=True, precision="fp32").precision == "fp32"
    assert resolve(int8_agrees=True, engine="torch").precision == "fp32"
    assert resolve().precision == "fp32"


def test_auto_with_a_gpu(machine) -> None:
    machine(NEW, cuda=True)
    assert settled(resolve(bf16_agrees=True)) == ("cuda", "torch", "fp32")


def test_asking_for_openvino_or_int8_leaves_the_gpu(machine) -> None:
    machine(NEW, cuda=True)
    assert settled(resolve(engine="openvino")) == ("cpu", "openvino", "fp32")
    assert settled(resolve(precision="int8")) == ("cpu", "openvino", "int8")


def test_mps_runs_only_when_asked_for(machine) -> None:
    machine(OLD, mps=True)
    assert resolve().device == "cpu"
    assert settled(resolve("mps")) == ("mps", "torch", "fp32")


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_absent_devices_are_refused(machine, device: str) -> None:
    machine(NEW)
    with pytest.raises(DeviceError, match="choose device cpu or auto") as caught:
        resolve(device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (("cuda", "openvino", "auto"), "engine openvino runs on the CPU only"),
        (("cuda", "auto", "int8"), "int8 runs with engine openvino"),
        (("cpu", "torch", "int8"), "int8 runs with engine openvino"),
        (("cpu", "auto", "bf16"), "not in this CPU's hardware"),
        (("mps", "auto", "bf16"), "not offered on MPS"),
        (("tpu", "auto", "auto"), "choose one of auto, cpu, cuda, mps"),
        (("auto", "onnx", "auto"), "choose one of auto, torch, openvino"),
        (("auto", "auto", "fp16"), "choose one of auto, fp32, bf16, int8"),
    ],
)
def test_combinations_that_cannot_be(machine, asked: tuple[str, str, str], match: str) -> None:
    machine(OLD, cuda=True, mps=True)
    with pytest.raises(ConfigError, match=match):
        resolve(*asked)


def test_a_choice_prints_with_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "cpu_info", lambda: NEW)
    monkeypatch.setattr(choice, "_has_cuda", lambda: False)
    assert str(resolve()) == "openvino fp32 on New (avx512_bf16, avx2; 2 cores)"


def test_a_gpu_has_a_number(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(NEW, cuda=True)
    monkeypatch.setattr(choice, "_gpu_count", lambda: 2)
    assert settled(resolve("cuda:1", precision="bf16")) == ("cuda:1", "torch", "bf16")
    assert resolve("cuda:1,0").device == "cuda:1"
    with pytest.raises(DeviceError, match="no CUDA device 2 here: there is cuda:0 to cuda:1"):
        resolve("cuda:2")
    with pytest.raises(ConfigError, match="engine openvino runs on the CPU only"):
        resolve("cuda:0", "openvino")
    machine(NEW)
    with pytest.raises(DeviceError, match="choose device cpu or auto"):
        resolve("cuda:0")
