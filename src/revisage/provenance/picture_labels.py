"""Labels of pictures: XMP in PNG, APNG, JPEG, WebP and TIFF, a comment in a GIF. Pixels are not touched.

XMP is Adobe's (ISO 16684-1); how a file holds it says part 3 of its specification. `DigitalSourceType` is the term of
IPTC for pictures of which a trained network made a part.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

from revisage.core import written_beside
from revisage.provenance.statement import Statement

__all__ = ["XMP_TAG", "label_picture"]

_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
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

_PNG = b"\x89PNG\r\n\x1a\n"
_XMP_IN_PNG = b"XML:com.adobe.xmp\0"
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_LARGEST_SEGMENT = 65_533
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10
XMP_TAG = 700
"""Of TIFF (XMP specification, part 3)."""


class _NoPlaceError(Exception):
    """The file has no place for the label, or is built in a way that is not known here."""


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
    data = path.read_bytes()
    write = next((write for mark, write in _WRITERS.items() if re.match(mark, data, re.DOTALL)), None)
    if write is None:
        return False
    try:
        labelled = write(data, statement)
    except (_NoPlaceError, struct.error, zlib.error, UnicodeDecodeError, IndexError):
        return False
    with written_beside(path) as waiting:
        waiting.write_bytes(labelled)
    return True


def _packet(statement: Statement, before: bytes) -> bytes:
    """An XMP packet that says it: the one there was with a further description, or a new one."""
    text = escape(statement.to_text())
    if not before.strip(b"\0 "):
        return _PACKET.format(description=_DESCRIPTION.format(kind=_SOURCE_TYPE, text=text)).encode()
    packet = before.decode("utf-8").rstrip("\0")
    ends = list(_END_OF_RDF.finditer(packet))
    if not ends:
        raise _NoPlaceError
    # A property may be said once of a picture: the source's own kind stays.
    form = _FURTHER if "DigitalSourceType" in packet else _DESCRIPTION
    place = ends[-1].start()
    prefix = re.search(r'xmlns:(\w+)="http://www.w3.org/1999/02/22-rdf-syntax-ns#"', packet)
    description = form.format(kind=_SOURCE_TYPE, text=text)
    if prefix is None or prefix[1] != "rdf":
        raise _NoPlaceError
    return (packet[:place] + description + packet[place:]).encode()


def _in_png(data: bytes, statement: Statement) -> bytes:
    chunks, before, at = [], b"", len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 8 : at + 8 + length]
        if data[at + 4 : at + 8] == b"iTXt" and body.startswith(_XMP_IN_PNG):
            before = _text_of(body[len(_XMP_IN_PNG) :])
        else:
            chunks.append(data[at : at + 12 + length])
        at += 12 + length
    body = b"iTXt" + _XMP_IN_PNG + b"\0\0\0\0" + _packet(statement, before)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return b"".join([_PNG, chunks[0], chunk, *chunks[1:], data[at:]])


def _text_of(body: bytes) -> bytes:
    """Of an iTXt chunk behind its keyword: flag, method, language, translated keyword, text."""
    _, _, text = body[2:].split(b"\0", 2)
    return zlib.decompress(text) if body[0] else text


def _in_jpeg(data: bytes, statement: Statement) -> bytes:
    segments, before, at, place = [], b"", 2, 0
    while data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if data[at + 1] == 0xE1 and body.startswith(_XMP_IN_JPEG):
            before = body[len(_XMP_IN_JPEG) :]
        else:
            segments.append(data[at : at + 2 + length])
            # Before an index of further pictures, which counts bytes from itself on.
            if data[at + 1] in (0xE0, 0xE1) and place == len(segments) - 1:
                place = len(segments)
        at += 2 + length
    body = _XMP_IN_JPEG + _packet(statement, before)
    if len(body) > _LARGEST_SEGMENT:
        raise _NoPlaceError
    segments.insert(place, b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
    return b"".join([data[:2], *segments, data[at:]])


def _in_webp(data: bytes, statement: Statement) -> bytes:
    chunks, before, at = [], b"", 12
    while at + 8 <= len(data):
        kind, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        if kind == b"XMP ":
            before = data[at + 8 : at + 8 + length]
        else:
            chunks.append(data[at : at + 8 + length + length % 2])
        at += 8 + length + length % 2
    if not chunks[0].startswith(b"VP8X"):
        chunks.insert(0, _extended_header(data))
    head = bytearray(chunks[0])
    head[8] |= _XMP_FLAG
    packet = _packet(statement, before)
    chunk = b"XMP " + struct.pack("<I", len(packet)) + packet + bytes(len(packet) % 2)
    body = b"".join([b"WEBP", bytes(head), *chunks[1:], chunk])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _extended_header(data: bytes) -> bytes:
    """The VP8X chunk of a plain WebP picture: flags, three reserved bytes, width and height less one in 24 bits."""
    with Image.open(io.BytesIO(data)) as image:
        (width, height), alpha = image.size, image.mode == "RGBA"
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X" + struct.pack("<I", 10) + bytes([_ALPHA_FLAG if alpha else 0, 0, 0, 0]) + sides


def _in_gif(data: bytes, statement: Statement) -> bytes:
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    # Some readers look for the loop count at the very beginning only; and a later label stands behind an earlier one.
    while data[at : at + 2] in (b"\x21\xff", b"\x21\xfe"):
        at = _behind_blocks(data, at + 2)
    # The format asks for ASCII; in the JSON all of a name is kept.
    text = statement.to_text().encode("ascii", "replace")
    blocks = [text[begin : begin + 255] for begin in range(0, len(text), 255)]
    comment = b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    # Comments came with the release of 1989; the older has no animations either.
    return b"GIF89a" + data[6:at] + comment + data[at:]


def _behind_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1


def _in_tiff(data: bytes, statement: Statement) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, first)
    entries = [data[first + 2 + 12 * index : first + 14 + 12 * index] for index in range(count)]
    behind = data[first + 2 + 12 * count : first + 6 + 12 * count]
    before = b""
    for entry in entries:
        tag, _, length, place = struct.unpack(f"{order}HHII", entry)
        if tag == XMP_TAG:
            before = data[place : place + length] if length > 4 else b""
    packet = _packet(statement, before)
    body = data + bytes(len(data) % 2)
    added = struct.pack(f"{order}HHII", XMP_TAG, 1, len(packet), len(body))
    kept = [entry for entry in entries if struct.unpack(f"{order}H", entry[:2])[0] != XMP_TAG]
    listed = sorted([*kept, added], key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    body += packet + bytes(len(packet) % 2)
    directory = struct.pack(f"{order}H", len(listed)) + b"".join(listed) + behind
    return data[:4] + struct.pack(f"{order}I", len(body)) + body[8:] + directory


_WRITERS: dict[bytes, Callable[[bytes, Statement], bytes]] = {
    re.escape(_PNG): _in_png,
    rb"\xff\xd8\xff": _in_jpeg,
    rb"RIFF....WEBP": _in_webp,
    rb"GIF8[79]a": _in_gif,
    rb"II\x2a\0|MM\0\x2a": _in_tiff,
}
