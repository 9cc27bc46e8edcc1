"""File formats: one record for each, which all that knows file names, first bytes, containers and codecs reads.

A new format is a new record in :data:`FORMATS`. Pictures are read and written by the rooms ``still`` and ``animation``,
everything else by FFmpeg, under the names that stand in the record.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from revisage.core import InputError, OutputError

if TYPE_CHECKING:
    from revisage.media.interface import MediaInfo

__all__ = [
    "BROWSER_SUFFIXES",
    "FORMATS",
    "IMAGE_SUFFIXES",
    "STILL_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Format",
    "Sniffed",
    "can_hold",
    "format_of",
    "format_of_content",
    "format_of_info",
    "format_written_by",
    "has_avif_sequence",
    "media_type",
    "sniff",
    "sniff_file",
    "video_format",
    "written_suffix",
]

Kind = Literal["video", "animation", "image"]
Mark = tuple[int | None, bytes]
"""Bytes at an offset; at None they stand anywhere in the first 64."""

# fmt: off
_MPEG_SYSTEM = frozenset((
    "mpeg1video", "mpeg2video", "h264", "mp1", "mp2", "mp3", "ac3", "dts", "pcm_s16be", "pcm_dvd", "dvd_subtitle",
    "dvdsub",
))
_MPEG_TRANSPORT = frozenset((
    "mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "mp1", "mp2", "mp3", "aac", "ac3", "eac3", "dts", "truehd",
    "opus", "dvb_subtitle", "dvbsub", "dvb_teletext", "hdmv_pgs_subtitle",
))
# fmt: on
_OF_MP4 = ("h264", "aac", "mp3")
_EBML = b"\x1aE\xdf\xa3"
_PNG = b"\x89PNG\r\n\x1a\n"
_MOV = "mov,mp4,m4a,3gp,3g2,mj2"


@dataclass(frozen=True)
class Format:
    """What is known of one file format.

    Attributes:
        name: short, for people; of most formats the usual ending.
        suffixes: endings of file names, in lower case with the dot; new files get the first.
        kinds: what such files hold.
        media_type: for HTTP.
        marks: beginnings of such files; of one beginning all marks must be there.
        readers: names under which FFmpeg or, of pictures, Pillow reads it.
        seeks: a frame keeps its time wherever reading starts; else times are made up from the start on.
        writer: FFmpeg's name of the muxer, or the room's own name of a picture format; None: cannot be written.
        successors: formats that take its place in the output where it cannot be written, the nearest first.
        holds: codecs that the muxer writes so that they can be read again, where it does not refuse others itself.
        preferred: encoders that come before the source's own codec. With one time per frame (ASF, AVI) FFmpeg and all
            that read with it show H.264 and its kin a frame late; in a program stream, which does not name its codecs,
            a short video may be taken for sound.
        reorders: frames may be stored in another order than they are shown; not where times below zero or two times
            per frame have no place.
        options: of the muxer.
        clock: what limits the times of frames: nothing, a scale per track that must be told, whole milliseconds, one
            rate for all.
        covers: how a cover picture is kept: as a stream of one packet, as an attached file, or not at all.
        makes_timecodes: the muxer makes the stream of start time codes anew.
        holds_beside: transparency of VP8 and VP9, which lies beside each picture, has a place.
        in_browsers: codecs with which browsers show it; of a picture its own name.
    """

    name: str
    suffixes: tuple[str, ...]
    kinds: tuple[Kind, ...]
    media_type: str
    marks: tuple[tuple[Mark, ...], ...] = ()
    readers: tuple[str, ...] = ()
    seeks: bool = True
    writer: str | None = None
    successors: tuple[str, ...] = ()
    holds: frozenset[str] | None = None
    preferred: tuple[str, ...] = ()
    reorders: bool = True
    options: tuple[tuple[str, str], ...] = ()
    clock: Literal["free", "scaled", "milliseconds", "rate"] = "free"
    covers: Literal["stream", "attachment"] | None = None
    makes_timecodes: bool = False
    holds_beside: bool = False
    in_browsers: tuple[str, ...] = ()

    @property
    def is_video(self) -> bool:
        """Whether FFmpeg reads and writes it."""
        return "video" in self.kinds

    def begins(self, head: bytes) -> bool:
        """Whether a file that begins with ``head`` is one."""
        return any(all(_stands(head, *mark) for mark in start) for start in self.marks)


def _stands(head: bytes, offset: int | None, expected: bytes) -> bool:
    return expected in head[:64] if offset is None else head[offset : offset + len(expected)] == expected


def _video(name: str, suffixes: str, media_type: str, **facts: object) -> Format:
    endings = tuple(f".{ending}" for ending in suffixes.split())
    return Format(name, endings, ("video",), f"video/{media_type}", **facts)  # type: ignore[arg-type]


def _picture(name: str, suffixes: str, kinds: tuple[Kind, ...], *starts: bytes, **facts: object) -> Format:
    endings = tuple(f".{ending}" for ending in suffixes.split())
    marks = tuple(((0, start),) for start in starts)
    values = {"marks": marks, "writer": name, "in_browsers": (name,), **facts}
    return Format(name, endings, kinds, f"image/{name}", **values)  # type: ignore[arg-type]


# fmt: off
FORMATS = (
    _picture("gif", "gif", ("animation",), b"GIF87a", b"GIF89a", readers=("GIF",)),
    _picture("png", "png", ("image", "animation"), _PNG, readers=("PNG",)),
    _picture("apng", "apng", ("animation",), _PNG),
    _picture("webp", "webp", ("image", "animation"), readers=("WEBP",), marks=(((0, b"RIFF"), (8, b"WEBP")),)),
    _picture("jpeg", "jpg jpeg jpe jfif mpo", ("image",), b"\xff\xd8\xff", readers=("JPEG", "MPO")),
    _picture("tiff", "tif tiff", ("image",), b"II*\0", b"MM\0*", readers=("TIFF",), in_browsers=()),
    _picture("bmp", "bmp dib", ("image",), b"BM", readers=("BMP", "DIB")),
    _picture(
        "heic", "heic heif hif", ("image",), readers=("HEIF",), in_browsers=(),
        marks=tuple(((4, b"ftyp" + brand),) for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1")),
    ),
    _picture(
        "avif", "avif", ("image", "animation"), readers=("AVIF",), marks=(((4, b"ftypavif"),), ((4, b"ftypavis"),)),
    ),
    _picture(
        "jp2", "jp2 j2k j2c jpx jpf", ("image",), b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51",
        readers=("JPEG2000",), in_browsers=(),
    ),
    _picture(
        "ppm", "ppm pgm pbm pnm", ("image",), *(b"P%d%c" % (kind, gap) for kind in range(1, 7) for gap in b"\n \t\r"),
        readers=("PPM",), in_browsers=(),
    ),
    _picture("ico", "ico", ("image",), b"\0\0\1\0", readers=("ICO",), writer=None, successors=("png",)),
    _video(
        "3gp", "3gp", "3gpp", marks=(((4, b"ftyp3gp"),),), readers=(_MOV,), writer="3gp", clock="scaled",
        in_browsers=_OF_MP4,
    ),
    _video(
        "3g2", "3g2", "3gpp2", marks=(((4, b"ftyp3g2"),),), readers=(_MOV,), writer="3g2", clock="scaled",
        in_browsers=_OF_MP4,
    ),
    _video("f4v", "f4v", "mp4", marks=(((4, b"ftypf4v"),),), readers=(_MOV,), writer="f4v", clock="scaled"),
    _video(
        "mov", "mov qt", "quicktime",
        marks=(((4, b"ftypqt  "),), *(((4, atom),) for atom in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))),
        readers=(_MOV,), writer="mov", clock="scaled", makes_timecodes=True, in_browsers=_OF_MP4,
    ),
    _video(
        "mp4", "mp4 m4v", "mp4", marks=(((4, b"ftyp"),),), readers=(_MOV,), writer="mp4", clock="scaled",
        covers="stream", makes_timecodes=True, in_browsers=(*_OF_MP4, "vp9", "av1"),
    ),
    # Audio that begins a little before zero, to be cut off there, must not move everything else: so no shift.
    _video(
        "webm", "webm", "webm", marks=(((0, _EBML), (None, b"webm")),), readers=("matroska,webm",), writer="webm",
        clock="milliseconds", options=(("avoid_negative_ts", "disabled"),), holds_beside=True,
        in_browsers=("vp8", "vp9", "av1", "opus", "vorbis"),
    ),
    _video(
        "mkv", "mkv mk3d", "x-matroska", marks=(((0, _EBML),),), readers=("matroska,webm",), writer="matroska",
        clock="milliseconds", options=(("avoid_negative_ts", "disabled"),), covers="attachment", holds_beside=True,
    ),
    _video(
        "avi", "avi", "x-msvideo", marks=(((0, b"RIFF"), (8, b"AVI ")),), readers=("avi",), seeks=False, writer="avi",
        preferred=("mpeg4",), reorders=False, clock="rate",
    ),
    _video(
        "mpg", "mpg mpeg", "mpeg", marks=(((0, b"\0\0\x01\xba"),), ((0, b"\0\0\x01\xb3"),)), readers=("mpeg",),
        writer="mpeg", holds=_MPEG_SYSTEM, preferred=("mpeg2video",), reorders=False, options=(("preload", "0"),),
    ),
    _video(
        "vob", "vob", "mpeg", readers=("mpeg",), writer="vob", holds=_MPEG_SYSTEM, preferred=("mpeg2video",),
        reorders=False, options=(("preload", "0"),),
    ),
    # MPEG transport packets of 188 bytes begin with 0x47, one after another; on cameras' cards 4 bytes stand before.
    _video(
        "ts", "ts mts m2ts m2t", "mp2t", marks=(((0, b"G"), (188, b"G")), ((4, b"G"), (196, b"G"))),
        readers=("mpegts",), writer="mpegts", holds=_MPEG_TRANSPORT, options=(("mpegts_copyts", "1"),),
    ),
    _video("flv", "flv", "x-flv", marks=(((0, b"FLV\x01"),),), readers=("flv",), writer="flv"),
    _video(
        "wmv", "wmv asf", "x-ms-wmv", marks=(((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),),), readers=("asf",),
        writer="asf", preferred=("mpeg4", "wmv2"), reorders=False,
    ),
    _video("nut", "nut", "x-nut", marks=(((0, b"nut/multimedia"),),), readers=("nut",), writer="nut"),
    _video("ivf", "ivf", "x-ivf", marks=(((0, b"DKIF"),),), readers=("ivf",), writer="ivf"),
    _video("ogv", "ogv ogm", "ogg", marks=(((0, b"OggS"),),), readers=("ogg",), successors=("mkv",)),
    _video(
        "mxf", "mxf", "mxf", marks=(((0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02"),),),
        readers=("mxf",), successors=("mov", "mkv"),
    ),
    _video("rm", "rm rmvb", "x-realmedia", marks=(((0, b".RMF"),),), readers=("rm",), successors=("mkv",)),
    _video("dv", "dv dif", "dv", marks=(((0, b"\x1f\x07\0"),),), readers=("dv",), seeks=False, successors=("mov",)),
    _video("y4m", "y4m", "x-yuv4mpeg", marks=(((0, b"YUV4MPEG2 "),),), readers=("yuv4mpegpipe",), successors=("mkv",)),
    _video("m2v", "m2v m1v mpv", "mpeg", readers=("mpegvideo",), seeks=False, successors=("mpg", "mkv")),
    # The bare streams of encoders: their times are made up while reading.
    _video(
        "h264", "h264 264 avc h265 265 hevc", "h264", readers=("h264", "hevc", "m4v", "obu", "vvc", "mjpeg"),
        seeks=False, successors=("mp4", "mkv"),
    ),
)
# fmt: on
"""All formats. Where one's beginning is a special case of another's, it stands before that."""

_BY_NAME = {record.name: record for record in FORMATS}
_BY_SUFFIX = {suffix: record for record in FORMATS for suffix in record.suffixes}
_BY_WRITER = {record.writer: record for record in FORMATS if record.writer is not None}


def _suffixes(records: Iterable[Format]) -> frozenset[str]:
    return frozenset(suffix for record in records for suffix in record.suffixes)


IMAGE_SUFFIXES = _suffixes(record for record in FORMATS if not record.is_video)
"""File name endings of photos and animated images."""

STILL_SUFFIXES = _suffixes(record for record in FORMATS if "image" in record.kinds)
"""File name endings of photos."""

VIDEO_SUFFIXES = _suffixes(record for record in FORMATS if record.is_video)
"""File name endings of videos, also of such as cannot be written."""

BROWSER_SUFFIXES = _suffixes(record for record in FORMATS if record.in_browsers)
"""File name endings of what browsers show."""


def format_of(suffix: str) -> Format | None:
    """The format that a file name's ending (``.mp4``, in any case) means."""
    return _BY_SUFFIX.get(suffix.lower())


