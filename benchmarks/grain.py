"""What does a restored face look like in a grainy picture, and what does giving its grain back cost?

    python benchmarks/grain.py [--shared DIR] [--clips FILE@FRAME ...] [--frames N] [--largest PX] [--json FILE]

Pieces of clips around a face get noise that is new in each frame, are coded by H.264, restored with each of the values
of `--grain`, and compared with what they were. `inside` and `around` are the deviation of the noise (1/255, luma) in
the face and in a ring around it, from the differences of frames in a row, which the method itself does not look at;
the other measures are those of benchmarks/presets.py, in the face with some room around it.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from footage import noisy, with_noise, write_clip
from measuring import finish, print_table
from pieces import LARGEST, Image, Piece, Yardstick, cut_piece, mean, read_pictures
from revisage.core import make_config
from revisage.faces import align, place_of
from revisage.media import Frame, open_source
from revisage.pipeline import Networks, restore_file
from revisage.train.degrade.film import grain

CLIPS = ("asl_brother.mkv@10", "swiz3n.mpg@20", "s18.mp4@60")
RING = 20
"""Px around a face that count as its surroundings."""

Random = np.random.Generator


def _sensor(picture: Image, sigma: float, random: Random) -> Image:
    """Noise of a camera: it grows with the light, and spreads over neighbours where colours were interpolated."""
    white = cv2.GaussianBlur(random.standard_normal(picture.shape, np.float32), (0, 0), 0.6)
    return with_noise(picture, white / white.std() * np.sqrt(4 + sigma**2 * picture.astype(np.float32) / 128))


def _film(picture: Image, sigma: float, random: Random) -> Image:
    return with_noise(picture, grain(picture, sigma, 1, random)[..., None])


NOISES: dict[str, tuple[Callable[[Image, float, Random], Image], float, int]] = {
    "none": (noisy, 0, 18),
    **{f"noise {sigma}": (noisy, sigma, 10) for sigma in (4, 8, 12)},
    "film grain 9": (_film, 9, 10),
    "sensor 6": (_sensor, 6, 10),
    **{f"noise 8, crf {crf}": (noisy, 8, crf) for crf in (23, 28, 34)},
}
"""What is laid over each picture, how strong (1/255, of mid grey), and the CRF of H.264."""


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    networks = Networks(make_config())
    networks.load()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for clip in options.clips:
            pictures = _pictures(options.shared / "clips", clip, options.frames)
            piece = cut_piece(pictures, Path(folder) / clip, options.largest)
            yard = Yardstick(piece, options.shared)
            for noise in options.noises:
                found = list(_rows(noise, yard, Path(folder), networks))
                rows += [{"clip": clip, "px": round(piece.faces[0].size), "noise": noise, **row} for row in found]
                print_table(f"{clip}, {noise}", found)
    finish({"frames": options.frames, "rows": rows}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--clips", nargs="*", default=CLIPS, metavar="FILE@FRAME")
    parser.add_argument("--noises", nargs="*", choices=NOISES, default=list(NOISES))
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--largest", type=int, default=LARGEST, help="sides of a piece (px)")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _pictures(folder: Path, clip: str, count: int) -> list[Image]:
    name, _, first = clip.partition("@")
    with open_source(folder / name) as source:
        return [frame.rgb() for frame in itertools.islice(source.frames(int(first)), count)]


def _rows(noise: str, yard: Yardstick, folder: Path, networks: Networks) -> Iterator[dict[str, Any]]:
    """The noisy piece as it is, and restored with each kind of grain."""
    laid_over, sigma, crf = NOISES[noise]
    random = np.random.default_rng(2026)
    source, output = folder / "noisy.mkv", folder / "restored.mkv"
    write_clip(source, (laid_over(picture, sigma, random) for picture in yard.piece.pictures), crf=str(crf))
    yield {"way": "source", **_measured(yard, read_pictures(source))}
    for way in ("none", "auto", "match"):
        restore_file(source, output, make_config(grain=way, overwrite=True, codec="ffv1"), networks)
        yield {"way": way, **_measured(yard, read_pictures(output))}


def _measured(yard: Yardstick, pictures: Sequence[Image]) -> dict[str, float]:
    found = yard.measure(pictures)
    names = ("PSNR", "VGGD", "identity", "NIQE", "T-MSE", "flicker")
    return {**_noise(pictures, yard.piece), **{name: found.get(name) for name in names}}


def _noise(pictures: Sequence[Image], piece: Piece) -> dict[str, float]:
    """Its deviation in the face and around it."""
    errors = [
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) - cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)
        for picture, clean in zip(pictures, piece.pictures, strict=True)
    ]
    inside, around = [], []
    for (before, after), mask in zip(itertools.pairwise(errors), _masks(piece), strict=False):
        step, wide = after - before, cv2.dilate(mask, np.ones((2 * RING + 1, 2 * RING + 1)))
        inside.append(_deviation(step[mask > 0.95]))
        around.append(_deviation(step[(wide > 0.5) & (mask < 0.01)]))
    return {"inside": mean(inside), "around": mean(around)}


def _masks(piece: Piece) -> Iterator[NDArray[np.float32]]:
    """Where the face is in each picture, 0 to 1."""
    for picture, face in zip(piece.pictures, piece.faces, strict=True):
        mask = np.zeros(picture.shape[:2], np.float32)
        place = place_of(align(Frame.from_array(picture), face, 256), picture.shape[:2])
        assert place is not None
        mask[place.region.slices] = place.mask
        yield mask


def _deviation(steps: NDArray[np.float32]) -> float:
    """Of a frame's noise, by what it differs from the next: of means, since a few edges move."""
    return float(np.abs(steps - np.median(steps)).mean() * np.sqrt(np.pi / 2) / np.sqrt(2))


if __name__ == "__main__":
    main()
