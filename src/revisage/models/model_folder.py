"""Where model files lie on this machine, and whether they are what they should be."""

from __future__ import annotations

import importlib.resources
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from revisage.core import ModelError, file_sha256
from revisage.models import registry
from revisage.models.registry import ModelEntry

__all__ = ["Verified", "compiled_path", "folder", "is_present", "local_path", "record_hash", "recorded_hash", "verify"]


@dataclass(frozen=True)
class Verified:
    """What is known of a file that passed.

    Attributes:
        source: what its hash was compared with: the ``registry``, the one ``recorded`` at the first download, or
            ``nothing`` for a file put there by hand whose hash the registry does not know.
    """

    path: Path
    sha256: str
    bytes: int
    source: Literal["registry", "recorded", "nothing"]


def folder() -> Path:
    """The folder of fetched models: ``REVISAGE_MODELS`` when set, else a cache folder of this user. May not exist."""
    chosen = os.environ.get("REVISAGE_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("revisage")


def _entry(model: str | ModelEntry) -> ModelEntry:
    return model if isinstance(model, ModelEntry) else registry.find(model)


def local_path(model: str | ModelEntry) -> Path:
    """Where the file of a model is, or will be once it is fetched.

    Raises:
        ModelError: an unknown name.
    """
    entry = _entry(model)
    if entry.embedded:
        # Packages with compiled dependencies are always installed as plain files, so this is a path.
        return Path(str(importlib.resources.files("revisage.models") / "embedded" / entry.file))
    return folder() / entry.file


def compiled_path(model: str | ModelEntry, part: str = "") -> Path | None:
    """The OpenVINO file of an embedded model, or of a part of it, made of the weights beside it; None without one.

    Raises:
        ModelError: an unknown name.
    """
    entry = _entry(model)
    path = local_path(entry).with_suffix(f".{part}.xml" if part else ".xml")
    return path if entry.embedded and path.is_file() else None


def is_present(model: str | ModelEntry) -> bool:
    """Whether the file is there, whatever it holds.

    Raises:
        ModelError: an unknown name.
    """
    return local_path(model).is_file()


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def recorded_hash(path: Path) -> str | None:
    """The hash that was written beside a file at its first download, if any."""
    try:
        words = _sidecar(path).read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return None
    return words[0].lower() if words else None


def record_hash(path: Path, sha256: str) -> None:
    """Write a file's hash beside it, in the format of the ``sha256sum`` tool.

    Raises:
        OSError: it cannot be written.
    """
    _sidecar(path).write_text(f"{sha256}  {path.name}\n", encoding="ascii")


def verify(model: str | ModelEntry) -> Verified:
    """Read the whole file and compare it with what is known of it.

    Raises:
        ModelError: it is not there, unreadable, of another size, or has another hash.
    """
    entry = _entry(model)
    path = local_path(entry)
    try:
        size = path.stat().st_size
        sha256 = file_sha256(path)
    except FileNotFoundError as error:
        remedy = "reinstall revisage" if entry.embedded else f"fetch it with  revisage models pull {entry.name}"
        raise ModelError(f"the model {entry.name} is not on this machine ({path}): {remedy}") from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    remedy = "reinstall revisage" if entry.embedded else "delete it and pull it again"
    if entry.bytes is not None and size != entry.bytes:
        raise ModelError(f"{path} is {size} bytes long but should be {entry.bytes}: {remedy}")
    known = entry.sha256 or recorded_hash(path)
    if known is not None and sha256 != known:
        raise ModelError(f"{path} is damaged or another file: its SHA-256 is {sha256}, expected {known}: {remedy}")
    source: Literal["registry", "recorded", "nothing"] = "nothing"
    if known is not None:
        source = "registry" if entry.sha256 else "recorded"
    return Verified(path, sha256, size, source)
