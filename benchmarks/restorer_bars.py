"""How much better is a restored face than the degraded one? Measures at fixed levels of degradation.

    python benchmarks/restorer_bars.py --faces FOLDER --vgg VGG19.safetensors [--model FILE] [--json FILE]

Each face is degraded at its own 512 px (blur, reduction, noise, JPEG, enlarged bicubically: the levels of
`revisage.train.validation`), reduced to the net's size, restored, and compared with the source at that size. The draws
depend on the seed alone. `--denoised` puts OpenCV's fastNlMeans with an unsharp mask beside the net.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import cv2
import numpy as np
import torch

from revisage import nets
from revisage.evaluate import fullref
from revisage.models import loading, store
from revisage.train import validation
from revisage.train.data import FaceSource, load_images

Image = validation.Image
SEED = 2026


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    path = options.model or store.local_path("compact")
    net = _load(path)
    size = net.config.size
    images = _faces(options.faces, options.count)
    report: dict[str, dict[str, dict[str, float]]] = {}
    rows: list[Image] = []
    for level in ("mild", "medium", "heavy", "paper"):
        pairs = list(validation.degraded_pairs(images, level, size, seed=SEED))
        inputs, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        methods = {"input": inputs, "restored": validation.restore(inputs, net)}
        if options.denoised:
            methods["denoised"] = [_denoised(image) for image in inputs]
        report[level] = {name: _means(results, targets, options.vgg) for name, results in methods.items()}
        shown = range(0, len(images), max(1, len(images) // 8))
        rows += [np.hstack([pictures[i] for i in shown]) for pictures in (inputs, methods["restored"], targets)]
    clean = [validation.reduce(image, size) for image in images]
    report["clean"] = {"restored": _means(validation.restore(clean, net), clean, options.vgg)}
    _print(report, len(images))
    if options.json:
        record = {"model": path.name, "faces": len(images), "seed": SEED, "cpu": platform.processor(), "levels": report}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if options.grid:
        validation.write_grid(options.grid, np.vstack(rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder of aligned faces, 512 px")
    parser.add_argument("--vgg", type=Path, required=True, help="safetensors of VGG19 up to relu3_1")
    parser.add_argument("--model", type=Path, help="a compact safetensors file; default: the embedded one")
    parser.add_argument("--count", type=int, default=48, help="faces, spread over the folder")
    parser.add_argument("--denoised", action="store_true", help="measure OpenCV's non-local means and unsharp mask too")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--grid", type=Path, help="write a picture: input, restored, source, level by level")
    return parser.parse_args()


def _load(path: Path) -> torch.nn.Module:
    record = loading.metadata(path)
    net = nets.build(record["arch"], record["config"])
    net.load_state_dict(loading.load_state(path))
    return net.float().eval()


def _faces(folder: Path, count: int) -> list[Image]:
    cache = load_images([FaceSource(path=folder)], validation.FACE_SIZE)
    return validation.spread(cache.pixels.numpy(), count)


def _denoised(image: Image) -> Image:
    """Non-local means, then an unsharp mask: what OpenCV alone can do."""
    calm = cv2.fastNlMeansDenoisingColored(image, None, 5, 5, 7, 21)
    return cv2.addWeighted(calm, 1.6, cv2.GaussianBlur(calm, (0, 0), 2), -0.6, 0)


def _means(results: list[Image], targets: list[Image], vgg: Path) -> dict[str, float]:
    pairs = list(zip(results, targets, strict=True))
    return {
        "psnr": float(np.mean([fullref.psnr(*pair) for pair in pairs])),
        "ssim": float(np.mean([fullref.ssim(*pair) for pair in pairs])),
        "vggd": float(np.mean(fullref.vggd(results, targets, vgg))),
    }


def _print(report: dict[str, dict[str, dict[str, float]]], count: int) -> None:
    print(f"{count} faces, seed {SEED}")
    print(f"{'level':<8} {'method':<10} {'PSNR':>7} {'SSIM':>7} {'VGGD':>7} {'dPSNR':>7} {'dSSIM':>8} {'xVGGD':>7}")
    for level, methods in report.items():
        before = methods.get("input")
        for name, values in methods.items():
            line = f"{level:<8} {name:<10} {values['psnr']:7.2f} {values['ssim']:7.4f} {values['vggd']:7.4f}"
            if before:
                gain, structure = values["psnr"] - before["psnr"], values["ssim"] - before["ssim"]
                line += f" {gain:+7.2f} {structure:+8.4f} {values['vggd'] / before['vggd']:7.3f}"
            print(line)


if __name__ == "__main__":
    main()
