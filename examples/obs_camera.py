"""The faces of a camera, restored, as a camera that OBS and calls can choose.

    python -m pip install "revisage[virtualcam]"
    python obs_camera.py 0 --strength 0.8

On Linux load v4l2loopback first: ``sudo modprobe v4l2loopback devices=1 card_label=revisage exclusive_caps=1``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import chain

import pyvirtualcam

import revisage

RATE = 30


def send(source: str, strength: float, on_open: Callable[[str], None] = print) -> None:
    """Restore a source and send it on until it ends.

    Args:
        source: number or name of a camera, a file, or an address, as for :func:`revisage.live`.
        strength: 0 leaves faces as they are, 1 restores them fully.
        on_open: told the name of the virtual camera.
    """
    frames = revisage.live(source, strength=strength)
    first = next(frames)
    height, width = first.image.shape[:2]
    with pyvirtualcam.Camera(width=width, height=height, fps=RATE, print_fps=False) as camera:
        on_open(camera.device)
        for frame in chain([first], frames):
            camera.send(frame.image)  # (H, W, 3) uint8 RGB, at once: frames that would be late are dropped before


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="The faces of a camera, restored, as a camera that OBS can choose.")
    parser.add_argument("source", nargs="?", default="0", help="number or name of a camera, a file, an address")
    parser.add_argument("--strength", type=float, default=1.0, help="0 to 1")
    given = parser.parse_args()
    try:
        send(given.source, given.strength)
    except KeyboardInterrupt:
        pass
    except (revisage.RevisageError, RuntimeError) as error:  # the latter: there is no virtual camera
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
