"""Whether a change left every output as it was: SHA-256 of restored clips, GIFs and stills, kept and compared.

    python benchmarks/same_bytes.py --source ../before --out before.json
    python benchmarks/same_bytes.py --against before.json

All of clips and gifs of the development material with --temporal flow and off, and ten stills, by the command line of
the checkout in --source. Encoders and networks give the same bytes only on one CPU with as many cores and the same
libraries, so a record of another machine is refused. --seconds 2 takes minutes, but a video is then one segment: only
whole ones show how segments are joined. Linux, macOS and Windows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import av

MOVING = ("clips", "gifs")

# By name, so that material that is added does not change what is compared: without a face, groups, portraits.
STILLS = (
    "scenes/test/free_airockchip_0d99a47a56.webp",
    "scenes/test/free_jiahuiyu_1219de1e81.webp",
    "scenes/test/lfw_krasserm_1d1bfd28e0.webp",
    "scenes/test/scene_davisking_354db0b6cd.webp",
    "scenes/test/scene_serengil_03dcd3e261.webp",
    "faces/test512/faker_0000.webp",
    "faces/test512/ffhq_256native_0043.webp",
    "faces/test512/london_0058.webp",
    "faces/test512/stylegan2_hr_0027.webp",
    "faces/test512/us_council_0058.webp",
)


def runs(shared: Path, only: str) -> list[tuple[Path, str]]:
    """Each input whose name matches, with each --temporal; a still has no time and is run once."""
    moving = [p for d in MOVING for p in sorted((shared / d).glob("*")) if p.suffix != ".md"]
    found = [(path, temporal) for path in moving for temporal in ("flow", "off")]
    found += [(shared / name, "off") for name in STILLS]
    return [(path, temporal) for path, temporal in found if fnmatch(path.name, only)]


def environment(source: Path, cache: Path) -> dict[str, str]:
    """What makes a child run that checkout, with converted networks of its own: another's would hide a difference.

    Raises:
        SystemExit: if Python takes revisage from elsewhere all the same.
    """
    variables = {**os.environ, "PYTHONPATH": str(source / "src"), "REVISAGE_CACHE": str(cache)}
    command = [sys.executable, "-c", "import revisage; print(revisage.__file__)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd=cache)
    taken = done.stdout.strip()
    if not Path(taken).is_relative_to(source / "src"):
        raise SystemExit(f"{source}: revisage would come from {taken or 'nowhere'}; give a checkout as --source")
    return variables


def commit(source: Path) -> str:
    """The checkout's commit, with a mark where files differ from it."""
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def pictures(path: Path) -> str:
    """SHA-256 of the decoded frames: equal where only the container or the metadata differs."""
    sha = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            sha.update(f"{frame.format.name} {frame.width}x{frame.height}".encode())
            # Of all formats the one that keeps alpha and depth and takes odd sizes.
            sha.update(frame.to_ndarray(format="rgba64le").tobytes())
    return sha.hexdigest()


