"""Make a set of GIFs from videos: clean ones, damaged ones, their pictures, and a manifest that pairs them.

    OUT/manifest.json
    OUT/raw_videos/NAME.EXT                         the sources
    OUT/gifs/clean/CLIP.gif                         the references
    OUT/gifs/{noisy,blurry,low_res}/CLIP.gif        the same clips, damaged
    OUT/frames/input/KIND/CLIP/00000.png            pictures of the damaged GIFs
    OUT/output_gifs/KIND/CLIP.gif                   restored
    OUT/frames/enhanced/KIND/CLIP/00000.png         their pictures

A clip has the same name everywhere. What is already there is not made again, so that a run that was stopped goes on.
Files are written beside their names and renamed.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import (
    CancelToken,
    Image,
    InputError,
    OutputError,
    OutputExistsError,
    Progress,
    ProgressCallback,
    Region,
    RestoreConfig,
    file_sha256,
    folder_beside,
    output_error,
    publish,
    written_beside,
)
from revisage.datasets.damage import apply_damage, draw_damage
from revisage.datasets.gif_manifest import (
    MANIFEST,
    DamagedGif,
    GifClip,
    GifFace,
    GifSet,
    GifSetOptions,
    GifSource,
    load_gif_set,
)
from revisage.datasets.gif_windows import Window, choose_windows
from revisage.faces import frontality
from revisage.media import Frame, MediaInfo, find_media, open_image_sink, open_source, probe
from revisage.pipeline import Networks, Scan, ScannedTrack, fingerprint, restore_file, scan_source

__all__ = [
    "FRAMES",
    "GIFS",
    "ClipCutter",
    "CutFrame",
    "keep_source",
    "make_gif_set",
    "reduced_hw",
    "restore_gif_set",
    "write_gif",
    "write_pictures",
]

RAW, RESTORED = "raw_videos", "output_gifs"


def make_gif_set(
    videos: Path | str,
    folder: Path,
    options: GifSetOptions,
    config: RestoreConfig,
    *,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> GifSet:
    """Cut lively faces out of videos and write them clean and damaged.

    Args:
        videos: a file, a folder or a pattern of videos (or animations).
        folder: of the set; one that was begun with the same options is gone on with.
        options: what the set is made of.
        config: detector, device and engine are taken from here.
        overwrite: begin anew where the folder holds a set.
        progress: told of each frame that is looked at.
        cancel: looked at between frames.

    Raises:
        InputError: there is no video.
        OutputError: the folder holds something else, a set made with other options, or cannot be written.
        CancelledError: stopped; files that are there are complete.
    """
    sources = find_media(videos).files
    made = _opened(folder, options, overwrite)
    networks = Networks(config)
    for path in sources:
        sha256 = file_sha256(path)
        if all(source.sha256 != sha256 for source in made.sources):
            made = _with_source(made, folder, path, sha256, networks, progress, cancel or CancelToken())
            made.save(folder)
    return made


def _opened(folder: Path, options: GifSetOptions, overwrite: bool) -> GifSet:
    """The set that the folder holds, or a new one in it."""
    if overwrite and (folder / MANIFEST).exists():
        for name in (GIFS, FRAMES, RESTORED):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / MANIFEST).unlink(missing_ok=True)
    if (folder / MANIFEST).exists():
        found = load_gif_set(folder)
        if found.options != options:
            raise OutputExistsError(f"{folder} holds a set made with other options", "name another folder")
        return found
    if folder.is_file():
        raise OutputError(f"{folder} is a file; name a folder for the set")
    if folder.is_dir() and any(path.name != RAW and not path.name.startswith(".") for path in folder.iterdir()):
        raise OutputError(f"{folder} holds something other than a set of GIFs; name another folder")
    made = GifSet(options=options)
    try:
        (folder / RAW).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    made.save(folder)
    return made


def _with_source(
    made: GifSet,
    folder: Path,
    path: Path,
    sha256: str,
    networks: Networks,
    progress: ProgressCallback | None,
    cancel: CancelToken,
) -> GifSet:
    """The set with one more video looked at; one that cannot be used is listed with the reason."""
    name = f"{_free_stem(path, made)}{path.suffix}"
    clips: list[GifClip] = []
    try:
        with open_source(path) as source:
            info = source.info
        if info.kind == "image":
            return made
        scan = scan_source(
            path,
            fingerprint(path),
            networks.config,
            networks,
            total=info.frame_count,
            progress=progress,
            cancel=cancel,
        )
        windows, note = choose_windows(path, scan, made.options, cancel=cancel)
        if windows:
            keep_source(path, folder / RAW / name)
            cutter = ClipCutter(folder, made.options, f"{RAW}/{name}", sha256, info, scan)
            clips = list(cutter.clips(path, windows, cancel))
    except InputError as error:
        note = str(error)
    listed = GifSource(file=f"{RAW}/{name}", sha256=sha256, bytes=path.stat().st_size, clips=len(clips), note=note)
    if progress is not None:
        progress(Progress("finish", len(clips), len(clips), 0, path.name))
    return made.model_copy(update={"sources": [*made.sources, listed], "clips": [*made.clips, *clips]})


def _free_stem(path: Path, made: GifSet) -> str:
    """The file's name without extension, numbered where another video of the set has it."""
    taken = {Path(source.file).stem.casefold() for source in made.sources}
    stem, number = path.stem, 2
    while stem.casefold() in taken:
        stem, number = f"{path.stem}-{number}", number + 1
    return stem


