"""What does each set of options of `restore --preset` gain over the default, on the footage that it is for?

    python benchmarks/presets.py [--shared DIR] [--presets NAME ...] [--clips NAME ...] [--seeds N ...] [--frames N]
        [--options JSON] [--json FILE] [--keep DIR]

Short pieces of clips, cut around the largest face, are damaged as `revisage dataset degrade --preset NAME` does,
restored by default and with the preset, and compared with what they were: the whole frame, and the face with some room
around it. Time is processor time of whole restorations, networks loaded before. The options were chosen on asl_brother
(`--clips asl_brother --seeds 1`), the table of docs/presets.md is about the clips of TESTING, with other draws.
`--options '{"film": [{"dust": true}]}'` measures options of your own beside them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import revisage
from footage import write_clip
from measuring import finish, print_table
from revisage.core import PRESETS, Face, Region, make_config
from revisage.datasets.damage import degrade_file
from revisage.measures import Embedder, FrameStep, Vggd, cosine, flicker, motion_between, niqe, ssim, t_mse
from revisage.media import open_source
from revisage.pipeline import Networks, restore_file
from revisage.train import find_preset

Image = NDArray[np.uint8]

CLIPS = {
    "asl_brother": ("asl_brother.mkv", 10),
    "swiz3n": ("swiz3n.mpg", 20),
    "asl_thanks": ("asl_thanks.mkv", 15),
    "s18": ("s18.mp4", 60),
    "retalking_1": ("retalking_1.mp4", 30),
}
"""A file of ../shared/clips, and the first frame that is taken."""

TESTING = ("swiz3n", "asl_thanks", "s18")

SIDE, LARGEST = 3.0, 320
"""Width and height of a piece in those of the face, and in px at most: what is larger is reduced."""

ENDINGS = {"meme": ".gif", "photo": ".png"}
SAMPLES = 3
"""Frames of a piece on which SSIM, VGGD, identity and NIQE are taken."""

ROOM = 0.35
"""Of a face's longer side, what is measured around its box."""


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    rows: list[dict[str, Any]] = []
    restore = _Restorer()
    with tempfile.TemporaryDirectory() as temporary:
        for clip in options.clips:
            place = (options.keep or Path(temporary)) / clip
            pieces = (_piece(options.shared / "clips", clip, place, count) for count in (1, options.frames))
            photo, film = (_Yardstick(piece, options.shared) for piece in pieces)
            for name, seed in itertools.product(options.presets, options.seeds):
                own = options.options.get(name, [])
                yard = photo if name == "photo" else film
                found = list(_rows(name, seed, yard, place / f"{name}-{seed}", own, restore))
                print_table(f"{name}, {clip}, {seed}", found)
                rows += [{"preset": name, "clip": clip, "seed": seed, **row} for row in found]
    print(_markdown(rows))
    finish({"frames": options.frames, "rows": rows}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    names = [name for name in PRESETS if name != "none"]
    parser.add_argument("--presets", nargs="*", choices=names, default=names)
    parser.add_argument("--clips", nargs="*", choices=CLIPS, default=TESTING)
    parser.add_argument("--seeds", nargs="*", type=int, default=[11])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="by preset, lists of options")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what was measured there")
    return parser.parse_args()


def _rows(
    preset: str, seed: int, yard: _Yardstick, folder: Path, own: Sequence[Mapping[str, Any]], restore: _Restorer
) -> Iterator[dict[str, Any]]:
    """The damaged piece, the default, the preset, and what else was asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    damaged = folder / f"damaged{ENDINGS.get(preset, '.mkv')}"
    damaged.unlink(missing_ok=True)
    degrade_file(yard.piece.file, damaged, _in_colour(preset), seed=seed)
    yield {"way": "damaged", **yard.measure(_pictures(damaged)), "s a frame": None}
    ways: dict[str, Mapping[str, Any]] = {"default": {}, "preset": {"preset": preset}}
    for way, chosen in (ways | {json.dumps(each): each for each in own}).items():
        output = folder / f"{re.sub(r'[^a-z0-9]+', '-', way).strip('-')}{damaged.suffix}"
        seconds = restore(damaged, output, chosen)
        yield {"way": way, **yard.measure(_pictures(output)), "s a frame": seconds}


def _in_colour(preset: str) -> Any:
    """The damage of a preset's footage; what has become grey has no reference."""
    return find_preset(preset).model_copy(update={"grey_probability": 0.0})


@dataclass(frozen=True)
class Piece:
    """Some frames of a clip, also as a file without loss, and the largest face with what is measured around it."""

    file: Path
    pictures: list[Image]
    faces: list[Face]
    region: Region


def _piece(clips: Path, clip: str, folder: Path, count: int) -> Piece:
    name, first = CLIPS[clip]
    folder.mkdir(parents=True, exist_ok=True)
    with open_source(clips / name) as source:
        pictures = [frame.rgb() for frame in itertools.islice(source.frames(first), count)]
    place = _around(_faces(pictures, folder / "whole.mkv"), pictures[0].shape[:2], SIDE / 2 - 0.5)
    rows, columns = (slice(part.start, part.stop - (part.stop - part.start) % 2) for part in place.slices)
    pictures = [_reduced(picture[rows, columns]) for picture in pictures]
    file = folder / ("reference.png" if count == 1 else "reference.mkv")
    faces = _faces(pictures, file)
    return Piece(file, _pictures(file), faces, _around(faces, pictures[0].shape[:2], ROOM))