def format_written_by(writer: str) -> Format:
    """The format of a muxer (FFmpeg's name) or of a picture writer.

    Raises:
        KeyError: none is written so.
    """
    return _BY_WRITER[writer]


def format_of_content(path: Path) -> Format | None:
    """The format of a file by its first bytes; None where they tell nothing."""
    with path.open("rb") as file:
        return _begun(file.read(256))


def _begun(head: bytes) -> Format | None:
    return next((record for record in FORMATS if record.begins(head)), None)


def format_of_info(info: MediaInfo) -> Format | None:
    """The format that a file was read as; of several with one reader, the one that its name means."""
    named = format_of(info.path.suffix)
    fitting = [record for record in FORMATS if info.container in record.readers or info.container == record.name]
    return (
        named
        if named in fitting
        else next((one for one in fitting if one.name in ("mp4", "mkv")), None) or (fitting[0] if fitting else None)
    )


def media_type(suffix: str) -> str:
    """The MIME type of files with an ending."""
    record = format_of(suffix)
    return "application/octet-stream" if record is None else record.media_type


def video_format(path: Path) -> Format:
    """The container that a file name asks for.

    Raises:
        OutputError: none that can be written.
    """
    record = format_of(path.suffix)
    if record is None or record.writer is None or not record.is_video:
        known = ", ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES if _BY_SUFFIX[suffix].writer is not None))
        what = f"videos cannot be written as '{path.suffix}'" if path.suffix else "the name has no ending"
        raise OutputError(f"{path}: {what}; choose one of {known}")
    return record


