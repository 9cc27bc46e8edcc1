"""How large a picture may be before it is taken for an attack or a mistake."""

from __future__ import annotations

from pathlib import Path

from revisage.core.errors import InputError

__all__ = ["MAX_PIXELS", "check_pixels"]

MAX_PIXELS = 1 << 28
"""Pictures of more pixels (268 million, 16384 x 16384) are refused before anything is decoded."""


def check_pixels(path: Path, width: int, height: int) -> None:
    """Refuse a picture whose header asks for more than :data:`MAX_PIXELS`.

    Raises:
        InputError: it does.
    """
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: its header says {width} x {height} px, more than the limit of {MAX_PIXELS:,} px; "
            "the file is damaged or not meant to be opened"
        )
