"""Run the benchmarks one after the other and put their figures into one JSON file.

    python benchmarks/run.py [--json FILE] [--only NAME ...]

Each part can also be run by itself; `python benchmarks/PART.py --help` tells its options.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PARTS = ("import_time", "nets", "paste", "end_to_end", "memory")
HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    figures, failed = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments.only:
            print(f"\n== {part}", flush=True)
            answer = Path(folder) / f"{part}.json"
            ended = subprocess.run([sys.executable, str(HERE / f"{part}.py"), "--json", str(answer)], check=False)
            if ended.returncode:
                failed.append(part)
            else:
                figures[part] = json.loads(answer.read_text())
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    if failed:
        print("failed:", ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
