"""Restore every development clip and GIF and check what must be kept: one table, one JSON.

    python benchmarks/all_clips.py [--shared DIR] [--out DIR] [--json FILE] [--only NAME ...]

The checks read input and output with PyAV and Pillow directly, not through revisage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image

import revisage

ANIMATED = {".gif", ".webp", ".apng"}


def video_times(path: Path) -> list[Fraction]:
    """Presentation time in seconds of each decoded video frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.pts * frame.time_base for frame in container.decode(stream)]


def packets(path: Path, kind: str) -> list[tuple[Fraction, str]]:
    """Time and content hash of each packet of the streams of one kind."""
    found = []
    with av.open(str(path)) as container:
        streams = [s for s in container.streams if s.type == kind]
        if not streams:
            return found
        found.extend(
            (packet.pts * packet.time_base, hashlib.sha256(bytes(packet)).hexdigest())
            for packet in container.demux(streams)
            if packet.pts is not None
        )
    return found


def animation_times(path: Path) -> list[Fraction]:
    """Start of each frame and, last, the end of the animation, in seconds."""
    with Image.open(path) as image:
        times, total = [], Fraction(0)
        for index in range(image.n_frames):
            image.seek(index)
            times.append(total)
            total += Fraction(str(image.info.get("duration", 0))) / 1000
        return [*times, total]


def compare(source: Path, output: Path) -> dict[str, Any]:
    """What differs between a source and its restoration in time and sound."""
    if source.suffix.lower() in ANIMATED:
        before, after = animation_times(source), animation_times(output)
        sound, frames = "none", (len(before) - 1, len(after) - 1)
        difference = abs(before[-1] - after[-1])
    else:
        before, after = video_times(source), video_times(output)
        frames = (len(before), len(after))
        sounds = packets(source, "audio"), packets(output, "audio")
        sound = "none" if not sounds[0] and not sounds[1] else "yes" if sounds[0] == sounds[1] else "NO"
        if sound == "NO" and [h for _, h in sounds[0]] == [h for _, h in sounds[1]]:
            shift = max(abs(a[0] - b[0]) for a, b in zip(*sounds, strict=True))
            sound = f"bytes yes, times {float(shift) * 1000:.3f} ms"
        difference = abs((before[-1] - before[0]) - (after[-1] - after[0]))
    largest = max(abs(a - b) for a, b in zip(before, after, strict=False))
    return {
        "frames_in": frames[0],
        "frames_out": frames[1],
        "max_pts_difference_s": float(largest),
        "audio_identical": sound,
        "duration_difference_s": float(difference),
    }


def run(source: Path, output: Path) -> dict[str, Any]:
    """Restore one file and check it."""
    started = time.perf_counter()
    report = revisage.restore(source, output, overwrite=True)
    wall = time.perf_counter() - started
    checks = compare(source, output)
    return {
        "file": source.name,
        **checks,
        "people": report.files[0].faces.tracks,
        "faces": report.files[0].faces.restored,
        "fps": round(checks["frames_in"] / wall, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--out", type=Path, help="folder for the outputs (kept); by default a temporary one")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--only", nargs="*", help="names of the files to take")
    arguments = parser.parse_args()
    sources = sorted(p for d in ("clips", "gifs") for p in (arguments.shared / d).iterdir() if p.suffix != ".md")
    if arguments.only:
        sources = [p for p in sources if p.name in arguments.only]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for source in sources:
            rows.append(run(source, folder / source.name))
            if len(rows) == 1:
                print("  ".join(rows[0]))
            print("  ".join(str(value) for value in rows[-1].values()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))
    kept = all(
        r["frames_in"] == r["frames_out"] and r["max_pts_difference_s"] == 0 and r["audio_identical"] in ("yes", "none")
        for r in rows
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
