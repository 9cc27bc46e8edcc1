"""What is restored as it comes in: a stream of frames pushed in one by one, cameras, addresses, and pipes.

They take the options of :func:`revisage.restore`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from revisage import media, pipeline, streams
from revisage.api import checked_image, read_config, restore
from revisage.core import (
    CancelToken,
    ConfigError,
    Image,
    InputError,
    OutputError,
    RestoreConfig,
    RestoreOptions,
    fields_about,
    make_config,
    output_error,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from revisage.api import ConfigLike, PathLike
    from revisage.pipeline import Report
    from revisage.streams import LiveFrame, LiveSession, StreamTally

__all__ = ["PipeOutcome", "Stream", "live", "open_live", "restore_pipe"]


class Stream:
    """Restores frames as they come in, from any camera or call: each is pushed in, and is out at once or not at all.

    The restorer runs beside the frames as often as there is time, and what it adds is carried along to those between.
    A context manager.

    Args:
        latency: seconds from the capture of a frame until it is out, at most; frames that would be later are dropped.
        restore_every: restore each so manieth frame, however long it takes, and drop none: the same frames then give
            the same pixels.
        config: as for :func:`restore`.
        **options: fields of RestoreConfig; those about files do nothing here.

    Raises:
        UserError: an option is not for streams, or a model is not there.
    """

    def __init__(
        self,
        *,
        latency: float = 0.12,
        restore_every: int | None = None,
        config: ConfigLike | None = None,
        **options: Unpack[RestoreOptions],
    ) -> None:
        settings = make_config(read_config(config), **options)
        self._restorer = streams.LiveRestorer(settings, latency=latency, restore_every=restore_every)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def push(self, frame: Image, captured: float | None = None) -> Image | None:
        """The next frame, with its faces restored.

        Args:
            frame: ``(H, W, 3) uint8 RGB``; it must not be changed afterwards.
            captured: when, by ``time.monotonic()``; now if None.

        Returns:
            ``(H * upscale, W * upscale, 3) uint8 RGB``; None for a frame that is dropped, because it cannot be out in
            time or came from another thread while one was at work.

        Raises:
            ValueError: another shape or dtype.
        """
        moment = self._restorer.clock.now() if captured is None else captured
        taken = media.Frame.from_array(checked_image(frame), pts=round(moment * 1000))
        shown = self._restorer.push(taken, moment)
        return None if shown is None else shown.rgb()

    @property
    def strength(self) -> float:
        """0 leaves faces as they are, 1 restores them fully; it may be changed between two frames."""
        return self._restorer.strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._restorer.strength = make_config(strength=value).strength

    @property
    def tally(self) -> StreamTally:
        """What became of the frames so far: how many were dropped, how often a face was restored, how long it took."""
        return self._restorer.tally

    def close(self) -> None:
        """Let go of the thread that restores."""
        self._restorer.close()


def live(
    source: PathLike | int,
    *,
    latency: float = 0.12,
    size: tuple[int, int] | None = None,
    rate: int | None = None,
    config: ConfigLike | None = None,
    on_state: Callable[[str], None] | None = None,
    **options: Unpack[RestoreOptions],
) -> Iterator[LiveFrame]:
    """Restore a camera, a file played in real time, an address or a pipe, frame by frame as they come.

    Args:
        source: number or name of a camera; a file; an ``rtsp://`` or ``http(s)://`` address; ``-`` for standard input.
        latency: seconds from the capture of a frame until the caller takes the next one, at most; later frames are
            dropped.
        size: width and height that a camera is asked for (px).
        rate: frames a second that a camera is asked for.
        config: as for :func:`restore`.
        on_state: told ``"lost"`` when a camera or an address is lost, and ``"back"``; it is waited for.
        **options: fields of RestoreConfig; those about files do nothing here.

    Yields:
        Frames with ``.image`` and ``.before`` (``(H, W, 3) uint8 RGB``), ``.captured`` and ``.latency`` in seconds.

    Raises:
        UserError: there is no such source, an option is not for streams, or a model is not there.
    """
    return open_live(
        source, latency=latency, size=size, rate=rate, config=config, on_state=on_state, **options
    ).frames()


def open_live(
    source: PathLike | int,
    *,
    latency: float = 0.12,
    size: tuple[int, int] | None = None,
    rate: int | None = None,
    config: ConfigLike | None = None,
    on_state: Callable[[str], None] | None = None,
    **options: Unpack[RestoreOptions],
) -> LiveSession:
    """What :func:`live` goes through, with its figures, and to be stopped from outside."""
    return streams.LiveSession(
        source,
        make_config(read_config(config), **options),
        latency=latency,
        size_hw=None if size is None else (size[1], size[0]),
        rate=rate,
        on_state=on_state or (lambda _: None),
    )


_OF_FILES = {
    "color",
    "c2pa_cert",
    "c2pa_key",
    "deinterlace",
    "end",
    "except_",
    "only",
    "reference",
    "start",
    "watermark",
    "who",
}
"""Options, beside those for side outputs, that need more of a video than has come through a pipe."""

_CHUNK = 2**20
_INPUT = "standard input"


@dataclass(frozen=True)
class PipeOutcome:
    """What came of a restoration from or into a pipe.

    Attributes:
        problems: what was wrong with the source, could not be restored or is to be looked at, one line each.
        partly: whether something is missing: the source is damaged, or something could not be restored.
        report: of a video that was restored as a file is; None where it went through frame by frame.
    """

    problems: list[str]
    partly: bool
    report: Report | None = None


def restore_pipe(
    input: PathLike,  # noqa: A002 - the name that users expect
    output: PathLike | None = None,
    *,
    buffer: bool = False,
    config: ConfigLike | None = None,
    cancel: CancelToken | None = None,
    **options: Unpack[RestoreOptions],
) -> PipeOutcome:
    """Restore a video of which at least one end is a pipe, ``-``.

    From pipe to pipe in one pass from the past alone, frame by frame as they come. Else, and with ``buffer``, what
    comes in is first kept on the disk and then restored as a file is.

    Args:
        input: a file, or ``-`` for standard input.
        output: a file, or ``-`` for standard output, which it is where none is named.
        buffer: keep what comes in on the disk first.
        config, **options: as for :func:`restore`; ``ext`` names the container of a pipe: nut, y4m, mkv or ts.
        cancel: stops the work from another thread.

    Returns:
        What came of it.

    Raises:
        UserError: the request cannot be carried out.
        BrokenPipeError: whoever read the output has gone.
    """
    settings = make_config(read_config(config), **options)
    is_piped = output is None or str(output) == "-"
    _check_open(str(input) == "-", is_piped)
    if is_piped:
        streams.pipe_ending(settings)
    if str(input) == "-" and is_piped and not buffer:
        return _restored_passing(settings, cancel or CancelToken())
    try:
        with tempfile.TemporaryDirectory(prefix="revisage-pipe-", dir=settings.work_dir) as folder:
            target = None if is_piped else output
            if str(input) != "-":
                return _restored_whole(media.as_path(input), Path(folder), target, settings, cancel)
            return _restored_spooled(Path(folder), target, settings, cancel)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise output_error(Path(settings.work_dir or tempfile.gettempdir()), error) from error


def _check_open(reads: bool, writes: bool) -> None:
    """Python has no standard input, or output, where whoever started it closed that."""
    if reads and sys.stdin is None:
        raise InputError(f"{_INPUT} is closed; pipe a video into it, or name a file")
    if writes and sys.stdout is None:
        raise OutputError("standard output is closed; name an output file")


def _restored_passing(settings: RestoreConfig, cancel: CancelToken) -> PipeOutcome:
    fields = RestoreConfig.model_fields
    of_files = [name for name in fields if name in {*_OF_FILES, *fields_about("side output")}]
    given = [name for name in of_files if getattr(settings, name) != fields[name].default]
    if given:
        word = given[0].strip("_").replace("_", "-")
        raise ConfigError(f"{word} needs the whole video: use --buffer, which keeps it on the disk first")
    streams.check_config(settings)
    networks = pipeline.Networks(settings).uncalibrated
    networks.load()
    source = streams.PipeSource()
    sink = streams.PipeSink(source, settings)
    try:
        tally = streams.restore_frames_of_pipe(source, sink.write, settings, networks, cancel)
        sink.close()
    finally:
        sink.abort()
        source.close()
    problems = [f"{source.said}: {text}" for text in source.warnings] + tally.failures
    return PipeOutcome(problems, partly=bool(problems))


def _restored_spooled(
    folder: Path, output: PathLike | None, settings: RestoreConfig, cancel: CancelToken | None
) -> PipeOutcome:
    """Standard input restored as a file is; messages call it so, not by the name that it is kept under."""
    source = _spooled(folder)
    try:
        done = _restored_whole(source, folder, output, settings, cancel)
    except InputError as error:
        raise InputError(str(error).replace(str(source), _INPUT)) from error
    return replace(done, problems=[text.replace(str(source), _INPUT) for text in done.problems])


def _spooled(folder: Path) -> Path:
    """Standard input, kept in a folder under a name that tells what it holds."""
    path = folder / "input"
    with path.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file, _CHUNK)
    known = media.format_of_content(path)
    return path if known is None else path.rename(path.with_suffix(known.suffixes[0]))


def _restored_whole(
    source: Path, folder: Path, output: PathLike | None, settings: RestoreConfig, cancel: CancelToken | None
) -> PipeOutcome:
    target = folder / "restored.nut" if output is None else output
    report = restore(source, target, config=settings.model_copy(update={"ext": None}), cancel=cancel)
    if output is None:
        streams.send_file(Path(target), settings, like=media.probe(source))
    problems = [*report.warnings, *(f"{entry.error}" for entry in report.failed)]
    return PipeOutcome(problems, report.partly, report)
