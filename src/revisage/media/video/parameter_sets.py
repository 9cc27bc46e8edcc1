"""H.264 parameter sets: told apart, numbered, and those of two encoders put side by side in one stream.

A copied group of pictures and an encoded one each need the sets that they were made with. Sets of different numbers
stand beside each other in one header (ISO/IEC 14496-15, 5.3.3), so that every packet of the source stays as it is and
players need nothing new: each IDR picture names the sets that hold from there on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["IDR", "HeaderError", "ParameterSets", "annex_b_units", "sized_units", "with_sizes"]

IDR = 5
"""Type of the NAL units of a picture that nothing before it is needed for."""

_PICTURES = range(1, 6)
_SEQUENCE, _PICTURE = 7, 8
_PROFILES = (66, 77, 100, 244)
"""Of 8 bits and 4:2:0; 244 is x264's without loss. Whoever decodes one of these decodes those before it; 66 only in its
constrained form."""

_PICTURES_OF_HIGH = bytes((0xFC | 1, 0xF8, 0xF8, 0))
"""What a header of profile 100 and beyond says at its end: 4:2:0, 8 bits of luma and of chroma, no further sets."""

_CONSTRAINED = 0x40
"""The flag that says that a stream of profile 66 is one of profile 77 too."""

_HIGHEST_NUMBER = 31
"""Of a sequence parameter set. Picture parameter sets go to 255; x264 gives both the same number."""


class HeaderError(ValueError):
    """A header that is damaged, or whose sets cannot stand beside others."""


def annex_b_units(data: bytes) -> Iterator[bytes]:
    """NAL units of data in which each follows a start code (ITU-T H.264, Annex B)."""
    begin = data.find(b"\0\0\1")
    while begin >= 0:
        end = data.find(b"\0\0\1", begin + 3)
        unit = data[begin + 3 :] if end < 0 else data[begin + 3 : end]
        unit = unit.rstrip(b"\0")
        if unit:
            yield unit
        begin = end


def sized_units(data: bytes, size: int) -> Iterator[bytes]:
    """NAL units of data in which each follows its length in ``size`` bytes.

    Raises:
        HeaderError: a length is 0 or leads out of the data.
    """
    place = 0
    while place < len(data):
        begin = place + size
        place = begin + int.from_bytes(data[place:begin], "big")
        if place > len(data) or begin > len(data):
            raise HeaderError("a NAL unit is longer than its packet")
        if place == begin:
            raise HeaderError("a NAL unit is empty")
        yield data[begin:place]


def with_sizes(units: Iterable[bytes], size: int) -> bytes:
    """What :func:`sized_units` takes apart."""
    return b"".join(len(unit).to_bytes(size, "big") + unit for unit in units)


@dataclass(frozen=True)
class ParameterSets:
    """The sequence and picture parameter sets of a stream.

    Attributes:
        sequence, picture: NAL units by their numbers.
        length_size: bytes of a NAL unit's length in packets; 0 where units follow start codes.
    """

    sequence: dict[int, bytes]
    picture: dict[int, bytes]
    length_size: int

    @classmethod
    def of(cls, header: bytes) -> ParameterSets:
        """The sets of a stream's header, of either form.

        Raises:
            HeaderError: it is damaged, or two sets in it have one number.
        """
        if header[:1] == b"\1":
            return cls(*_numbered(_units_of_record(header)), length_size=(header[4] & 3) + 1)
        return cls(*_numbered(annex_b_units(header)), length_size=0)

    @property
    def free_number(self) -> int | None:
        """The least number that none of the sets has, from 1 on; None when all are taken."""
        taken = self.sequence.keys() | self.picture.keys()
        return next((number for number in range(1, _HIGHEST_NUMBER + 1) if number not in taken), None)

    @property
    def can_be_joined(self) -> bool:
        """Whether other sets can stand beside these: all are of profiles of which one holds the other."""
        return bool(self.sequence and self.picture) and all(map(_is_nested, self.sequence.values()))

    def units(self, packet: bytes) -> Iterator[bytes]:
        """NAL units of a packet of the stream.

        Raises:
            HeaderError: the packet is damaged.
        """
        return sized_units(packet, self.length_size) if self.length_size else annex_b_units(packet)

    def begins_anew(self, packet: bytes) -> bool:
        """Whether a packet of the stream is an IDR picture.

        Raises:
            HeaderError: the packet is damaged.
        """
        return next((kind == IDR for unit in self.units(packet) if (kind := unit[0] & 31) in _PICTURES), False)

    def disagrees(self, packet: bytes) -> bool:
        """Whether a packet brings sets that are not these, or is of more than one view or layer.

        Raises:
            HeaderError: the packet is damaged.
        """
        for unit in self.units(packet):
            kind = unit[0] & 31
            if kind in (_SEQUENCE, _PICTURE):
                known = self.sequence if kind == _SEQUENCE else self.picture
                if known.get(_number(unit)) != unit:
                    return True
            elif kind in (14, 15, 20):
                return True
        return False

    def header_with(self, other: ParameterSets) -> bytes:
        """A header in this stream's form with the sets of both.

        Raises:
            HeaderError: a number is taken twice, or their pictures are of different kinds.
        """
        if self.sequence.keys() & other.sequence.keys() or self.picture.keys() & other.picture.keys():
            raise HeaderError("two parameter sets have the same number")
        sequence = [*self.sequence.values(), *other.sequence.values()]
        picture = [*self.picture.values(), *other.picture.values()]
        if not self.length_size:
            return b"".join(b"\0\0\0\1" + unit for unit in (*sequence, *picture))
        return _record(sequence, picture, self.length_size)


def _numbered(units: Iterable[bytes]) -> tuple[dict[int, bytes], dict[int, bytes]]:
    found: tuple[dict[int, bytes], dict[int, bytes]] = {}, {}
    for unit in units:
        kind = unit[0] & 31
        if kind in (_SEQUENCE, _PICTURE):
            if kind == _SEQUENCE and len(unit) < 4:
                raise HeaderError("a parameter set is cut off")
            sets = found[kind - _SEQUENCE]
            if sets.setdefault(_number(unit), unit) != unit:
                raise HeaderError("two parameter sets have the same number")
    return found


def _number(unit: bytes) -> int:
    """Of a parameter set: behind profile and level in a sequence's, at the start of a picture's (Exp-Golomb)."""
    payload = unit[4:12] if unit[0] & 31 == _SEQUENCE else unit[1:9]
    bits = "".join(f"{byte:08b}" for byte in payload.replace(b"\0\0\3", b"\0\0"))
    zeros = bits.find("1")
    if zeros < 0 or len(bits) < 2 * zeros + 1:
        raise HeaderError("a parameter set has no number")
    return int(bits[zeros : 2 * zeros + 1], 2) - 1


def _is_nested(unit: bytes) -> bool:
    profile, flags = unit[1], unit[2]
    return profile in _PROFILES and (profile != _PROFILES[0] or bool(flags & _CONSTRAINED))


def _units_of_record(record: bytes) -> Iterator[bytes]:
    """NAL units of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1)."""
    try:
        place, count = 6, record[5] & 31
        for kind in (_SEQUENCE, _PICTURE):
            for _ in range(count):
                (length,) = struct.unpack_from(">H", record, place)
                unit = record[place + 2 : place + 2 + length]
                if len(unit) != length or unit[0] & 31 != kind:
                    raise HeaderError("the stream's header is damaged")
                yield unit
                place += 2 + length
            if kind == _SEQUENCE:
                count, place = record[place], place + 1
    except (IndexError, struct.error):
        raise HeaderError("the stream's header is damaged") from None


def _record(sequence: list[bytes], picture: list[bytes], length_size: int) -> bytes:
    """The record that promises no more than what a decoder of all the sets needs."""
    largest = max(sequence, key=lambda unit: _PROFILES.index(unit[1]))
    level = max(unit[3] for unit in sequence)
    parts = [bytes((1, largest[1], largest[2], level, 0xFC | length_size - 1, 0xE0 | len(sequence)))]
    parts += [struct.pack(">H", len(unit)) + unit for unit in sequence]
    parts += [bytes((len(picture),)), *(struct.pack(">H", len(unit)) + unit for unit in picture)]
    return b"".join(parts) + (_PICTURES_OF_HIGH if largest[1] >= 100 else b"")
