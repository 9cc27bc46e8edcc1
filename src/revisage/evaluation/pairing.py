"""Which frame of one file belongs to which of another: by their time, never by their number."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from revisage import media
from revisage.core import CancelToken, InputError
from revisage.evaluation.results import EvaluateSettings

__all__ = ["Moment", "Pairs", "pair_folders"]

_Clock = Iterator[tuple[Fraction, "media.Frame"]]
"""Frames with the seconds since the first one."""
_Taker = Callable[[Fraction, Fraction], "media.Frame"]
"""Gives the frame for a time and a tolerance (s)."""
_LEAST_TOLERANCE = Fraction(2, 1000)
"""Containers that count in milliseconds round each time by half of one."""
_LEFT_OPEN = Fraction(10, 1000)
"""Tolerance where a file has one frame and so no rate (s)."""


@dataclass(frozen=True, eq=False)
class Moment:
    """Frames of one time.

    Attributes:
        index: number of the reference's frame, from 0.
        seconds: its time since the reference's first frame.
        reference: the frame.
        sides: the frame of each other file that belongs to it.
    """

    index: int
    seconds: Fraction
    reference: media.Frame
    sides: Mapping[str, media.Frame]


class Pairs:
    """Reads a reference and other files side by side, one moment in memory at a time.

    Each file's clock starts at its first frame. With ``match="exact"`` each frame must meet one of the same time, to
    half of the shorter step to the reference's neighbouring frames (2 ms at least). With ``nearest`` each frame of the
    reference gets the one nearest in time, which may serve twice or not at all.

    Args:
        reference: a video, an animated image or a still.
        sides: the other files by name.
        settings: ``match``, ``every`` and ``max_frames`` count here.
        cancel: looked at between frames.

    After the last moment ``counts`` has the number of frames read of each side (``reference`` among them), and
    ``warnings`` what was met on the way.
    """

    def __init__(
        self, reference: Path, sides: Mapping[str, Path], settings: EvaluateSettings, cancel: CancelToken | None = None
    ) -> None:
        self._paths = {"reference": reference, **sides}
        self._settings = settings
        self._cancel = cancel or CancelToken()
        self._apart = Fraction(0)
        self.counts = dict.fromkeys(self._paths, 0)
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Moment]:
        """The moments to measure.

        Raises:
            InputError: a file cannot be read, or frames have no partner.
            CancelledError: a stop was asked for.
        """
        with ExitStack() as stack:
            opened = {name: stack.enter_context(media.open_source(path)) for name, path in self._paths.items()}
            clocks = {name: self._clock(name, source) for name, source in opened.items()}
            yield from self._moments(clocks)
            for name, source in opened.items():
                self.warnings += [f"{self._paths[name].name}: {text}" for text in source.warnings]
        if self._apart > 0:
            self.warnings.append(f"frames were paired that are up to {float(self._apart) * 1000:.0f} ms apart")

    def _clock(self, name: str, source: media.Source) -> _Clock:
        """Frames with the seconds since the first one."""
        origin: Fraction | None = None
        for frame in source.frames():
            time = frame.pts * frame.time_base
            origin = time if origin is None else origin
            self.counts[name] += 1
            yield time - origin, frame

    def _moments(self, clocks: dict[str, _Clock]) -> Iterator[Moment]:
        settings = self._settings
        takers = {name: self._taker(name, clock) for name, clock in clocks.items() if name != "reference"}
        measured = 0
        for index, (seconds, frame, tolerance) in enumerate(_with_tolerance(clocks["reference"])):
            self._cancel.check()
            found = {name: take(seconds, tolerance) for name, take in takers.items()}
            if index % settings.every == 0:
                measured += 1
                yield Moment(index, seconds, frame, found)
            if measured == settings.max_frames:
                return
        if settings.match == "exact":
            for name in takers:
                self._check_ended(name, clocks[name])

    def _taker(self, name: str, clock: _Clock) -> _Taker:
        return self._exact(name, clock) if self._settings.match == "exact" else self._nearest(name, clock)

    def _exact(self, name: str, clock: _Clock) -> _Taker:
        def take(seconds: Fraction, tolerance: Fraction) -> media.Frame:
            entry = next(clock, None)
            if entry is None:
                raise InputError(self._missing(name, seconds, "ends before it"))
            if abs(entry[0] - seconds) > tolerance:
                raise InputError(self._missing(name, seconds, f"has its next one at {float(entry[0]):.3f} s"))
            return entry[1]

        return take

    def _nearest(self, name: str, clock: _Clock) -> _Taker:
        first = next(clock, None)
        if first is None:
            raise InputError(f"{self._paths[name]}: no frame could be read")
        held = [first, next(clock, None)]

        def take(seconds: Fraction, tolerance: Fraction) -> media.Frame:
            now, after = held
            while after is not None and now is not None and abs(after[0] - seconds) <= abs(now[0] - seconds):
                now, after = after, next(clock, None)
            held[:] = [now, after]
            assert now is not None
            apart = abs(now[0] - seconds)
            if apart > tolerance:
                self._apart = max(self._apart, apart)
            return now[1]

        return take

    def _missing(self, name: str, seconds: Fraction, fact: str) -> str:
        theirs, ours = self._paths["reference"], self._paths[name]
        return (
            f"{theirs} has a frame at {float(seconds):.3f} s, but {ours} {fact}: is it the right reference? "
            "--match nearest pairs each frame with the nearest"
        )

    def _check_ended(self, name: str, clock: _Clock) -> None:
        entry = next(clock, None)
        if entry is not None:
            theirs, ours = self._paths["reference"], self._paths[name]
            raise InputError(
                f"{ours} goes on at {float(entry[0]):.3f} s, but {theirs} has only {self.counts['reference']} frames: "
                "is it the right reference? --match nearest pairs each frame with the nearest"
            )


def _with_tolerance(clock: _Clock) -> Iterator[tuple[Fraction, media.Frame, Fraction]]:
    """Each frame with half of the shorter step to its neighbours, those of the same time left out."""
    before: Fraction | None = None
    ahead = itertools.chain(clock, [None])
    held = next(ahead)
    for entry in ahead:
        assert held is not None
        seconds, frame = held
        steps = [] if before is None else [seconds - before]
        steps += [] if entry is None else [entry[0] - seconds]
        shortest = min((step for step in steps if step > 0), default=2 * _LEFT_OPEN)
        yield seconds, frame, max(shortest / 2, _LEAST_TOLERANCE)
        before, held = seconds, entry


def pair_folders(reference: Path, sides: Mapping[str, Path], settings: EvaluateSettings) -> list[dict[str, Path]]:
    """The files of several folders that belong together by name, each under ``reference`` and the sides' names.

    ``a.png`` belongs to ``a.png``, else to ``a.jpg`` or ``a_restored.png`` where no other has that name.

    Raises:
        InputError: a file has no partner and ``match`` is ``exact``, or nothing has one.
    """
    clean = {path.name: path for path in media.find_media(reference).files}
    stems = {_stem(path): path for path in reversed(clean.values())}
    entries: dict[Path, dict[str, Path]] = {path: {"reference": path} for path in clean.values()}
    for name, folder in sides.items():
        for path in media.find_media(folder).files:
            partner = clean.get(path.name) or stems.get(_stem(path))
            if partner is not None:
                entries[partner].setdefault(name, path)
            elif settings.match == "exact":
                raise InputError(f"{path} has no partner in {reference}; --match nearest leaves such files out")
    whole = [entry for entry in entries.values() if len(entry) == len(sides) + 1]
    lonely = next((entry["reference"] for entry in entries.values() if len(entry) <= len(sides)), None)
    if lonely is not None and settings.match == "exact":
        raise InputError(f"{lonely} has no partner in every folder; --match nearest leaves such files out")
    if not whole:
        raise InputError(f"no file of {reference} has a partner of its name in {', '.join(map(str, sides.values()))}")
    return whole


def _stem(path: Path) -> str:
    return path.stem.removesuffix("_restored").casefold()
