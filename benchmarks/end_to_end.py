"""Frames per second of a whole restoration, by stage: the demo's 480x270 face and every development clip.

    python benchmarks/end_to_end.py [--shared DIR] [--json FILE] [--frames N] [--only-demo]

Stages overlap, so their seconds may add up to more than the wall clock. Loading of networks is in the total.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import revisage
from footage import talking_clip
from revisage.engines import cpu_info


def measure(source: Path, folder: Path) -> dict[str, Any]:
    """Restore one clip and read the figures off its report."""
    report = revisage.restore(source, folder / source.name, overwrite=True)
    entry = report.files[0]
    timings = entry.timings
    return {
        "clip": source.name,
        "frames": entry.frames,
        "faces_per_frame": round(entry.faces.restored / max(1, entry.frames), 2),
        "fps": round(timings.frames_per_second, 1),
        "scan_s": round(timings.scan_seconds, 2),
        "restore_s": round(timings.restore_seconds, 2),
        **{f"{name}_ms_per_frame": round(1000 * s / max(1, entry.frames), 2) for name, s in timings.stages.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--only-demo", action="store_true")
    arguments = parser.parse_args()
    print(cpu_info())
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = [talking_clip(folder / "talking_480x270.mp4", arguments.frames)]
        if not arguments.only_demo and arguments.shared.is_dir():
            sources += sorted(p for p in (arguments.shared / "clips").iterdir() if p.suffix != ".md")
        (folder / "out").mkdir()
        for source in sources:
            rows.append(measure(source, folder / "out"))
            print("  ".join(f"{key}={value}" for key, value in rows[-1].items()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"cpu": str(cpu_info()), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
