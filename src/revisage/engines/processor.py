"""What the CPU is and what it can do: its name, the vector features that matter to networks, its cores.

py-cpuinfo tells the same in 0.3 s of child processes, which is longer than a warm start of everything else; OpenVINO
tells no difference between bf16 in hardware and emulated. So the system's own texts are read.
"""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FEATURES", "CpuInfo", "cpu_info"]

FEATURES = (
    *("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx512f", "avx_vnni", "avx2"),
    *("sve2", "sve", "i8mm", "bf16", "neon"),
)
"""Only the features that decide how fast fp32, bf16 and int8 networks run, best first."""
_ALIASES = {"avx512_f": "avx512f", "asimd": "neon", "advsimd": "neon", "svei8mm": "i8mm"}


@dataclass(frozen=True)
class CpuInfo:
    """A CPU as far as networks care.

    Attributes:
        name: the maker's name of the model.
        features: vector features of `FEATURES` that it has, best first.
        cores: cores that this process may use.
    """

    name: str
    features: tuple[str, ...]
    cores: int

    @property
    def native_bf16(self) -> bool:
        """Whether bfloat16 convolutions run in hardware. Without it they were measured 4 times slower than fp32."""
        return "avx512_bf16" in self.features or "amx_bf16" in self.features

    @property
    def prefers_int8(self) -> bool:
        """Whether int8 convolutions are faster than bf16 and fp32 ones. VNNI has them in one instruction, AVX2 in
        three, for four times as many products as fp32's one; AMX is as fast in bf16."""
        if "avx512_vnni" in self.features or "avx_vnni" in self.features:
            return "amx_bf16" not in self.features
        return "avx2" in self.features and not self.native_bf16

    def __str__(self) -> str:
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        return f"{self.name} ({', '.join(self.features) or 'no known vector features'}; {cores})"


@functools.lru_cache(maxsize=1)
def cpu_info() -> CpuInfo:
    """The CPU of this machine. Unknown platforms give a name and the number of cores, without features."""
    system = platform.system()
    if system == "Linux":
        name, flags = _from_proc(_read(Path("/proc/cpuinfo")))
    elif system == "Darwin":
        name, flags = _from_sysctl(_sysctl_output())
    else:
        name, flags = _windows_name(), _from_torch(_torch_capabilities())
    return CpuInfo(name or platform.processor() or platform.machine(), _known(flags), _cores())


def _known(flags: Iterable[str]) -> tuple[str, ...]:
    present = {_ALIASES.get(flag, flag) for flag in (flag.lower() for flag in flags)}
    return tuple(feature for feature in FEATURES if feature in present)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _from_proc(text: str) -> tuple[str, list[str]]:
    """Name and flags out of the text of /proc/cpuinfo; x86 says ``flags``, ARM says ``Features``."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
    return fields.get("model name", ""), (fields.get("flags") or fields.get("features") or "").split()


def _sysctl_output() -> str:
    command = ["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _from_sysctl(text: str) -> tuple[str, list[str]]:
    """Name and flags out of macOS's sysctl: Apple silicon lists ``hw.optional.arm.FEAT_*: 1``, Intel ``features``."""
    name, flags = "", []
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        if key == "machdep.cpu.brand_string":
            name = value.strip()
        elif key in ("machdep.cpu.features", "machdep.cpu.leaf7_features"):
            flags += value.lower().split()
        elif key.startswith("hw.optional.") and value.strip() == "1":
            flags.append(key.rpartition(".")[2].lower().removeprefix("feat_"))
    return name, flags


def _windows_name() -> str:
    if sys.platform == "win32":
        import winreg

        try:
            key = winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0")
            with key:
                return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
        except OSError:
            return ""
    return ""


def _torch_capabilities() -> Mapping[str, object]:
    """What torch found by asking the processor itself, where it is installed: no file lists it on Windows."""
    try:
        import torch

        capabilities: Mapping[str, object] = torch.cpu.get_capabilities()
    except (ImportError, AttributeError):  # not installed, or older than the question
        return {}
    return capabilities


def _from_torch(capabilities: Mapping[str, object]) -> list[str]:
    return [name for name, value in capabilities.items() if value is True]


def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota = _cgroup_quota(_read(Path("/sys/fs/cgroup/cpu.max")))
    return max(1, min(allowed, quota or allowed))


def _cgroup_quota(text: str) -> int | None:
    """Cores that a container's limit amounts to, rounded up; None without a limit."""
    limit, _, period = text.partition(" ")
    if not limit.isdigit() or not period.strip().isdigit():
        return None
    return -(-int(limit) // int(period))
