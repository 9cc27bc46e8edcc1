"""``restore_frames``, what it does to the faces and the canvas of a frame, and what it counts and measures of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from revisage.core import CancelledError, CancelToken, Crop, Face, Region, RestoreConfig
from revisage.faces import (
    AlignedFace,
    FaceDetector,
    FineChoice,
    GrainShare,
    align,
    composite,
    ffhq_template,
    fine_share,
    load_detector,
    matched_difference,
    place_of,
    shown_face,
    shown_mask,
    whole_place,
    with_fine,
    with_grain,
)
from revisage.measures import MEASURES, Instruments, crop_landmarks, kept_components
from revisage.media import Frame, with_mark
from revisage.pipeline.restoration.averaging import average_inputs, average_restored
from revisage.pipeline.restoration.covering import spare_covered
from revisage.pipeline.restoration.denoising import denoised
from revisage.pipeline.restoration.dusting import dusted_frames
from revisage.pipeline.restoration.frame_stages import (
    FrameInWork,
    PlannedFace,
    StageClock,
    StageThreads,
    align_faces,
    frames_ahead,
    mend_frames,
    plan_frames,
    restore_faces,
    show_faces,
)
from revisage.pipeline.restoration.guiding import guide_faces
from revisage.pipeline.restoration.likeness import Likeness, LikenessSums
from revisage.pipeline.restoration.run_networks import Networks
from revisage.pipeline.restoration.trace import Trace

__all__ = ["FaceQuality", "FaceWork", "Planner", "QualitySums", "Tally", "restore_frames", "scaled_face"]

_MEASURE_EVERY = 10
"""The change inside faces is measured in one of so many frames: a sample is enough for a mean."""

_LOOK_EVERY = 50
"""Naturalness and components are measured in one of so many frames: they cost about as much as a restoration."""

_GRAIN = {"none": None, "auto": GrainShare(0.5, most=2.5), "match": GrainShare(1.0)}
"""Of the grain that a face has lost, how much goes back. With half of it a face no longer looks pasted, and most of
what the restoration gained is kept (docs/picture.md); noise of more than five levels is no grain but damage."""


@dataclass
class QualitySums:
    """Sums over the faces looked at; JSON values.

    Attributes:
        before, after: of each measure over the ``counted`` faces that it is defined for, by name.
        kept, parts: components found again where they belong, of all.
    """

    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    counted: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    parts: int = 0

    def add(self, other: QualitySums) -> None:
        """Take in the sums of another span."""
        for name, count in other.counted.items():
            self.before[name] = self.before.get(name, 0.0) + other.before[name]
            self.after[name] = self.after.get(name, 0.0) + other.after[name]
            self.counted[name] = self.counted.get(name, 0) + count
        self.kept += other.kept
        self.parts += other.parts

    @property
    def means(self) -> dict[str, tuple[float, float]]:
        """Of each measure the mean before and after; without those that no face could be measured by."""
        return {name: (self.before[name] / count, self.after[name] / count) for name, count in self.counted.items()}

    @property
    def fpa(self) -> float | None:
        """Facial parsing accuracy, 0 to 1: the part of the components that was found again; None without any face."""
        return self.kept / self.parts if self.parts else None


@dataclass
class Tally:
    """What became of frames and faces; JSON values, for the manifest and the report.

    Attributes:
        frames, changed: frames finished, and those with a restored face.
        restored: for each track id (as text, as JSON has it) how many faces, and the sum of their strengths.
        carried: of those faces, how many took over what was restored in a frame before.
        clean: of those faces, how many were clean and sharp already, so that nothing of them was changed.
        failed: faces given up.
        failures: one line for each frame kept as it was.
        seconds: of work by stage.
        full, got: sums over the measured faces of the mean change (1/255) that a full restoration would make, and of
            the change found in the output; ``measured`` faces.
        quality: of the faces that were looked at more closely.
        likeness: for each track id (as text) what was found by comparing some of its faces with what they were.
        unmeasured: why faces could not be measured, the first time; None where all could.
    """

    frames: int = 0
    changed: int = 0
    restored: dict[str, tuple[int, float]] = field(default_factory=dict)
    carried: int = 0
    clean: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    full: float = 0.0
    got: float = 0.0
    measured: int = 0
    quality: QualitySums = field(default_factory=QualitySums)
    likeness: dict[str, LikenessSums] = field(default_factory=dict)
    unmeasured: str | None = None

    @classmethod
    def of(cls, values: dict[str, Any]) -> Tally:
        """What :meth:`to_dict` gave."""
        likeness = {track: LikenessSums.of(sums) for track, sums in values["likeness"].items()}
        return cls(**{**values, "quality": QualitySums(**values["quality"]), "likeness": likeness})

    def to_dict(self) -> dict[str, Any]:
        """This tally as JSON values."""
        seconds = {name: round(value, 4) for name, value in self.seconds.items()}
        return {**asdict(self), "seconds": seconds}

    def count(self, item: FrameInWork) -> None:
        """Note what became of a frame."""
        self.frames += 1
        if item.problem:
            self.failed += len(item.planned)
            self.failures.append(f"frame {item.index} was kept as it was: {item.problem}")
            return
        self.changed += bool(item.planned)
        self.carried += item.carried
        self.clean += sum(face.is_left for _, face in item.faces)
        for planned in item.planned:
            self._restored(str(planned.track), 1, planned.strength)

    def add(self, other: Tally) -> None:
        """Take in what became of other frames."""
        for name in ("frames", "changed", "carried", "clean", "failed", "failures", "full", "got", "measured"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.quality.add(other.quality)
        self.unmeasured = self.unmeasured or other.unmeasured
        for track, sums in other.likeness.items():
            self.likeness.setdefault(track, LikenessSums()).add(sums)
        for stage, seconds in other.seconds.items():
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + seconds, 4)
        for track, (count, strength) in other.restored.items():
            self._restored(track, count, strength)

    def _restored(self, track: str, count: int, strength: float) -> None:
        counted, summed = self.restored.get(track, (0, 0.0))
        self.restored[track] = (counted + count, summed + strength)

    @property
    def faces(self) -> int:
        """Faces restored."""
        return sum(count for count, _ in self.restored.values())

    @property
    def strength(self) -> float | None:
        """Mean strength over the restored faces; None without any."""
        return sum(strength for _, strength in self.restored.values()) / self.faces if self.faces else None


Planner = Callable[[Frame], FrameInWork]
"""Tells which faces of the next frame to restore."""


def restore_frames(
    frames: Iterable[Frame],
    planner: Planner,
    networks: Networks,
    settings: RestoreConfig,
    *,
    size_hw: tuple[int, int],
    cancel: CancelToken | None = None,
    tally: Tally | None = None,
    trace: Trace | None = None,
) -> Generator[FrameInWork, None, None]:
    """Restore the planned faces of frames from anywhere, in order. Segments, photos and animations are callers of it.

    Each stage runs in a thread of its own, a few frames ahead of the next; they end when the iterator is exhausted
    or closed. Nothing depends on how fast they are: the same frames and plans give the same pixels.

    Args:
        frames: in presentation order, all of one size; closed at the end where they can be.
        planner: called with each frame in turn, in the thread that reads them.
        networks: restorer and flow, and the upscaler of the background; each is loaded when it is first needed.
        settings: ``batch``, ``aligned``, ``temporal``, ``temporal_passes`` and ``carry`` are looked at. Where faces are
            averaged over time, each frame belongs to a :class:`Block`; frames outside of all blocks come out no more.
        size_hw: of the finished frames (px).
        cancel: looked at between frames.
        tally: takes what became of the frames; without one nothing is measured in them.
        trace: takes what each thread did when.

    Yields:
        Finished frames: ``shown`` is the frame to go on with, ``problem`` why it was kept as it was. A frame that
        cannot be restored is kept; that ends nothing.

    Raises:
        UserError: a network is not there, or cannot be loaded.
        CancelledError: a stop was asked for.
    """
    cancel, work = cancel or CancelToken(), FaceWork(settings, networks, size_hw, tally)
    tally = Tally() if tally is None else tally
    clock = StageClock(tally.seconds, trace)

    def cut_out() -> Iterator[FrameInWork]:
        planned = plan_frames(frames, planner, lambda: networks.restorer, clock)
        if settings.dust:
            planned = dusted_frames(planned, clock)
        return align_faces(mend_frames(planned, work.mend, clock), work.align, clock)

    def followed(items: Iterator[FrameInWork]) -> Iterator[FrameInWork]:
        return average_inputs(items, networks.flow, settings.temporal_passes, clock)

    def spared(items: Iterator[FrameInWork]) -> Iterator[FrameInWork]:
        return spare_covered(items, lambda: networks.cover_reader, settings.max_hidden, clock)

    def restored_faces(items: Iterator[FrameInWork]) -> Iterator[FrameInWork]:
        return restore_faces(
            items,
            lambda crops: networks.restorer(crops),
            lambda: min(settings.batch, networks.restorer.at_once),
            clock,
            settings.carry,
        )

    with StageThreads(cancel, trace) as threads:
        ahead = functools.partial(threads.ahead, depth=frames_ahead(size_hw))
        aligned = ahead(cut_out, name="decode")
        steady = ahead(lambda: followed(aligned), name="follow") if settings.recurrent else aligned
        looks_for_cover = settings.hidden == "spare" and not settings.aligned
        uncovered = ahead(lambda: spared(steady), name="read") if looks_for_cover else steady
        restored = ahead(lambda: restored_faces(uncovered), name="restore")
        guided = guide_faces(restored, networks, clock)
        kept = average_restored(guided, size_hw, clock) if settings.recurrent else guided
        for item in ahead(lambda: show_faces(kept, work.canvas, work.show, clock), name="composite"):
            tally.count(item)
            yield item


class FaceWork:
    """Aligns, enlarges and composites for one run.

    Args:
        config: of the run.
        networks: restorer and upscaler are taken from here.
        size_hw: of the output's frames (px).
        tally: takes what is measured in a sample of the faces; without one nothing is.
    """

    def __init__(
        self, config: RestoreConfig, networks: Networks, size_hw: tuple[int, int], tally: Tally | None = None
    ) -> None:
        self._aligned = config.aligned
        self._watermark = config.watermark
        self._keeps_fine, self._always_fine = config.fine == "keep", config.fine == "clean"
        self._enlarges = config.upscale > 1
        self._composite = functools.partial(composite, own_colours=config.color == "keep")
        self._denoise = config.denoise
        self._grain = _GRAIN[config.grain]
        self._networks = networks
        self._size_hw = size_hw
        self._shown = 0
        self._tally = tally
        self._quality = FaceQuality(networks)
        self._likeness: Likeness | None = None
        if tally is not None:
            tally.quality = self._quality.sums
            self._likeness = Likeness(networks, config.strength, tally.likeness)

    def mend(self, item: FrameInWork) -> Frame:
        """The frame of an item without noise, fading and cast, as far as that was asked for."""
        frame, denoiser = item.base, self._networks.denoiser
        if denoiser is not None:
            frame = denoised(frame, denoiser, self._denoise)
        return frame if item.levels is None else frame.with_levels(item.levels)

    def align(self, frame: Frame, planned: PlannedFace) -> AlignedFace:
        """Cut a planned face out of a frame; the whole frame where the input is aligned already."""
        restorer = self._networks.restorer
        if self._aligned:
            return _whole(frame, restorer.size)
        face = align(frame, planned.face, restorer.size)
        if self._keeps_fine:
            return face
        share = 1.0 if self._always_fine else fine_share(face)
        net = self._networks.fine if share > 0 else None
        return with_fine(frame, face, net, share, self._choice(planned), always=self._always_fine)

    def _choice(self, planned: PlannedFace) -> FineChoice:
        """What is done with the fine detail of a face."""
        if not self._networks.uses_detail:
            return FineChoice()
        # Whatever a small face is in its own frame, in a larger one it is soft.
        return replace(planned.fine, damaged=1.0) if self._enlarges else planned.fine

    def canvas(self, frame: Frame) -> Frame:
        """The frame at the output's size, background restored where that was asked for."""
        upscaler = self._networks.upscaler
        if upscaler is not None and not self._aligned:
            frame = frame.with_rgb(upscaler(frame.rgb()))
        return frame if frame.size_hw == self._size_hw else frame.resized(self._size_hw)

    def show(self, canvas: Frame, item: FrameInWork) -> Frame:
        """Put the restored faces of an item into its canvas, and the mark that says so."""
        result = self._shown_whole(canvas, item) if self._aligned else self._with_faces(canvas, item)
        if self._tally is not None and self._likeness is not None:
            with _noted_on_failure(self._tally):
                self._look(self._tally, self._likeness, result, item)
        self._shown += 1
        return result if self._watermark is None or result is canvas else with_mark(result, self._watermark)

    def _shown_whole(self, canvas: Frame, item: FrameInWork) -> Frame:
        result = _shown_whole(canvas, item)
        return with_grain(canvas, result, [whole_place(canvas.size_hw)], self._grain) if self._grain else result

    def _factors(self, frame: Frame) -> tuple[float, float]:
        """How much wider and higher the output is than a frame."""
        height, width = frame.size_hw
        return self._size_hw[1] / width, self._size_hw[0] / height

    def _with_faces(self, canvas: Frame, item: FrameInWork) -> Frame:
        factors = self._factors(item.frame)
        strengths = [planned.strength for planned in item.planned]
        if self._networks.upscaler is not None:
            # The background network has sharpened the face already: the difference must be to what it made.
            aligned = [
                self._aligned_again(canvas, *pair, factors) for pair in zip(item.planned, item.aligned, strict=True)
            ]
            strengths = [
                0 if face.is_left else strength for face, strength in zip(item.aligned, strengths, strict=True)
            ]
            factors = (1.0, 1.0)
        else:
            aligned = item.aligned
        places = [shown_face(face, canvas.size_hw, factors) for face in aligned]
        faces = list(zip(aligned, item.restored, strengths, strict=True))
        result = self._composite(canvas, faces, factors, places=places)
        if self._grain:
            shown = [place_of(place) for place in places if place is not None]
            result = with_grain(canvas, result, shown, self._grain)
        return result

    def _aligned_again(
        self, canvas: Frame, planned: PlannedFace, before: AlignedFace, factors: tuple[float, float]
    ) -> AlignedFace:
        """A face as it stands in an enlarged canvas, spared by the same that is before it."""
        face = align(canvas, scaled_face(planned.face, factors), before.size)
        return replace(face, covered=before.covered)

    def _look(self, tally: Tally, likeness: Likeness, result: Frame, item: FrameInWork) -> None:
        """Measure what became of the faces, in a sample of the frames."""
        if self._aligned:
            self._look_at_whole(likeness, result, item)
            return
        factors = self._factors(item.frame)
        if self._shown % _MEASURE_EVERY == 0:
            self._measure(tally, result, item, factors)
        for planned, before in zip(item.planned, item.aligned, strict=True):
            if likeness.is_due(planned):
                after = align(result, scaled_face(planned.face, factors), before.size).crop
                likeness.look(planned, before.crop, after)

    def _look_at_whole(self, likeness: Likeness, result: Frame, item: FrameInWork) -> None:
        face, planned = item.aligned[0], item.planned[0]
        quality, is_due = self._shown % _LOOK_EVERY == 0, likeness.is_due(planned)
        if not (quality or is_due):
            return
        after = _whole(result, face.size).crop
        if quality:
            self._quality.look(face, after)
        if is_due:
            likeness.look(planned, face.crop, after)

    def _measure(self, tally: Tally, result: Frame, item: FrameInWork, factors: tuple[float, float]) -> None:
        for planned, before, restored in zip(item.planned, item.aligned, item.restored, strict=True):
            after = align(result, scaled_face(planned.face, factors), before.size).crop
            mask = shown_mask(before)
            inside = mask > 0.9
            if not inside.any():
                continue
            change = matched_difference(before.base, restored, mask, before.steady)
            if before.fine is not None:
                change *= before.fine.rest
            change += before.base.astype(np.int16) - before.crop
            full = np.abs(change[inside]).mean()
            got = np.abs(after[inside].astype(np.int16) - before.crop[inside]).mean()
            tally.full += float(full)
            tally.got += float(got)
            tally.measured += 1
            if self._shown % _LOOK_EVERY == 0:
                self._quality.look(before, after)


