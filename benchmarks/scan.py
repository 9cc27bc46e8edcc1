"""The scan that follows faces between searches beside one that searches every frame: time, and what both find.

    python benchmarks/scan.py --clips s18.mp4 bottle-detection.mp4
    python benchmarks/scan.py --rounds 0 --scenes 60

Times are milliseconds a frame of the whole scan, decoding included, as processor time and as wall time, of both in
turn within each round. What is found in the clips is held against the scan of every frame: the share of its faces (of
tracks, filled-in ones too) that the other has as well (recall), of the other's that it has (precision), and how far
landmarks differ in parts of the face's size. Pans across the labelled test scenes hold both against labels: views that
move, zoom and roll over a photo, with noise, whose landmarks are known.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from footage import resized_clip
from measuring import finish, print_table
from revisage import media
from revisage.core import RestoreConfig
from revisage.faces import FaceDetector
from revisage.media import Frame
from revisage.pipeline import Networks, Scan, fingerprint, scan_frames, scan_source

VIEW_WH = (640, 360)
FRAMES = 24
"""Of each pan."""


class Thorough(FaceDetector):
    """The embedded detector without the means to follow: it searches every frame, as scans did before."""

    can_follow = False  # type: ignore[assignment]


def networks_of() -> dict[str, Networks]:
    """Both scans' networks, loaded."""
    config = RestoreConfig()
    follows, every = Networks(config), Networks(config)
    detector = follows.detector
    every.__dict__["detector"] = Thorough(detector.name, detector._finder, detector.weight_hash)
    return {"every frame": every, "follow": follows}


def scanned(path: Path, networks: Networks) -> Scan:
    """The scan of a clip."""
    return scan_source(path, fingerprint(path), networks.config, networks)


def times(path: Path, networks: dict[str, Networks], rounds: int) -> dict[str, Any]:
    """Milliseconds a frame of both scans and of decoding alone, medians; and the ratio of both."""
    runs: dict[str, Callable[[], int]] = {
        name: (lambda each=each: scanned(path, each).frames) for name, each in networks.items()
    }
    runs["decode"] = lambda: decoded(path)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            frames = run()
            cost = time.process_time() - cpu, time.perf_counter() - wall
            found[name].append((cost[0] / frames * 1e3, cost[1] / frames * 1e3))
    ratios = np.array(found["follow"]) / np.array(found["every frame"])
    row: dict[str, Any] = {"clip": path.name}
    for name, values in found.items():
        row[f"{name}, cpu"], row[f"{name}, wall"] = (round(float(v), 2) for v in np.median(values, axis=0))
    row["cpu ratio"], row["wall ratio"] = (round(float(v), 3) for v in np.median(ratios, axis=0))
    return row


def decoded(path: Path) -> int:
    """Frames of a clip, each decoded."""
    with media.open_source(path) as source:
        return sum(1 for _ in source.frames())


@dataclass
class Agreement:
    """How the faces of one scan agree with others: counts, and landmark errors in parts of the face's size."""

    expected: int = 0
    found: int = 0
    matched: int = 0
    errors: list[float] = field(default_factory=list)

    def add(self, wanted: list[np.ndarray], have: list[np.ndarray]) -> None:
        """Faces of one frame as ``(5, 2)`` landmarks; nearest pairs first, within half a face."""
        self.expected += len(wanted)
        self.found += len(have)
        pairs = sorted(
            (error, i, j)
            for i, one in enumerate(wanted)
            for j, other in enumerate(have)
            if (error := float(np.hypot(*(one - other).T).mean()) / size_of(one)) < 0.3
        )
        rows: set[int] = set()
        columns: set[int] = set()
        for error, i, j in pairs:
            if i not in rows and j not in columns:
                rows.add(i)
                columns.add(j)
                self.errors.append(error)
        self.matched = len(self.errors)

    def row(self) -> dict[str, Any]:
        """As figures: percent."""
        errors = np.array(self.errors) * 100 if self.errors else np.zeros(1)
        return {
            "faces": self.expected,
            "recall %": round(100 * self.matched / max(1, self.expected), 2),
            "precision %": round(100 * self.matched / max(1, self.found), 2),
            "landmarks %": round(float(errors.mean()), 2),
            "p95 %": round(float(np.quantile(errors, 0.95)), 2),
        }


def size_of(points: np.ndarray) -> float:
    """The size of a face: as wide as 2.6 times its eyes are apart or as high as 2.2 times eyes to mouth."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    return max(2.6 * float(np.hypot(*(points[1] - points[0]))), 2.2 * float(np.hypot(*(mouth - eyes))), 1.0)


def by_frame(scan: Scan) -> list[list[np.ndarray]]:
    """Landmarks of all faces of tracks, frame by frame."""
    frames: list[list[np.ndarray]] = [[] for _ in range(scan.frames)]
    for track in scan.tracks:
        for index in range(track.start, track.stop):
            frames[index].append(track.face(index).landmarks)
    return frames


def against_every(path: Path, networks: dict[str, Networks]) -> dict[str, Any]:
    """What both scans find in a clip, the one that searches every frame as reference."""
    every, follow = (scanned(path, each) for each in networks.values())
    agreement = Agreement()
    for wanted, have in zip(by_frame(every), by_frame(follow), strict=True):
        agreement.add(wanted, have)
    tracks = f"{len(every.tracks)} / {len(follow.tracks)}"
    jitter = f"{jitter_of(every):.3f} / {jitter_of(follow):.3f}"
    return {"clip": path.name, "tracks": tracks, **agreement.row(), "jitter %": jitter}


def jitter_of(scan: Scan) -> float:
    """Second difference of landmarks over time, in percent of the face's size, root of the mean square."""
    values = [
        np.diff([track.face(i).landmarks for i in range(track.start, track.stop)], 2, axis=0).ravel()
        / np.median([size_of(track.face(i).landmarks) for i in range(track.start, track.stop)])
        for track in scan.tracks
        if len(track.boxes) > 2
    ]
    return 100 * float(np.sqrt(np.mean(np.square(np.concatenate(values))))) if values else 0.0


