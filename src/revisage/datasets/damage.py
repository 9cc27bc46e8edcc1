"""Damage on purpose: one kind at a time, the same over a whole clip, or files as training damages them.

Training wants all damage mixed (:mod:`revisage.train.degrade`); GIFs to measure with want it apart (noisy, blurry,
low_res, compressed), so that a figure says which damage a method copes with. Parameters are drawn once for a clip;
noise is new in each frame. A folder of files that were damaged as in training has a manifest that names each one's
reference.
"""

from __future__ import annotations

import math
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from revisage._version import __version__
from revisage.core import (
    ConfigError,
    Image,
    InputError,
    OutputError,
    Progress,
    ProgressCallback,
    RevisageError,
    check_absent,
    check_folder,
    file_sha256,
    output_error,
    publish,
    write_text,
)
from revisage.media import (
    IMAGE_SUFFIXES,
    EncodeOptions,
    Frame,
    MediaInfo,
    Sink,
    Source,
    assemble,
    check_output,
    find_media,
    format_of_content,
    open_image_sink,
    open_segment,
    open_source,
    probe,
)
from revisage.train import REFERENCE_SIZE, Degradation, Drawn, degrade_frames, find_preset, generator, motion_kernel

__all__ = [
    "KINDS",
    "MANIFEST",
    "Damage",
    "DegradedFile",
    "DegradedManifest",
    "apply_damage",
    "degrade_file",
    "degrade_files",
    "draw_damage",
]

Clip = list[Image]

KINDS = ("noisy", "blurry", "low_res", "compressed")

_REFERENCE_FACE = 128
"""Width (px) of a face up to which blur is in px of the picture; on larger faces it grows with them."""

_ENLARGE = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
    "nearest": cv2.INTER_NEAREST,
}
_ENLARGE_SHARES = (0.35, 0.35, 0.15, 0.15)
"""In the order of `_ENLARGE`: most pictures were enlarged smoothly."""


@dataclass(frozen=True)
class Damage:
    """A kind of damage, its drawn parameters, and the seed of what is random within the clip.

    Attributes:
        kind: one of :data:`KINDS`.
        parameters: ``noisy``: sigma (levels of 255), grey (the same noise in all channels). ``blurry``: sigma (px), or
            length (px) and angle (radians) of a straight motion. ``low_res``: factor, enlarged_by. ``compressed``:
            quality (of JPEG).
        seed: of the noise.
    """

    kind: str
    parameters: dict[str, Any]
    seed: int


def draw_damage(kind: str, seed: int, *, face: float = _REFERENCE_FACE) -> Damage:
    """Parameters of a damage that can be seen, the same for the same seed.

    Args:
        kind: one of :data:`KINDS`.
        seed: of the draw, and of the noise.
        face: width of the face (px).

    Raises:
        KeyError: there is no such kind.
    """
    random = np.random.default_rng((KINDS.index(kind) if kind in KINDS else 0, seed))
    return Damage(kind, _DRAWS[kind](random, max(1.0, face / _REFERENCE_FACE)), seed)


def _draw_noise(random: np.random.Generator, _scale: float) -> dict[str, Any]:
    return {"sigma": round(random.uniform(8, 28), 2), "grey": bool(random.random() < 0.3)}


def _draw_blur(random: np.random.Generator, scale: float) -> dict[str, Any]:
    if random.random() < 0.3:
        return {"length": round(random.uniform(8, 18) * scale, 2), "angle": round(random.uniform(0, math.pi), 4)}
    return {"sigma": round(random.uniform(1.8, 4.5) * scale, 2)}


def _draw_reduction(random: np.random.Generator, scale: float) -> dict[str, Any]:
    method = random.choice(list(_ENLARGE), p=_ENLARGE_SHARES)
    return {"factor": round(random.uniform(2, 5) * scale, 2), "enlarged_by": str(method)}


def _draw_quality(random: np.random.Generator, _scale: float) -> dict[str, Any]:
    return {"quality": int(random.integers(6, 28))}


_DRAWS: dict[str, Callable[[np.random.Generator, float], dict[str, Any]]] = {
    "noisy": _draw_noise,
    "blurry": _draw_blur,
    "low_res": _draw_reduction,
    "compressed": _draw_quality,
}


def apply_damage(frames: Sequence[Image], damage: Damage) -> Clip:
    """Damage the frames of one clip.

    Args:
        frames: ``(H, W, 3) uint8 RGB``, all of one size; left as they are.
        damage: from :func:`draw_damage`.

    Returns:
        As many frames of the same size.
    """
    return [_DEEDS[damage.kind](frame, damage, index) for index, frame in enumerate(frames)]