def restored(
    path: Path, temporal: str, seconds: float | None, folder: Path, variables: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What came out of one run, and its report; a run that fails has the error as its outcome, and no report."""
    output = folder / f"out{path.suffix}"
    command = [sys.executable, "-m", "revisage", "restore", str(path), str(output), "--temporal", temporal]
    command += ["--overwrite", "--json"]
    if seconds is not None and path.parent.name in MOVING:
        command += ["--end", f"{seconds:g}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd=folder)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}, None
    data = output.read_bytes()
    outcome = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pictures": pictures(output)}
    output.unlink()  # else a run that writes nothing would pass with the file of the one before
    return outcome, json.loads(done.stdout)


def facts(report: dict[str, Any]) -> dict[str, Any]:
    """What the bytes depend on beside the source: CPU, cores, engine, precision, versions."""
    machine, model = report["machine"], report["model"]
    return {
        "processor": machine["processor"],
        "features": " ".join(machine["features"]),
        "cores": machine["cores"],
        "engine": model["engine"],
        "precision": model["precision"],
        "system": machine["system"],
        "python": machine["python"],
        **machine["libraries"],
    }


def refuse_other_machine(here: dict[str, Any], there: dict[str, Any]) -> None:
    """Stop where bytes cannot be compared.

    Raises:
        SystemExit: if a fact that both know differs; a later revisage may report further libraries.
    """
    other = [f"{key} {here[key]} here, {there[key]} there" for key in here if key in there and here[key] != there[key]]
    if other:
        raise SystemExit(f"bytes cannot be compared: {'; '.join(other)}")


def difference(before: dict[str, Any] | None, now: dict[str, Any] | None) -> str:
    """In words how two outcomes of one run differ; empty where they are equal."""
    if before is None or now is None:
        return "only here" if before is None else "only there"
    if before == now:
        return ""
    if "error" in before or "error" in now:
        return f"there {before.get('error', 'restored')}; here {now.get('error', 'restored')}"
    same = "same pictures" if before["pictures"] == now["pictures"] else "other pictures"
    return f"{same}, {before['bytes']} bytes there, {now['bytes']} here"


def restore_all(
    todo: list[tuple[Path, str]],
    source: Path,
    seconds: float | None,
    out: Path | None,
    earlier: dict[str, Any] | None,
) -> dict[str, Any]:
    """The record of a whole run: commit, machine, and the outcome of each input and --temporal.

    out: the file for the record, written after each outcome: an hour's work outlives what stops the rest of it.
    """
    record: dict[str, Any] = {"commit": commit(source), "seconds": seconds, "machine": {}, "outputs": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        variables = environment(source, folder)
        for path, temporal in todo:
            started = time.perf_counter()
            outcome, report = restored(path, temporal, seconds, folder, variables)
            if report and not record["machine"]:
                record["machine"] = facts(report)
                print(", ".join(f"{key} {value}" for key, value in record["machine"].items()))
                if earlier:
                    refuse_other_machine(record["machine"], earlier["machine"])
            record["outputs"][f"{path.name} {temporal}"] = outcome
            if out:
                out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            words = outcome.get("error") or f"{outcome['bytes']:9d} bytes  {outcome['sha256'][:16]}"
            print(f"{path.name:40} {temporal:5} {time.perf_counter() - started:7.1f} s  {words}", flush=True)
    return record


def print_differences(earlier: dict[str, Any], record: dict[str, Any], only: str) -> int:
    """Name each output that differs; their number."""
    now = record["outputs"]
    before = {key: value for key, value in earlier["outputs"].items() if fnmatch(key.rsplit(" ", 1)[0], only)}
    found = {key: difference(before.get(key), now.get(key)) for key in sorted(before | now)}
    differing = {key: words for key, words in found.items() if words}
    for key, words in differing.items():
        print(f"DIFFERS {key}: {words}")
    print(f"{len(found) - len(differing)} of {len(found)} outputs equal to those of commit {earlier['commit']}")
    return len(differing)


def parse() -> argparse.Namespace:
    """The command line."""
    checkout = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=checkout, help="checkout to run; by default this one")
    parser.add_argument("--shared", type=Path, default=checkout.parent / "shared")
    parser.add_argument("--only", metavar="GLOB", default="*", help="names of the inputs to take")
    parser.add_argument("--seconds", type=float, help="restore only so much of each video and GIF")
    parser.add_argument("--out", type=Path, help="file for the hashes")
    parser.add_argument("--against", type=Path, help="file of an earlier --out; exit status 1 where an output differs")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    earlier = json.loads(arguments.against.read_text(encoding="utf-8")) if arguments.against else None
    if earlier and earlier["seconds"] != arguments.seconds:
        raise SystemExit(f"{arguments.against}: made with --seconds {earlier['seconds']}; give the same")
    todo = runs(arguments.shared.resolve(), arguments.only)
    if not todo:
        raise SystemExit(f"{arguments.shared}: no input matches {arguments.only}")
    record = restore_all(todo, arguments.source.resolve(), arguments.seconds, arguments.out, earlier)
    failed = any("error" in outcome for outcome in record["outputs"].values())
    differing = print_differences(earlier, record, arguments.only) if earlier else 0
    return int(failed or differing > 0)


if __name__ == "__main__":
    sys.exit(main())
