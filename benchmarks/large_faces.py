"""How much better does a large face leave a whole restoration? Noise, JPEG, blur and H.264 at the frame's own pixels.

    python benchmarks/large_faces.py --faces FOLDER --weights FOLDER [--before CHECKOUT] [--count N] [--json FILE]

Faces of 512 px in FFHQ framing stand on a canvas of 720 px, where they are 280 px wide, and on the same canvas
enlarged twice (560 px). The canvas is damaged and goes through `revisage.restore_image`, detector and all. Compared is
the square from the brows to the chin (240 px, 480 of the larger face). VGGD is told at the scale of a 512 px face: the
larger square is reduced first. Identity is the mean cosine to the source (MobileFaceNet). Beside the restoration stand
what OpenCV offers, fastNlMeansDenoisingColored (h = 5) and a bilateral filter, and with `--before` the restoration of
another checkout of this project, which runs in a process of its own. The H.264 clip has 20 frames of x264 at crf 36
that move by 0.76 px each; its last frame is restored. Leaves with 1 when a bar is missed; the bars are printed with
what was reached.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import revisage
from footage import jpeg, last_of_clip, noisy
from revisage.core import Face
from revisage.engines import cpu_info
from revisage.faces import ffhq_template
from revisage.measures import Embedder, Vggd, cosine, psnr

Image = NDArray[np.uint8]
Values = dict[str, float]
SEED = 2026
GROUPS = ("london", "us_council", "ffhq_hr")
VGG = "quality/vgg19_normalised_conv3_1.safetensors"
IDENTITY = "identity/mobilefacenet.onnx"
FACE, CANVAS = 512, 720
MARGIN = (CANVAS - FACE) // 2
# From the brows to the chin in a 512 px face: rows, columns.
BOX = (slice(MARGIN + 200, MARGIN + 440), slice(MARGIN + 136, MARGIN + 376))
WIDTHS = {280: 1, 560: 2}
CLIP = 20
#: Least gain of PSNR (dB) of each damage; `clean` is the least PSNR itself.
BARS = {"noise 12": 6.0, "JPEG 20": 1.0, "blur 1, noise 8, JPEG 50": 2.0, "H.264 crf 36": 1.0, "clean": 38.0}
VGGD_BAR = 2 / 3
OTHER = """
import sys, cv2, revisage
for name in sys.argv[1:]:
    cv2.imwrite(name, revisage.restore_image(cv2.imread(name)[..., ::-1].copy())[..., ::-1])
