"""Read a reference and what was made of it side by side, find its faces, and measure frame after frame."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage import media, pipeline
from revisage.core import (
    CancelledError,
    CancelToken,
    ConfigError,
    Face,
    Image,
    InputError,
    Progress,
    ProgressCallback,
    RevisageError,
    Track,
    make_config,
)
from revisage.evaluation.frame_scores import Comparison, FrameScores
from revisage.evaluation.pairing import Pairs, pair_folders
from revisage.evaluation.results import EvaluateSettings, Evaluation, FaceRegion, FileEvaluation, Side
from revisage.faces import FaceDetector
from revisage.measures import MEASURES, Instruments

__all__ = ["evaluate_sides", "resized"]

_ALIKE = 0.5
"""Thumbnails of a restoration and its reference correlate far above this; those of two scenes do not."""


def evaluate_sides(
    reference: Path,
    sides: Mapping[str, Path],
    settings: EvaluateSettings | None = None,
    *,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> Evaluation:
    """Measure one or more restorations (and their input, which is one more side) against a reference.

    All are files, or all are folders whose files belong together by name. Memory holds two frames of each side.

    Args:
        reference: the undamaged video, animated image or photo; a folder of them.
        sides: what to measure, by a name of your own other than ``reference``.
        settings: how; the defaults when None.
        progress: told of each frame.
        cancel: looked at between frames.

    Raises:
        InputError: a file cannot be read, frames have no partner, or sizes differ and ``resize`` does not say how.
            In a folder such a file has an ``error`` in the result, and the others go on.
        ConfigError: there is nothing to measure, a side is the reference itself, or files and folders are mixed.
        CancelledError: stopped through ``cancel``.
    """
    chosen = settings or EvaluateSettings()
    if not sides or "reference" in sides:
        raise ConfigError("name at least one side to measure, and none of them 'reference'")
    started = time.perf_counter()
    instruments = Instruments(MEASURES, chosen.weights)
    run = _Evaluator(chosen, instruments, progress or (lambda _: None), cancel or CancelToken())
    measured = run.in_folder if reference.is_dir() else run.one
    files = [measured(entry) for entry in _entries(reference, sides, chosen)]
    return Evaluation(
        settings=chosen.model_dump(mode="json"),
        networks=instruments.networks,
        files=files,
        mean=_means(files),
        total_seconds=round(time.perf_counter() - started, 3),
    )


def _entries(reference: Path, sides: Mapping[str, Path], settings: EvaluateSettings) -> list[dict[str, Path]]:
    """The files that are measured together, ``reference`` and the sides, each by its name."""
    one_is_folder = reference.is_dir()
    other = next((path for path in sides.values() if path.is_dir() != one_is_folder), None)
    if other is not None:
        folder, single = (reference, other) if one_is_folder else (other, reference)
        raise ConfigError(f"{folder} is a folder and {single} is none; give files or folders, not both")
    there = [path for path in sides.values() if path.exists() and reference.exists()]
    own = next((path for path in there if path.samefile(reference)), None)
    if own is not None:
        what = "folder" if one_is_folder else "file"
        raise ConfigError(
            f"{own} is the reference itself; name the {what} of the restoration, and that of the original"
        )
    return pair_folders(reference, sides, settings) if one_is_folder else [{"reference": reference, **sides}]


@dataclass(frozen=True)
class _Evaluator:
    """What the files of one evaluation share."""

    settings: EvaluateSettings
    instruments: Instruments
    progress: ProgressCallback
    cancel: CancelToken

    def in_folder(self, paths: Mapping[str, Path]) -> FileEvaluation:
        """One reference of a folder; what is wrong with it becomes its ``error``."""
        try:
            return self.one(paths)
        except CancelledError:
            raise
        except RevisageError as error:
            return FileEvaluation(name=paths["reference"].name, error=str(error))

    def one(self, paths: Mapping[str, Path]) -> FileEvaluation:
        """One reference and the files that belong to it."""
        infos = {name: media.probe(path) for name, path in paths.items()}
        reference = infos["reference"]
        size_hw = _common_size(infos, self.settings)
        tracks, detector = self._tracks(reference) if self.settings.faces else ([], None)
        others = {name: path for name, path in paths.items() if name != "reference"}
        pairs = Pairs(paths["reference"], others, self.settings, self.cancel)
        scores = FrameScores(self.instruments, self.settings, detector)
        result = FileEvaluation(name=reference.path.name, kind=reference.kind, size_hw=size_hw, tracks=len(tracks))
        self._measure(result, pairs, tracks, scores, reference)
        result.sides = {
            name: Side(
                path=str(path),
                size_hw=(infos[name].height, infos[name].width),
                frames=pairs.counts[name],
                whole=scores.scores(name, "whole"),
                faces=scores.scores(name, "faces"),
            )
            for name, path in paths.items()
        }
        return result

    def _tracks(self, reference: media.MediaInfo) -> tuple[list[Track], FaceDetector]:
        """The faces of the frames that will be measured, followed, in frames counted from the first; and what found
        them, which looks again at the crops for landmarks."""
        config = make_config(detector=self.settings.detector, device=self.settings.device)
        networks = pipeline.kept_networks(config)
        most = self.settings.max_frames
        last = None if most is None else self.settings.every * (most - 1) + 1

        def tell(done: int, faces: int) -> None:
            self.progress(Progress("scan", done, reference.frame_count, faces, reference.path.name))

        scan = pipeline.scan_frames(
            lambda: _frames(reference.path, last),
            pipeline.fingerprint(reference.path),
            config,
            networks,
            self.cancel,
            tell,
        )
        return [track.value() for track in scan.tracks], networks.detector

    def _measure(
        self, result: FileEvaluation, pairs: Pairs, tracks: list[Track], scores: FrameScores, reference: media.MediaInfo
    ) -> None:
        """Go through the moments and note what each of them was."""
        alike = _Likeness()
        expected = _expected(reference, self.settings)
        stride = _stride(expected, self.settings.samples)
        factors = result.size_hw[1] / reference.width, result.size_hw[0] / reference.height
        for place, moment in enumerate(pairs):
            frames = {"reference": moment.reference, **moment.sides}
            images = {name: resized(frame.rgb(), result.size_hw) for name, frame in frames.items()}
            seen = [(track.id, face) for track in tracks if (face := track.at(moment.index)) is not None]
            found = [(track, _scaled(face, factors)) for track, face in seen]
            spots = scores.take(Comparison(place, images, found, heavy=place % stride == 0))
            alike.add(images)
            result.frames.append(moment.index)
            result.seconds.append(round(float(moment.seconds), 6))
            result.regions.append([FaceRegion(track=track, **asdict(region)) for track, _, region in spots])
            self.progress(Progress("evaluate", place + 1, expected, len(spots), result.name))
        result.warnings = pairs.warnings + alike.warnings(result.name)


def _frames(path: Path, count: int | None) -> Iterator[media.Frame]:
    with media.open_source(path) as source:
        yield from itertools.islice(source.frames(), count)


class _Likeness:
    """Whether a restoration shows what its reference shows: correlation of thumbnails."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, images: Mapping[str, Image]) -> None:
        """Look at one moment; flat pictures say nothing."""
        small = {side: _thumbnail(image) for side, image in images.items()}
        if small["reference"].std() < 1:
            return
        self._count += 1
        for side, picture in small.items():
            alike = float(np.corrcoef(picture, small["reference"])[0, 1]) if picture.std() >= 1 else 0.0
            self._sums[side] = self._sums.get(side, 0.0) + alike

    def warnings(self, reference: str) -> list[str]:
        """One line for each side that hardly resembles the reference."""
        means = {side: total / self._count for side, total in self._sums.items()}
        return [
            f"{side} hardly resembles {reference} (correlation {mean:.2f}): is it the right reference?"
            for side, mean in means.items()
            if mean < _ALIKE
        ]


