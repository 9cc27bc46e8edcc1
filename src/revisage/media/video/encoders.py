"""Which encoder makes the output, and with what settings: near to the source's codec, visually lossless.

It is tried in memory, so that what it refuses is said before hours of work, and kept from taking the machine.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import av
from av.codec.codec import find_best_pix_fmt_of_list

from revisage.core import ConfigError, OutputError, nearest
from revisage.media.formats import Format, can_hold, format_written_by, video_format
from revisage.media.interface import ContentLight, EncodeOptions, MasteringDisplay, MediaInfo
from revisage.media.video.source import native_format

__all__ = [
    "BESIDE",
    "encoder_options",
    "has_alpha_plane",
    "ordinary_priority",
    "repeatable_x264",
    "resolve_options",
    "scaled_size",
    "try_encoder",
]

_LAMBDA = 118
"""FFmpeg's unit of global quality in one step of qscale."""

THREADS = 4
"""Threads of an encoder: fixed, because the bytes of most encoders follow from their number."""

_ENCODERS = {
    "h264": "libx264",
    "hevc": "libx265",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
    "av1": "libsvtav1",
    "prores": "prores_ks",
}
"""The encoder for a codec where it does not bear its name."""

SUCCESSORS = {"rawvideo": "ffv1"}
"""Lossless codecs in place of one that most containers, and FFmpeg itself, cannot read again in every pixel format."""

_KEPT = frozenset(
    [
        "h264",
        "hevc",
        "vp8",
        "vp9",
        "av1",
        "prores",
        "mpeg1video",
        "mpeg2video",
        "mpeg4",
        "mjpeg",
        "ffv1",
        "ffvhuff",
        "huffyuv",
        "utvideo",
        "magicyuv",
        "png",
        "qtrle",
        "rawvideo",
        "dnxhd",
    ]
)
"""Codecs that a source's restored video is encoded with again; others are succeeded by the fallbacks."""

_DEEP = ("libx265", "libsvtav1")
"""What players show in more than 8 bits; few show H.264 so."""

_FALLBACKS = ("libx264", "libvpx-vp9", "libsvtav1", "mpeg2video", "mpeg4", "wmv2", "flv")
_MPEG_RATES = frozenset(
    ["24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60"],
)
_REORDERING = ("libx264", "libx264rgb", "libx265", "mpeg1video", "mpeg2video")
_SHOWN_LATE = ("libx264", "libx264rgb", "libx265")
_NO_SCENE_CUTS = {"sc_threshold": "1000000000"}
"""FFmpeg's MPEG encoders close groups of pictures only if they do not look for cuts."""

BESIDE = ("libvpx", "libvpx-vp9")
"""Encoders that put transparency beside each picture, as another one, which only Matroska and WebM hold."""

_FOR_PLAYERS = ("libx264", "libx265", "libvpx", "libvpx-vp9", "libsvtav1")
_SMALL = 64
"""Sides (px) of a picture to try with."""

_X265 = ("log-level=none", "info=0", "frame-threads=1")
"""What every x265 is told. With more frame threads it may stand still once no picture follows: the thread of the last
one looks whether that was said and then sleeps, and what is said in between wakes nobody. One frame thread never waits
there, and takes no longer; see docs/robustness.md."""

_TREE_STEP = 128
_X264 = {"crf": "15.5", "preset": "faster", "subq": "2"}
"""Half the time of preset fast at crf 16, for files of about the same size and PSNR; see docs/performance.md."""


@dataclass(frozen=True)
class _Settings:
    """What an encoder is told: name of its quality setting, its range, and all options."""

    quality: str | None
    quality_range: tuple[float, float]
    has_preset: bool
    options: dict[str, str]


