"""Kill -9 of a restoration at random moments of all its stages, again and again, until it comes through.

    python benchmarks/under_fire.py [--kills 50] [--film] [--workers 1] [--seed 1] [--json FILE]
    python benchmarks/under_fire.py --terminate 4 [--workers 1] [--seed 1] [--json FILE]

A clip of three segments is restored once undisturbed, with a comparison and pictures of its frames beside the output.
Then it is restored under fire: each run is killed after a number of events drawn at random (a frame scanned or
restored, a segment recorded, the joining, each name given, each file cleared away) and a short while after that; the
next run takes up what is left. At the end all files must be the same as undisturbed to the byte, nothing else may lie
in the folder, and no segment that was recorded may have been computed again. Exit code 1 when not. With ``--film`` it
is one of more than two minutes, whose scan is made in parts, and the kills come while it is scanned and restored.

With ``--terminate`` the command ``revisage restore`` itself gets SIGTERM, so often in each of its stages: in the scan,
among the segments and in the joining, which shows in its work folder. It must end by that signal at once, leave no
process of its own, and give the undisturbed bytes when it is given again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"

RUN = """
import sys
from pathlib import Path
import revisage
from revisage import media
from revisage.pipeline import file_restoration, plan, scan_job, targets, work_folder

plan.BLOCK, plan.RUN_IN = 4, 2

def told(text):
    print(text, flush=True)

def telling(module, name, text):
    real = getattr(module, name)
    def function(*arguments, **options):
        told(text)
        return real(*arguments, **options)
    setattr(module, name, function)

telling(media, "assemble", "assembly")
telling(file_restoration, "publish", "publish")
telling(targets, "publish", "publish")
telling(work_folder.WorkFolder, "record", "record")
telling(work_folder.WorkFolder, "remove_all", "clear")
telling(Path, "unlink", "clear")
telling(scan_job.PartFolder, "save", "part")

if __name__ == "__main__":
    source, output, model, workers, longest = sys.argv[1:]
    folder = Path(output).parent
    report = revisage.restore(
        source, output, model=model, segment_frames=int(longest), workers=int(workers), temporal="off", batch=2,
        compare=folder / "compare.mkv", save_frames=folder / "frames",
        progress=lambda moment: told(moment.stage),
    )
    told(f"reused {report.files[0].timings.reused_segments}")