def pans(folder: Path, count: int) -> Iterator[tuple[list[Frame], list[list[np.ndarray]], list[list[np.ndarray]]]]:
    """For each of ``count`` photos frames of a moving view, the landmarks that must be found, and those that may be."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    names = [name for name, about in sorted(labels.items()) if any(face["certain"] for face in about["faces"])]
    for number, name in enumerate(names[:: max(1, len(names) // count)][:count]):
        image = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
        rng = np.random.default_rng(number)
        frames, must, may = [], [], []
        for index, affine in enumerate(_views(image.shape[:2], rng)):
            view = cv2.warpAffine(image, affine, VIEW_WH, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101)
            noisy = np.clip(view + rng.normal(0, 3, view.shape), 0, 255).astype(np.uint8)
            frames.append(Frame.from_array(noisy, pts=index, time_base=Fraction(1, 25), index=index))
            sure, unsure = _shown(labels[name]["faces"], affine)
            must.append(sure)
            may.append(unsure)
        yield frames, must, may


def _views(size_hw: tuple[int, int], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Affines from a photo to the views: a smooth path with zoom and a little roll."""
    height, width = size_hw
    fit = max(VIEW_WH[0] / width, VIEW_WH[1] / height)
    phase, reach = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.02, 0.12, 2)
    for index in range(FRAMES):
        turn = 2 * np.pi * index / 40
        zoom = fit * (1.1 + 0.08 * np.sin(turn + phase[0]))
        affine = cv2.getRotationMatrix2D((width / 2, height / 2), 4 * np.sin(turn + phase[1]), zoom)
        affine[:, 2] += np.array(VIEW_WH) / 2 - (width / 2, height / 2)
        affine[:, 2] += np.array(VIEW_WH) * reach * np.sin(turn + phase[2:])
        yield affine


def _shown(faces: list[dict[str, Any]], affine: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Landmarks in a view: of certain faces of 16 px or more that lie inside, and of all others."""
    sure, unsure = [], []
    for face in faces:
        if face["landmarks"] is None:
            continue
        points = np.array(face["landmarks"]) @ affine[:, :2].T + affine[:, 2]
        inside = ((points > 8) & (points < np.array(VIEW_WH) - 8)).all()
        (sure if face["certain"] and inside and size_of(points) >= 16 else unsure).append(points)
    return sure, unsure


def against_labels(folder: Path, networks: dict[str, Networks], count: int) -> list[dict[str, Any]]:
    """What both scans find in pans across labelled photos."""
    agreements = {name: Agreement() for name in networks}
    jitters: dict[str, list[float]] = {name: [] for name in networks}
    source = fingerprint(folder / "labels.json")
    for frames, must, may in pans(folder, count):
        for name, each in networks.items():
            scan = scan_frames(lambda frames=frames: iter(frames), source, each.config, each)
            jitters[name].append(jitter_of(scan))
            for have, wanted, allowed in zip(by_frame(scan), must, may, strict=True):
                agreements[name].add(wanted, [face for face in have if not _is_one_of(face, allowed)])
    return [
        {"scan": name, **agreement.row(), "jitter %": round(float(np.median(jitters[name])), 3)}
        for name, agreement in agreements.items()
    ]


def _is_one_of(face: np.ndarray, others: list[np.ndarray]) -> bool:
    return any(np.hypot(*(face - other).T).mean() < 0.5 * size_of(other) for other in others)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--clips", nargs="*", help="names of the clips; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="of timing; 0 leaves it out")
    parser.add_argument("--scenes", type=int, default=60, help="photos to pan across; 0 leaves them out")
    parser.add_argument("--large", type=Path, help="folder in which to make s18 at 1920x1080 and time it too")
    parser.add_argument("--out", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    folder = arguments.shared / "clips"
    names = arguments.clips if arguments.clips is not None else [p.name for p in sorted(folder.glob("*.m*[!d]"))]
    clips = [folder / name for name in names]
    if arguments.large:
        clips.append(resized_clip(folder / "s18.mp4", (1920, 1080), arguments.large / "s18_1080p.mp4"))
    networks = networks_of()
    for each, clip in itertools.product(networks.values(), clips[:1]):
        scanned(clip, each)  # warm
    record: dict[str, Any] = {}
    if arguments.rounds:
        record["times"] = [times(clip, networks, arguments.rounds) for clip in clips]
        print_table("ms a frame", record["times"])
    record["clips"] = [against_every(clip, networks) for clip in clips]
    print_table("following, held against a search of every frame", record["clips"])
    if arguments.scenes:
        record["labels"] = against_labels(arguments.shared / "scenes" / "test", networks, arguments.scenes)
        print_table("both held against labels", record["labels"])
    finish(record, arguments.out)


if __name__ == "__main__":
    main()
