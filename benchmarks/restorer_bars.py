"""How much better is a restored face than the degraded one? Measures at fixed levels of degradation.

    python benchmarks/restorer_bars.py --faces FOLDER --weights FOLDER [--model FILE] [--json FILE] [--grid FILE]

Each face is degraded at its own 512 px (blur, reduction, noise, JPEG, enlarged bicubically: the levels of
`revisage.train.restorer.pairs`), reduced to the net's size, restored, and compared with the source at that size. Draws
depend on the seed alone. Beside the net stand OpenCV's fastNlMeans with an unsharp mask and, where its weights are in
the folder, Real-ESRGAN general x4 on the reduced input. NIQE is told as its mean, identity as the mean cosine to the
source (MobileFaceNet). Leaves with 1 when a bar is missed; the bars are printed with what was reached.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from revisage import models, nets
from revisage.core import Image
from revisage.core.values import Face
from revisage.engines import cpu_info
from revisage.faces.alignment import ffhq_template
from revisage.measures import Embedder, Vggd, cosine, niqe, psnr, ssim
from revisage.restorers import load_restorer, load_upscaler
from revisage.train.images import FaceSource, load_images
from revisage.train.restorer import pairs as levels

SEED = 2026
VGG = "quality/vgg19_normalised_conv3_1.safetensors"
IDENTITY = "identity/mobilefacenet.onnx"
UPSCALER = "upscale/realesr-general-x4v3.fp16.safetensors"
FACTORS = {"mild": 2, "medium": 4, "heavy": 8, "paper": 4}


def main() -> int:
    options = _options()
    torch.set_num_threads(options.threads)
    restore, size = _restorer(options.model, options.precision)
    images = _faces(options.faces, options.count)
    measure = Measures(options.weights)
    clean = [levels.reduce(image, size) for image in images]
    report = {"clean": {"source": measure(clean, clean), "restored": measure(restore(clean), clean)}}
    rows: list[Image] = []
    for level in ("mild", "medium", "heavy", "paper"):
        pairs = list(levels.degraded_pairs(images, level, size, seed=SEED))
        inputs, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        methods = {"input": inputs, "restored": restore(inputs)} | _others(inputs, level, options)
        report[level] = {name: measure(results, targets) for name, results in methods.items()}
        shown = range(0, len(images), max(1, len(images) // 8))
        rows += [np.hstack([pictures[i] for i in shown]) for pictures in (inputs, methods["restored"], targets)]
    _print(report, len(images))
    if options.json:
        record = {"model": options.model, "faces": len(images), "seed": SEED, "cpu": str(cpu_info()), "levels": report}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.grid:
        cv2.imwrite(str(options.grid), np.vstack(rows)[..., ::-1])
    return _judge(report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned faces, 512 px")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the measures' networks")
    parser.add_argument("--model", default="compact", help="an embedded compact, or a safetensors file of one")
    parser.add_argument("--precision", choices=("fp32", "bf16", "int8"), help="an embedded one as OpenVINO runs it")
    parser.add_argument("--count", type=int, default=48, help="faces, spread over the folder")
    parser.add_argument("--alone", action="store_true", help="without the other methods")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--grid", type=Path, help="write a picture: input, restored, source, level by level")
    return parser.parse_args()


def _restorer(model: str, precision: str | None) -> tuple[Callable[[list[Image]], list[Image]], int]:
    """What restores crops, and their side: the net in torch, or the embedded one as a user gets it."""
    if precision is not None:
        restorer = load_restorer(model, precision=precision)
        print(restorer.info)
        return lambda images: list(restorer(np.stack(images))), restorer.size
    net = _load(Path(model) if Path(model).is_file() else models.verify(model).path)
    return lambda images: levels.restore(images, net), net.config.size


def _load(path: Path) -> torch.nn.Module:
    record = models.metadata(path)
    net = nets.build(record["arch"], record["config"])
    net.load_state_dict(models.load_state(path))
    return net.float().eval()


def _faces(folder: Path, count: int) -> list[Image]:
    cache = load_images([FaceSource(path=folder)], levels.FACE_SIZE)
    return levels.spread(cache.pixels.numpy(), count)


def _denoised(image: Image) -> Image:
    """Non-local means, then an unsharp mask: what OpenCV alone can do."""
    calm = cv2.fastNlMeansDenoisingColored(image, None, 5, 5, 7, 21)
    return cv2.addWeighted(calm, 1.6, cv2.GaussianBlur(calm, (0, 0), 2), -0.6, 0)


def _others(inputs: list[Image], level: str, options: argparse.Namespace) -> dict[str, list[Image]]:
    if options.alone:
        return {}
    others = {"denoised": [_denoised(image) for image in inputs]}
    if (options.weights / UPSCALER).is_file():
        upscaler = load_upscaler(options.weights / UPSCALER)
        others["realesrgan"] = [_upscaled(image, upscaler, FACTORS[level] / 2) for image in inputs]
    return others


def _upscaled(image: Image, upscaler: Callable[[Image], Image], factor: float) -> Image:
    """Down to about what was recorded, up four times by the network, and back to the size of the crop."""
    size = image.shape[0]
    small = cv2.resize(image, (round(size / factor),) * 2, interpolation=cv2.INTER_AREA)
    return levels.reduce(upscaler(np.ascontiguousarray(small)), size)


class Measures:
    """PSNR, SSIM, VGGD, NIQE and identity over a list of crops."""

    def __init__(self, weights: Path) -> None:
        self.vggd = Vggd(weights / VGG)
        self.embedder = Embedder(weights / IDENTITY)

    def __call__(self, results: list[Image], targets: list[Image]) -> dict[str, float]:
        pairs = list(zip(results, targets, strict=True))
        return {
            "psnr": float(np.mean([min(psnr(*pair), 99.0) for pair in pairs])),
            "ssim": float(np.mean([ssim(*pair) for pair in pairs])),
            "vggd": float(np.mean(list(map(self.vggd, results, targets)))),
            "niqe": niqe(results),
            "identity": float(np.mean([cosine(self._who(one), self._who(other)) for one, other in pairs])),
        }

    def _who(self, crop: Image) -> np.ndarray:
        size = crop.shape[0]
        return self.embedder(crop, Face((0, 0, size, size), ffhq_template(size).astype(np.float32), 1.0))


def _print(report: dict[str, dict[str, dict[str, float]]], count: int) -> None:
    print(f"{count} faces, seed {SEED}, {cpu_info()}")
    head = ("PSNR", "SSIM", "VGGD", "NIQE", "ident.", "dPSNR", "dSSIM", "xVGGD")
    print(f"{'level':<8} {'method':<11}" + "".join(f"{name:>8}" for name in head))
    for level, methods in report.items():
        before = methods.get("input")
        for name, values in methods.items():
            line = f"{level:<8} {name:<11}{values['psnr']:8.2f}{values['ssim']:8.4f}{values['vggd']:8.4f}"
            line += f"{values['niqe']:8.2f}{values['identity']:8.4f}"
            if before:
                gain, structure = values["psnr"] - before["psnr"], values["ssim"] - before["ssim"]
                line += f"{gain:+8.2f}{structure:+8.4f}{values['vggd'] / before['vggd']:8.3f}"
            print(line)


def _judge(report: dict[str, dict[str, dict[str, float]]]) -> int:
    """Print each bar with what was reached; 1 when one is missed."""
    bars: list[tuple[str, float, str, float]] = []
    levels = (("medium", 1.0, 0.05, 0.55), ("heavy", 1.0, None, 0.55), ("mild", 0.0, 0.0, 1.0))
    for level, gain, structure, vggd in levels:
        before, after = report[level]["input"], report[level]["restored"]
        bars.append((f"{level}: PSNR gain", after["psnr"] - before["psnr"], ">=", gain))
        if structure is not None:
            bars.append((f"{level}: SSIM gain", after["ssim"] - before["ssim"], ">=", structure))
        bars.append((f"{level}: VGGD ratio", after["vggd"] / before["vggd"], "<=", vggd))
        bars.append((f"{level}: identity gain", after["identity"] - before["identity"], ">=", 0.0))
        goal = report["clean"]["source"]["niqe"]
        nearer = abs(before["niqe"] - goal) - abs(after["niqe"] - goal)
        bars.append((f"{level}: NIQE nearer to the clean", nearer, ">=", 0.0))
    bars.append(("clean: PSNR", report["clean"]["restored"]["psnr"], ">=", 30.0))
    bars.append(
        (
            "clean: VGGD / medium input's",
            report["clean"]["restored"]["vggd"] / report["medium"]["input"]["vggd"],
            "<=",
            0.25,
        )
    )
    missed = 0
    for name, value, sign, bar in bars:
        held = value >= bar if sign == ">=" else value <= bar
        missed += not held
        print(f"{'ok    ' if held else 'MISSED'} {name:<32}{value:9.4f} {sign} {bar:g}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