_SETTINGS = {
    "libx264": _Settings("crf", (0, 51), True, {**_X264}),
    "libx264rgb": _Settings("crf", (0, 51), True, {**_X264}),
    "libx265": _Settings("crf", (0, 51), True, {"crf": "18", "preset": "fast"}),
    "libvpx-vp9": _Settings("crf", (0, 63), False, {"crf": "20", "b": "0", "deadline": "good", "cpu-used": "4"}),
    "libvpx": _Settings("crf", (4, 63), False, {"crf": "8", "b": "40000000", "deadline": "good", "cpu-used": "3"}),
    "libsvtav1": _Settings("crf", (0, 63), True, {"crf": "22", "preset": "8"}),
    "mpeg1video": _Settings(
        "qscale", (1, 31), False, {"qscale": "2", "g": "15", "bf": "2", "flags": "+cgop", **_NO_SCENE_CUTS}
    ),
    "mpeg2video": _Settings(
        "qscale", (1, 31), False, {"qscale": "2", "g": "15", "bf": "2", "flags": "+cgop", **_NO_SCENE_CUTS}
    ),
    "mpeg4": _Settings("qscale", (1, 31), False, {"qscale": "2", "g": "60", "bf": "0"}),
    "wmv2": _Settings("qscale", (1, 31), False, {"qscale": "2", "g": "60"}),
    "flv": _Settings("qscale", (1, 31), False, {"qscale": "2", "g": "60"}),
    "mjpeg": _Settings("qscale", (1, 31), False, {"qscale": "2"}),
    "ffv1": _Settings(
        None, (0, 0), False, {"level": "3", "coder": "1", "context": "0", "slices": "4", "slicecrc": "1", "g": "1"}
    ),
    "prores_ks": _Settings("qscale", (1, 31), False, {"vendor": "apl0"}),
}
_PLAIN = _Settings(None, (0, 0), False, {})


def scaled_size(size_hw: tuple[int, int], factor: float, *, even: bool) -> tuple[int, int]:
    """Height and width enlarged by a factor. Videos that change size get even sides: every encoder and player takes
    those."""
    if factor == 1:
        return size_hw
    step = 2 if even else 1
    height, width = (max(step, step * round(side * factor / step)) for side in size_hw)
    return height, width


def resolve_options(info: MediaInfo, output: Path, options: EncodeOptions) -> EncodeOptions:
    """Options with all that was left open decided: encoder, pixel format, size and container.

    Args:
        info: of the source.
        output: whose name's ending decides about the container.
        options: what the user asked for.

    Raises:
        ConfigError: an unknown codec or pixel format, or settings that the encoder does not have.
        OutputError: the container cannot hold the codec, or is not one that can be written.
    """
    container = video_format(output)
    if options.codec:
        encoder: str | None = _named_encoder(options.codec, info, output, container)
    else:
        encoder = _default_encoder(info, container)
    if encoder is None:
        raise OutputError(f"{output}: no encoder is there for this kind of file; name it .mp4 or .mkv")
    _check_settings(encoder, options)
    size_hw = options.size_hw or info.size_hw
    pixel_format = _pixel_format(encoder, info, size_hw, options.pixel_format, container)
    return replace(options, codec=encoder, pixel_format=pixel_format, size_hw=size_hw, muxer=container.writer)


def _named_encoder(name: str, info: MediaInfo, output: Path, container: Format) -> str:
    encoder = _ENCODERS.get(name, name)
    if encoder == "libx264" and _is_rgb(info):
        encoder = "libx264rgb"
    if not _is_video_encoder(encoder):
        known = sorted(set(_SETTINGS) | set(_ENCODERS) | _KEPT)
        raise ConfigError(f"codec cannot be '{name}'{nearest(name, known)}; choose one of {', '.join(known)}")
    if not _is_taken(container.writer or "", encoder):
        raise OutputError(f"{output}: this container cannot hold {name}; name it .mkv, or choose another codec")
    return encoder