def written_suffix(suffix: str, info: MediaInfo) -> str:
    """The ending of a source's output by default: ``suffix`` itself where its format can be written.

    Else that of the nearest container that holds the source's streams as they are.
    """
    record = format_of(suffix) or format_of_info(info)
    if record is None or record.writer is not None:
        return suffix if record is None or suffix.lower() in record.suffixes else record.suffixes[0]
    if not record.is_video:
        return _BY_NAME[record.successors[0]].suffixes[0]
    codecs = [info.codec, *(stream.codec for stream in info.streams if stream.kind in ("audio", "subtitle"))]
    nearest = [_BY_NAME[name] for name in record.successors]
    fitting = (one for one in nearest if all(can_hold(one.writer or "", codec) for codec in codecs))
    return next(fitting, nearest[-1]).suffixes[0]


@lru_cache(maxsize=256)
def can_hold(writer: str, codec: str) -> bool:
    """Whether a container (FFmpeg's name of its muxer) takes streams of a codec, or of what an encoder makes."""
    import av

    holds = _BY_WRITER[writer].holds
    if holds is not None:
        return (_codec_of(codec, "w") or _codec_of(codec, "r") or codec) in holds
    with av.open(io.BytesIO(), "w", format=writer) as container:
        try:
            container.add_mux_stream(codec)
        except ValueError:
            return False
    return True