"""


def main() -> int:
    options = _options()
    torch.set_num_threads(options.threads)
    faces = _faces(options.faces, options.count)
    measure = Measures(options.weights)
    methods = _methods(options)
    report: dict[str, dict[str, dict[str, Values]]] = {}
    strips: list[Image] = []
    print(f"{len(faces)} faces, seed {SEED}, {cpu_info()}")
    for width in options.widths:
        scale = WIDTHS[width]
        sources = [_canvas(face, scale) for face in faces]
        for damage in options.damages:
            inputs = [damaged(source, damage, SEED + index) for index, source in enumerate(sources)]
            results = {name: method(inputs) for name, method in methods.items()}
            values = {name: measure(pictures, sources, scale) for name, pictures in results.items()}
            report.setdefault(str(width), {})[damage] = values
            _print(width, damage, values)
            shown = range(0, len(faces), max(1, len(faces) // 6))
            strips += [_strip([p[i] for p in (*results.values(), sources)], scale) for i in shown if scale == 1]
    if options.json:
        record = {"faces": len(faces), "seed": SEED, "cpu": str(cpu_info()), "widths": report}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.grid and strips:
        cv2.imwrite(str(options.grid), np.vstack(strips)[..., ::-1])
    return _judge(report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned faces, 512 px")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the measures' networks")
    parser.add_argument("--before", type=Path, help="another checkout of this project to put beside")
    parser.add_argument("--count", type=int, default=24, help="faces, spread over the groups")
    parser.add_argument("--widths", type=int, nargs="+", choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--damages", nargs="+", choices=BARS, default=list(BARS), metavar="DAMAGE")
    parser.add_argument("--alone", action="store_true", help="without the other methods")
    parser.add_argument("--fine", help="value of the option fine; default: the default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--grid", type=Path, help="write a picture: each method and the source, face by face")
    return parser.parse_args()


def _faces(folder: Path, count: int) -> list[Image]:
    """Faces of each group, evenly spread over it, as many of each as there are and the count asks for."""
    chosen: list[Path] = []
    for place, group in enumerate(GROUPS):
        files = sorted(folder.glob(f"{group}_[0-9]*"))
        share = min(len(files), (count - len(chosen)) // (len(GROUPS) - place))
        chosen += [files[int(index)] for index in np.linspace(0, len(files) - 1, share)]
    return [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in chosen]


def _canvas(face: Image, scale: int) -> Image:
    """The face with its surroundings mirrored, enlarged bicubically."""
    canvas = cv2.copyMakeBorder(face, *[MARGIN] * 4, cv2.BORDER_REFLECT_101)
    return cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale > 1 else canvas


def damaged(image: Image, damage: str, seed: int) -> Image:
    """An image as one of `BARS` names it."""
    random = np.random.default_rng(seed)
    if damage == "noise 12":
        return noisy(image, 12, random)
    if damage == "JPEG 20":
        return jpeg(image, 20)
    if damage == "blur 1, noise 8, JPEG 50":
        return jpeg(noisy(cv2.GaussianBlur(image, (0, 0), 1), 8, random), 50)
    return last_of_clip(image, CLIP, crf=36) if damage == "H.264 crf 36" else image


def _methods(options: argparse.Namespace) -> dict[str, Callable[[list[Image]], list[Image]]]:
    chosen = {"fine": options.fine} if options.fine else {}
    methods: dict[str, Callable[[list[Image]], list[Image]]] = {"input": lambda images: images}
    if not options.alone:
        methods["NLM"] = lambda images: [cv2.fastNlMeansDenoisingColored(i, None, 5, 5, 7, 21) for i in images]
        methods["bilateral"] = lambda images: [cv2.bilateralFilter(i, 7, 30, 3) for i in images]
    if options.before:
        methods["before"] = lambda images: _by_checkout(images, options.before)
    methods["ours"] = lambda images: [revisage.restore_image(image, **chosen) for image in images]
    return methods


def _by_checkout(images: list[Image], checkout: Path) -> list[Image]:
    with tempfile.TemporaryDirectory() as folder:
        names = [str(Path(folder) / f"{index:03d}.png") for index in range(len(images))]
        for name, image in zip(names, images, strict=True):
            cv2.imwrite(name, image[..., ::-1])
        place = {**os.environ, "PYTHONPATH": str(checkout / "src")}
        subprocess.run([sys.executable, "-c", OTHER, *names], env=place, check=True)
        return [cv2.cvtColor(cv2.imread(name), cv2.COLOR_BGR2RGB) for name in names]


class Measures:
    """PSNR inside the box, VGGD of the box at the scale of a 512 px face, identity: means over all faces."""

    def __init__(self, weights: Path) -> None:
        self.vggd = Vggd(weights / VGG)
        self.embedder = Embedder(weights / IDENTITY)

    def __call__(self, results: list[Image], sources: list[Image], scale: int) -> Values:
        boxes = [(_box(one, scale), _box(other, scale)) for one, other in zip(results, sources, strict=True)]
        reduced = [[_reduced(image, scale) for image in pair] for pair in boxes]
        who = [(self._who(one, scale), self._who(two, scale)) for one, two in zip(results, sources, strict=True)]
        return {
            "psnr": float(np.mean([min(psnr(*pair), 60.0) for pair in boxes])),
            "vggd": float(np.mean([self.vggd(*pair) for pair in reduced])),
            "identity": float(np.mean([cosine(*pair) for pair in who])),
        }

    def _who(self, canvas: Image, scale: int) -> NDArray[np.float32]:
        landmarks = ((ffhq_template(FACE) + MARGIN + 0.5) * scale - 0.5).astype(np.float32)
        place = MARGIN * scale
        return self.embedder(canvas, Face((place, place, FACE * scale, FACE * scale), landmarks, 1.0))


def _box(canvas: Image, scale: int) -> Image:
    rows, columns = (slice(part.start * scale, part.stop * scale) for part in BOX)
    return np.ascontiguousarray(canvas[rows, columns])


def _reduced(image: Image, scale: int) -> Image:
    return cv2.resize(image, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA) if scale > 1 else image


def _strip(pictures: list[Image], scale: int) -> Image:
    return np.hstack([_box(picture, scale) for picture in pictures])


def _print(width: int, damage: str, methods: dict[str, Values]) -> None:
    before = methods["input"]
    for name, values in methods.items():
        line = (
            f"{width} px  {damage:<26}{name:<10} PSNR {values['psnr']:6.2f} ({values['psnr'] - before['psnr']:+6.2f})"
        )
        ratio = values["vggd"] / before["vggd"] if before["vggd"] > 0 else 1.0
        print(f"{line}  VGGD {values['vggd']:.3f} (x{ratio:.3f})  identity {values['identity']:.4f}", flush=True)


def _judge(report: dict[str, dict[str, dict[str, Values]]]) -> int:
    """Print each bar with what was reached; 1 when one is missed."""
    missed = 0
    for width, levels in report.items():
        for damage, methods in levels.items():
            before, after = methods["input"], methods["ours"]
            bars = [("PSNR", after["psnr"], ">=", BARS[damage])]
            if damage != "clean":
                bars = [
                    ("PSNR gain", after["psnr"] - before["psnr"], ">=", BARS[damage]),
                    ("VGGD ratio", after["vggd"] / before["vggd"], "<=", VGGD_BAR),
                    ("identity gain", after["identity"] - before["identity"], ">=", 0.0),
                ]
            for name, value, sign, bar in bars:
                held = value >= bar if sign == ">=" else value <= bar
                missed += not held
                print(f"{'ok    ' if held else 'MISSED'} {width} px {damage}: {name:<14}{value:9.4f} {sign} {bar:.4g}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
