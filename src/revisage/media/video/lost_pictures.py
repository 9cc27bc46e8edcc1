"""Pictures that a decoder drops in silence, or gives though their data is damaged."""

from __future__ import annotations

from fractions import Fraction

import av

__all__ = ["CUT_ANYWHERE", "LostPictures"]

_SILENT = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"}
"""Codecs whose decoders drop a picture without a word where one that it refers to is missing. Others fail at it, which
is counted as a damaged packet, or keep pictures that are only there to be referred to in packets of their own."""

CUT_ANYWHERE = {"mpegts", "mpeg"}
"""Containers that recordings are cut from at any place: what comes before the first key frame is missing in most,
which is no damage: :attr:`revisage.media.MediaInfo.unshown` tells of it."""

_NOT_CODED = 19
"""MPEG-4 packets of up to so many bytes say that the picture before is shown on (FFmpeg's MAX_NVOP_SIZE)."""


class LostPictures:
    """Compares what a decoder was given with what it gave, by the pictures' times.

    Args:
        codec, container: names that FFmpeg has for them.

    Attributes:
        damaged: pictures that came, and that the decoder says are damaged.
    """

    def __init__(self, codec: str, container: str) -> None:
        self.damaged = 0
        self._is_mpeg4 = codec == "mpeg4"
        self._is_told = codec in _SILENT
        self._waits_for_key = container in CUT_ANYWHERE
        self._first_pts: int | None = None
        self._awaited: set[int] = set()
        self._lost: set[int] = set()
        self._time_base = Fraction(0)

    @property
    def count(self) -> int:
        """Pictures that never came, as far as is known by now."""
        return len(self._lost)

    def sent(self, packet: av.Packet) -> None:
        """Take note of a packet that the decoder is about to be given."""
        self._time_base = packet.time_base or self._time_base
        if not (self._is_told and packet.size) or packet.pts is None or packet.is_discard:
            return
        if self._is_mpeg4 and packet.size <= _NOT_CODED:
            return
        if self._first_pts is None:
            if self._waits_for_key and not packet.is_keyframe:
                return
            self._first_pts = packet.pts
        # Pictures shown before the first key frame, and sent after it, refer to what was cut off.
        if packet.pts >= self._first_pts:
            self._awaited.add(packet.pts)

    def shown(self, frame: av.VideoFrame) -> None:
        """Take note of a picture that came."""
        self.damaged += frame.is_corrupt
        if frame.pts is None:
            return
        # Behind damage some come late.
        self._lost.discard(frame.pts)
        self._awaited.discard(frame.pts)
        earlier = {pts for pts in self._awaited if pts < frame.pts}
        self._awaited -= earlier
        # A field that has a packet of its own comes with the one before it.
        if not (frame.interlaced_frame and len(earlier) == 1):
            self._lost |= earlier

    def end(self) -> None:
        """No picture follows."""
        self._lost |= self._awaited
        self._awaited = set()

    def told(self) -> list[str]:
        """That as text."""
        lines = []
        if self._lost:
            first = float(min(self._lost) * self._time_base)
            frames = "1 frame is" if self.count == 1 else f"{self.count} frames are"
            lines.append(f"{frames} missing, from {first:.2f} s on: damaged, or what they refer to is")
        if self.damaged:
            frames = "1 frame is" if self.damaged == 1 else f"{self.damaged} frames are"
            lines.append(f"{frames} damaged and shown as far as the data goes")
        return lines
