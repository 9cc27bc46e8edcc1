"""Reading labels again, from pictures, animations and videos."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import unescape

from revisage import media
from revisage.provenance.statement import Statement

__all__ = ["read_statements"]


def read_statements(path: Path) -> list[Statement]:
    """What a file says of faces that were restored in it, oldest first; empty where it says nothing.

    That proves nothing: a label can be taken out, and anybody can write one. It tells those who want to know.

    Raises:
        InputError: there is no such file, or it is none of the kinds that revisage reads.
    """
    info = media.probe(path)
    if info.kind == "video":
        texts = list(info.metadata.values())
    else:
        found = media.read_texts(path)
        texts = [unescape(found.xmp), found.comment]
    return [statement for text in texts for statement in Statement.all_in(text)]
