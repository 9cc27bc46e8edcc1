"""What a run writes: the output, and beside it a comparison, pictures of faces and frames, faces for a store.

Faces for the store of consented ones are picked while segments are restored, and kept when the output is complete. A
track is divided into as many stretches as frames are wanted, and the best face of each stretch is taken: several looks
of a person instead of neighbours, and the same ones however the work was cut up and whoever did it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revisage import facestore, media
from revisage.core import (
    ConfigError,
    Crop,
    Face,
    OutputError,
    OutputExistsError,
    ProcessingError,
    RestoreConfig,
    check_file,
    check_folder,
    file_sha256,
    publish,
)
from revisage.faces import crop_scale, frontality
from revisage.measures import CLEAN_SHARPNESS, face_sharpness
from revisage.pipeline.plan import Segment
from revisage.pipeline.restoration import FrameInWork
from revisage.pipeline.scan import Fingerprint, Scan
from revisage.pipeline.work_folder import WorkFolder, tidy

if TYPE_CHECKING:
    from revisage.facestore import KeptFrame, KeptTrack
    from revisage.media import EncodeOptions, Frame, MediaInfo
    from revisage.restorers import RestorerInfo

__all__ = [
    "PickTarget",
    "Picks",
    "Pictures",
    "SideTargets",
    "Target",
    "check_side_folders",
    "check_store",
    "compared",
    "keep_faces",
    "make_target",
    "pick_target",
    "publish_folder",
    "with_leave",
]

FACE_FOLDERS = ("cropped_faces", "restored_faces", "cmp")
FRAME_FOLDERS = ("source", "target")

LABELS = ("Input", "Restored")


@dataclass(frozen=True)
class Target:
    """The files of one run.

    Attributes:
        output: the restored file.
        by_segments: True for videos, False for animated images and stills, which are written in one pass.
        options: of its encoder.
        compare: file for the side-by-side and its encoder's options; options are None where one picture of a video
            is asked for.
    """

    output: Path
    by_segments: bool
    options: EncodeOptions
    compare: tuple[Path, EncodeOptions | None] | None

    @property
    def compare_file(self) -> tuple[Path, EncodeOptions] | None:
        """The comparison, where it is encoded as the output is."""
        if self.compare is None or self.compare[1] is None:
            return None
        return self.compare[0], self.compare[1]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Size of the output's frames (px)."""
        if self.options.size_hw is None:
            raise AssertionError("a target always states its size")
        return self.options.size_hw


def make_target(source: Path, output: Path, info: MediaInfo, config: RestoreConfig) -> Target:
    """Check where a run writes and settle how it encodes.

    Raises:
        OutputError: a target cannot be written, exists, or is the input.
        ConfigError: the output's format cannot hold what the source is, or encoder options do not go together.
    """
    sides = (config.compare, config.report, config.profile)
    _check_distinct([output, *sides])
    for side in sides:
        if side is not None:
            check_file(side, overwrite=config.overwrite, source=source, make_folder=True, writes=not config.dry_run)
    by_segments = output.suffix.lower() not in media.IMAGE_SUFFIXES
    size_hw = media.scaled_size(info.size_hw, config.upscale, even=by_segments)
    if by_segments and info.kind == "animation" and config.codec is None and config.pixel_format is None:
        # Players take 4:2:0 only, and that only of even sides: an odd GIF grows by a row or a column.
        size_hw = (size_hw[0] + size_hw[0] % 2, size_hw[1] + size_hw[1] % 2)
    options = media.EncodeOptions(
        codec=config.codec,
        crf=config.crf,
        encoder_preset=config.encoder_preset,
        pixel_format=config.pixel_format,
        size_hw=size_hw,
    )
    media.check_output(output, info, options, overwrite=config.overwrite, writes=not config.dry_run)
    return Target(output, by_segments, options, _comparison(config.compare, output, info, options))


