"""What does a restoration do to a small face, clean or damaged, and could that be told from the face beforehand?

    python benchmarks/small_faces.py --faces FOLDER --weights FOLDER [--count N] [--sizes PX ...] [--json FILE]

Faces of 512 px in FFHQ framing are reduced to a width of some 60 to 140 px, which no crop of the restorer shows smaller
than it is, and stand beside each other in one picture. That is damaged at its own pixels: a GIF's 256 colours
(dithered), JPEG, noise, blur, H.264 (clips of 7 frames that move by 0.76 px each). Each face is aligned by the
landmarks of its framing, restored by the embedded restorer and composited; PSNR is of where its mask is above a half,
at most 50 dB, identity the mean cosine to the source (MobileFaceNet).

Beside it stands what the package shows of that: as far as the frame's own pixels say that it is needed (`damage`, from
`sharp` to `even`: :mod:`revisage.faces.pixel_damage`). `least` is the smallest gain of a face with that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture

from footage import jpeg, last_of_clip, noisy
from measuring import finish, print_table
from revisage.core import Face
from revisage.faces import (
    AlignedFace,
    PixelSigns,
    align,
    composite,
    ffhq_template,
    invert,
    pixel_signs,
    shown_mask,
    with_fine,
)
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
    "blur 2, noise 3": lambda image: _noisy(_blurred(image, 2), 3),
    "blur 1, noise 4, JPEG 75": lambda image: jpeg(_noisy(_blurred(image, 1), 4), 75),
    **{f"H.264 crf {crf}": lambda image, crf=crf: last_of_clip(image, CLIP, crf) for crf in (18, 24, 30, 36)},
}


@dataclass(frozen=True, eq=False)
class _Restored:
    """A face as it was, damaged, restored fully and as needed, in one window, and where it is shown."""

    source: Image
    damaged: Image
    restored: Image
    as_needed: Image
    shown: Mask
    signs: PixelSigns


def _restored(small: list[Image], damage: Callable[[Image], Image], restorer: FaceRestorer) -> list[_Restored]:
    rows = [np.hstack(small[first : first + PER_ROW]) for first in range(0, len(small), PER_ROW)]
    picture = np.ascontiguousarray(damage(np.vstack(rows)))
    frame, side = Frame.from_array(picture), len(small[0])
    done = []
    for number, source in enumerate(small):
        top, left = (side * place for place in divmod(number, PER_ROW))
        window = slice(top, top + side), slice(left, left + side)
        face = _aligned(frame, left, top, side, restorer.size)
        restored = restorer(face.crop[None])[0]
        needed = with_fine(frame, face, None, share=0)
        after, as_needed = (composite(frame, [(each, restored, 1.0)]).rgb()[window] for each in (face, needed))
        mask = cv2.warpAffine(shown_mask(face), invert(face.affine), frame.size_hw[::-1], flags=cv2.INTER_AREA)
        signs = pixel_signs(frame, face)
        assert signs is not None
        done.append(_Restored(source, picture[window], after, as_needed, mask[window] > 0.5, signs))
    return done


def _aligned(frame: Frame, left: int, top: int, side: int, size: int) -> AlignedFace:
    landmarks = np.add(ffhq_template(side), (left, top)).astype(np.float32)
    return align(frame, Face((left + side / 5, top + side / 5, side * 0.6, side * 0.6), landmarks), size)


def _values(face: _Restored, embedder: Embedder) -> dict[str, float]:
    pictures = face.damaged, face.restored, face.as_needed
    before, after, kept = (_psnr(image, face) for image in pictures)
    who, *others = (_identity(image, embedder) for image in (face.source, *pictures))
    damaged, restored, as_needed = (float(cosine(who, other)) for other in others)
    return {
        "before": before,
        "gain": after - before,
        "gain as needed": kept - before,
        "least": kept - before,
        "damage": face.signs.damage,
        "identity": damaged,
        "restored": restored,
        "as needed": as_needed,
        **{name: value for name, value in asdict(face.signs).items() if name != "width"},
    }


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
