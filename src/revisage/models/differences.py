"""Weights that ship as their difference from another model's: a second set for a third of the first's size.

A fine-tuned network differs from the one that it began as by some tenth of its weights. The differences of each output
channel are rounded to 127 even steps, which is an error of a few thousandths of the weights, and deflated (.npz). What
they make together is put together once on each machine, as an ordinary .safetensors file in the cache folder.
"""

from __future__ import annotations

import hashlib
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revisage.core import ModelError, file_sha256, output_error, written_beside

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["put_together", "save_difference"]

_STEPS = 63
"""To either side of zero."""
_SCALE = "/scale"
_ABOUT = "revisage"


def save_difference(path: Path, weights: Path, base: Path) -> str:
    """Write what has to be added to ``base`` for ``weights``, and return the SHA-256 of what they make together.

    Args:
        path: an .npz file, complete or not at all.
        weights: the fine-tuned ones, .safetensors of float16; what that file says of itself the sum will say.
        base: those that they are told from, likewise.

    Raises:
        ModelError: the two are not of one network, or a file is missing or damaged.
        OutputError: the file cannot be written.
    """
    import numpy as np
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load_file

    try:
        tuned, plain = load_file(weights), load_file(base)
        with safe_open(weights, framework="np") as stream:
            about = (stream.metadata() or {}).get(_ABOUT, "{}")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{weights} or {base} is missing or no .safetensors file") from error
    if {name: value.shape for name, value in tuned.items()} != {name: value.shape for name, value in plain.items()}:
        raise ModelError(f"{weights} and {base} are not of one network: only one's weights are told by the other's")
    found: dict[str, NDArray[Any]] = {_ABOUT: np.frombuffer(about.encode(), np.uint8)}
    for name, value in tuned.items():
        difference = _rows(value.astype(np.float32) - plain[name].astype(np.float32))
        scale = np.abs(difference).max(axis=1, keepdims=True) / _STEPS
        found[name] = np.rint(difference / np.where(scale > 0, scale, 1)).astype(np.int8)
        found[name + _SCALE] = scale
    with written_beside(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **found)  # type: ignore[arg-type]  # its own options are no arrays
    return hashlib.sha256(_sum(path, base)).hexdigest()


def put_together(difference: Path, base: Path, sha256: str, folder: Path) -> Path:
    """The .safetensors of a difference and the file that it is told from, float16; the same bytes on every machine.

    Args:
        difference: a file of :func:`save_difference`.
        base: .safetensors of float16.
        sha256: of what should come out.
        folder: where it is kept, under a name with its hash; one that is there is taken.

    Raises:
        ModelError: a file is damaged, or they do not belong together.
        OutputError: the folder cannot be written to.
    """
    target = folder / f"{difference.stem}-{sha256[:16]}.safetensors"
    if target.is_file() and file_sha256(target) == sha256:
        return target
    content = _sum(difference, base)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{difference} or {base} is damaged: together they are other weights; reinstall revisage")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Other processes may be at the same: each has a file of its own until it is whole, which all users may read.
        part = folder / f"{target.name}.{uuid.uuid4().hex}.part"
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(target, error) from error
    return target


def _sum(difference: Path, base: Path) -> bytes:
    """The file that the two make."""
    import numpy as np
    from safetensors.numpy import load_file, save

    try:
        with difference.open("rb") as stream, np.load(stream, allow_pickle=False) as parts:
            about = parts[_ABOUT].tobytes().decode()
            weights = {}
            for name, value in load_file(base).items():
                added = parts[name].astype(np.float32) * parts[name + _SCALE]
                weights[name] = np.asarray(value.astype(np.float32) + added.reshape(value.shape), np.float16)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{difference} is damaged or of other weights: reinstall revisage") from error
    return bytes(save(weights, {_ABOUT: about}))


def _rows(values: NDArray[Any]) -> NDArray[Any]:
    """A row for each output channel."""
    return values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