def _thumbnail(image: Image) -> NDArray[np.float64]:
    grey = cv2.cvtColor(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return grey.astype(np.float64).ravel()


def _common_size(infos: Mapping[str, media.MediaInfo], settings: EvaluateSettings) -> tuple[int, int]:
    """Height and width at which frames are compared.

    Raises:
        InputError: sizes differ, and the settings do not say what to do about it.
    """
    reference = infos["reference"]
    wanted = next((info for name, info in infos.items() if name != "reference"), reference)
    for info in infos.values():
        if settings.resize is None and (info.width, info.height) != (reference.width, reference.height):
            raise InputError(
                f"{info.path} is {info.width}x{info.height} and {reference.path} {reference.width}x{reference.height}: "
                "--resize restored brings all to the reference's size, --resize reference to the restored one's"
            )
    chosen = wanted if settings.resize == "reference" else reference
    return chosen.height, chosen.width


def _expected(reference: media.MediaInfo, settings: EvaluateSettings) -> int | None:
    """How many frames will be measured, as far as the file says; videos that do not say are asked packet by packet."""
    count = reference.frame_count
    if count is None and reference.kind == "video":
        count = len(media.stream_times(reference.path).video.pts)
    if count is None:
        return settings.max_frames
    measured = -(-count // settings.every)
    return measured if settings.max_frames is None else min(measured, settings.max_frames)


def _stride(expected: int | None, samples: int) -> int:
    """Heavy measures are taken on every so manyth frame."""
    return 1 if not expected or not samples else max(1, -(-expected // samples))


def resized(image: Image, size_hw: tuple[int, int]) -> Image:
    """At another size: by area where it shrinks, bicubic where it grows."""
    height, width = image.shape[:2]
    if (height, width) == size_hw:
        return image
    shrinks = size_hw[0] <= height and size_hw[1] <= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: Image = cv2.resize(image, size_hw[::-1], interpolation=method)
    return resized


def _scaled(face: Face, factors: tuple[float, float]) -> Face:
    return face if factors == (1, 1) else pipeline.scaled_face(face, factors)


def _means(files: list[FileEvaluation]) -> dict[str, dict[str, dict[str, float]]]:
    """For each side, area and measure the mean over the files that have a value."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for file in files:
        for name, side in file.sides.items():
            for area in ("whole", "faces"):
                for measure, score in side.area(area).items():
                    if score.value is not None:
                        values.setdefault(name, {}).setdefault(area, {}).setdefault(measure, []).append(score.value)
    return {
        name: {area: {key: sum(v) / len(v) for key, v in found.items()} for area, found in areas.items()}
        for name, areas in values.items()
    }
