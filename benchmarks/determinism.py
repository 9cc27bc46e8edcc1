"""Which settings leave the output the same to the byte, and how far it is off where they do not.

    python benchmarks/determinism.py [--model compact] [--json FILE]

A clip of one talking face, 12 frames in three segments, is restored without loss (FFV1) by one process, and again in
each of the ways that the table names.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

import revisage
from revisage.core import Progress
from revisage.pipeline import plan

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

WAYS: dict[str, dict[str, Any]] = {
    "the same again": {},
    "2 workers": {"workers": 2},
    "4 workers": {"workers": 4},
    "taken up after a crash": {"crash": True},
    "1 thread for each network": {"threads": 1},
    "3 threads for each network": {"threads": 3},
    "segments twice as long": {"segment_frames": 8},
    "faces in batches of 1 (usually 8)": {"batch": 1},
    "faces in batches of 3": {"batch": 3},
    "precision bf16": {"precision": "bf16"},
    "precision fp32": {"precision": "fp32"},
    "engine torch": {"engine": "torch", "beside": "precision fp32"},
    "engine torch, 2 workers": {"engine": "torch", "workers": 2, "beside": "engine torch"},
}
"""What is asked for beyond the usual, and which other way to compare with."""


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """So many threads for each network that is loaded meanwhile."""
    before = os.environ.get("OMP_NUM_THREADS")
    if count is not None:
        os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        os.environ.pop("OMP_NUM_THREADS", None)
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before


def crashing(moment: Progress) -> None:
    """End a run in its third segment."""
    if moment.stage == "restore" and moment.done == 9:
        raise MemoryError("meant to happen")


def restored(clip: Path, output: Path, options: dict[str, Any]) -> None:
    """Restore the clip in one of the ways."""
    options = {"segment_frames": 4, "codec": "ffv1", **options}
    options.pop("beside", None)
    with threads(options.pop("threads", None)):
        if options.pop("crash", False):
            with suppress(MemoryError):
                revisage.restore(clip, output, progress=crashing, **options)
        revisage.restore(clip, output, **options)


def difference(a: Path, b: Path) -> dict[str, Any]:
    """Of two clips: whether the files are equal, the largest difference of a sample, and the PSNR where they differ."""
    from sample_media import read_video

    if a.read_bytes() == b.read_bytes():
        return {"equal": True, "largest": 0, "psnr": None, "changed": 0.0}
    pairs = zip(read_video(a), read_video(b), strict=True)
    off = np.stack([one.astype(int) - other for (_, one), (_, other) in pairs])
    places = off.any(axis=-1)
    error = float((off[places].astype(float) ** 2).mean()) if places.any() else 0.0
    psnr = round(10 * np.log10(255**2 / error), 1) if error else None
    return {"equal": False, "largest": int(np.abs(off).max()), "psnr": psnr, "changed": float(places.mean())}


def run(model: str) -> dict[str, dict[str, Any]]:
    """What came of each way."""
    from sample_media import face_frames, write_video

    plan.BLOCK, plan.RUN_IN = 4, 2
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="determinism-") as name:
        place = Path(name)
        clip = write_video(place / "talk.mkv", face_frames(12), audio=True)
        restored(clip, place / "base.mkv", {"model": model})
        for number, (way, options) in enumerate(WAYS.items()):
            output = place / f"{number}.mkv"
            other = options.get("beside")
            base = place / (f"{list(WAYS).index(other)}.mkv" if other else "base.mkv")
            try:
                restored(clip, output, {"model": model, **options})
            except revisage.UserError as error:
                found[way] = {"refused": str(error)}
            else:
                found[way] = difference(base, output)
            print(f"{way:36} {told(found[way])}", flush=True)
    return found


def told(found: dict[str, Any]) -> str:
    """A result in words."""
    if "refused" in found:
        return f"not on this machine: {found['refused']}"
    if found["equal"]:
        return "equal to the byte"
    return f"up to {found['largest']} of 255, PSNR {found['psnr']} dB in {found['changed']:.1%} of the pixels"


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = run(asked.model)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