def _comparison(
    path: Path | None, output: Path, info: MediaInfo, options: EncodeOptions
) -> tuple[Path, EncodeOptions | None] | None:
    if path is None:
        return None
    by_segments = output.suffix.lower() not in media.IMAGE_SUFFIXES
    height, width = options.size_hw or (info.height, info.width)
    if path.suffix.lower() != output.suffix.lower():
        # What was asked of the output's encoder may mean nothing to that of another container.
        options = replace(options, codec=None, crf=None, encoder_preset=None)
    wide = replace(options, size_hw=(height, 2 * width))
    picture = path.suffix.lower() in media.IMAGE_SUFFIXES
    if by_segments and picture:
        return path, None
    if picture != (not by_segments):
        raise ConfigError(f"{path}: the comparison of an image is an image; name it like the output, for example .png")
    if path.parent.is_dir():
        media.check_output(path, info, wide)
    return path, wide


def _check_distinct(paths: list[Path | None]) -> None:
    named = [path.resolve() for path in paths if path is not None]
    if len(set(named)) != len(named):
        raise OutputError(f"{named[0]}: output, comparison, report and profile must be different files")


@dataclass(frozen=True)
class SideTargets:
    """Where the pictures of a run go until it is complete.

    Attributes:
        stem: of the input's name, the beginning of each picture's name.
        still: whether the input is one picture, whose frames need no number.
        faces: folder for ``cropped_faces/``, ``restored_faces/`` and ``cmp/``, or None.
        frames: folder for ``source/`` and ``target/``, or None.
    """

    stem: str
    still: bool
    faces: Path | None
    frames: Path | None


class Pictures:
    """Writes the pictures of one span.

    Args:
        targets: where to.
        first: number of the first frame in the source.
    """

    def __init__(self, targets: SideTargets, first: int) -> None:
        self._targets = targets
        self._index = first
        for folder in _folders(targets.faces, targets.frames):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, item: FrameInWork) -> None:
        """Write the faces and the frame of the next item."""
        targets = self._targets
        name = targets.stem if targets.still else f"{targets.stem}_frame{self._index:06d}"
        if targets.faces is not None and not item.problem:
            for number, (before, after) in enumerate(zip(item.aligned, item.restored, strict=True)):
                file = f"{name}_{number:02d}.png"
                pictures = (before.crop, after, np.hstack((before.crop, after)))
                for folder, picture in zip(FACE_FOLDERS, pictures, strict=True):
                    media.write_picture(targets.faces / folder / file, picture)
        if targets.frames is not None:
            media.write_picture(targets.frames / "source" / f"{name}.png", item.frame.rgb())
            media.write_picture(targets.frames / "target" / f"{name}.png", item.shown.rgb())
        self._index += 1


def compared(item: FrameInWork) -> Frame:
    """Input and output side by side, labelled, as a frame with the output's time and format."""
    before, after = item.frame, item.shown
    source = before if before.size_hw == after.size_hw else before.resized(after.size_hw)
    return after.with_rgb(media.side_by_side(source.rgb(), after.rgb(), LABELS))


def with_leave(config: RestoreConfig, output: Path) -> RestoreConfig:
    """The config, with leave to replace what an interrupted run for this output had given its name already."""
    if config.overwrite or not WorkFolder(output, config.work_dir).was_publishing(output):
        return config
    return config.model_copy(update={"overwrite": True})


def check_side_folders(config: RestoreConfig, output: Path | None = None) -> None:
    """Refuse folders that already hold pictures of a run, and files in their place.

    Args:
        config: names the folders.
        output: of the run, where there is only one: pictures of an interrupted run for it are no reason to refuse.

    Raises:
        OutputError: one does and ``overwrite`` is off, or one is a file.
    """
    for folder in filter(None, (config.save_faces, config.save_frames)):
        check_folder(folder)
    if output is not None:
        config = with_leave(config, output)
    for folder in [] if config.overwrite else _folders(config.save_faces, config.save_frames):
        if folder.is_dir() and any(folder.iterdir()):
            if output is not None:
                tidy(output, config.work_dir, done=False)
            raise OutputExistsError(f"{folder} already holds pictures", "name another folder")


def _folders(faces: Path | None, frames: Path | None) -> list[Path]:
    """The folders that pictures of faces and frames go to."""
    for_faces = [] if faces is None else [faces / name for name in FACE_FOLDERS]
    return for_faces + ([] if frames is None else [frames / name for name in FRAME_FOLDERS])


