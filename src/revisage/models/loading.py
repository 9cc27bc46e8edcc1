"""Read weights from a file without running any code that the file might carry."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisage.core import MissingExtraError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_state", "metadata"]

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
        values = json.loads(text)
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