def _reduced(picture: Image) -> Image:
    factor = min(1.0, LARGEST / max(picture.shape[:2]))
    height, width = (round(side * factor) // 2 * 2 for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _faces(pictures: Sequence[Image], file: Path) -> list[Face]:
    """Write the pictures, and find the largest face in each."""
    _write(file, pictures)
    track = max(revisage.scan(file).tracks, key=lambda track: len(track.boxes) * track.boxes[0][2])
    return [track.face(int(np.clip(index, track.start, track.stop - 1))) for index in range(len(pictures))]


def _write(path: Path, pictures: Sequence[Image]) -> None:
    if path.suffix == ".png":
        cv2.imwrite(str(path), cv2.cvtColor(pictures[0], cv2.COLOR_RGB2BGR))
        return
    write_clip(path, pictures, codec="ffv1", form="yuv444p")


def _pictures(path: Path) -> list[Image]:
    with open_source(path) as source:
        return [np.ascontiguousarray(frame.rgb()) for frame in source.frames()]


def _around(faces: Sequence[Face], size_hw: tuple[int, int], room: float) -> Region:
    """The rectangle that holds the face in all frames, with room of so many of its sides; 96 px at least, for NIQE."""
    boxes = np.array([face.box for face in faces])
    px = max(room * boxes[:, 2:].max(), (96 - boxes[:, 2:].min()) / 2)
    left, top = (boxes[:, :2].min(axis=0) - px).astype(int)
    right, bottom = ((boxes[:, :2] + boxes[:, 2:]).max(axis=0) + px).astype(int)
    return Region(max(0, left), max(0, top), min(size_hw[1], right), min(size_hw[0], bottom))


class _Restorer:
    """Restores files; networks are loaded once."""

    def __init__(self) -> None:
        self._networks: dict[str, Networks] = {}

    def __call__(self, source: Path, target: Path, chosen: Mapping[str, Any]) -> float:
        """Seconds of the processor that a frame took."""
        config = make_config(overwrite=True, **chosen)
        networks = self._networks.setdefault(json.dumps(config.about("networks")), Networks(config))
        networks.load()
        began = time.process_time()
        report = restore_file(source, target, config, networks)
        return (time.process_time() - began) / report.frames


class _Yardstick:
    """Measures versions of a piece against it."""

    def __init__(self, piece: Piece, shared: Path) -> None:
        self.piece = piece
        self._face = [np.ascontiguousarray(picture[piece.region.slices]) for picture in piece.pictures]
        self._motions = list(itertools.starmap(motion_between, itertools.pairwise(self._face)))
        self._vggd = Vggd(shared / "weights" / "quality" / "vgg19_normalised_conv3_1.safetensors")
        self._embed = Embedder(shared / "weights" / "identity" / "mobilefacenet.onnx")

    def measure(self, pictures: Sequence[Image]) -> dict[str, float]:
        """All measures of one version, which has the piece's frames."""
        assert len(pictures) == len(self._face)
        faces = [np.ascontiguousarray(picture[self.piece.region.slices]) for picture in pictures]
        sample = sorted({len(faces) * (2 * number + 1) // (2 * SAMPLES) for number in range(SAMPLES)})
        beside = [(faces[index], self._face[index]) for index in sample]
        steps = [
            FrameStep(*now, *then, motion)
            for now, then, motion in zip(
                itertools.pairwise(faces), itertools.pairwise(self._face), self._motions, strict=True
            )
        ]
        return {
            "frame PSNR": _mean(map(_psnr, pictures, self.piece.pictures)),
            "PSNR": _mean(map(_psnr, faces, self._face)),
            "SSIM": _mean(itertools.starmap(ssim, beside)),
            "VGGD": _mean(itertools.starmap(self._vggd, beside)),
            "identity": _mean(self._likeness(pictures[index], index) for index in sample),
            "NIQE": niqe([faces[index] for index in sample]),
            **({"T-MSE": _mean(map(t_mse, steps)), "flicker": _mean(map(flicker, steps))} if steps else {}),
        }

    def _likeness(self, picture: Image, index: int) -> float:
        face = self.piece.faces[index]
        return cosine(self._embed(picture, face), self._embed(self.piece.pictures[index], face))


def _psnr(picture: Image, reference: Image) -> float:
    error = float(np.square(picture.astype(np.float32) - reference).mean())
    return 10 * float(np.log10(255**2 / max(error, 1e-9)))


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The means over clips and seeds, a line for each preset and way."""
    columns = [name for name in max(rows, key=len) if name not in ("clip", "seed")]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for preset, way in dict.fromkeys((row["preset"], row["way"]) for row in rows):
        alike = [row for row in rows if (row["preset"], row["way"]) == (preset, way)]
        means = (
            "–" if alike[0].get(name) is None else f"{_mean(row[name] for row in alike):.3g}" for name in columns[2:]
        )
        lines.append(f"| {preset} | {way} | {' | '.join(means)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
