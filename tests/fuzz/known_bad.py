"""Files of the kinds that have broken readers of media before, made by hand."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from PIL import Image

from sample_media import face_frames, plain_frames, write_video

__all__ = ["KNOWN_BAD", "Maker", "webp_large"]

Maker = Callable[[Path], Path]


def _mp4(folder: Path, change: Callable[[bytes], bytes]) -> Path:
    data = write_video(folder / "whole.mp4", plain_frames(4), audio=True).read_bytes()
    (folder / "bad.mp4").write_bytes(change(data))
    return folder / "bad.mp4"


def _behind(mark: bytes, offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Other bytes at an offset behind a mark, wherever that is."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        for found in re.finditer(re.escape(mark), data):
            at = found.end() + offset
            changed[at : at + len(value)] = value
        return bytes(changed)

    return change


HUGE = b"\x7f\xff\xff\xff"


def moov_nested(folder: Path) -> Path:
    """Boxes in boxes, a thousand deep."""
    box = b""
    for _ in range(1000):
        box = struct.pack(">I4s", len(box) + 8, b"moov") + box
    return _mp4(folder, lambda data: data[: data.index(b"moov") - 4] + box)


def moov_counts(folder: Path) -> Path:
    """Tables of two thousand million entries."""

    def change(data: bytes) -> bytes:
        for mark, offset in ((b"stsz", 8), (b"stts", 4), (b"stco", 4), (b"stsc", 4), (b"elst", 4)):
            data = _behind(mark, offset, HUGE)(data)
        return data

    return _mp4(folder, change)


def duration_absurd(folder: Path) -> Path:
    """A film of 68 years."""
    return _mp4(folder, lambda data: _behind(b"mvhd", 12, HUGE * 2)(_behind(b"mdhd", 12, HUGE * 2)(data)))


def time_scale_zero(folder: Path) -> Path:
    """Time in parts of nothing."""
    return _mp4(folder, lambda data: _behind(b"mvhd", 12, bytes(4))(_behind(b"mdhd", 12, bytes(4))(data)))


def codec_lies(folder: Path) -> Path:
    """H.264 that says it is HEVC, with parameters of neither."""
    return _mp4(folder, lambda data: _behind(b"avcC", 0, b"\xff" * 24)(data.replace(b"avc1", b"hvc1")))


def parameters_lie(folder: Path) -> Path:
    """Another size in the container than in the stream."""
    return _mp4(folder, _behind(b"avc1", 24, struct.pack(">HH", 65535, 3)))


def size_absurd_avi(folder: Path) -> Path:
    """Raw frames of 60,000 px each way."""
    path = write_video(folder / "a.avi", plain_frames(2, (16, 16)), codec="rawvideo", pixel_format="yuv420p")
    data = path.read_bytes().replace(struct.pack("<ii", 16, 16), struct.pack("<ii", 60000, 60000))
    path.write_bytes(data)
    return path


def size_absurd_matroska(folder: Path) -> Path:
    """The same, in another container."""
    path = write_video(folder / "a.mkv", plain_frames(2, (16, 16)), codec="rawvideo", pixel_format="yuv420p")
    data = path.read_bytes()
    for mark in (b"\xb0\x81\x10", b"\xba\x81\x10"):
        data = data.replace(mark, mark[:1] + b"\x81\xff")
    path.write_bytes(data)
    return path


def streams_by_the_hundred(folder: Path) -> Path:
    """Sound on 200 tracks."""
    with av.open(str(folder / "many.mkv"), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        streams = [container.add_stream("pcm_s16le", rate=8000) for _ in range(200)]
        for number, picture in enumerate(plain_frames(3, (64, 64))):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        for stream in streams:
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 16), np.int16), format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 8000, 0, Fraction(1, 8000)
            container.mux(stream.encode(sound))
        container.mux(video.encode(None))
    return folder / "many.mkv"


def _times(folder: Path, times: tuple[int, ...]) -> Path:
    """A Matroska file whose blocks have these times (ms) behind their cluster's."""
    path = write_video(folder / "times.mkv", plain_frames(len(times), (64, 64)), codec="mjpeg", pixel_format="yuvj420p")
    data = bytearray(path.read_bytes())
    blocks = list(re.finditer(rb"\xa3[\x40-\xff].{1,3}?\x81(..)\x80\xff\xd8", bytes(data), re.S))
    assert len(blocks) == len(times)
    for block, time in zip(blocks, times, strict=True):
        data[block.start(1) : block.end(1)] = struct.pack(">h", time)
    path.write_bytes(data)
    return path


def times_backward(folder: Path) -> Path:
    return _times(folder, (160, 120, 80, 40, 0))


def times_doubled(folder: Path) -> Path:
    return _times(folder, (0, 40, 40, 40, 80))


def times_negative(folder: Path) -> Path:
    return _times(folder, (-32768, -200, -100, 0, 32767))


def size_changes(folder: Path) -> Path:
    """MPEG-2 whose frames grow in mid-stream."""
    parts = [
        write_video(folder / f"{side}.mpg", plain_frames(6, (side, side)), codec="mpeg2video").read_bytes()
        for side in (64, 96)
    ]
    (folder / "grows.mpg").write_bytes(b"".join(parts))
    return folder / "grows.mpg"