def publish_folder(finished: Path, target: Path) -> None:
    """Move all files below ``finished`` to the same place below ``target``.

    Raises:
        OutputError: one cannot be written there.
    """
    for file in sorted(finished.rglob("*")):
        if file.is_file():
            publish(file, target / file.relative_to(finished))


@dataclass(frozen=True)
class PickTarget:
    """Which faces of a segment may be picked, and where the picks go.

    Attributes:
        path: file for the picks.
        first: number of the segment's first frame in the source.
        slots: for each track, the stretch that each of its frames lies in, by place in the segment; frames in which
            the detector did not see the face are left out.
    """

    path: Path
    first: int
    slots: Mapping[int, Mapping[int, int]]


@dataclass(frozen=True)
class _Pick:
    """A face of a track's stretch, and how much it is worth keeping."""

    track: int
    slot: int
    worth: float
    kept: KeptFrame


def pick_target(folder: Path, scan: Scan, segment: Segment, count: int) -> PickTarget | None:
    """What to pick from a segment when ``count`` faces of each track are wanted; None where nothing can be."""
    slots: dict[int, dict[int, int]] = {}
    for track in scan.tracks:
        frames = range(max(track.start, segment.start), min(track.stop, segment.stop))
        places = {
            index - segment.start: (index - track.start) * count // len(track.boxes)
            for index in frames
            if track.seen[index - track.start]
        }
        if places:
            slots[track.id] = places
    path = folder / f"picks-{segment.number:05d}.npz"
    return PickTarget(path, scan.first + segment.start, slots) if slots else None


class Picks:
    """Picks the best face of each stretch from the items of one segment.

    Whatever goes wrong here must not harm the restoration: it is noted, and :func:`keep_faces` raises it.
    """

    def __init__(self, target: PickTarget) -> None:
        self._target = target
        self._best: dict[tuple[int, int], _Pick] = {}
        self._place = 0
        self._problem = ""

    def write(self, item: FrameInWork) -> None:
        """Look at the faces of the next item."""
        place, self._place = self._place, self._place + 1
        if item.problem or self._problem:
            return
        try:
            for number, planned in enumerate(item.planned):
                slot = self._target.slots.get(planned.track, {}).get(place)
                if slot is not None:
                    _keep_better(self._best, _pick(item, number, slot, self._target.first + place))
        except Exception as error:
            self._problem = f"{type(error).__name__}: {error}"

    def save(self) -> None:
        """Write what was picked; without the file, :func:`keep_faces` raises."""
        picks = list(self._best.values())
        about = {"problem": self._problem, "picks": [_facts(pick) for pick in picks]}
        crops = {f"before{n}": pick.kept.before for n, pick in enumerate(picks)}
        crops |= {f"after{n}": pick.kept.after for n, pick in enumerate(picks)}
        try:
            with self._target.path.open("wb") as stream:
                np.savez(stream, about=np.array(json.dumps(about)), **crops)  # type: ignore[arg-type]
        except OSError:
            self._target.path.unlink(missing_ok=True)


def _keep_better(best: dict[tuple[int, int], _Pick], pick: _Pick) -> None:
    key = pick.track, pick.slot
    if key not in best or pick.worth > best[key].worth:
        best[key] = pick


def _pick(item: FrameInWork, number: int, slot: int, frame: int) -> _Pick:
    planned, aligned = item.planned[number], item.aligned[number]
    face, sharp = planned.face, face_sharpness(aligned.crop)
    kept = facestore.KeptFrame(
        frame=frame,
        pts=item.frame.pts,
        time_base=str(item.frame.time_base),
        face=face,
        strength=planned.strength,
        native_px=round(aligned.size / crop_scale(aligned.affine), 1),
        sharpness=sharp,
        before=aligned.crop,
        after=item.restored[number],
    )
    worth = min(sharp, CLEAN_SHARPNESS[1]) * (0.5 + 0.5 * frontality(face.landmarks)) * planned.strength
    return _Pick(planned.track, slot, worth, kept)


_FACTS = ("frame", "pts", "time_base", "strength", "native_px", "sharpness")
"""What is known of a kept frame besides its face and its pixels."""


