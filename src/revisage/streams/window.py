"""A window on this machine's display, by SDL."""

from __future__ import annotations

import ctypes
import os
import warnings
from typing import TYPE_CHECKING, Any

from revisage.core import MissingExtraError, OutputError

if TYPE_CHECKING:
    from revisage.media import Frame
    from revisage.streams.showing import Action

__all__ = ["Window"]

_UNSEEN = ("dummy", "offscreen", "evdev")
"""What SDL draws to where there is no display."""

_ELSEWHERE = "--to mjpeg shows the picture in a browser"

_KEYS: dict[str, Action] = {
    "s": "split",
    "o": "overlay",
    "up": "stronger",
    "+": "stronger",
    "=": "stronger",
    "down": "weaker",
    "-": "weaker",
    "q": "quit",
    "escape": "quit",
}


class Window:
    """Shows frames in a window: s splits it, o shows figures, up and down change the strength, q ends it.

    Args:
        title: of the window.

    Raises:
        MissingExtraError: PySDL2 is not installed.
        OutputError: there is no display.
    """

    def __init__(self, title: str = "revisage live") -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says which of its libraries it uses
                import sdl2
        except ImportError:
            raise MissingExtraError("--to window", "window") from None
        self._sdl: Any = sdl2
        self._title = title.encode()
        self._window: Any = None
        self._renderer: Any = None
        self._texture: Any = None
        self._size_hw = (0, 0)
        if sdl2.SDL_Init(sdl2.SDL_INIT_VIDEO) != 0:
            raise self._failed()
        driver = (sdl2.SDL_GetCurrentVideoDriver() or b"").decode()
        if driver in _UNSEEN and "SDL_VIDEODRIVER" not in os.environ:
            self.close()
            raise OutputError(f"no window can be opened here: there is no display; {_ELSEWHERE}")

    def _failed(self) -> OutputError:
        reason = self._sdl.SDL_GetError().decode(errors="replace").lower() or "no reason is told"
        return OutputError(f"no window can be opened here: {reason}; {_ELSEWHERE}")

    def show(self, frame: Frame) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        sdl = self._sdl
        if frame.size_hw != self._size_hw:
            self._open(frame.size_hw)
        picture = frame.rgb()
        pixels = picture.ctypes.data_as(ctypes.POINTER(ctypes.c_ubyte))
        sdl.SDL_UpdateTexture(self._texture, None, pixels, picture.strides[0])
        sdl.SDL_RenderClear(self._renderer)
        sdl.SDL_RenderCopy(self._renderer, self._texture, None, None)
        sdl.SDL_RenderPresent(self._renderer)

    def _open(self, size_hw: tuple[int, int]) -> None:
        sdl, (height, width) = self._sdl, size_hw
        if self._window is None:
            place = sdl.SDL_WINDOWPOS_CENTERED
            self._window = sdl.SDL_CreateWindow(
                self._title, place, place, width, height, sdl.SDL_WINDOW_RESIZABLE | sdl.SDL_WINDOW_SHOWN
            )
            self._renderer = self._window and sdl.SDL_CreateRenderer(self._window, -1, 0)
            if not self._renderer:
                raise self._failed()
        if self._texture is not None:
            sdl.SDL_DestroyTexture(self._texture)
        sdl.SDL_RenderSetLogicalSize(self._renderer, width, height)
        access = sdl.SDL_TEXTUREACCESS_STREAMING
        self._texture = sdl.SDL_CreateTexture(self._renderer, sdl.SDL_PIXELFORMAT_RGB24, access, width, height)
        if not self._texture:
            raise self._failed()
        self._size_hw = size_hw

    def actions(self) -> list[Action]:
        """See :class:`revisage.streams.showing.Display`."""
        sdl, event, asked = self._sdl, self._sdl.SDL_Event(), []
        while sdl.SDL_PollEvent(ctypes.byref(event)):
            if event.type == sdl.SDL_QUIT:
                asked.append("quit")
            elif event.type == sdl.SDL_KEYDOWN:
                name = sdl.SDL_GetKeyName(event.key.keysym.sym).decode().lower().removeprefix("keypad ")
                asked += [_KEYS[name]] if name in _KEYS else []
        return asked  # type: ignore[return-value]

    def close(self) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        if self._window is not None:
            self._sdl.SDL_DestroyWindow(self._window)
            self._window = None
        self._sdl.SDL_QuitSubSystem(self._sdl.SDL_INIT_VIDEO)

    def abort(self) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        if self._window is not None:
            self.close()
