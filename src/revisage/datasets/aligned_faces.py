"""Aligned faces from photos, videos and GIFs: the best frames of each person, in the frame that training expects."""

from __future__ import annotations

import csv
import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from revisage import models, train
from revisage.core import (
    ConfigError,
    Detector,
    InputError,
    OutputError,
    Progress,
    ProgressCallback,
    check_absent,
    check_folder,
    make_config,
    output_error,
    publish,
    write_text,
)
from revisage.datasets.aligned_crops import AlignedCrop, Candidate, Look, chosen, look_at, people_of, score
from revisage.pipeline import Networks, fingerprint

if TYPE_CHECKING:
    from revisage.train import Recogniser

from revisage.core import Track
from revisage.faces import align
from revisage.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Frame, open_source, probe, visible_below, write_picture
from revisage.pipeline import scan_source

__all__ = ["INDEX", "AlignOptions", "AlignReport", "align_files", "make_align_options"]

INDEX = "index.csv"
_COLUMNS = ("file", "source", "time", "native_px", "sharpness", "yaw", "score", "person", "licence", "sha256")
_IDENTITY_CROPS = 3
"""Crops of one person in one file that are looked at once more against those of other files."""

_ARCFACE = "arcface-r18"


class AlignOptions(BaseModel):
    """What makes a crop worth keeping."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=512, ge=64, le=2048, description="side of the crops, px")
    per_person: int = Field(default=20, ge=1, description="at most this many crops of one person")
    min_native: int | None = Field(
        default=None, ge=16, description="least px of the source across a crop; half of the size"
    )
    outside: float = Field(
        default=0.1, ge=0, le=1, description="largest part of a crop that may lie outside of the picture"
    )
    min_sharpness: float = Field(default=0.0, ge=0, description="least sharpness (see the index)")
    max_yaw: float = Field(default=55.0, gt=0, le=90, description="heads turned further are left out, degrees")
    identity: Path | None = Field(
        default=None, description="weights that tell people apart; ArcFace where it is installed"
    )
    detector: Detector = Field(default="compact", description="face detector")
    detection_threshold: float | None = Field(default=None, gt=0, lt=1, description="score from which a face counts")
    licence: str = Field(default="", description="licence of the sources, for the index")

    @property
    def least_native(self) -> float:
        """px of the source that a crop's width must show."""
        return self.min_native or self.size / 2