def restore_gif_set(
    folder: Path,
    config: RestoreConfig,
    *,
    progress: ProgressCallback | None = None,
    cancel: CancelToken | None = None,
) -> GifSet:
    """Restore the damaged GIFs of a set into ``output_gifs/``, and write the pictures of the results.

    Args:
        folder: of the set.
        config: of the restoration.
        progress: told of each frame.
        cancel: looked at between frames.

    Raises:
        InputError: the folder holds no set.
        OutputError: it was restored with other options before, or cannot be written.
        UserError, ProcessingError: see :func:`revisage.restore`.
        CancelledError: stopped; files that are there are complete.
    """
    made = load_gif_set(folder)
    settings = config.settings()
    if made.restoration not in (None, settings):
        raise OutputExistsError(f"{folder} was restored with other options", "name another folder")
    made = made.model_copy(update={"restoration": settings})
    networks = Networks(config)
    for place, clip in enumerate(made.clips):
        copies = [_restored(folder, clip, copy, config, networks, progress, cancel) for copy in clip.damaged]
        if copies != clip.damaged:
            clips = [*made.clips]
            clips[place] = clip.model_copy(update={"damaged": copies})
            made = made.model_copy(update={"clips": clips})
            made.save(folder)
    return made


def _restored(
    folder: Path,
    clip: GifClip,
    copy: DamagedGif,
    config: RestoreConfig,
    networks: Networks,
    progress: ProgressCallback | None,
    cancel: CancelToken | None,
) -> DamagedGif:
    """A damaged GIF with its restoration, which is made unless it is there."""
    output, pictures = f"{RESTORED}/{copy.kind}/{clip.name}.gif", f"{FRAMES}/enhanced/{copy.kind}/{clip.name}"
    if not (folder / output).exists():
        try:
            (folder / output).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(folder / output, error) from error
        restore_file(folder / copy.file, folder / output, config, networks, progress=progress, cancel=cancel)
    if not (folder / pictures).exists():
        write_pictures(folder / output, folder / pictures)
    return copy.model_copy(update={"restored": output, "restored_frames": pictures})


GIFS, FRAMES = "gifs", "frames"
_SMALLEST_SIDE = 64
"""Px of the longer side below which a GIF is not reduced to fit its limit of bytes."""

Box = NDArray[np.float64]