def _codec_of(name: str, mode: Literal["r", "w"]) -> str | None:
    import av

    try:
        return av.Codec(name, mode).canonical_name
    except ValueError:
        return None


@dataclass(frozen=True)
class Sniffed:
    """What a file is by its first bytes: ``format`` is also a fitting file name ending, without the dot."""

    format: str
    kind: Kind


def sniff_file(path: Path) -> Sniffed:
    """What a file on this machine is.

    Raises:
        InputError: it cannot be opened, or is none of the kinds that can be restored.
    """
    try:
        with path.open("rb") as stream:
            return sniff(stream.read(4096), path.name)
    except FileNotFoundError:
        raise InputError(f"{path.name}: no such file") from None
    except OSError as error:
        raise InputError(f"{path.name} cannot be opened: {error.strerror or 'it is no file'}") from None


def sniff(head: bytes, name: str) -> Sniffed:
    """What begins with ``head`` (at least 400 bytes of it, or the whole file): only what can be restored is let in.

    Raises:
        InputError: nothing that can be restored; ``name`` stands in the message.
    """
    if not head:
        raise InputError(f"{name} is empty")
    found = _begun(head)
    if found is None:
        what = "a playlist or text" if is_text(head) else "of a kind that is not known here"
        works = ", ".join(record.suffixes[0][1:] for record in FORMATS if record.marks)
        raise InputError(f"{name} is {what}, not a video or picture; {works} work")
    kind = found.kinds[0]
    if len(found.kinds) > 1 and _moves(head):
        kind = "animation"
    return Sniffed(found.suffixes[0][1:], kind)


def _moves(head: bytes) -> bool:
    """Whether a PNG, WebP or AVIF says of itself that it is animated."""
    if head.startswith(_PNG):
        return b"acTL" in head[:4096].split(b"IDAT", 1)[0]
    if has_avif_sequence(head):
        return True
    return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)


def has_avif_sequence(head: bytes) -> bool:
    """Whether an AVIF that begins with ``head`` names, among its brands, that of image sequences."""
    brands = head[8 : int.from_bytes(head[:4], "big")]
    return head[4:8] == b"ftyp" and any(brands[at : at + 4] == b"avis" for at in range(0, len(brands), 4))


def is_text(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is text, such as a playlist."""
    return b"\0" not in head and all(byte >= 9 for byte in head)