def _default_encoder(info: MediaInfo, container: Format) -> str | None:
    wanted = []
    if info.codec in _KEPT:
        own = SUCCESSORS.get(info.codec) or _ENCODERS.get(info.codec, info.codec)
        wanted.append("libx264rgb" if info.codec == "h264" and _is_rgb(info) else own)
    if container.preferred:
        wanted = [name for name in wanted if name not in _SHOWN_LATE]
    if info.bit_depth > 8 and not any(_is_video_encoder(name) and _keeps_depth(name, info) for name in wanted):
        wanted += _DEEP
    candidates = [name for name in (*wanted, *container.preferred, *_FALLBACKS) if _suits(name, info)]
    held = (name for name in candidates if _is_taken(container.writer or "", name))
    deep = (name for name in candidates if _keeps_depth(name, info) and _is_taken(container.writer or "", name))
    return next(deep, None) or next(held, None)


def _suits(encoder: str, info: MediaInfo) -> bool:
    """Whether an encoder is there and has the source's rate."""
    is_mpeg = encoder in ("mpeg1video", "mpeg2video")
    return _is_video_encoder(encoder) and not (is_mpeg and str(info.average_rate) not in _MPEG_RATES)


@lru_cache(maxsize=256)
def _is_taken(muxer: str, encoder: str) -> bool:
    """Whether a container takes what an encoder makes, by a file of one small picture: MOV refuses VP9 only then."""
    if not can_hold(muxer, encoder):
        return False
    formats = av.Codec(encoder, "w").video_formats
    options = {"threads": "1", **({"x265-params": ":".join(_X265)} if encoder == "libx265" else {})}
    with suppress(ValueError, OSError, av.error.FFmpegError), av.open(io.BytesIO(), "w", format=muxer) as trial:
        stream: Any = trial.add_stream(encoder, rate=25, options=options)
        stream.width = stream.height = _SMALL
        stream.pix_fmt = formats[0].name if formats else "yuv420p"
        try:
            with ordinary_priority():
                stream.codec_context.open(strict=False)
        except (ValueError, OSError, av.error.FFmpegError):
            return True  # it has no such small pictures, which says nothing of the container
        frame = av.VideoFrame(_SMALL, _SMALL, stream.pix_fmt)
        frame.pts = 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.pts = packet.dts = 0  # x265 leaves the decoding time of a single picture unset
            trial.mux(packet)
        trial.close()
        return True
    return False


def _keeps_depth(encoder: str, info: MediaInfo) -> bool:
    """Whether an encoder takes samples of the source's depth; some builds of libvpx take 8 bits only."""
    formats = av.Codec(encoder, "w").video_formats or []
    return info.bit_depth <= 8 or not formats or any(max(c.bits for c in one.components) > 8 for one in formats)


def _is_rgb(info: MediaInfo) -> bool:
    return native_format(info.pixel_format).startswith("gbr")


def has_alpha_plane(pixel_format: str) -> bool:
    """Whether pictures of a format have an opacity."""
    return any(component.is_alpha for component in av.VideoFormat(pixel_format).components)


def _is_video_encoder(name: str) -> bool:
    try:
        return av.Codec(name, "w").type == "video"
    except ValueError:
        return False


def _check_settings(encoder: str, options: EncodeOptions) -> None:
    settings = _SETTINGS.get(encoder, _PLAIN)
    if options.crf is not None:
        low, high = settings.quality_range
        if settings.quality is None:
            raise ConfigError(f"crf cannot be set for {encoder}, which has no such setting")
        if not low <= options.crf <= high:
            raise ConfigError(f"crf cannot be {options.crf:g} for {encoder}; it goes from {low:g} to {high:g}")
    if options.encoder_preset is not None:
        if not settings.has_preset:
            raise ConfigError(f"encoder_preset cannot be set for {encoder}, which has none")
        _check_preset(encoder, options.encoder_preset)


_X26_PRESETS = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
]


def _check_preset(encoder: str, preset: str) -> None:
    known = [str(n) for n in range(14)] if encoder == "libsvtav1" else _X26_PRESETS
    if preset not in known:
        raise ConfigError(
            f"encoder_preset cannot be '{preset}' for {encoder}{nearest(preset, known)}; "
            f"choose one of {', '.join(known)}"
        )