"""

EVENTS = {"scan": 12, "restore": 12, "record": 3, "assembly": 2, "publish": 26, "clear": 20}
"""How many of each a run tells; each kind is drawn as often as any other."""

FILM_EVENTS = {"scan": 34, "part": 2, "restore": 34, "record": 3}
"""Those of a film of three parts and three segments in which it differs from the clip."""

DONE_BEFORE = "OutputExistsError"
"""What a run says that finds all done, where the one before was killed when it had cleared all away."""


class Run:
    """One run of the clip, from a folder of its own; ``longest`` are the frames of a segment."""

    def __init__(self, folder: Path, source: Path, model: Path, workers: int, longest: int = 4) -> None:
        self.output = folder / "out.mkv"
        self._script = folder.parent / "run.py"
        self._script.write_text(RUN)
        self._arguments = [str(source), str(self.output), str(model), str(workers), str(longest)]

    def go(self, moment: tuple[str, int, float] | None) -> tuple[bool, int | None, str]:
        """Run, and kill where that was asked for: at the nth event of a kind, and some seconds later.

        Returns:
            Whether it was killed, the segments that it took up, and what it said in its last words.
        """
        process = subprocess.Popen(
            [sys.executable, str(self._script), *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        heard: Counter[str] = Counter()
        reused = None
        for line in process.stdout:
            kind, _, value = line.strip().partition(" ")
            heard[kind] += 1
            if kind == "reused":
                reused = int(value)
            if moment is not None and (kind, heard[kind]) == moment[:2]:
                time.sleep(moment[2])
                process.kill()
                break
        words = process.communicate()[1]
        return process.returncode == -9, reused, words.strip()

    @property
    def recorded(self) -> int:
        """Segments that the work folder says are finished."""
        manifest = self.output.with_name(f".{self.output.name}.revisage-work") / "manifest.jsonl"
        if not manifest.exists():
            return 0
        return sum(line.startswith('{"segment"') and line.endswith("}") for line in manifest.read_text().splitlines())


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash, and every folder that is empty."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "empty"
        for path in sorted(folder.rglob("*"))
        if path.is_file() or not any(path.iterdir())
    }


def sample(folder: Path, *, film: bool = False) -> tuple[Path, Path]:
    """A clip of 12 frames with sound, or 34 frames in 136 seconds, and a small model that loads without torch."""
    sys.path.insert(0, str(TESTS))
    from sample_media import face_frames, write_tiny_compiled_model, write_video

    if film:
        times: dict[str, Any] = {"pts": range(0, 136, 4), "time_base": Fraction(1), "options": {"g": "6"}}
        clip = write_video(folder / "film.mkv", face_frames(34), **times)
    else:
        clip = write_video(folder / "talk.mkv", face_frames(12), audio=True)
    return clip, write_tiny_compiled_model(folder / "tiny.xml")


def run(kills: int, workers: int, seed: int, *, film: bool, at_most: int = 4) -> dict[str, Any]:
    """Kill so often, and look at what comes of it; the k of ``at_most`` kills in a row are drawn too."""
    draw, events, longest = random.Random(seed), FILM_EVENTS if film else EVENTS, 12 if film else 4
    problems: list[str] = []
    where: Counter[str] = Counter()
    survived = restorations = 0
    with tempfile.TemporaryDirectory(prefix="under-fire-") as name:
        place = Path(name)
        clip, model = sample(place, film=film)
        quiet = place / "quiet"
        quiet.mkdir()
        _, _, words = Run(quiet, clip, model, workers, longest).go(None)
        wanted = contents(quiet)
        if set(wanted) < {"out.mkv", "compare.mkv"}:
            return {"ok": False, "problems": [words]}
        while survived < kills:
            fire = place / f"fire{restorations}"
            fire.mkdir()
            restorations += 1
            here = Run(fire, clip, model, workers, longest)
            for _ in range(min(draw.randint(1, at_most), kills - survived)):
                kind = draw.choice(list(events))
                moment = kind, draw.randint(1, events[kind]), draw.choice((0.0, draw.uniform(0, 0.05)))
                before = here.recorded
                killed, _, words = here.go(moment)
                if words and not (DONE_BEFORE in words and here.output.exists()):
                    problems.append(f"{moment}: {words.splitlines()[-1]}")
                if not killed:
                    break  # it was through before that moment came
                survived += 1
                where[kind] += 1
                if here.output.exists():
                    continue
                if here.recorded < before:
                    problems.append(f"{moment}: {before} segments were recorded, {here.recorded} are left")
            recorded = here.recorded
            _, reused, words = here.go(None) if killed else (False, None, "")
            if words and not (DONE_BEFORE in words and here.output.exists()):
                problems.append(f"the last run after {moment}: {words.splitlines()[-1]}")
            if killed and reused is not None and reused < recorded:
                problems.append(f"{recorded} segments were recorded, {reused} taken up")
            if (found := contents(fire)) != wanted:
                odd = sorted(set(found.items()) ^ set(wanted.items()))
                problems.append(f"after {moment}: {odd[:4]}")
    return {
        "ok": not problems,
        "kills": survived,
        "restorations": restorations,
        "workers": workers,
        "where": dict(where),
        "problems": problems,
    }


_PAUSE = {"scan": 0.1, "segments": 0.1, "joining": 0.01}
STAGES = tuple(_PAUSE)
"""And seconds after a stage has begun, within which the signal comes."""

_TRIES = 5
"""A stage may be over before the signal comes: so often as many are begun."""


class Command:
    """``revisage restore`` of a clip of three shots, from a folder of its own."""

    SEGMENTS = 3

    def __init__(self, folder: Path, source: Path, model: Path, workers: int) -> None:
        self.output = folder / "out.mkv"
        self._folder = folder / ".out.mkv.revisage-work"
        words = ["restore", source, self.output, "--model", model, "--workers", workers, "--json"]
        self._command = [sys.executable, "-m", "revisage", *map(str, words)]

    @property
    def stage(self) -> str | None:
        """What its work folder says that it is at."""
        manifest = self._folder / "manifest.jsonl"
        if not manifest.exists():
            return None
        if not (self._folder / "scan.json").exists():
            return "scan"
        recorded = manifest.read_text().count('{"segment"')
        return "joining" if recorded == self.SEGMENTS else "segments" if recorded else None

    def go(self, stage: str | None, seconds: float = 0.0) -> tuple[int, str, str]:
        """Run, and terminate where that was asked for: so long after a stage has begun.

        Returns:
            The exit code, what it said on stdout and on stderr.
        """
        process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        while stage is not None and process.poll() is None:
            if self.stage == stage:
                time.sleep(seconds)
                process.send_signal(signal.SIGTERM)
                break
            time.sleep(0.0005)
        out, err = process.communicate()  # also waits for its own processes, which have these pipes too
        return process.returncode, out, err.strip()


def three_shots(folder: Path) -> tuple[Path, Path]:
    """A clip of three shots, each long enough for a segment of its own, and a small model."""
    sys.path.insert(0, str(TESTS))
    from sample_media import face_frames, write_tiny_compiled_model, write_video

    faces = face_frames(78)
    shots = [*faces[:26], *(255 - face[:, ::-1] for face in faces[26:52]), *faces[52:]]
    clip = write_video(folder / "shots.mkv", shots, audio=True)
    return clip, write_tiny_compiled_model(folder / "tiny.xml")


def terminate(rounds: int, workers: int, seed: int, stages: Sequence[str] = STAGES) -> dict[str, Any]:
    """Terminate the command so often in each stage, and give it again."""
    draw = random.Random(seed)
    problems: list[str] = []
    where: Counter[str] = Counter()
    taken_up: Counter[int] = Counter()
    with tempfile.TemporaryDirectory(prefix="terminated-") as name:
        place = Path(name)
        clip, model = three_shots(place)
        (place / "quiet").mkdir()
        code, _, words = Command(place / "quiet", clip, model, workers).go(None)
        wanted = contents(place / "quiet")
        if code or set(wanted) != {"out.mkv"}:
            return {"ok": False, "problems": [words]}
        for number, stage in enumerate(stage for stage in stages for _ in range(_TRIES * rounds)):
            if where[stage] == rounds:
                continue
            folder = place / f"round{number}"
            folder.mkdir()
            here = Command(folder, clip, model, workers)
            code, _, words = here.go(stage, draw.choice((0.0, draw.uniform(0, _PAUSE[stage]))))
            if code == 0:
                continue  # it was through before the signal came
            where[stage] += 1
            if code != -signal.SIGTERM or words:
                problems.append(f"{stage}: code {code}, {words}")
            code, out, words = here.go(None)
            if code or contents(folder) != wanted:
                problems.append(f"again after {stage}: code {code}, {words}, {sorted(contents(folder))}")
                continue
            taken_up[json.loads(out)["files"][0]["timings"]["reused_segments"]] += 1
    if missed := [stage for stage in stages if where[stage] < rounds]:
        problems.append(f"too few terminated in {missed}")
    return {"ok": not problems, "terminated": dict(where), "segments_taken_up": dict(taken_up), "problems": problems}


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--film", action="store_true", help="of more than two minutes, scanned in parts")
    parser.add_argument("--terminate", type=int, default=0, help="times in each stage, instead of kills")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    began = time.perf_counter()
    if asked.terminate:
        result = terminate(asked.terminate, asked.workers, asked.seed)
    else:
        result = run(asked.kills, asked.workers, asked.seed, film=asked.film)
    result["seconds"] = round(time.perf_counter() - began, 1)
    if asked.json is not None:
        asked.json.write_text(json.dumps(result, indent=2))
    if asked.terminate:
        print(f"terminated      {result.get('terminated')}; segments taken up: {result.get('segments_taken_up')}")
    else:
        restorations = result.get("restorations")
        print(f"kills survived  {result.get('kills')} in {restorations} restorations, {result.get('where')}")
    print(f"bytes equal     {'yes' if result['ok'] else 'no'}")
    for problem in result["problems"]:
        print(f"  {problem}")
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    raise SystemExit(main())
