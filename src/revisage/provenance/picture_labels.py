"""Labels of pictures: XMP where the format has a place for it, a comment in a GIF.

`DigitalSourceType` is the term of IPTC for pictures of which a trained network made a part.
"""

from __future__ import annotations

import re
from pathlib import Path

from revisage import media
from revisage.provenance.statement import Statement

__all__ = ["SOURCE_TYPE", "label_picture"]

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_DESCRIPTION = """<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:revisage="https://github.com/revisage/revisage/ns/1.0/">
<Iptc4xmpExt:DigitalSourceType>{kind}</Iptc4xmpExt:DigitalSourceType>
<revisage:statement>{text}</revisage:statement>
</rdf:Description>
"""
_FURTHER = """<rdf:Description rdf:about="" xmlns:revisage="https://github.com/revisage/revisage/ns/1.0/">
<revisage:statement>{text}</revisage:statement>
</rdf:Description>
"""
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
{description}</rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
_END_OF_RDF = re.compile(r"</(?:\w+:)?RDF\s*>")


def label_picture(path: Path, statement: Statement) -> bool:
    """Write a statement into a picture or an animation, beside what else its metadata say.

    Args:
        path: of a finished file. It is replaced as a whole, or stays as it is.
        statement: what was done to it.

    Returns:
        Whether its format has a place for it.

    Raises:
        OutputError: the file cannot be written.
    """
    written = media.edit_xmp(path, lambda before: _packet(statement, before))
    return written or media.add_comment(path, statement.to_text())


def _packet(statement: Statement, before: bytes) -> bytes | None:
    """An XMP packet that says it: the one there was with a further description, or a new one; None if it is built in a
    way that is not known here."""
    from xml.sax.saxutils import escape  # it brings urllib and http, which every run would wait for

    text = escape(statement.to_text())
    if not before.strip(b"\0 "):
        return _PACKET.format(description=_DESCRIPTION.format(kind=SOURCE_TYPE, text=text)).encode()
    packet = before.decode("utf-8").rstrip("\0")
    ends = list(_END_OF_RDF.finditer(packet))
    if not ends:
        return None
    # A property may be said once of a picture: the source's own kind stays.
    form = _FURTHER if "DigitalSourceType" in packet else _DESCRIPTION
    place = ends[-1].start()
    prefix = re.search(r'xmlns:(\w+)="http://www.w3.org/1999/02/22-rdf-syntax-ns#"', packet)
    description = form.format(kind=SOURCE_TYPE, text=text)
    if prefix is None or prefix[1] != "rdf":
        return None
    return (packet[:place] + description + packet[place:]).encode()
