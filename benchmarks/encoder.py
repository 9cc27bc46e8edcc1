"""Which of x264's settings writes restored frames in the least time, at which size of equal likeness?

    python benchmarks/encoder.py [--clips NAME@FIRST ...] [--frames N] [--shared DIR] [--ffmpeg FILE] [--json FILE]

Each clip is restored once into a file without loss (FFV1); its frames are then encoded by each setting at the CRFS, as
revisage encodes them: 4:2:0, with its threads. The size at which a setting is as like those frames as the first one is
at its crf, by PSNR of luma or by VMAF, is interpolated between them. Time is the processor time of the encoder alone,
at the setting's crf that comes nearest. VMAF (v0.6.1, the mean of all frames) asks for an FFmpeg that was built with
libvmaf; without one its columns are empty.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.frame import PictureType

from footage import write_clip
from measuring import finish, print_table
from pieces import Restorer
from revisage.measures import psnr
from revisage.media.video.encoders import THREADS

CLIPS = ("s18.mp4@60", "short_hamilton_clip.mp4@0", "retalking_1.mp4@30")
CRFS = (13.0, 14.5, 16.0, 17.5)
FIRST_CRF = 16.0
RATE = 25

SETTINGS = {
    "fast": {"preset": "fast"},
    "faster": {"preset": "faster"},
    "faster, subq 3": {"preset": "faster", "subq": "3"},
    "faster, subq 2": {"preset": "faster", "subq": "2"},
    "veryfast": {"preset": "veryfast"},
    "superfast": {"preset": "superfast"},
}
"""The first is what the others are held against."""


class Point(NamedTuple):
    """One encoding: bytes, seconds, likeness."""

    size: int
    seconds: float
    psnr: float
    vmaf: float


def restored(clip: str, shared: Path, frames: int, folder: Path) -> Path:
    """So many frames of a clip, restored by the defaults, without loss and in 4:2:0."""
    name, first = clip.split("@")
    source, cut, target = shared / "clips" / name, folder / "cut.mkv", folder / f"{name}.mkv"
    with av.open(source) as reading:
        shown = itertools.islice(reading.decode(video=0), int(first), int(first) + frames)
        write_clip(cut, shown, rate=reading.streams.video[0].average_rate, codec="ffv1")
    Restorer()(cut, target, codec="ffv1", pixel_format="yuv420p")
    return target


def encoded(frames: list[av.VideoFrame], target: Path, options: dict[str, str]) -> float:
    """Encode frames; seconds of the processor."""
    with av.open(target, "w") as writing:
        stream: Any = writing.add_stream("libx264", rate=RATE, options={**options, "threads": str(THREADS)})
        stream.pix_fmt, stream.width, stream.height = "yuv420p", frames[0].width, frames[0].height
        began = time.process_time()
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            frame.pict_type = PictureType.NONE  # each is a key frame of FFV1, and would be one of x264's
            writing.mux(stream.encode(frame))
        writing.mux(stream.encode(None))
        return time.process_time() - began


def decoded(path: Path) -> list[av.VideoFrame]:
    """All frames of a file, as they are coded."""
    with av.open(path) as reading:
        return list(reading.decode(video=0))


def luma(frame: av.VideoFrame) -> np.ndarray[Any, Any]:
    """The first plane of a frame in 4:2:0, ``(H, W) uint8``."""
    return frame.to_ndarray()[: frame.height]


def vmaf(path: Path, reference: Path, ffmpeg: Path | None, folder: Path) -> float:
    """The mean VMAF of a file's frames; NaN without an FFmpeg that has it."""
    if ffmpeg is None:
        return float("nan")
    log = folder / "vmaf.json"
    # Both files are numbered anew, as FFmpeg would pair frames by their times.
    pairs = "[0:v]setpts=N/25/TB[a];[1:v]setpts=N/25/TB[b];[a][b]libvmaf=log_fmt=json:log_path=" + str(log)
    command = [ffmpeg, "-v", "error", "-i", path, "-i", reference, "-lavfi", pairs, "-f", "null", "-"]
    subprocess.run(command, check=True)
    return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def measured(reference: Path, options: dict[str, str], ffmpeg: Path | None, folder: Path) -> list[Point]:
    """A setting at each of the CRFS."""
    frames, target = decoded(reference), folder / "encoded.mp4"
    points = []
    for crf in CRFS:
        seconds = encoded(frames, target, {**options, "crf": f"{crf:g}"})
        like = [psnr(luma(a), luma(b)) for a, b in zip(decoded(target), frames, strict=True)]
        points.append(
            Point(target.stat().st_size, seconds, float(np.mean(like)), vmaf(target, reference, ffmpeg, folder))
        )
    return points


def size_at(points: list[Point], wanted: float, measure: str) -> float:
    """The size at which a setting reaches a likeness, between its points and along the line of the last two beyond."""
    likeness, sizes = np.array([getattr(point, measure) for point in points]), np.log([point.size for point in points])
    slope, at = np.polyfit(likeness, sizes, 1)
    inside = likeness.min() <= wanted <= likeness.max()
    order = np.argsort(likeness)
    return float(np.exp(np.interp(wanted, likeness[order], sizes[order]) if inside else slope * wanted + at))


def compared(clip: str, reference: Path, ffmpeg: Path | None, folder: Path) -> list[dict[str, object]]:
    """A row for each setting of one clip."""
    base = None
    rows: list[dict[str, object]] = []
    for name, options in SETTINGS.items():
        points = measured(reference, options, ffmpeg, folder)
        base = base or points[CRFS.index(FIRST_CRF)]
        nearest = min(points, key=lambda point: abs(point.psnr - base.psnr))
        by = ("psnr", "vmaf") if ffmpeg else ("psnr",)
        sizes = {measure: size_at(points, getattr(base, measure), measure) for measure in by}
        larger = {measure: round(100 * (size / base.size - 1), 1) for measure, size in sizes.items()}
        rows.append(
            {
                "clip": clip,
                "setting": name,
                "crf": CRFS[points.index(nearest)],
                "kB": nearest.size / 1000,
                "PSNR": nearest.psnr,
                "VMAF": nearest.vmaf if ffmpeg else None,
                "size at equal PSNR, %": larger["psnr"],
                "size at equal VMAF, %": larger.get("vmaf"),
                "time": nearest.seconds / base.seconds,
            }
        )
    return rows


def main() -> None:
    """Print a table for each clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="+", default=list(CLIPS))
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--ffmpeg", type=Path, help="one with libvmaf")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for clip in options.clips:
            reference = restored(clip, options.shared, options.frames, Path(name))
            rows += compared(clip, reference, options.ffmpeg, Path(name))
            print_table(clip, [row for row in rows if row["clip"] == clip])
    finish({"rows": rows}, options.json)


if __name__ == "__main__":
    main()
