"""How well do the face detectors find faces in photos they have not seen, whole and damaged, and how fast?

    python benchmarks/detector.py --scenes FOLDER [--weights FOLDER] [--conditions NAME ...] [--empty CLIP ...]
        [--json FILE] [--sheet PNG]

The folder holds images and `labels.json` with boxes, landmarks and ignore regions (`revisage.train.detector.scenes`).
Faces count from 24 px, once more from 64 px; of a picture reduced to a quarter, those that still have 24 px there.
Faces of 48 px and more are cut in half by the edge of the picture, too, on each side; boxes are compared within it.
Each detector searches as users get it, at its own threshold. `--weights` adds YuNet and RetinaFace mobile0.25 from
`yunet_n_640_640.onnx` and `retinaface_mobile0.25.safetensors`. Where a detector helped to make the labels, it is at
home in them. With `--conditions` no times are taken.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch

from footage import coded, noisy
from measuring import finish, print_table
from revisage.engines import resolve
from revisage.faces import Found
from revisage.faces.detect import FaceDetector, load_detector
from revisage.train.detector.accuracy import judge_all, measures_at
from revisage.train.detector.scenes import LabelledImage, load_scenes, warp_faces

Image = np.ndarray
SMALLEST, LARGER = 24.0, 64.0
# Profile where the eyes are nearer than this part of the box's width.
PROFILE = 0.36
CUT_FACE, SIDES = 48.0, ("left", "right", "above", "below")
NAMES = ("compact", "yunet", "retinaface-mobile")
# RetinaFace's own threshold is GFPGAN's, for few and certain faces; beside it the usual one.
MORE_THRESHOLDS = {"retinaface-mobile": (0.97, 0.5)}


def main() -> None:
    options = _options()
    scenes, _ = load_scenes(options.scenes)
    scenes = scenes[:: options.every]
    detectors = {name: d for name, d in _detectors(options.weights).items() if name in options.only}
    rows = []
    conditions = _conditions(scenes)
    for condition in options.conditions or conditions:
        damaged, smallest = conditions[condition]()
        here = [row for name, d in detectors.items() for row in _measured(condition, name, d, damaged, smallest)]
        print_table(condition, here)
        rows += here
    empty = [_false_alarms(clip, detectors) for clip in options.empty]
    print_table("frames without a face: in how many is one found", empty)
    times = [] if options.conditions else _times(scenes, detectors)
    print_table(f"640x360, ms an image, {torch.get_num_threads()} threads", times)
    if options.sheet and "compact" in detectors:
        _write_sheet(options.sheet, scenes, detectors["compact"])
    finish({"scenes": len(scenes), "measures": rows, "empty": empty, "times": times}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, required=True, help="labelled images")
    parser.add_argument("--every", type=int, default=1, help="take every n-th scene only")
    parser.add_argument("--weights", type=Path, help="folder of the other detectors' weights")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--conditions", nargs="*", metavar="NAME", help="as the tables are called; default: all")
    parser.add_argument("--empty", type=Path, nargs="*", default=[], help="videos without a face")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, help="write detections drawn on scenes")
    return parser.parse_args()


def _detectors(weights: Path | None) -> dict[str, FaceDetector]:
    detectors = {"compact": load_detector("compact", device="cpu")}
    if weights:
        from revisage.faces.detect.official_finders import RetinaFaceFinder, YuNetFinder

        file = weights / "retinaface_mobile0.25.safetensors"
        engine = resolve("cpu", "auto", "auto").engine
        retina = RetinaFaceFinder.load(file, "retinaface_mobile0_25", "benchmark", device="cpu", engine=engine)
        detectors["yunet"] = FaceDetector("yunet", YuNetFinder(weights / "yunet_n_640_640.onnx"), "")
        detectors["retinaface-mobile"] = FaceDetector("retinaface-mobile", retina, "", threshold=0.5)
    return detectors


def _conditions(scenes: list[LabelledImage]) -> dict[str, Callable[[], tuple[list[LabelledImage], float]]]:
    """What makes scenes of each kind, and from which size faces count there."""

    def changed(change: Callable[[Image], Image], smallest: float = SMALLEST) -> Any:
        return lambda: ([replace(scene, image=change(scene.image)) for scene in scenes], smallest)

    def grainy(sigma: float, light: int) -> Any:
        random = np.random.default_rng(7)
        return changed(lambda image: noisy(image // light, sigma, random))

    def turned(degrees: float) -> Any:
        return lambda: ([rolled(scene, degrees) for scene in scenes], SMALLEST)

    def cut(side: str) -> Any:
        return lambda: ([half for scene in scenes for half in _halves(scene, side)], 0.0)

    return {
        "as they are": lambda: (scenes, SMALLEST),
        f"as they are, faces of {LARGER:.0f} px or more": lambda: (scenes, LARGER),
        "H.264, crf 38": changed(_coded),
        "a quarter of the size, enlarged": changed(_reduced, 4 * SMALLEST),
        "noise of 20 levels": grainy(20, 1),
        "dark: a quarter of the light, noise of 6": grainy(6, 4),
        "rolled by 45 degrees": turned(45),
        "rolled by -45 degrees": turned(-45),
        **{f"turned by {degrees} degrees": turned(degrees) for degrees in (60, 90, 135, 180)},
        "turned aside (these faces alone)": lambda: ([_only_profiles(scene) for scene in scenes], SMALLEST),
        **{f"half of a face in view, cut {side}": cut(side) for side in SIDES},
    }


def _halves(scene: LabelledImage, side: str) -> Iterator[LabelledImage]:
    """For each certain face of some size the picture that ends in the midst of it; that face alone is told."""
    height, width = scene.image.shape[:2]
    sizes = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1)
    for face in np.flatnonzero(scene.certain & (sizes >= CUT_FACE)):
        left, top, right, bottom = scene.boxes[face]
        x, y = round(float(left + right) / 2), round(float(top + bottom) / 2)
        view = {"left": (x, 0, width, height), "right": (0, 0, x, height)}
        view |= {"above": (0, y, width, height), "below": (0, 0, width, y)}
        start, stop = np.array(view[side][:2]), np.array(view[side][2:])
        boxes = np.clip(scene.boxes.reshape(-1, 2, 2), start, stop) - start
        there = (boxes[:, 1] > boxes[:, 0]).all(axis=1)
        yield LabelledImage(
            np.ascontiguousarray(scene.image[start[1] : stop[1], start[0] : stop[0]]),
            boxes.reshape(-1, 4)[there].astype(np.float32),
            (scene.landmarks - start)[there].astype(np.float32),
            (np.arange(len(boxes)) == face)[there],
        )


def _coded(image: Image) -> Image:
    """The third frame of a still H.264 clip: what the codec keeps of a face that does not move."""
    height, width = (side // 2 * 2 for side in image.shape[:2])
    whole = image.copy()
    whole[:height, :width] = coded([np.ascontiguousarray(image[:height, :width])] * 3, crf="38", preset="veryfast")[-1]
    return whole


def _reduced(image: Image) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(1, width // 4), max(1, height // 4)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def rolled(scene: LabelledImage, degrees: float) -> LabelledImage:
    """The scene turned about its centre, on black, in a square that holds its longer side."""
    height, width = scene.image.shape[:2]
    size = max(height, width)
    affine = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    affine[:, 2] += ((size - width) / 2, (size - height) / 2)
    return replace(warp_faces(scene, affine, size), image=cv2.warpAffine(scene.image, affine, (size, size)))


def _only_profiles(scene: LabelledImage) -> LabelledImage:
    """The scene with all but its turned faces made ignore regions."""
    eyes = np.linalg.norm(scene.landmarks[:, 0] - scene.landmarks[:, 1], axis=1)
    return replace(scene, certain=scene.certain & (eyes < PROFILE * (scene.boxes[:, 2] - scene.boxes[:, 0])))


def found_by(detector: FaceDetector) -> Callable[[Image], Found]:
    """A detector as the measures want it."""

    def detect(image: Image) -> Found:
        faces = detector(np.ascontiguousarray(image))
        boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes = np.clip(boxes.reshape(-1, 2, 2), 0, image.shape[1::-1]).reshape(-1, 4)
        landmarks = np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2)
        return Found(boxes, landmarks, np.array([face.score for face in faces], np.float32))

    return detect


def _measured(
    condition: str, name: str, detector: FaceDetector, scenes: list[LabelledImage], smallest: float
) -> list[dict[str, object]]:
    verdicts = judge_all(scenes, found_by(detector), smallest=smallest)
    rows: list[dict[str, object]] = []
    for threshold in MORE_THRESHOLDS.get(name, (detector.threshold,)):
        measures = measures_at(verdicts, threshold)
        errors = np.concatenate([v.landmark_errors[v.found_at >= threshold] for v in verdicts])
        rows.append(
            {
                "condition": condition,
                "detector": name,
                "threshold": threshold,
                "faces": measures.faces,
                "recall %": 100 * measures.recall,
                "precision %": 100 * measures.precision,
                "landmark error %": 100 * measures.landmark_error,
                "median %": 100 * float(np.median(errors)) if len(errors) else None,
            }
        )
    return rows


def _false_alarms(clip: Path, detectors: Mapping[str, FaceDetector]) -> dict[str, object]:
    frames = list(_frames(clip))
    counts = {name: sum(bool(detector(frame)) for frame in frames) for name, detector in detectors.items()}
    return {"clip": clip.name, "frames": len(frames), **counts}


def _frames(clip: Path, every: int = 4) -> Iterator[Image]:
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0:
                yield frame.to_ndarray(format="rgb24")


def _times(scenes: list[LabelledImage], detectors: Mapping[str, FaceDetector]) -> list[dict[str, object]]:
    """Milliseconds for one picture of 640x360 with one to four faces, the detectors in turn; the first round is left
    out. Wall time counts on an idle machine only, processor time (of all threads) on any."""
    chosen = [scene for scene in scenes if 1 <= scene.certain.sum() <= 4][:12]
    images = [cv2.resize(scene.image, (640, 360), interpolation=cv2.INTER_AREA) for scene in chosen]
    taken: dict[str, list[list[float]]] = {name: [] for name in detectors}
    for number in range(8):
        for name, detector in detectors.items():
            round_ = [_milliseconds(detector, image) for image in images]
            taken[name] += round_ if number else []
    rows: list[dict[str, object]] = []
    for name, values in taken.items():
        wall, processor = np.array(values).T
        median, mean = float(np.median(wall)), float(wall.mean())
        rows.append({"detector": name, "wall median": median, "wall mean": mean, "processor": float(processor.mean())})
    return rows


def _milliseconds(detector: FaceDetector, image: Image) -> list[float]:
    """Wall time and processor time of one search."""
    before = time.perf_counter(), time.process_time()
    detector(image)
    after = time.perf_counter(), time.process_time()
    return [1000 * (b - a) for a, b in zip(before, after, strict=True)]


def _write_sheet(path: Path, scenes: list[LabelledImage], detector: FaceDetector) -> None:
    """Detections (green, with landmarks) and the labels that count (blue) on 24 scenes."""
    tiles = []
    for scene in scenes[:: max(1, len(scenes) // 24)][:24]:
        image = scene.image.copy()
        for left, top, right, bottom in scene.boxes[scene.certain].round().astype(int).tolist():
            cv2.rectangle(image, (left, top), (right, bottom), (60, 90, 255), 1)
        for face in detector(scene.image):
            left, top, width, height = (round(v) for v in face.box)
            cv2.rectangle(image, (left, top), (left + width, top + height), (0, 255, 0), 1)
            for x, y in face.landmarks:
                cv2.circle(image, (round(float(x)), round(float(y))), 1, (255, 255, 0), -1)
        scale = min(400 / image.shape[1], 300 / image.shape[0])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        tile = np.zeros((300, 400, 3), np.uint8)
        tile[: image.shape[0], : image.shape[1]] = image
        tiles.append(tile)
    rows = [np.hstack(tiles[start : start + 6]) for start in range(0, len(tiles) // 6 * 6, 6)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