def _pixel_format(encoder: str, info: MediaInfo, size_hw: tuple[int, int], asked: str | None, container: Format) -> str:
    formats = [entry.name for entry in av.Codec(encoder, "w").video_formats or []]
    if encoder == "libx265" or (encoder in BESIDE and not container.holds_beside):
        formats = [name for name in formats if not has_alpha_plane(name)]
    if asked is not None:
        try:
            av.VideoFormat(asked)
        except ValueError:
            hint = nearest(asked, formats) or "; name one of FFmpeg's, such as yuv420p"
            raise ConfigError(f"pixel_format cannot be '{asked}'{hint}") from None
        if formats and asked not in formats:
            raise ConfigError(
                f"pixel_format cannot be '{asked}' for {encoder}{nearest(asked, formats)}; "
                f"it takes {', '.join(formats)}"
            )
        return asked
    native = native_format(info.pixel_format)
    if native.startswith("gbr") and encoder in _FOR_PLAYERS and not any(side % 2 for side in size_hw):
        # RGB of an animation as YUV with full chroma is not what players take.
        native = "yuv420p" if info.bit_depth <= 8 else "yuv420p10le"
        native = "yuva420p" if info.has_alpha and "yuva420p" in formats else native
    if encoder == "mjpeg" and f"yuvj{native[3:]}" in formats:
        return f"yuvj{native[3:]}"  # JPEG has the full range only
    if not formats or native in formats:
        return native
    best, _ = find_best_pix_fmt_of_list(formats, native.replace("yuvj", "yuv"), has_alpha=info.has_alpha)
    if best is None:
        raise ConfigError(
            f"codec {encoder} takes no pixel format like the source's {info.pixel_format}; "
            f"choose another codec, or one of its own as pixel_format: {', '.join(formats)}"
        )
    return best.name


def encoder_options(options: EncodeOptions, info: MediaInfo) -> dict[str, str]:
    """All that the encoder of resolved options is told, in FFmpeg's words: quality, HDR metadata, threads."""
    values = _chosen(options, info)
    qscale = values.pop("qscale", None)
    if qscale is not None:
        values["global_quality"] = str(round(float(qscale) * _LAMBDA))
        values["flags"] = values.get("flags", "") + "+qscale"
    values["threads"] = str(THREADS)
    return values


def _chosen(options: EncodeOptions, info: MediaInfo) -> dict[str, str]:
    encoder = options.codec or ""
    settings = _SETTINGS.get(encoder, _PLAIN)
    values = dict(settings.options)
    if options.crf is not None and settings.quality:
        values[settings.quality] = f"{options.crf:g}"
    if options.encoder_preset is not None:
        values["preset"] = options.encoder_preset
        values.pop("subq", None)  # a part of the preset that stands in its place
    if encoder in _REORDERING and options.muxer is not None and not format_written_by(options.muxer).reorders:
        values["bf"] = "0"
    if encoder == "libx265":
        values["a53cc"] = "1"  # captions of broadcasts (CEA-608), which x264 keeps by itself
    if encoder in BESIDE and options.pixel_format and has_alpha_plane(options.pixel_format):
        values["auto-alt-ref"] = "0"  # libvpx's wrapper refuses pictures that are never shown beside transparency
    extra = _EXTRA.get(encoder)
    if extra is not None:
        key, text = extra(info, _stored_width(options, info))
        if text:
            values[key] = text
    if encoder == "libx264" and options.parameter_set:
        values["x264-params"] = ":".join(filter(None, (values.get("x264-params"), f"sps-id={options.parameter_set}")))
    return values


def _stored_width(options: EncodeOptions, info: MediaInfo) -> int:
    height, width = options.size_hw or info.size_hw
    return height if info.rotation % 180 else width