def _facts(pick: _Pick) -> dict[str, Any]:
    """All of a pick but its pixels, as JSON values."""
    face = pick.kept.face
    return {
        "pick": [pick.track, pick.slot, pick.worth],
        "face": [face.box, face.landmarks.tolist(), face.score],
        "kept": {name: getattr(pick.kept, name) for name in _FACTS},
    }


def check_store(config: RestoreConfig) -> None:
    """Refuse a face store that cannot be used, before any work is done.

    Raises:
        UserError: the folder is no store and cannot become one, its index cannot be reached, or an extra is missing.
    """
    if config.collect is None or config.dry_run:
        return
    facestore.check_place(config.collect)
    if (config.collect / facestore.MARKER).exists():
        with facestore.FaceStore.create(config.collect):
            pass


def keep_faces(
    config: RestoreConfig, scan: Scan, source: Path, found: Fingerprint, files: Iterable[Path], info: RestorerInfo
) -> str:
    """Put the picks of a finished run into the store; returns a line about it for the report.

    Args:
        config: names the store and the consent.
        source, found: the file that was restored, and its fingerprint.
        files: where :class:`Picks` wrote.
        info: of the restorer.

    Raises:
        UserError: the store cannot be written.
        ProcessingError: picking had failed.
    """
    assert config.collect is not None
    assert config.consent is not None
    tracks = _tracks(scan, _merged(files))
    consent = facestore.Consent(config.consent.strip(), datetime.now(timezone.utc).date())
    settings = json.dumps(config.settings(), sort_keys=True).encode()
    made = facestore.MadeWith(info.name, info.sha256, hashlib.sha256(settings).hexdigest())
    with facestore.FaceStore.create(config.collect) as store:
        added = store.add(tracks, facestore.FaceSource(source.name, _sha256(source, found), found.size), consent, made)
    known = f"; {_count(added.known, 'face')} were there already" if added.known else ""
    people = f" of {_count(len(added.people), 'person')}" if added.people else ""
    return f"{_count(added.kept, 'face')}{people} kept in {config.collect}{known}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _merged(files: Iterable[Path]) -> list[_Pick]:
    """The best pick of each stretch over all segments, by track and time."""
    best: dict[tuple[int, int], _Pick] = {}
    for file in files:
        for pick in _read(file):
            _keep_better(best, pick)
    return [best[key] for key in sorted(best)]


def _read(file: Path) -> list[_Pick]:
    try:
        with np.load(file, allow_pickle=False) as data:
            about: dict[str, Any] = json.loads(str(data["about"]))
            found = about["picks"]
            picks = [_picked(facts, data[f"before{n}"], data[f"after{n}"]) for n, facts in enumerate(found)]
    except (OSError, ValueError, KeyError) as error:
        raise ProcessingError(f"the faces picked in a segment were lost: {error}") from error
    if about["problem"]:
        raise ProcessingError(f"picking faces failed: {about['problem']}")
    return picks


def _picked(facts: dict[str, Any], before: Crop, after: Crop) -> _Pick:
    """What :func:`_facts` and the crops were made of."""
    track, slot, worth = facts["pick"]
    box, landmarks, score = facts["face"]
    face = Face(tuple(box), np.array(landmarks), score)
    return _Pick(track, slot, worth, facestore.KeptFrame(face=face, before=before, after=after, **facts["kept"]))


def _tracks(scan: Scan, picks: list[_Pick]) -> list[KeptTrack]:
    identity = facestore.load_identity()
    tracks = []
    for track in scan.tracks:
        kept = tuple(pick.kept for pick in picks if pick.track == track.id)
        if kept:
            embedding = identity([frame.before for frame in kept]) if identity is not None else None
            start, stop = scan.first + track.start, scan.first + track.stop
            tracks.append(facestore.KeptTrack(track.id, start, stop, kept, embedding))
    return tracks


def _sha256(source: Path, found: Fingerprint) -> str:
    """Of the whole file, so that anybody can compare it; the fingerprint of a large one covers parts only."""
    return found.sha256 if found.hashed == "whole" else file_sha256(source)