@dataclass
class ClipCutter:
    """Cuts the windows of one video into clips and writes their files.

    Attributes:
        folder: of the set.
        options: of the set.
        source: the video's copy, relative to the set; clips are called after it.
        sha256: of the video.
        info: of the video.
        scan: of the video.
    """

    folder: Path
    options: GifSetOptions
    source: str
    sha256: str
    info: MediaInfo
    scan: Scan

    def clips(self, path: Path, windows: Sequence[Window], cancel: CancelToken) -> Iterator[GifClip]:
        """Write the clips, in order."""
        stem = Path(self.source).stem
        cuts = self._cut(path, windows, cancel)
        for number, (window, frames) in enumerate(zip(windows, cuts, strict=True)):
            cancel.check()
            yield self._clip(f"{stem}_{number:02d}", window, frames)

    def _cut(self, path: Path, windows: Sequence[Window], cancel: CancelToken) -> list[list[CutFrame]]:
        """The frames of each window, thinned to the rate that was asked for."""
        cuts: list[list[CutFrame]] = [[] for _ in windows]
        first, stop = min(w.start for w in windows), max(w.stop for w in windows)
        step = 1 / self.options.fps
        with open_source(path) as source:
            for frame in source.frames(self.scan.first + first, self.scan.first + stop):
                cancel.check()
                index = frame.index - self.scan.first
                for window, cut in zip(windows, cuts, strict=True):
                    if not window.start <= index < window.stop:
                        continue
                    # A little early counts: at 30 frames a second, 15 means every second one.
                    if cut and float((frame.pts - cut[-1].pts) * frame.time_base) < step * 0.95:
                        continue
                    size_hw = reduced_hw(window.region, self.options.max_side)
                    rgb = frame.rgb(window.region, size_hw=size_hw)
                    cut.append(CutFrame(rgb, frame.pts, frame.time_base, self._duration(window, frame.pts)))
        return cuts

    def _duration(self, window: Window, pts: int) -> int:
        """From ``pts`` to the end of the window, for the last frame of a clip; the others end where the next begins."""
        return max(1, self._end_pts(window) - pts)

    def _end_pts(self, window: Window) -> int:
        pts = self.scan.pts
        if window.stop < len(pts):
            return pts[window.stop]
        return pts[-1] + max(1, round((pts[-1] - pts[0]) / max(1, len(pts) - 1)))

    def _clip(self, name: str, window: Window, frames: list[CutFrame]) -> GifClip:
        clean = f"{GIFS}/clean/{name}.gif"
        images = self._write_clean(self.folder / clean, frames)
        height, width = images[0].shape[:2]
        faces = self._faces(window, width)
        size = max(faces[0].box[2:])
        damaged = [self._damaged(name, kind, images, frames, size) for kind in self.options.kinds]
        start, base = self.scan.pts[0], self.scan.time_base
        return GifClip(
            name=name,
            source=self.source,
            sha256=self.sha256,
            time_base=str(base),
            first_pts=frames[0].pts,
            last_pts=frames[-1].pts,
            start_seconds=round(float((frames[0].pts - start) * base), 4),
            end_seconds=round(float((self._end_pts(window) - start) * base), 4),
            region=(window.region.left, window.region.top, window.region.right, window.region.bottom),
            width=width,
            height=height,
            frame_count=len(frames),
            pts=[frame.pts for frame in frames],
            liveliness=window.liveliness,
            faces=faces,
            clean=clean,
            damaged=damaged,
        )

    def _write_clean(self, path: Path, frames: list[CutFrame]) -> list[Image]:
        """Write the clean GIF, smaller where it is too large for the limit; the pictures at the size that was taken."""
        images = [frame.rgb for frame in frames]
        limit = self.options.max_megabytes * 1e6
        while True:
            if not path.exists():
                self._write(path, images, frames)
            else:
                images = _at_size_of(path, frames)
            side = max(images[0].shape[:2])
            if path.stat().st_size <= limit or side <= _SMALLEST_SIDE:
                return images
            smaller = max(_SMALLEST_SIDE, int(side * max(0.5, 0.95 * math.sqrt(limit / path.stat().st_size))))
            images = [_shrunk(frame.rgb, smaller) for frame in frames]
            path.unlink()

    def _write(self, path: Path, images: list[Image], frames: list[CutFrame]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(path, error) from error
        write_gif(path, images, frames, self.info)

    def _damaged(self, name: str, kind: str, images: list[Image], frames: list[CutFrame], face: float) -> DamagedGif:
        # The draw depends on the source and the clip, not on what else is in the set.
        text = f"{self.options.seed} {self.sha256} {name} {kind}"
        damage = draw_damage(kind, int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"), face=face)
        copy = DamagedGif(
            kind=kind,
            parameters=damage.parameters,
            seed=damage.seed,
            file=f"{GIFS}/{kind}/{name}.gif",
            frames=f"{FRAMES}/input/{kind}/{name}",
        )
        path, pictures = self.folder / copy.file, self.folder / copy.frames
        if not path.exists():
            self._write(path, apply_damage(images, damage), frames)
        if not pictures.exists():
            write_pictures(path, pictures)
        return copy

    def _faces(self, window: Window, width: int) -> list[GifFace]:
        """The window's own face first, then others that are seen in its region, in px of the GIF."""
        own = _mean_box(window.track, window)
        assert own is not None
        found = [GifFace(track=window.track.id, box=_placed(own, window, width), frontality=window.frontality)]
        for track in self.scan.tracks:
            box = None if track is window.track else _mean_box(track, window)
            if box is None or not _inside(box, window):
                continue
            middle = min(max(track.start, (window.start + window.stop) // 2), track.stop - 1)
            facing = round(frontality(track.face(middle).landmarks), 3)
            found.append(GifFace(track=track.id, box=_placed(box, window, width), frontality=facing))
        return found


def _mean_box(track: ScannedTrack, window: Window) -> Box | None:
    """Mean x, y, width, height of a track during a window (px of the source); None where it is not seen then."""
    start, stop = max(track.start, window.start), min(track.stop, window.stop)
    if start >= stop:
        return None
    mean: Box = np.array(track.boxes[start - track.start : stop - track.start]).mean(axis=0)
    return mean


def _inside(box: Box, window: Window) -> bool:
    """Whether a box's centre is shown."""
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    return window.region.left <= x < window.region.right and window.region.top <= y < window.region.bottom


def _placed(box: Box, window: Window, width: int) -> tuple[float, float, float, float]:
    """A box in px of a GIF that is ``width`` px wide."""
    factor = width / window.region.size_hw[1]
    x, y, across, down = (float(value) for value in (box - [window.region.left, window.region.top, 0, 0]) * factor)
    return round(x, 1), round(y, 1), round(across, 1), round(down, 1)


def _at_size_of(path: Path, frames: Sequence[CutFrame]) -> list[Image]:
    """The frames at the size of a GIF that was written from them."""
    info = probe(path)
    return [_shrunk(frame.rgb, max(info.width, info.height)) for frame in frames]


def _shrunk(image: Image, longest: int) -> Image:
    height, width = image.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return image
    size_wh = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


@dataclass(frozen=True)
class CutFrame:
    """A frame of a clip: ``(h, w, 3) uint8 RGB`` at the source's own pixels, its time and how long it is shown."""

    rgb: Image
    pts: int
    time_base: Fraction
    duration: int


def keep_source(source: Path, target: Path) -> None:
    """Put a video into the set: as a further name of the same file where the disk can, else as a copy.

    Raises:
        OutputError: it cannot be written.
    """
    if target.exists():
        return
    with written_beside(target) as partial:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


def reduced_hw(region: Region, longest: int) -> tuple[int, int]:
    """Height and width of a region whose longer side is at most ``longest`` px."""
    height, width = region.size_hw
    factor = min(1.0, longest / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def write_gif(path: Path, images: Sequence[Image], frames: Sequence[CutFrame], info: MediaInfo) -> None:
    """Write a GIF that loops for ever, with the times of ``frames`` and the pixels of ``images``.

    Args:
        path: of the file, replaced when the new one is complete.
        images: ``(h, w, 3) uint8 RGB``, all of one size.
        frames: as many; their times are taken.
        info: of the source.

    Raises:
        OutputError: it cannot be written.
    """
    partial = path.with_name(f".{path.stem}.part.gif")
    # Whatever it was cut from, the clip has pictures and times of its own.
    sink = open_image_sink(partial, replace(info, kind="video"))
    try:
        for index, (image, cut) in enumerate(zip(images, frames, strict=True)):
            sink.write(
                Frame.from_array(image, pts=cut.pts, time_base=cut.time_base, duration=cut.duration, index=index)
            )
        sink.close()
    except BaseException:
        sink.abort()
        raise
    publish(partial, path)


def write_pictures(gif: Path, folder: Path) -> None:
    """Write what a viewer of a GIF sees as ``00000.png``, ``00001.png``, …; the folder appears when it is complete.

    Raises:
        InputError: the GIF cannot be read.
        OutputError: the folder cannot be written.
    """
    with folder_beside(folder) as partial, open_source(gif) as source:
        for frame in source.frames():
            _write_png(partial / f"{frame.index:05d}.png", frame.rgb())


def _write_png(path: Path, rgb: Image) -> None:
    done, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise OutputError(f"{path}: the picture cannot be encoded")
    path.write_bytes(data.tobytes())
