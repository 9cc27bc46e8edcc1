"""Reading labels again, from pictures, animations and videos."""

from __future__ import annotations

import warnings
from pathlib import Path
from xml.sax.saxutils import unescape

from PIL import Image

from revisage import media
from revisage.provenance.picture_labels import XMP_TAG
from revisage.provenance.statement import Statement

__all__ = ["read_statements"]


def read_statements(path: Path) -> list[Statement]:
    """What a file says of faces that were restored in it, oldest first; empty where it says nothing.

    That proves nothing: a label can be taken out, and anybody can write one. It tells those who want to know.

    Raises:
        InputError: there is no such file, or it is none of the kinds that revisage reads.
    """
    info = media.probe(path)
    texts = list(info.metadata.values()) if info.kind == "video" else _texts_of_picture(path)
    return [statement for text in texts for statement in Statement.all_in(text)]


def _texts_of_picture(path: Path) -> list[str]:
    with warnings.catch_warnings():
        # What is odd about a picture says whoever restores it.
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                tags = getattr(image, "tag_v2", {})
                packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or tags.get(XMP_TAG)
                comment = image.info.get("comment")
        except (OSError, ValueError, SyntaxError):
            return []
    return [unescape(_as_text(packet)), _as_text(comment)]


def _as_text(part: str | bytes | None) -> str:
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part or ""
