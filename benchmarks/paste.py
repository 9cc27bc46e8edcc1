"""How long do cutting a face out and putting it back take, by size of the frame?

    python benchmarks/paste.py [--json FILE] [--repeat N]

A frame of noise in yuv420p (8 and 10 bit) with one face in the middle; crops of 256 and 512 px; the restored crop is
the crop with noise. Times are in milliseconds: the median, and the least, which says more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from revisage.core.values import Face
from revisage.engines import cpu_info
from revisage.faces.alignment import align, ffhq_template
from revisage.faces.compositing import composite
from revisage.media import Frame
from revisage.media.frame import Colour, PixelLayout

FRAMES = {"480x270": (270, 480), "1280x720": (720, 1280), "3840x2160": (2160, 3840)}
FACES_PX = {"480x270": (60, 120), "1280x720": (100, 200, 400), "3840x2160": (100, 300, 500, 1000)}
# The box of a face in FFHQ framing covers about this part of the crop's side.
BOX_PART = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    rows = [
        measure(name, pixel_format, face_px, crop, options.repeat)
        for name in FRAMES
        for pixel_format in ("yuv420p", "yuv420p10le")
        for face_px in FACES_PX[name]
        for crop in (256, 512)
    ]
    print(f"{cpu_info()}; OpenCV {cv2.__version__} with {cv2.getNumThreads()} threads")
    print(f"{'frame':>10} {'format':>12} {'face px':>8} {'crop':>5} {'align':>14} {'paste':>14}")
    for row in rows:
        print(
            f"{row['frame']:>10} {row['format']:>12} {row['face_px']:>8} {row['crop']:>5} "
            f"{row['align_ms']:>7.2f} {row['align_least_ms']:>6.2f} "
            f"{row['paste_ms']:>7.2f} {row['paste_least_ms']:>6.2f}"
        )
    if options.json:
        report = {"cpu": str(cpu_info()), "python": platform.python_version(), "opencv": cv2.__version__, "rows": rows}
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def measure(name: str, pixel_format: str, face_px: int, crop_px: int, repeat: int) -> dict[str, Any]:
    """Times (ms) for one face of ``face_px`` in one frame."""
    frame = noise_frame(FRAMES[name], pixel_format)
    face = middle_face(FRAMES[name], face_px)
    aligned = align(frame, face, crop_px)
    shake = np.random.default_rng(1).integers(-20, 20, aligned.crop.shape)
    restored = np.clip(aligned.crop + shake, 0, 255).astype(np.uint8)
    align_ms, align_least = times_ms(lambda: align(frame, face, crop_px), repeat)
    paste_ms, paste_least = times_ms(lambda: composite(frame, [(aligned, restored, 1.0)]), repeat)
    return {
        "frame": name,
        "format": pixel_format,
        "face_px": face_px,
        "crop": crop_px,
        "align_ms": align_ms,
        "align_least_ms": align_least,
        "paste_ms": paste_ms,
        "paste_least_ms": paste_least,
    }


def noise_frame(size_hw: tuple[int, int], pixel_format: str) -> Frame:
    """A frame of grey with noise, in limited range."""
    layout = PixelLayout.find(pixel_format)
    assert layout is not None
    generator = np.random.default_rng(0)
    scale = 1 << (layout.depth - 8)
    planes = tuple(
        generator.integers(100 * scale, 140 * scale, layout.plane_hw(number, size_hw)).astype(layout.dtype)
        for number in range(3)
    )
    return Frame(planes, layout, Colour("bt709", full_range=False, chroma_offset_xy=(0, 0.5)))


def middle_face(size_hw: tuple[int, int], face_px: int) -> Face:
    """A face in FFHQ pose, turned by 10 degrees, whose box is ``face_px`` wide."""
    angle, scale = np.deg2rad(10), face_px / BOX_PART / 512
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([size_hw[1], size_hw[0]]) / 2
    landmarks = (ffhq_template(512) - 255.5) @ turn.T + middle
    return Face((*(middle - face_px / 2), face_px, face_px), landmarks.astype(np.float32))


def times_ms(work: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Median and least time of ``work`` (ms), after one run to warm up."""
    work()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times), min(times)


if __name__ == "__main__":
    main()