def _add_noise(frame: Image, damage: Damage, index: int) -> Image:
    random = np.random.default_rng((damage.seed, index))
    channels = 1 if damage.parameters["grey"] else 3
    noise = random.standard_normal((*frame.shape[:2], channels), dtype=np.float32) * damage.parameters["sigma"]
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def _blur(frame: Image, damage: Damage, _index: int) -> Image:
    values = damage.parameters
    if "sigma" in values:
        return np.asarray(cv2.GaussianBlur(frame, (0, 0), values["sigma"]), dtype=np.uint8)
    return np.asarray(cv2.filter2D(frame, -1, motion_kernel(values["length"], values["angle"])), dtype=np.uint8)


def _reduce(frame: Image, damage: Damage, _index: int) -> Image:
    height, width = frame.shape[:2]
    factor = damage.parameters["factor"]
    small_wh = max(8, round(width / factor)), max(8, round(height / factor))
    small = cv2.resize(frame, small_wh, interpolation=cv2.INTER_AREA)
    method = _ENLARGE[damage.parameters["enlarged_by"]]
    return np.asarray(cv2.resize(small, (width, height), interpolation=method), dtype=np.uint8)


def _compress(frame: Image, damage: Damage, _index: int) -> Image:
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, damage.parameters["quality"]])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), dtype=np.uint8)


_DEEDS: dict[str, Callable[[Image, Damage, int], Image]] = {
    "noisy": _add_noise,
    "blurry": _blur,
    "low_res": _reduce,
    "compressed": _compress,
}


MANIFEST = "degraded.json"
_FACE_PART = 0.5
"""Of a whole picture, the part of its shorter side that lengths take one face to fill."""


class DegradedFile(BaseModel):
    """One damaged file and its reference.

    Attributes:
        file: below the manifest's folder.
        source: the reference, as it was named.
        sha256: of the source.
        preset, seed, index: what the draws follow from.
        unit: px of the picture in one px of the 512 px face that the preset's lengths are stated for.
        parameters: what was drawn; lengths in px of the picture.
        frames: how many there are, each paired with the reference's of the same time.
        notes: what the file's format could not keep.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    source: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    preset: str
    seed: int
    index: int = Field(ge=0)
    unit: float = Field(gt=0)
    parameters: dict[str, Any]
    frames: int = Field(ge=1)
    notes: tuple[str, ...] = ()


class DegradedManifest(BaseModel):
    """What a folder of damaged files was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    made_by: str = __version__
    files: tuple[DegradedFile, ...]
    failed: dict[str, str] = Field(default_factory=dict, description="files that could not be read, and why")


@dataclass(frozen=True)
class _Task:
    """A source, where its damaged form goes, and the index of its draws."""

    source: Path
    target: Path
    index: int


