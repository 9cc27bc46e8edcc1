"""How large a picture may be before it is taken for an attack or a mistake."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from revisage.core import InputError

__all__ = ["MAX_PIXELS", "check_pixels", "pillow_unlimited"]

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


@contextmanager
def pillow_unlimited() -> Iterator[None]:
    """Leave the check of sizes to :func:`check_pixels`: Pillow's own limit is lower, and it warns from 89 million px.

    Only the header may be read, or pixels whose number was checked, inside. Pillow's warnings about damaged metadata
    are dropped: what cannot be read is not carried over, and damaged pixels are errors.
    """
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
