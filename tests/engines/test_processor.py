"""What is found out about the CPU, from the texts of the platforms there are."""

from __future__ import annotations

import pytest

from revisage.engines import CpuInfo, cpu_info, processor

X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC
flags\t\t: fpu sse avx avx2 avx512f avx512_bf16 avx512_vnni
processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd i8mm bf16 sve\nCPU implementer\t: 0x41\n"
APPLE = """machdep.cpu.brand_string: Apple M2
hw.optional.neon: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_SVE: 0
hw.optional.AdvSIMD: 1
"""
INTEL_MAC = """machdep.cpu.brand_string: Intel(R) Core(TM) i9
machdep.cpu.features: FPU SSE AVX1.0
machdep.cpu.leaf7_features: AVX2 AVX512F
"""


def test_this_machine() -> None:
    info = cpu_info()
    assert info.name
    assert info.cores >= 1
    assert set(info.features) <= set(processor.FEATURES)
    assert info.name in str(info)


def test_proc_of_x86_takes_the_first_processor() -> None:
    name, flags = processor._from_proc(X86)
    assert name == "AMD EPYC"
    assert processor._known(flags) == ("avx512_bf16", "avx512_vnni", "avx512f", "avx2")


def test_proc_of_arm_knows_features_but_no_name() -> None:
    name, flags = processor._from_proc(ARM)
    assert name == ""
    assert processor._known(flags) == ("sve", "i8mm", "bf16", "neon")


def test_sysctl_of_apple_silicon_leaves_out_what_is_zero() -> None:
    name, flags = processor._from_sysctl(APPLE)
    assert name == "Apple M2"
    assert processor._known(flags) == ("bf16", "neon")


def test_sysctl_of_an_intel_mac() -> None:
    name, flags = processor._from_sysctl(INTEL_MAC)
    assert name == "Intel(R) Core(TM) i9"
    assert processor._known(flags) == ("avx512f", "avx2")


def test_torch_names_are_mapped() -> None:
    flags = processor._from_torch({"avx512_f": True, "avx512_vnni": True, "amx_bf16": False, "l2_cache_size": 1})
    assert processor._known(flags) == ("avx512_vnni", "avx512f")


def test_missing_files_give_nothing() -> None:
    assert processor._from_proc("") == ("", [])
    assert processor._cgroup_quota("") is None


@pytest.mark.parametrize(("text", "cores"), [("max 100000", None), ("150000 100000\n", 2), ("200000 100000", 2)])
def test_container_limits_round_up(text: str, cores: int | None) -> None:
    assert processor._cgroup_quota(text) == cores


@pytest.mark.parametrize(
    ("features", "native"),
    [(("avx512_bf16", "avx2"), True), (("amx_bf16",), True), (("avx512f",), False), (("bf16", "neon"), False)],
)
def test_bf16_counts_only_where_it_was_measured(features: tuple[str, ...], native: bool) -> None:
    assert CpuInfo("x", features, 1).native_bf16 is native
