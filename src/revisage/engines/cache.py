"""Converted networks, kept in the user's cache folder so that the next start takes no time.

Each is a folder named after everything that it depends on, with OpenVINO's two files and their hashes in it. fp32 and
bf16 share one. Everything here can be deleted at any time. What was not used for 90 days is; so is what was not used
for the longest time, where all together take more than 2 GiB.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from revisage import __version__
from revisage.core import file_sha256
from revisage.engines.cpu import cpu_info
from revisage.engines.openvino_runtime import core, load_openvino

if TYPE_CHECKING:
    import openvino
    from torch import nn

__all__ = ["fingerprint", "folder", "load", "store", "with_calibration"]

_FILES = ("net.xml", "net.bin")
_SUMS = "sha256"
_KEPT_SECONDS = 90 * 24 * 3600
_KEPT_BYTES = 2 * 2**30
_PART = ".part-"
# Nobody takes longer to write a network: what is older was left by a crash.
_PART_SECONDS = 3600


def folder() -> Path:
    """Where converted networks are kept: in ``REVISAGE_CACHE`` when set, else in the user's cache folder."""
    import pooch

    chosen = os.environ.get("REVISAGE_CACHE")
    return (Path(chosen).expanduser() if chosen else Path(pooch.os_cache("revisage"))) / "engines"


def fingerprint(net: nn.Module, size_hw: tuple[int, int] | None, weights_hash: str) -> str:
    """A name that changes with the weights, the network's code, the engine's version and the CPU."""
    cpu = cpu_info()
    version = load_openvino().get_version()
    parts = (__version__, version, cpu.name, *cpu.features, str(size_hw), weights_hash, _code_hash(net))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def with_calibration(name: str, calibration: npt.NDArray[np.float32]) -> str:
    """The name of the int8 form of a network, which also depends on what it was calibrated with."""
    return hashlib.sha256(name.encode() + calibration.tobytes()).hexdigest()[:40] + "-int8"


def load(name: str) -> openvino.Model | None:
    """The network of that name, or None when it is not there or not whole."""
    path = folder() / name
    if not _is_whole(path):
        return None
    with suppress(OSError):
        os.utime(path)
    try:
        return core().read_model(path / _FILES[0])
    except RuntimeError:
        return None


def store(name: str, model: openvino.Model) -> None:
    """Keep a network, whole or not at all; a folder that cannot be written costs time, not the result."""
    target = folder() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=_PART))
    except OSError:
        return
    try:
        load_openvino().save_model(model, part / _FILES[0], compress_to_fp16=False)
        (part / _SUMS).write_text(_sums(part), encoding="ascii")
        # Another process may have been faster, and may be reading its own.
        if not _is_whole(target):
            shutil.rmtree(target, ignore_errors=True)
            part.rename(target)
    except (OSError, RuntimeError):
        pass
    finally:
        shutil.rmtree(part, ignore_errors=True)
    with suppress(OSError):  # another process may be deleting the same
        _prune(target)


def _prune(keep: Path) -> None:
    """Delete what was not used for long, and what was not used for the longest time where all is too much."""
    used = {path: path.stat().st_mtime for path in keep.parent.iterdir()}
    now, total = time.time(), 0
    for path in sorted(used, key=used.__getitem__, reverse=True):
        if path.name.startswith(_PART):
            unused = now - used[path] > _PART_SECONDS
        else:
            total += sum(file.stat().st_size for file in path.iterdir())
            unused = now - used[path] > _KEPT_SECONDS or total > _KEPT_BYTES
        if unused and path != keep:
            shutil.rmtree(path, ignore_errors=True)


def _is_whole(path: Path) -> bool:
    """Whether the files are what was written. Damaged weights would not raise but give wrong pixels."""
    try:
        return (path / _SUMS).read_text(encoding="ascii") == _sums(path)
    except (OSError, ValueError):
        return False


def _sums(path: Path) -> str:
    return "".join(f"{file_sha256(path / name)}  {name}\n" for name in _FILES)


def _code_hash(net: nn.Module) -> str:
    """A hash of the source files that define the network, so that a changed forward is converted anew."""
    names = sorted({type(m).__module__ for m in net.modules() if not type(m).__module__.startswith("torch.")})
    digest = hashlib.sha256(str(net).encode())
    for name in names:
        file = inspect.getsourcefile(sys.modules[name])
        digest.update(Path(file).read_bytes() if file and Path(file).is_file() else name.encode())
    return digest.hexdigest()
