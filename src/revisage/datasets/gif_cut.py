"""From the chosen spans of a video to the files of a set of GIFs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import CancelToken, output_error
from revisage.datasets.damage import apply_damage, draw_damage
from revisage.datasets.gif_choose import Window
from revisage.datasets.gif_files import CutFrame, reduced_hw, write_gif, write_pictures
from revisage.datasets.gif_manifest import DamagedGif, GifClip, GifFace, GifSetOptions
from revisage.faces import frontality
from revisage.media import MediaInfo, open_source, probe
from revisage.pipeline import Scan, ScannedTrack

__all__ = ["FRAMES", "GIFS", "ClipCutter"]

GIFS, FRAMES = "gifs", "frames"
_SMALLEST_SIDE = 64

Image = NDArray[np.uint8]
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
