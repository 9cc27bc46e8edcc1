"""Give thousands of damaged files to revisage, and say what came of them by kind of damage and by format.

    python benchmarks/fuzz.py [--count 2000] [--seed 1] [--first 0] [--kept DIR] [--json FILE]

Files that something went wrong with are kept in ``--kept``; ``--first`` and ``--count`` make one of them again. Exit
code 1 when anything went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "fuzz")]


def main() -> int:
    """Run and print."""
    from children import try_files
    from mutators import mutated_files

    from sample_media import write_tiny_compiled_model

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    shared = Path(os.environ.get("REVISAGE_SHARED") or TESTS.parents[1] / "shared")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        model = write_tiny_compiled_model(Path(name) / "tiny.xml")
        files = mutated_files(shared, asked.count, asked.seed, asked.first)
        folder = Path(name) / "in"
        folder.mkdir()
        outcome = try_files(files, folder, model, asked.kept)
    print(outcome.table())
    print(
        f"\n{outcome.counts.total()} files in {time.perf_counter() - began:.0f} s, {len(outcome.wrong)} answers wrong"
    )
    for told in outcome.wrong:
        print(f"  {told}")
    if asked.json is not None:
        parts = {"damage": outcome.counts, "ending": outcome.formats, "done": outcome.asked}
        found = {title: {" ".join(key): count for key, count in counts.items()} for title, counts in parts.items()}
        asked.json.write_text(json.dumps({**found, "wrong": outcome.wrong}, indent=2))
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
