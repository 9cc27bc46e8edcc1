"""How much steadier are faces that are averaged along their motion, and what does it cost in sharpness and likeness?

    python benchmarks/temporal.py [--shared DIR] [--clips NAME ...] [--levels NAME ...] [--frames N] [--json FILE]
        [--plot FILE.svg] [--pictures DIR]

Each clip is reduced four times and damaged, restored at its original size (`--upscale 4`, FFV1) in each mode, and
compared with the undamaged clip inside the face: where the mask that restorations are shown through is above one half.
`excess` is the warping error less that of the undamaged clip, `restored` the share of faces that went through the
restorer, the others took over what was restored before. `eyes` and `mouth` are the mean errors of their openings, as
parts of their width, against the undamaged face (face-api.js' 68 landmarks); `input` is the damaged clip enlarged by
bicubic interpolation. Time is processor time of whole restorations.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import revisage
from footage import noisy, write_clip
from measuring import finish, print_table
from pieces import Image, openings, read_pictures
from revisage.core.values import Face, Region
from revisage.faces import align, crop_affine, invert, landmark_mask, transform
from revisage.measures import Embedder, FrameStep, Vggd, cosine, motion_between, ssim, t_mse, warping_error
from revisage.media import Frame, open_source
from revisage.train.readers import Teachers

CLIPS = {"swiz3n": "swiz3n.mpg", "s18": "s18.mp4", "retalking_1": "retalking_1.mp4"}
CLIPS |= {"asl_brother": "asl_brother.mkv", "asl_thanks": "asl_thanks.mkv"}
FIRST = {"s18": 60}
FACTOR, SIZE = 4, 256
# Noise before the encoder (1/255, sigma), quality of H.264 at the reduced size, noise on top of what it wrote.
LEVELS = {"camera": (10.0, 23, 0.0), "copy": (0.0, 28, 6.0), "squeezed": (6.0, 28, 0.0)}
MODES: dict[str, dict[str, Any]] = {
    "off": {"temporal": "off"},
    "smooth": {"temporal": "smooth"},
    "flow, every frame": {"temporal": "flow", "carry": 0},
    "flow": {"temporal": "flow"},
    "flow, natural": {"temporal": "flow", "look": "natural"},
    "flow, 2 passes": {"temporal": "flow", "temporal_passes": 2},
}
EVERY = 6
"""SSIM, VGGD and identity are measured in one of so many frames."""


@dataclass(frozen=True)
class Clean:
    """An undamaged clip: pictures at a size that 4 divides, their times, and the face of each."""

    pictures: list[Image]
    pts: list[int]
    time_base: Fraction
    faces: list[Face]
    region: Region

    def masks(self) -> list[NDArray[np.bool_]]:
        """Where the face is, in the region of each frame."""
        return [_mask(face, self.pictures[0].shape[:2])[self.region.slices] for face in self.faces]


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.clips:
            clean = _clean(options.shared / "clips" / CLIPS[name], FIRST.get(name, 0), options.frames, Path(temporary))
            for level in options.levels:
                rows += _rows(name, level, clean, options, Path(temporary))
                print_table(f"{name}, {level}", rows[-1 - len(options.modes) :])
    if options.plot:
        plot(rows, options.plot)
    finish({"frames": options.frames, "rows": rows}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--clips", nargs="*", choices=CLIPS, default=list(CLIPS))
    parser.add_argument("--levels", nargs="*", choices=LEVELS, default=list(LEVELS))
    parser.add_argument("--modes", nargs="*", choices=MODES, default=list(MODES))
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for the face in each frame, by clip, level and mode")
    return parser.parse_args()


def _clean(path: Path, first: int, count: int, folder: Path) -> Clean:
    with open_source(path) as source:
        frames = list(itertools.islice(source.frames(first), count))
    height, width = (side // (2 * FACTOR) * 2 * FACTOR for side in frames[0].size_hw)
    pictures = [np.ascontiguousarray(frame.rgb()[:height, :width]) for frame in frames]
    pts, time_base = [frame.pts - frames[0].pts for frame in frames], frames[0].time_base
    copy = folder / "clean.mkv"
    write_clip(copy, _timed(pictures, pts, time_base), codec="ffv1", form="bgr0")
    track = max(revisage.scan(copy).tracks, key=lambda track: len(track.boxes))
    faces = [track.face(int(np.clip(index, track.start, track.stop - 1))) for index in range(len(frames))]
    return Clean(pictures, pts, time_base, faces, _around(faces, (height, width)))


def _around(faces: list[Face], size_hw: tuple[int, int]) -> Region:
    """The rectangle that holds the face in all frames."""
    inside = np.any([_mask(face, size_hw) for face in faces], axis=0)
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    left, top = max(0, int(columns[0]) - 12), max(0, int(rows[0]) - 12)
    return Region(left, top, min(size_hw[1], int(columns[-1]) + 13), min(size_hw[0], int(rows[-1]) + 13))


def _mask(face: Face, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    affine = crop_affine(face.landmarks, SIZE)
    mask = landmark_mask(transform(affine, face.landmarks), SIZE)
    shown: NDArray[np.bool_] = cv2.warpAffine(mask, invert(affine), size_hw[::-1]) > 0.5
    return shown


def _timed(pictures: list[Image], pts: list[int], time_base: Fraction) -> Iterator[av.VideoFrame]:
    for time_, picture in zip(pts, pictures, strict=True):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = time_, time_base
        yield frame


def _damaged(clean: Clean, level: str, folder: Path) -> Path:
    """The clip reduced and damaged; the noise depends on the level alone."""
    before, crf, after = LEVELS[level]
    draw = np.random.default_rng(2026)
    height, width = (side // FACTOR for side in clean.pictures[0].shape[:2])
    small = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in clean.pictures]
    path = folder / "damaged.mp4"
    if before:
        small = [noisy(picture, before, draw) for picture in small]
    write_clip(path, _timed(small, clean.pts, clean.time_base), preset="medium", crf=str(crf))
    if not after:
        return path
    with open_source(path) as source:
        coded = [frame.rgb() for frame in source.frames()]
    copy = folder / "damaged.mkv"
    grainy = [noisy(picture, after, draw) for picture in coded]
    write_clip(copy, _timed(grainy, clean.pts, clean.time_base), codec="ffv1", form="bgr0")
    return copy


def _rows(name: str, level: str, clean: Clean, options: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    source = _damaged(clean, level, folder)
    yard = _Yardstick(clean, options.shared)
    shown = [
        cv2.resize(each, clean.pictures[0].shape[1::-1], interpolation=cv2.INTER_CUBIC)
        for each in read_pictures(source)
    ]
    found = yard.measure([np.ascontiguousarray(each[clean.region.slices]) for each in shown])
    rows = [{"clip": name, "level": level, "mode": "input", **found, "cpu_s": None, "restored %": None}]
    for mode in options.modes:
        output = folder / "restored.mkv"
        started = time.process_time()
        report = revisage.restore(source, output, upscale=FACTOR, codec="ffv1", overwrite=True, **MODES[mode])
        seconds = time.process_time() - started
        counted = report.files[0].faces
        with open_source(output) as restored:
            pictures = [np.ascontiguousarray(frame.rgb(clean.region)) for frame in restored.frames()]
        if options.pictures:
            _keep(pictures, options.pictures / f"{name}-{level}-{mode.replace(', ', '-').replace(' ', '')}")
        figures = yard.measure(pictures)
        rows.append({"clip": name, "level": level, "mode": mode, **figures, "cpu_s": round(seconds, 2)})
        rows[-1]["restored %"] = round(100 * (1 - counted.carried / max(1, counted.restored)), 1)
    return rows


def _keep(pictures: list[Image], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index:03d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


class _Yardstick:
    """Measures restored regions against the undamaged clip."""

    def __init__(self, clean: Clean, shared: Path) -> None:
        self._clean = clean
        self._pictures = [np.ascontiguousarray(picture[clean.region.slices]) for picture in clean.pictures]
        self._masks = clean.masks()
        self._motions = [
            replace(motion, believed=motion.believed & mask)
            for motion, mask in zip(
                itertools.starmap(motion_between, _pairs(self._pictures)), self._masks[1:], strict=True
            )
        ]
        self._vggd = Vggd(shared / "weights" / "quality" / "vgg19_normalised_conv3_1.safetensors")
        self._embed = Embedder(shared / "weights" / "identity" / "mobilefacenet.onnx")
        self._own = self._warping(self._pictures)
        self._teachers = Teachers(shared / "weights")
        self._openings = self._opened(self._pictures)

    def measure(self, pictures: list[Image]) -> dict[str, object]:
        """All measures of one restoration."""
        sample = range(EVERY // 2, len(pictures), EVERY)
        ours, theirs = [pictures[i] for i in sample], [self._pictures[i] for i in sample]
        eyes, mouth = (np.abs(a - b) for a, b in zip(self._opened(pictures), self._openings, strict=True))
        return {
            "excess": self._warping(pictures) - self._own,
            "t_mse": self._t_mse(pictures),
            "sharpness": _mean(_sharpness(p, m) for p, m in zip(pictures, self._masks, strict=True)),
            "psnr": _mean(_psnr(*each) for each in zip(pictures, self._pictures, self._masks, strict=True)),
            "ssim": _mean(ssim(*pair) for pair in zip(ours, theirs, strict=True)),
            "vggd": _mean(map(self._vggd, ours, theirs)),
            "identity": _mean(self._likeness(pictures[i], i) for i in sample),
            "eyes": _mean(eyes),
            "mouth": _mean(mouth),
        }

    def _warping(self, pictures: list[Image]) -> float:
        steps = zip(_pairs(pictures), _pairs(self._pictures), self._motions, strict=True)
        return _mean(warping_error(FrameStep(*ours, *theirs, motion)) for ours, theirs, motion in steps)

    def _t_mse(self, pictures: list[Image]) -> float:
        values = []
        steps = zip(_pairs(pictures), _pairs(self._pictures), self._masks[1:], self._motions, strict=True)
        for ours, theirs, mask, motion in steps:
            inside = [picture * mask[..., None].astype(np.uint8) for picture in (*ours, *theirs)]
            values.append(t_mse(FrameStep(*inside, motion)) / mask.mean())
        return _mean(values)

    def _opened(self, pictures: list[Image]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        crops = [align(Frame.from_array(each), self._face(place), SIZE).crop for place, each in enumerate(pictures)]
        return openings(self._teachers, np.stack(crops))

    def _likeness(self, picture: Image, index: int) -> float:
        face = self._face(index)
        return cosine(self._embed(picture, face), self._embed(self._pictures[index], face))

    def _face(self, index: int) -> Face:
        """Of a frame, in the pixels of the region."""
        region, face = self._clean.region, self._clean.faces[index]
        x, y, width, height = face.box
        return Face((x - region.left, y - region.top, width, height), face.landmarks - (region.left, region.top))


def _pairs(pictures: list[Image]) -> list[tuple[Image, Image]]:
    return list(itertools.pairwise(pictures))


def _mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 4)


def _sharpness(picture: Image, mask: NDArray[np.bool_]) -> float:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F)[mask].var())


def _psnr(picture: Image, clean: Image, mask: NDArray[np.bool_]) -> float:
    error = np.square(picture[mask].astype(np.float32) - clean[mask]).mean()
    return float(10 * np.log10(255**2 / max(float(error), 1e-9)))


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """What is left of excess warping error, T-MSE and sharpness when faces are averaged, as parts of `off`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    measures = {"excess": "excess warping error", "t_mse": "T-MSE", "sharpness": "sharpness"}
    levels = list(dict.fromkeys(row["level"] for row in rows))
    figure, axes = pyplot.subplots(1, len(levels), figsize=(4.2 * len(levels), 3.4), sharey=True, squeeze=False)
    for axis, level in zip(axes[0], levels, strict=True):
        names = list(dict.fromkeys(row["clip"] for row in rows if row["level"] == level))
        for offset, (key, label) in enumerate(measures.items()):
            parts = [_part(rows, name, level, key) for name in names]
            axis.bar(np.arange(len(names)) + 0.27 * (offset - 1), parts, 0.25, label=label)
        axis.axhline(1, color="0.5", linewidth=0.8)
        axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axis.set_title(level)
    axes[0][0].set_ylabel("flow, as a part of off")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=len(measures), fontsize=8)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def _part(rows: list[dict[str, Any]], name: str, level: str, key: str) -> float:
    found = {row["mode"]: row[key] for row in rows if (row["clip"], row["level"]) == (name, level)}
    return float(found["flow"] / found["off"])


if __name__ == "__main__":
    main()
