"""How far the work is: one value, handed to one callable."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from revisage.core.errors import CancelledError

__all__ = ["CancelToken", "Progress", "ProgressCallback"]


@dataclass(frozen=True)
class Progress:
    """A moment of a run.

    Attributes:
        stage: ``scan``, ``restore`` or ``finish``.
        done: frames finished in this stage.
        total: frames in this stage; None while unknown.
        faces: faces met so far in this stage.
        file: name of the file at work.
    """

    stage: str
    done: int
    total: int | None
    faces: int = 0
    file: str = ""


ProgressCallback = Callable[[Progress], None]


class CancelToken:
    """A flag that any thread may set; the work looks at it between frames."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at the next frame."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise CancelledError when a stop was asked for."""
        if self._event.is_set():
            raise CancelledError("stopped; nothing partial was left behind")
