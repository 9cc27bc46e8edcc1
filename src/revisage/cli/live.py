"""``revisage live``: faces restored while they are filmed."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from revisage import core, streams
from revisage.cli.options import JsonOption, OverwriteOption, QuietOption, with_config_options
from revisage.cli.show import print_lines, warn
from revisage.core import ConfigError

if TYPE_CHECKING:
    from revisage.streams import Display, LiveSession

__all__ = ["live"]

_STATES = {"lost": "the source is lost; it is waited for", "back": "the source is back"}


@with_config_options(lambda: core.live_fields())
def live(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A camera's number or name; a file, played in real time; an rtsp:// or http(s):// address; - (stdin).",
        ),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="mjpeg|window|virtual-camera|pipe|FILE",
            help="A page on this machine, a window, a camera for other programs, stdout, or a recording.",
        ),
    ] = "mjpeg",
    overlay: Annotated[bool, typer.Option("--overlay", help="Show frames/s, latency and the share restored.")] = False,
    split: Annotated[bool, typer.Option("--split", help="Show the left half as it was captured.")] = False,
    latency: Annotated[
        float, typer.Option("--latency", metavar="MS", min=1, max=10000, help="From capture to output, at most.")
    ] = 1000 * streams.LATENCY,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="What a camera is asked for.", show_default=False)
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option("--rate", min=1, max=1000, help="Frames/s that a camera is asked for.", show_default=False),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of mjpeg; 0 takes any that is free.")] = 8090,
    pipe_format: Annotated[
        str, typer.Option("--pipe-format", metavar="nut|matroska|raw", help="Of pipe; raw is RGB without times.")
    ] = "nut",
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    **options: Any,
) -> int:
    """Restore a camera, or a file played as one, while it is filmed: in time, or not at all.

    \b
    revisage live 0                          camera 0, on a page of this machine
    revisage live 0 --to window --split      in a window; keys: s split, o figures, up and down strength, q quit
    revisage live rtsp://host/door --to door.mkv
    """
    from revisage.live_stream import open_live  # it brings numpy

    if as_json and to == "pipe":
        raise ConfigError("--json prints on stdout, where the video goes; leave it out, or choose another --to")
    display = _display(to, port=port, pipe_format=pipe_format, overwrite=overwrite)
    try:
        session = open_live(
            source,
            latency=latency / 1000,
            size=None if size is None else _size(size),
            rate=rate,
            on_state=lambda state: warn(_STATES[state]),
            **options,
        )
    except BaseException:
        display.abort()
        raise
    if isinstance(display, streams.MjpegServer) and not quiet:
        warn(f"watch {display.address} (Ctrl-C ends it)")
    started = time.monotonic()
    streams.show_session(session, display, streams.View(split=split, overlay=overlay))
    _tell(session, time.monotonic() - started, quiet=quiet or to == "pipe", as_json=as_json)
    return 0


def _display(to: str, *, port: int, pipe_format: str, overwrite: bool) -> Display:
    if to == "mjpeg":
        return streams.MjpegServer(port)
    if to == "window":
        return streams.Window()
    if to == "virtual-camera":
        return streams.VirtualCamera()
    if to == "pipe":
        if pipe_format not in streams.PIPE_FORMATS:
            raise ConfigError(f"pipe-format cannot be '{pipe_format}'; choose one of {', '.join(streams.PIPE_FORMATS)}")
        return streams.StreamWriter.to_pipe(pipe_format)  # type: ignore[arg-type]
    if not Path(to).suffix:
        raise ConfigError(
            f"--to cannot be '{to}'; choose mjpeg, window, virtual-camera, pipe, or a file such as {to}.mkv"
        )
    return streams.Recording(Path(to), overwrite=overwrite)


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise ConfigError(f"size cannot be '{text}'; write width and height such as 640x360")
    return int(found[1]), int(found[2])


def _tell(session: LiveSession, seconds: float, *, quiet: bool, as_json: bool) -> None:
    told = streams.figures(session, seconds)
    if told["problem"]:
        warn(f"warning: {told['failed']} searches or restorations failed: {told['problem']}")
    if as_json:
        print_lines([json.dumps(told, indent=2)])
    elif not quiet:
        late, share = told["latency_ms"], told["share_restored"]
        print_lines(
            [
                f"{told['shown']} of {told['frames']} frames shown, {told['frames_per_second']:g} a second",
                f"  latency {late['p50']} ms (p95 {late['p95']}, p99 {late['p99']}), {share:.0%} restored",
            ]
        )
