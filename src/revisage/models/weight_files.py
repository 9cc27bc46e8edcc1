"""Where weights lie on this machine, whether they are what they should be, and reading them.

Reading runs no code that a file might carry.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from revisage.core import MissingExtraError, ModelError, file_sha256, parse_json
from revisage.models import registry
from revisage.models.differences import put_together
from revisage.models.registry import ModelEntry

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Verified",
    "cache_folder",
    "compiled_path",
    "folder",
    "is_present",
    "load_state",
    "local_path",
    "metadata",
    "record_hash",
    "recorded_hash",
    "verify",
]


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


def cache_folder() -> Path:
    """Where what is made here and may be made anew is kept: ``REVISAGE_CACHE`` when set, else a cache folder of this
    user. May not exist."""
    import platformdirs

    chosen = os.environ.get("REVISAGE_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("revisage")


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


def compiled_path(model: str | ModelEntry, sha256: str, part: str = "") -> Path | None:
    """The OpenVINO file of an embedded model, or of a part of it; None where there is none of these weights.

    Args:
        model: the model.
        sha256: of the weights beside it, from which it takes what they have in common.
        part: ``refine`` for a detector's second stage.

    Raises:
        ModelError: an unknown name.
    """
    entry = _entry(model)
    path = local_path(entry).with_suffix(f".{part}.xml" if part else ".xml")
    made_of_these = entry.embedded and path.is_file() and sha256.encode() in path.read_bytes()
    return path if made_of_these else None


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
    """Read the whole file, put together first where it ships as a difference, and compare it with what is known of it.

    Raises:
        ModelError: it is not there, unreadable, of another size, or has another hash.
    """
    entry = _entry(model)
    path = local_path(entry) if entry.base is None else _put_together(entry, entry.base)
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


def _put_together(entry: ModelEntry, base: str) -> Path:
    """The weights of an entry that ships as its difference from another one's."""
    return put_together(local_path(entry), verify(base).path, entry.sha256 or "", cache_folder() / "models")


_METADATA_KEY = "revisage"
_PARAMS_KEYS = ("params_ema", "params", "state_dict")
"""The names under which the training codes of the official models keep a state dict, best first."""
_PARALLEL_PREFIX = "module."


def load_state(path: str | Path, params_key: str | None = None) -> dict[str, Tensor]:
    """The state dict in a weights file, on the CPU, in the file's own dtypes.

    Reads ``.safetensors``, and PyTorch files with ``weights_only=True``. In the latter the state dict is looked for
    under `params_key`, then ``params_ema``, ``params`` and ``state_dict``, then in the file itself. The ``module.``
    in front of every key of a data-parallel training is taken off.

    Raises:
        ModelError: the file is missing, damaged, or holds no weights.
        MissingExtraError: torch is not installed.
    """
    path = Path(path)
    _check_readable(path)
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError(f"reading {path.name}", "torch")
    state = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path, params_key)
    if all(key.startswith(_PARALLEL_PREFIX) for key in state):
        state = {key[len(_PARALLEL_PREFIX) :]: value for key, value in state.items()}
    return state


def metadata(path: str | Path) -> dict[str, Any]:
    """What revisage's own training wrote into a safetensors file: ``{"arch": ..., "config": {...}, ...}``.

    Empty for a file of another format or origin.

    Raises:
        ModelError: the file is missing or damaged.
    """
    path = Path(path)
    _check_readable(path)
    if path.suffix.lower() != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as stream:
            text = (stream.metadata() or {}).get(_METADATA_KEY)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if text is None:
        return {}
    try:
        values = parse_json(text)
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is damaged: its revisage metadata is not a record; fetch or export it again")
    return values


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a weights file")
    if not path.is_file():
        raise ModelError(f"no such weights file: {path}")
    if path.stat().st_size == 0:
        raise ModelError(f"the weights file {path} is empty; fetch it again")


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:160]
    if " " not in reason:  # a bare key or number, as a KeyError has it, tells nobody anything
        reason = type(error).__name__
    return ModelError(f"{path} is damaged or not a weights file; fetch it again ({reason})")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return _checked(path, state)


def _read_torch(path: Path, params_key: str | None) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged pickle fails in as many ways as there are instructions in it; none of them is a fault of ours.
    except Exception as error:
        if "weights_only" in str(error):
            reason = "it holds more than weights, which could run code when loaded"
            raise ModelError(f"refused to load {path}: {reason}, or it is damaged") from error
        raise _damaged(path, error) from error
    if isinstance(content, Mapping):
        for key in (params_key, *_PARAMS_KEYS):
            if key is not None and isinstance(content.get(key), Mapping):
                return _checked(path, content[key])
    return _checked(path, content)


def _checked(path: Path, state: Any) -> dict[str, Tensor]:
    import torch

    if not isinstance(state, Mapping) or not state:
        raise ModelError(f"{path} holds no weights")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(f"{path} is not a state dict: the entry {key!r} is a {type(value).__name__}, not a tensor")
    return dict(state)