def degrade_files(
    inputs: Sequence[str | Path],
    output: Path,
    *,
    preset: str,
    seed: int = 0,
    scale: float | None = None,
    aligned: bool = False,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> DegradedManifest:
    """Damage files into a folder, and write its manifest there (``degraded.json``).

    A picture becomes a PNG, so that nothing is lost but what was meant; videos and animations keep format, times,
    sound and length. Colours are kept: nothing is made grey or sepia, so that the source is the reference.

    Args:
        inputs: files, folders or patterns.
        output: folder, made if it is not there.
        preset: one of training's.
        seed: the same seed gives the same pixels; a file's place in the list counts too.
        scale: lose detail as if the picture had been this many times smaller, instead of what the preset draws.
        aligned: the inputs are aligned faces; else a face is taken to fill half of the shorter side.
        overwrite: replace what is there.
        progress: told of each frame.

    Raises:
        ConfigError: an unknown preset, or a scale below 1.
        InputError: no such file, or none could be read.
        OutputError: two inputs would have one name, a file is there already, or it cannot be written.
    """
    config = find_preset(preset)
    if scale is not None and not 1 <= scale <= 64:
        raise ConfigError(f"a scale lies between 1 and 64, got {scale:g}")
    check_folder(output)
    tasks = _tasks(inputs, output)
    _check_targets(tasks, output, overwrite)
    damage = partial(degrade_file, config=config, seed=seed, scale=scale, aligned=aligned, progress=progress)
    done: list[DegradedFile] = []
    failed: dict[str, str] = {}
    for task in tasks:
        try:
            entry = damage(task.source, task.target, index=task.index)
        except InputError as error:
            failed[str(task.source)] = str(error)
            continue
        named = {"file": task.target.relative_to(output).as_posix(), "preset": preset}
        done.append(entry.model_copy(update=named))
    if not done:
        raise InputError(next(iter(failed.values())))
    manifest = DegradedManifest(files=tuple(done), failed=failed)
    write_text(output / MANIFEST, manifest.model_dump_json(indent=1) + "\n", overwrite=overwrite)
    return manifest


def degrade_file(
    source: Path,
    target: Path,
    config: Degradation,
    *,
    seed: int,
    index: int = 0,
    scale: float | None = None,
    aligned: bool = False,
    progress: ProgressCallback | None = None,
) -> DegradedFile:
    """Damage one file; the target's ending decides about its format. See :func:`degrade_files`.

    Raises:
        InputError: it cannot be read.
        OutputError: it cannot be written.
    """
    info = probe(source)
    unit = _unit((info.height, info.width), aligned)
    preset, rng = _referenced(config, scale, unit), generator(seed, index)
    with _output(source, target, info) as out, open_source(source, info=info) as opened:
        drawn, frames = _damaged(opened, preset, rng, unit)
        count = 0
        for count, frame in enumerate(frames, 1):
            out.write(frame)
            if progress is not None:
                progress(Progress("degrade", count, info.frame_count, 0, source.name))
        notes = [*out.finish(), *opened.warnings]
    return DegradedFile(
        file=target.name,
        source=str(source),
        sha256=file_sha256(source),
        preset=type(config).__name__,
        seed=seed,
        index=index,
        unit=round(unit, 6),
        parameters=drawn.record(),
        frames=count,
        notes=tuple(notes),
    )


def _tasks(inputs: Sequence[str | Path], output: Path) -> list[_Task]:
    tasks: list[_Task] = []
    for source in inputs:
        found = find_media(source)
        for file, target in found.outputs(output).items():
            tasks.append(_Task(file, _named(file, target), len(tasks)))
    return tasks


def _named(source: Path, target: Path) -> Path:
    """The target's name: pictures become PNGs."""
    found = format_of_content(source) if source.is_file() else None
    still = found is not None and "image" in found.kinds and ("animation" not in found.kinds or not _moves(source))
    return target.with_suffix(".png") if still else target


def _moves(source: Path) -> bool:
    try:
        return probe(source).kind == "animation"
    except RevisageError:
        return False  # said when it is its turn


def _check_targets(tasks: Sequence[_Task], output: Path, overwrite: bool) -> None:
    seen: dict[Path, Path] = {}
    for task in tasks:
        if task.target in seen:
            raise OutputError(f"{seen[task.target]} and {task.source} would both become {task.target}; name another")
        seen[task.target] = task.source
        if task.target.resolve() == task.source.resolve():
            raise OutputError(f"{task.source} would be written over; name another output folder")
        check_absent(task.target, overwrite=overwrite)
    check_absent(output / MANIFEST, overwrite=overwrite)


def _unit(size_hw: tuple[int, int], aligned: bool) -> float:
    return size_hw[0] / REFERENCE_SIZE if aligned else _FACE_PART * min(size_hw) / REFERENCE_SIZE


def _referenced(config: Degradation, scale: float | None, unit: float) -> Degradation:
    """The preset without what would change the reference, and with the reduction asked for."""
    changes: dict[str, Any] = {"grey_probability": 0.0}
    if scale is not None:
        changes["downsample"] = (scale / unit, scale / unit)
    return config.model_copy(update=changes)


def _damaged(
    source: Source, config: Degradation, rng: np.random.Generator, unit: float
) -> tuple[Drawn, Iterator[Frame]]:
    """What was drawn for a source, and its frames with damaged pixels.

    Raises:
        InputError: it has no frame that can be read.
    """
    waiting: deque[Frame] = deque()
    pictures = _pictures(source, waiting)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"{source.info.path}: no frame could be read")
    drawn, damaged = degrade_frames(chain([first], pictures), config, rng, unit=unit)
    return drawn, (waiting.popleft().with_rgb(picture) for picture in damaged)


def _pictures(source: Source, waiting: deque[Frame]) -> Iterator[Image]:
    """Each frame as RGB; the frames themselves wait until their damaged pixels come."""
    for frame in source.frames():
        waiting.append(frame)
        yield frame.rgb()


@dataclass(frozen=True)
class _Output:
    """Takes frames; ``finish`` completes the file and gives what could not be kept."""

    write: Callable[[Frame], None]
    finish: Callable[[], list[str]]


@contextmanager
def _output(source: Path, target: Path, info: MediaInfo) -> Iterator[_Output]:
    """The target being written beside its name; it appears when ``finish`` has been called."""
    options = EncodeOptions()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        check_output(target, info, options)
        with tempfile.TemporaryDirectory(prefix=".degrade-", dir=target.parent) as folder:
            part = Path(folder) / f"part{target.suffix}"
            sink, finish = _sink(source, part, info, options)
            try:
                yield _Output(sink.write, lambda: [*finish(), *_published(part, target)])
            except BaseException:
                sink.abort()
                raise
    except OSError as error:
        raise output_error(target, error) from error


def _published(part: Path, target: Path) -> list[str]:
    publish(part, target)
    return []


def _sink(source: Path, part: Path, info: MediaInfo, options: Any) -> tuple[Sink, Callable[[], list[str]]]:
    """What takes the frames, and what makes a whole file of them."""
    if part.suffix.lower() in IMAGE_SUFFIXES:
        image = open_image_sink(part, info)

        def close() -> list[str]:
            image.close()
            return list(getattr(image, "notes", []))

        return image, close
    segment = part.with_name(f"segment{part.suffix}")
    sink = open_segment(segment, info, options)

    def join() -> list[str]:
        sink.close()
        return list(assemble([segment], source, part, source_info=info, options=options).notes)

    return sink, join