@contextmanager
def _noted_on_failure(tally: Tally) -> Iterator[None]:
    """A measure that fails costs what it would have told, and not the restoration."""
    try:
        yield
    except CancelledError:
        raise
    except Exception as error:
        tally.unmeasured = tally.unmeasured or f"{type(error).__name__}: {' '.join(str(error).split())}"


class FaceQuality:
    """Looks at restored faces beside what they were.

    The landmarks come from the embedded detector, whatever found the faces: it is always there, and the same for all.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._instruments = Instruments({name: info for name, info in MEASURES.items() if info.reported})
        self.sums = QualitySums()

    def look(self, before: AlignedFace, after: Crop) -> None:
        """Measure one face.

        The measures are those of the aligned crops, each by itself. A component belongs where the track has it, to
        0.15 of the distance between the eyes (see :func:`revisage.measures.kept_components`).

        Args:
            before: the face as it was.
            after: the same crop of the output.
        """
        for name in self._instruments.registry:
            function = self._instruments.get(name)
            if function is None:
                continue
            try:
                values = function(before.crop), function(after)
            except ValueError:  # NIQE has no value for crops smaller than its block, or without any texture
                continue
            self.sums.add(QualitySums({name: values[0]}, {name: values[1]}, {name: 1}))
        found = kept_components(crop_landmarks(after, self._detector), before.landmarks)
        self.sums.kept += sum(found)
        self.sums.parts += len(found)

    @functools.cached_property
    def _detector(self) -> FaceDetector:
        loaded: FaceDetector | None = self._networks.__dict__.get("detector")
        return loaded if loaded is not None and loaded.name == "compact" else load_detector("compact")


def scaled_face(face: Face, factors: tuple[float, float]) -> Face:
    """A face in a frame resized by (x, y) factors."""
    x, y, width, height = face.box
    scale = np.array(factors, dtype=np.float32)
    box = (
        (x + 0.5) * factors[0] - 0.5,
        (y + 0.5) * factors[1] - 0.5,
        width * factors[0],
        height * factors[1],
    )
    return Face(box, (face.landmarks + 0.5) * scale - 0.5, face.score)


def _whole(frame: Frame, size: int) -> AlignedFace:
    """A frame that is one aligned face, at the restorer's size."""
    height, width = frame.size_hw
    crop = np.ascontiguousarray(frame.resized((size, size)).rgb())
    affine = np.array([[size / width, 0, 0], [0, size / height, 0]])
    affine[:, 2] = 0.5 * np.array([size / width, size / height]) - 0.5
    landmarks = ffhq_template(size).astype(np.float32)
    return AlignedFace(crop, affine, Region(0, 0, width, height), landmarks)


def _shown_whole(canvas: Frame, item: FrameInWork) -> Frame:
    """An aligned face restored as a whole, blended by its strength."""
    restored = canvas.with_rgb(item.restored[0]).resized(canvas.size_hw).rgb()
    strength = item.planned[0].strength
    if strength == 1:
        return canvas.with_rgb(restored)
    before = canvas.rgb().astype(np.float32)
    mixed = before + strength * (restored - before)
    return canvas.with_rgb(np.rint(mixed).astype(np.uint8))
