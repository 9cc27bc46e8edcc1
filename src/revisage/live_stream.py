"""What is restored as it comes in: a stream of frames pushed in one by one, and cameras, files, addresses and pipes.

They take the options of :func:`revisage.restore`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from revisage import media, streams
from revisage.api import checked_image, read_config
from revisage.core import Image, RestoreOptions, make_config

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from revisage.api import ConfigLike, PathLike
    from revisage.streams import LiveFrame, LiveSession, StreamTally

__all__ = ["Stream", "live", "open_live"]


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
