"""Seconds per megapixel of input of each upscaler, by engine and precision, and whether tiles leave seams.

    python benchmarks/upscale.py [--weights FILE ...] [--image FILE] [--side 192] [--tile 96] [--rounds 3] [--json FILE]

Without --weights the networks have random weights: time does not depend on them, agreement and seams do.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from measuring import clock_name, finish, interleaved, print_table, ratio
from revisage.engines import cpu_info
from revisage.nets import build
from revisage.restorers import Upscaler, load_upscaler

ARCHITECTURES = ("srvgg_x4", "rrdbnet_x2", "rrdbnet_x4")


def random_weights(folder: Path) -> list[Path]:
    """A file of random weights for each architecture."""
    files = []
    for name in ARCHITECTURES:
        torch.manual_seed(0)
        files.append(folder / f"{name}.safetensors")
        save_file(build(name).state_dict(), files[-1])
    return files


def picture(file: Path | None, side: int) -> np.ndarray:
    """(side, side, 3) uint8 RGB: the middle of a picture, or grain."""
    if file is None:
        return np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    with Image.open(file) as opened:
        image = np.asarray(opened.convert("RGB"))
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return np.ascontiguousarray(image[max(0, top) :, max(0, left) :][:side, :side])


def rows_of(weights: Path, image: np.ndarray, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per variant of one network."""
    precisions = ["fp32", "bf16"] if cpu_info().native_bf16 else ["fp32"]
    made: dict[str, Upscaler] = {
        f"{engine} {precision}": load_upscaler(
            weights, tile=options.tile, device="cpu", engine=engine, precision=precision
        )
        for engine in ("torch", "openvino")
        for precision in precisions
    }
    whole = load_upscaler(weights, tile=0, device="cpu", engine="torch", precision="fp32")(image).astype(int)
    apart = {key: np.abs(upscaler(image) - whole) for key, upscaler in made.items()}
    calls = {key: (lambda upscaler=upscaler: upscaler(image)) for key, upscaler in made.items()}
    seconds = interleaved(calls, options.rounds, cpu_time=options.cpu_time, warm_up=False)
    pixels = image.shape[0] * image.shape[1] / 1e6
    return [
        {
            "network": made[key].info.architecture,
            "variant": key,
            "s per megapixel": min(times) / pixels,
            "of torch fp32": ratio(seconds, key, "torch fp32"),
            "largest step from whole": int(apart[key].max()),
            "mean step": float(apart[key].mean()),
        }
        for key, times in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", type=Path, help="weights files of upscalers")
    parser.add_argument("--image", type=Path, help="a picture to enlarge the middle of")
    parser.add_argument("--side", type=int, default=192, help="px of the part that is enlarged")
    parser.add_argument("--tile", type=int, default=96, help="px of a tile")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the record here instead of printing it")
    parser.add_argument("--cpu-time", action="store_true", help="processor time of all threads, not wall time")
    options = parser.parse_args()
    print(f"{cpu_info()}; {clock_name(options.cpu_time)}")
    image = picture(options.image, options.side)
    with tempfile.TemporaryDirectory() as folder:
        files = options.weights or random_weights(Path(folder))
        rows = [row for file in files for row in rows_of(file, image, options)]
    print_table(f"{options.side} x {options.side} px in tiles of {options.tile} px", rows)
    finish(
        {"clock": clock_name(options.cpu_time), "side": options.side, "tile": options.tile, "upscalers": rows},
        options.json,
    )


if __name__ == "__main__":
    main()