def make_align_options(**values: Any) -> AlignOptions:
    """Options from values, with an error for people.

    Raises:
        ConfigError: a value is not allowed.
    """
    try:
        return AlignOptions(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{first['loc'][0]} cannot be {first['input']!r}: {first['msg'].lower()}") from None


@dataclass
class AlignReport:
    """What came of it.

    Attributes:
        crops: written, in the index's order.
        looked_at: frames in which a face was judged.
        dropped: faces left out, by reason.
        failed: files that could not be read, and why.
        known_people: whether an identity network told people apart across files.
    """

    crops: list[AlignedCrop] = field(default_factory=list)
    looked_at: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    known_people: bool = False


@dataclass(frozen=True)
class _Cut:
    """A chosen crop on disk, before it has a person and a name."""

    path: Path
    source: Path
    time: Fraction | None
    candidate: Candidate
    person: tuple[int, int]


def align_files(
    inputs: Sequence[Path],
    output: Path,
    options: AlignOptions | None = None,
    *,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> AlignReport:
    """Cut aligned faces out of photos, videos and GIFs, and list them in ``index.csv``.

    Faces are found and followed as for a restoration. Of each person at most ``per_person`` crops are kept: sharp ones
    first, frontal ones before turned ones, and none that nearly repeats another. A person is a track within a file, and
    an identity across files where there is a network that tells people apart: ``identity``, or ArcFace among the
    models of this machine.

    Args:
        inputs: files, or folders that are searched to their depth.
        output: folder, made if it is not there.
        options: what makes a crop worth keeping.
        overwrite: write into a folder that holds an index already.
        progress: told of each frame.

    Raises:
        InputError: no such file, or no media file at all, or no file could be read.
        OutputError: the folder holds an index, or cannot be written to.
        ModelError: the weights of ``identity`` are missing or of another network.
    """
    options = options or AlignOptions()
    if output.resolve() in (path.resolve() for path in inputs):
        raise OutputError(f"{output}: the output folder is the input's; name another folder")
    check_folder(output)
    files = _media_files(inputs, output)
    check_absent(output / INDEX, overwrite=overwrite)
    recogniser = _recogniser(options.identity)
    networks = Networks(make_config(detector=options.detector, detection_threshold=options.detection_threshold))
    report = AlignReport(known_people=recogniser is not None)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".align-", dir=output) as folder:
            cuts: list[_Cut] = []
            for number, path in enumerate(files):
                with _noted(path, report):
                    cuts += _cut_file(path, number, Path(folder), options, networks, report, progress)
            if len(report.failed) == len(files):
                raise InputError(next(iter(report.failed.values())))
            _publish(cuts, output, options, recogniser, report)
    except OSError as error:
        raise output_error(output, error) from error
    write_text(output / INDEX, _index(report.crops), overwrite=True)
    return report


def _media_files(inputs: Sequence[Path], output: Path) -> list[Path]:
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    files: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        if path.is_dir():
            files += [file for file in sorted(visible_below(path)) if file.suffix.lower() in known and file.is_file()]
        else:
            files.append(path)
    files = [file for file in files if output.resolve() not in file.resolve().parents]
    if not files:
        raise InputError(f"no photo, video or GIF in {', '.join(map(str, inputs))}")
    return list(dict.fromkeys(files))


@contextmanager
def _noted(path: Path, report: AlignReport) -> Iterator[None]:
    """Note in the report that a file cannot be read, and go on."""
    try:
        yield
    except InputError as error:
        report.failed[str(path)] = str(error)


def _cut_file(
    path: Path,
    number: int,
    folder: Path,
    options: AlignOptions,
    networks: Networks,
    report: AlignReport,
    progress: ProgressCallback | None,
) -> list[_Cut]:
    """The best crops of each track of one file, written into a folder."""
    info = probe(path)
    scan = scan_source(path, fingerprint(path), networks.config, networks, total=info.frame_count, progress=progress)
    tracks = [track.value() for track in scan.tracks]
    looks = _judged(path, tracks, options, report, progress)
    picked = {track: chosen(candidates, options.per_person) for track, candidates in looks.items()}
    wanted: dict[int, list[Candidate]] = {}
    for candidate in (one for choice in picked.values() for one in choice):
        wanted.setdefault(candidate.index, []).append(candidate)
    return list(_cut_frames(path, number, folder, wanted, tracks, options, still=info.kind == "image"))


def _judged(
    path: Path,
    tracks: Sequence[Track],
    options: AlignOptions,
    report: AlignReport,
    progress: ProgressCallback | None,
) -> dict[int, list[Candidate]]:
    """Every face that may be kept, by track; what may not is counted by reason."""
    found: dict[int, list[Candidate]] = {}
    for index, frame in _frames(path, tracks):
        for track in tracks:
            face = track.at(index)
            if face is None or not track.seen[index - track.start]:
                continue
            report.looked_at += 1
            look = look_at(frame, face)
            reason = _unfit(look, options)
            if reason is not None:
                report.dropped[reason] += 1
            else:
                found.setdefault(track.id, []).append(Candidate(track.id, index, look, score(look)))
        if progress is not None:
            progress(Progress("judge", index + 1, None, report.looked_at, path.name))
    return found


def _unfit(look: Look, options: AlignOptions) -> str | None:
    if look.native_px < options.least_native:
        return f"smaller than {options.least_native:g} px in the source"
    if look.outside > options.outside:
        return f"more than {100 * options.outside:g} % outside of the picture"
    if abs(look.yaw) > options.max_yaw:
        return f"turned away by more than {options.max_yaw:g} degrees"
    return "not sharp enough" if look.sharpness < options.min_sharpness else None


def _frames(path: Path, tracks: Sequence[Track]) -> Iterator[tuple[int, Frame]]:
    """The frames up to the last that any track has, with their numbers."""
    stop = max((track.stop for track in tracks), default=0)
    if stop:
        with open_source(path) as source:
            yield from enumerate(source.frames(0, stop))


def _cut_frames(
    path: Path,
    number: int,
    folder: Path,
    wanted: dict[int, list[Candidate]],
    tracks: Sequence[Track],
    options: AlignOptions,
    *,
    still: bool,
) -> Iterator[_Cut]:
    by_id = {track.id: track for track in tracks}
    kept = [track for track in tracks if any(one.track == track.id for ones in wanted.values() for one in ones)]
    origin: Fraction | None = None
    for index, frame in _frames(path, kept):
        time = frame.pts * frame.time_base
        origin = time if origin is None else origin
        for candidate in wanted.get(index, ()):
            face = by_id[candidate.track].at(index)
            assert face is not None
            target = folder / f"{number:05d}_{candidate.track:03d}_{index:07d}.png"
            write_picture(target, align(frame, face, options.size).crop)
            yield _Cut(target, path, None if still else time - origin, candidate, (number, candidate.track))


def _publish(
    cuts: Sequence[_Cut], output: Path, options: AlignOptions, recogniser: Recogniser | None, report: AlignReport
) -> None:
    """Give every person a number, choose again where one has too many crops, and name what is kept."""
    persons = _persons(cuts, recogniser)
    groups: dict[int, list[_Cut]] = {}
    for cut in cuts:
        groups.setdefault(persons[cut.person], []).append(cut)
    names: set[str] = set()
    for person, members in sorted(groups.items()):
        best = {id(one) for one in chosen([cut.candidate for cut in members], options.per_person)}
        report.dropped["enough of this person"] += len(members) - len(best)
        for cut in members:
            if id(cut.candidate) in best:
                name = _free_name(cut, names)
                digest = hashlib.sha256(cut.path.read_bytes()).hexdigest()
                publish(cut.path, output / name)
                report.crops.append(_line(cut, name, person, digest, options.licence))
    report.dropped += Counter()  # zeros go


def _recogniser(weights: Path | None) -> Recogniser | None:
    """The network that tells people apart, if there is one on this machine."""
    if weights is not None:
        return train.load_recogniser(weights)
    entry = models.find(_ARCFACE)
    return train.load_recogniser(models.local_path(_ARCFACE)) if models.is_present(entry) else None


def _persons(cuts: Sequence[_Cut], recogniser: Recogniser | None) -> dict[tuple[int, int], int]:
    """A number for each track of each file; tracks of one identity share theirs."""
    tracks: dict[tuple[int, int], list[_Cut]] = {}
    for cut in cuts:
        tracks.setdefault(cut.person, []).append(cut)
    if recogniser is None:
        return {track: number for number, track in enumerate(tracks)}
    vectors = [_identity(members[:_IDENTITY_CROPS], recogniser) for members in tracks.values()]
    return dict(zip(tracks, people_of(vectors), strict=True))


def _identity(cuts: Sequence[_Cut], recogniser: Recogniser) -> NDArray[np.float32]:
    """The unit mean of the crops' identities."""
    import torch
    from PIL import Image as Pillow

    pictures = np.stack([np.asarray(Pillow.open(cut.path).convert("RGB")) for cut in cuts])
    faces = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        mean = torch.nn.functional.normalize(recogniser(faces), dim=1).mean(dim=0)
    return np.asarray(torch.nn.functional.normalize(mean, dim=0).numpy(), dtype=np.float32)


def _free_name(cut: _Cut, taken: set[str]) -> str:
    """A name that tells where the crop is from, unlike all others."""
    place = "" if cut.time is None else f"_{cut.candidate.index:06d}"
    stem = f"{cut.source.stem}_{cut.candidate.track:02d}{place}"
    name, again = f"{stem}.png", 1
    while name in taken:
        again += 1
        name = f"{stem}-{again}.png"
    taken.add(name)
    return name


def _line(cut: _Cut, name: str, person: int, digest: str, licence: str) -> AlignedCrop:
    look = cut.candidate.look
    return AlignedCrop(
        file=name,
        source=str(cut.source),
        time=None if cut.time is None else round(float(cut.time), 3),
        native_px=round(look.native_px),
        sharpness=round(look.sharpness, 2),
        yaw=round(look.yaw, 1),
        score=round(cut.candidate.score, 4),
        person=person,
        licence=licence,
        sha256=digest,
    )


def _index(crops: Sequence[AlignedCrop]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for crop in crops:
        writer.writerow(["" if (value := getattr(crop, name)) is None else value for name in _COLUMNS])
    return text.getvalue()