def no_key_frame(folder: Path) -> Path:
    """H.264 without its first picture, which the others build on."""
    data = write_video(folder / "whole.h264", face_frames(5)).read_bytes()
    units = re.split(rb"(?=\x00\x00\x00\x01|(?<!\x00)\x00\x00\x01)", data)
    kept = [unit for unit in units if unit and unit.lstrip(b"\0")[1:2][0] & 31 != 5]
    (folder / "bad.h264").write_bytes(b"".join(kept))
    return folder / "bad.h264"


def empty_packets(folder: Path) -> Path:
    """AVI chunks without a byte, as capture cards write for frames they lost."""
    data = write_video(folder / "a.avi", plain_frames(6, (64, 64)), codec="mpeg4").read_bytes()
    at = data.index(b"00dc", data.index(b"movi"))
    (folder / "empty.avi").write_bytes(data[:at] + b"00dc\0\0\0\0" * 3 + data[at:])
    return folder / "empty.avi"


def gif_of_ten_thousand(folder: Path) -> Path:
    """10,000 frames of a single pixel."""
    frame = b"\x21\xf9\x04\0\x05\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    (folder / "long.gif").write_bytes(head + frame * 10_000 + b"\x3b")
    return folder / "long.gif"


def gif_canvas(folder: Path) -> Path:
    """A canvas of 65,535 px each way for one pixel."""
    head = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    (folder / "canvas.gif").write_bytes(head + image * 2 + b"\x3b")
    return folder / "canvas.gif"


def gif_canvas_large(folder: Path) -> Path:
    """A canvas that a photo may have, for one pixel of an animation: 600 MB for each picture."""
    data = gif_canvas(folder).read_bytes()
    (folder / "large.gif").write_bytes(data[:6] + struct.pack("<HH", 32137, 6458) + data[10:])
    return folder / "large.gif"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(path: Path, side: int, *more: bytes) -> Path:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(bytes(min(side * (side * 3 + 1), 10**6))))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + _chunk(b"IEND", b""))
    return path


def png_bomb(folder: Path) -> Path:
    """30,000 px each way out of a few kB."""
    return _png(folder / "bomb.png", 30_000)


def png_text_bomb(folder: Path) -> Path:
    """200 MB of text out of 200 kB."""
    packed = zlib.compress(bytes(200 * 2**20), 9)
    return _png(folder / "text.png", 32, _chunk(b"zTXt", b"Comment\0\0" + packed), _chunk(b"iCCP", b"p\0\0" + packed))


def apng_promises(folder: Path) -> Path:
    """An animation of two thousand million frames that holds none."""
    return _png(folder / "promise.png", 32, _chunk(b"acTL", HUGE + bytes(4)))


def jpeg_absurd(folder: Path) -> Path:
    """A JPEG whose header says 65,500 px each way."""
    Image.fromarray(plain_frames(1)[0]).save(folder / "a.jpg")
    data = (folder / "a.jpg").read_bytes()
    (folder / "a.jpg").write_bytes(_behind(b"\xff\xc0", 3, struct.pack(">HH", 65500, 65500))(data))
    return folder / "a.jpg"


def webp_canvas(folder: Path) -> Path:
    """A WebP canvas of 16,384 px each way for a small picture."""
    Image.fromarray(plain_frames(1)[0]).save(folder / "a.webp")
    picture = (folder / "a.webp").read_bytes()[12:]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\x00" * 2 + picture
    (folder / "a.webp").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return folder / "a.webp"


def webp_large(folder: Path) -> Path:
    """A WebP that says 16,320 by 16,383 px, of which its decoder holds two copies as soon as it is opened."""
    Image.fromarray(plain_frames(1)[0]).save(folder / "large.webp")
    data = (folder / "large.webp").read_bytes()
    (folder / "large.webp").write_bytes(_behind(b"\x9d\x01\x2a", 0, struct.pack("<HH", 16320, 16383))(data))
    return folder / "large.webp"


def rate_absurd(folder: Path) -> Path:
    """Bare H.264 that says one frame in two years."""
    source = write_video(folder / "rate.mp4", plain_frames(6))
    with av.open(str(source)) as container, (folder / "rate.h264").open("wb") as bare:
        slow = BitStreamFilterContext("h264_mp4toannexb,h264_metadata=tick_rate=1/30000000", container.streams.video[0])
        for packet in container.demux(video=0):
            for changed in slow.filter(packet if packet.size else None):
                bare.write(bytes(changed))
    return folder / "rate.h264"


def tiff_loop(folder: Path) -> Path:
    """A TIFF whose directory of pages leads back to itself."""
    entries = [(256, 4, 1, 8), (257, 4, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 64)]
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    (folder / "loop.tiff").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 8))
    return folder / "loop.tiff"


def svg(folder: Path) -> Path:
    """A drawing that names a file of the machine, as a picture."""
    text = '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd" width="9" height="9"/></svg>'
    (folder / "drawing.png").write_text(text)
    return folder / "drawing.png"


KNOWN_BAD: tuple[Maker, ...] = (
    *(moov_nested, moov_counts, duration_absurd, time_scale_zero, codec_lies, parameters_lie),
    *(size_absurd_avi, size_absurd_matroska, streams_by_the_hundred),
    *(times_backward, times_doubled, times_negative, size_changes, no_key_frame, empty_packets),
    *(
        gif_of_ten_thousand,
        gif_canvas,
        gif_canvas_large,
        png_bomb,
        png_text_bomb,
        apng_promises,
        jpeg_absurd,
        webp_canvas,
        webp_large,
    ),
    *(rate_absurd, tiff_loop, svg),
)
