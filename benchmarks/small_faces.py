"""What does a restoration do to a small face, clean or damaged, and could that be told from the face beforehand?

    python benchmarks/small_faces.py --faces FOLDER --weights FOLDER [--count N] [--sizes PX ...] [--json FILE]

Faces of 512 px in FFHQ framing are reduced to a width of some 60 to 140 px, which no crop of the restorer shows smaller
than it is, and stand beside each other in one picture. That is damaged at its own pixels: a GIF's 256 colours
(dithered), JPEG, noise, blur, H.264 (clips of 7 frames that move by 0.76 px each). Each face is aligned by the
landmarks of its framing, restored by the embedded restorer and composited; PSNR is of where its mask is above a half,
at most 50 dB, identity the mean cosine to the source (MobileFaceNet).

Beside it stands a restoration that is shown as far as three measures of the frame's own pixels say that it is needed:
`sharp`, the deviation of the band above a Gaussian of 0.7 px over that of the octave below (soft faces gain, sharp ones
lose); `noise`, the median of what a second difference both ways leaves, as a deviation (1/255); and `flat`, that over
the deviation of the finest band (blocks of JPEG leave large areas without any detail). Nothing of the package does so.
`least` is the smallest gain of a face with that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from footage import jpeg, last_of_clip, noisy
from measuring import finish, print_table
from revisage.core import Face
from revisage.faces import AlignedFace, align, composite, ffhq_template, invert, shown_mask
from revisage.measures import Embedder, cosine
from revisage.media import Frame
from revisage.restorers import FaceRestorer, load_restorer
from revisage.train.images import FaceSource, load_images
from revisage.train.restorer.pairs import FACE_SIZE, spread

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
SEED = 2026
IDENTITY = "identity/mobilefacenet.onnx"
FACE_WIDTH = 280
"""Of a face in FFHQ framing of 512 px."""

PER_ROW, CLIP = 4, 7
SOFT_TO_SHARP, CALM_TO_NOISY, FLAT_TO_WHOLE = (0.72, 0.80), (5.0, 8.0), (0.12, 0.16)
"""Between these the three measures go over from one answer to the other."""

SECOND_DIFFERENCE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    images = spread(load_images([FaceSource(path=options.faces)], FACE_SIZE).pixels.numpy(), options.count)
    restorer = load_restorer("compact", precision="fp32")
    embedder = Embedder(options.weights / IDENTITY)
    rows = []
    for size in options.sizes:
        small = [_reduced(image, size) for image in images]
        for name, damage in DAMAGES.items():
            faces = _restored(small, damage, restorer)
            rows.append({"px": size, "damage": name, **_means([_values(face, embedder) for face in faces])})
    print_table(f"{len(images)} faces, PSNR in dB, with the restoration as it is and shown as far as needed", rows)
    finish({"faces": len(images), "seed": SEED, "rows": rows}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned faces, 512 px")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the measures' networks")
    parser.add_argument("--count", type=int, default=24, help="faces, spread over the folder; a multiple of four")
    parser.add_argument("--sizes", type=int, nargs="+", default=[60, 100, 140], help="widths of the faces (px)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.count % PER_ROW:
        parser.error(f"--count must be a multiple of {PER_ROW}")
    return options


def _reduced(image: Image, size: int) -> Image:
    side = round(FACE_SIZE * size / FACE_WIDTH / 2) * 2
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _in_256_colours(image: Image) -> Image:
    return np.array(Picture.fromarray(image).quantize(256).convert("RGB"))


def _noisy(image: Image, sigma: float) -> Image:
    return noisy(image, sigma, np.random.default_rng(SEED))


def _blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


DAMAGES: dict[str, Callable[[Image], Image]] = {
    "none": lambda image: image,
    "GIF": _in_256_colours,
    **{f"JPEG {quality}": lambda image, quality=quality: jpeg(image, quality) for quality in (90, 75, 50, 30)},
    **{f"noise {sigma}": lambda image, sigma=sigma: _noisy(image, sigma) for sigma in (3, 6, 12)},
    **{f"blur {sigma}": lambda image, sigma=sigma: _blurred(image, sigma) for sigma in (0.6, 1.0)},
    "blur 1, noise 4, JPEG 75": lambda image: jpeg(_noisy(_blurred(image, 1), 4), 75),
    **{f"H.264 crf {crf}": lambda image, crf=crf: last_of_clip(image, CLIP, crf) for crf in (18, 24, 30, 36)},
}


@dataclass(frozen=True, eq=False)
class _Restored:
    """A face as it was, damaged and restored, in one window, and where it is shown."""

    source: Image
    damaged: Image
    restored: Image
    shown: Mask


def _restored(small: list[Image], damage: Callable[[Image], Image], restorer: FaceRestorer) -> list[_Restored]:
    rows = [np.hstack(small[first : first + PER_ROW]) for first in range(0, len(small), PER_ROW)]
    picture = np.ascontiguousarray(damage(np.vstack(rows)))
    frame, side = Frame.from_array(picture), len(small[0])
    done = []
    for number, source in enumerate(small):
        top, left = (side * place for place in divmod(number, PER_ROW))
        window = slice(top, top + side), slice(left, left + side)
        face = _aligned(frame, left, top, side, restorer.size)
        after = composite(frame, [(face, restorer(face.crop[None])[0], 1.0)]).rgb()
        mask = cv2.warpAffine(shown_mask(face), invert(face.affine), frame.size_hw[::-1], flags=cv2.INTER_AREA)
        done.append(_Restored(source, picture[window], after[window], mask[window] > 0.5))
    return done


def _aligned(frame: Frame, left: int, top: int, side: int, size: int) -> AlignedFace:
    landmarks = np.add(ffhq_template(side), (left, top)).astype(np.float32)
    return align(frame, Face((left + side / 5, top + side / 5, side * 0.6, side * 0.6), landmarks), size)


def _values(face: _Restored, embedder: Embedder) -> dict[str, float]:
    sharp, noise, flat = _measures(face.damaged, face.shown)
    needed = max(1 - _within(sharp, SOFT_TO_SHARP), _within(noise, CALM_TO_NOISY), 1 - _within(flat, FLAT_TO_WHOLE))
    change = needed * (face.restored.astype(np.float32) - face.damaged)
    gated = np.clip(np.rint(face.damaged + change), 0, 255).astype(np.uint8)
    before, after, kept = (_psnr(image, face) for image in (face.damaged, face.restored, gated))
    who, *others = (_identity(image, embedder) for image in (face.source, face.damaged, face.restored, gated))
    damaged, restored, gated_identity = (float(cosine(who, other)) for other in others)
    return {
        "before": before,
        "gain": after - before,
        "gain as needed": kept - before,
        "least": kept - before,
        "needed": needed,
        "identity": damaged,
        "restored": restored,
        "as needed": gated_identity,
        "sharp": sharp,
        "noise": noise,
        "flat": flat,
    }


def _measures(image: Image, shown: Mask) -> tuple[float, float, float]:
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    soft, softer = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (0.7, 1.4))
    finest, octave = float((grey - soft)[shown].std()), float((soft - softer)[shown].std())
    noise = float(np.median(np.abs(cv2.filter2D(grey, -1, SECOND_DIFFERENCE)[shown]))) / 0.6745
    return finest / max(octave, 1e-3), noise, noise / max(finest, 1e-3)


def _within(value: float, limits: tuple[float, float]) -> float:
    part = float(np.clip((value - limits[0]) / (limits[1] - limits[0]), 0, 1))
    return part * part * (3 - 2 * part)


def _psnr(image: Image, face: _Restored) -> float:
    """At most 50 dB: beyond that nobody sees a difference, and what is left as it is has no end."""
    error = float(np.square(image.astype(np.float32) - face.source)[face.shown].mean())
    return min(50.0, 10 * float(np.log10(255**2 / max(error, 1e-6))))


def _identity(image: Image, embedder: Embedder) -> NDArray[np.float32]:
    side = len(image)
    return embedder(np.ascontiguousarray(image), Face((0, 0, side, side), ffhq_template(side).astype(np.float32)))


def _means(values: list[dict[str, float]]) -> dict[str, float]:
    return {
        name: round(float((np.min if name == "least" else np.mean)([one[name] for one in values])), 3)
        for name in values[0]
    }


if __name__ == "__main__":
    main()