def repeatable_x264(width: int) -> list[str]:
    """The parameters by which x264 writes the same twice, of pictures of a width in px.

    Where a row is no multiple of eight macroblocks, its macroblock tree reads memory behind it that it never wrote, and
    two runs differ: seen at 480 and 960 px, not at 640 and 1280, with memory filled differently.
    """
    return [] if -(-width // 16) * 16 % _TREE_STEP == 0 else ["mbtree=0"]


def _x264_params(info: MediaInfo, width: int) -> tuple[str, str]:
    parts = repeatable_x264(width)
    if info.fields == "bottom":
        parts.append("bff=1")
    if info.mastering_display is not None and info.mastering_display.primaries_xy:
        parts.append(f"mastering-display={_display_text(info.mastering_display, 50000, 10000)}")
    if info.content_light is not None:
        parts.append(f"cll={_light_text(info.content_light)}")
    return "x264-params", ":".join(parts)


def _x265_params(info: MediaInfo, _width: int) -> tuple[str, str]:
    parts = [*_X265, "open-gop=0", f"pools={THREADS}"]
    if info.mastering_display is not None and info.mastering_display.primaries_xy:
        parts.append(f"master-display={_display_text(info.mastering_display, 50000, 10000)}")
    if info.content_light is not None:
        parts.append(f"max-cll={_light_text(info.content_light)}")
    if info.colour.transfer == 16:
        parts.append("hdr10-opt=1")
    return "x265-params", ":".join(parts)


def _svtav1_params(info: MediaInfo, _width: int) -> tuple[str, str]:
    parts = ["lp=2"]
    if info.mastering_display is not None and info.mastering_display.primaries_xy:
        parts.append(f"mastering-display={_display_text(info.mastering_display, None, None)}")
    if info.content_light is not None:
        parts.append(f"content-light={_light_text(info.content_light)}")
    return "svtav1-params", ":".join(parts)


def _display_text(display: MasteringDisplay, chroma_unit: int | None, light_unit: int | None) -> str:
    """``G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)``, in whole units, or in decimals without."""
    red, green, blue, white = (
        tuple(_in_units(value, chroma_unit) for value in point) for point in display.primaries_xy
    )
    low, high = (_in_units(value, light_unit) for value in (display.luminance or (0, 0)))
    points = "".join(f"{n}({p[0]},{p[1]})" for n, p in (("G", green), ("B", blue), ("R", red), ("WP", white)))
    return f"{points}L({high},{low})"


def _in_units(value: object, unit: int | None) -> str:
    number = float(value)  # type: ignore[arg-type]
    return f"{number:.6f}" if unit is None else str(round(number * unit))


def _light_text(light: ContentLight) -> str:
    return f"{light.maximum},{light.frame_average}"


_EXTRA: dict[str, Callable[[MediaInfo, int], tuple[str, str]]] = {
    "libx264": _x264_params,
    "libx264rgb": _x264_params,
    "libx265": _x265_params,
    "libsvtav1": _svtav1_params,
}


def try_encoder(info: MediaInfo, output: Path, options: EncodeOptions) -> None:
    """Open the encoder of resolved options once at the output's size.

    Raises:
        OutputError: it refuses.
    """
    height, width = options.size_hw or info.size_hw
    if info.rotation % 180:
        height, width = width, height
    try:
        context = cast(Any, av.CodecContext.create(options.codec or "", "w"))
        context.width, context.height, context.pix_fmt = width, height, options.pixel_format
        context.framerate = rate = info.average_rate or Fraction(25)
        context.time_base = 1 / rate
        context.options = encoder_options(options, info)
        with ordinary_priority():
            context.open()
    except (ValueError, OSError, av.error.FFmpegError) as error:
        raise OutputError(
            f"{output}: {options.codec} cannot encode {width} x {height} px as {options.pixel_format} "
            f"({getattr(error, 'strerror', None) or error}); choose another codec or size"
        ) from None


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Encoders opened inside the block are quiet, and threads of this process that come to real-time scheduling there
    are put back to ordinary scheduling.

    Without that everything else on the machine waits for them, and whatever this process starts inherits it. Nothing
    is done where the caller had real-time scheduling before, or on systems other than Linux.
    """
    # SVT-AV1 writes its configuration to the terminal unless its environment forbids.
    os.environ.setdefault("SVT_LOG", "1")
    if sys.platform != "linux" or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            # A thread may end meanwhile.
            with suppress(OSError):
                if os.sched_getscheduler(int(thread.name)) == os.SCHED_FIFO:
                    os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
