"""Checkpoints: written whole or not at all, read without running any code that they might carry."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from revisage.core import DiskFullError, InputError, OutputError

__all__ = ["read_checkpoint", "write_checkpoint"]


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write beside the old checkpoint, then take its place: a full disk leaves the old one as it was.

    Raises OutputError when it cannot be written, DiskFullError when there is no room.
    """
    temporary = path.with_name(f"{path.name}.part")
    try:
        # By way of a stream: where torch writes a file itself, it does not tell why it could not.
        with temporary.open("wb") as stream:
            torch.save(dict(content), stream)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        kept = "; the old one is intact" if path.exists() else ""
        if any(getattr(problem, "errno", None) == errno.ENOSPC for problem in (error, error.__context__)):
            raise DiskFullError(f"no space left for {path}: free some and resume{kept}") from error
        reason = " ".join(str(error).split())[:120]
        raise OutputError(f"cannot write {path} ({reason}){kept}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, by its file or by its run's folder (the last one then), on the CPU.

    Raises InputError when there is none or it is damaged.
    """
    file = path / "last.pt" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"no checkpoint in {file.parent}: start the run anew")
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise InputError(f"{file} is damaged or no checkpoint: start the run anew") from error
    if not isinstance(content, dict) or not {"step", "config", "average"} <= content.keys():
        raise InputError(f"{file} is no checkpoint of a restorer or a prior")
    return content
