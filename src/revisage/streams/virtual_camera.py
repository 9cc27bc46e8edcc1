"""A camera that other programs see: a call or OBS takes the restored picture from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revisage.core import MissingExtraError, OutputError

if TYPE_CHECKING:
    from revisage.media import Frame
    from revisage.streams.showing import Action

__all__ = ["VirtualCamera"]

_RATE = 30


class VirtualCamera:
    """Sends frames to the system's virtual camera (v4l2loopback, OBS), opened at the first frame's size.

    Args:
        device: which one; the first that is free if None.

    Raises:
        MissingExtraError: pyvirtualcam is not installed.
        OutputError: there is no such device.
    """

    def __init__(self, device: str | None = None) -> None:
        try:
            import pyvirtualcam
        except ImportError:
            raise MissingExtraError("--to virtual-camera", "virtualcam") from None
        self._library: Any = pyvirtualcam
        self._device = device
        self._camera: Any = None
        self._open((360, 640))  # before anything is filmed: is there one?
        self._close()

    @property
    def name(self) -> str:
        """The device, while it is open."""
        return "" if self._camera is None else str(self._camera.device)

    def _open(self, size_hw: tuple[int, int]) -> None:
        try:
            self._camera = self._library.Camera(
                width=size_hw[1], height=size_hw[0], fps=_RATE, device=self._device, print_fps=False
            )
        except (RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise OutputError(
                f"there is no virtual camera to send to: {reason}; load v4l2loopback on Linux, install OBS elsewhere"
            ) from None
        self._size_hw = size_hw

    def show(self, frame: Frame) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        if self._camera is None:
            self._open(frame.size_hw)
        self._camera.send(frame.resized(self._size_hw).rgb())

    def actions(self) -> list[Action]:
        """See :class:`revisage.streams.showing.Display`."""
        return []

    def _close(self) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None

    def close(self) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        self._close()

    def abort(self) -> None:
        """See :class:`revisage.streams.showing.Display`."""
        self._close()
