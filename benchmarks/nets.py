"""Milliseconds per face of each restorer and per image of each detector, by engine, precision and batch.

    python benchmarks/nets.py [--only NAME ...] [--batches 1 4 8] [--rounds 3] [--faces FOLDER] [--weights FILE]
                              [--json FILE]

Networks have random weights unless --weights gives those of `compact`; time does not depend on weights, agreement does.
`grouped` is GFP-GAN clean in the published form, one grouped convolution with weights of its own per image, in torch
fp32: the time to beat. All variants of a network run in turns and ratios are medians over the rounds; single times are
the fastest of the rounds. On a busy machine take OMP_NUM_THREADS=1 and --cpu-time.
"""

from __future__ import annotations

import argparse
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from measuring import clock_name, finish, interleaved, machine, print_table, ratio
from revisage import models
from revisage.engines import (
    WANTED_CROPS,
    Engine,
    OpenVinoEngine,
    agreement_db,
    compile_model,
    convert,
    cpu_info,
    make_engine,
    quantise,
    resolve,
)
from revisage.nets import build
from revisage.nets.gfpgan import ModulatedConv, upsample_bilinear

RESTORERS = {"compact": 256, "gfpgan_clean_512": 512, "gfpgan_v1_512": 512, "restoreformer_512": 512}
DETECTORS = ("compact-detector", "retinaface_mobile0_25", "retinaface_resnet50")
BASE = "grouped torch fp32"


def grouped_forward(self: ModulatedConv, x: Tensor, style: Tensor) -> Tensor:
    """The published form of a modulated convolution: weights scaled per image, one group per image."""
    count, channels = x.shape[:2]
    out_channels, kernel = self.weight.shape[1], self.weight.shape[-1]
    weight = self.weight * self.modulation(style).view(count, 1, channels, 1, 1)
    if self.demodulate:
        weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8) * self.gain
    if self.upsample:
        x = upsample_bilinear(x)
    height, width = x.shape[2:]
    x = F.conv2d(
        x.reshape(1, count * channels, height, width),
        weight.view(count * out_channels, channels, kernel, kernel),
        padding=kernel // 2,
        groups=count,
    )
    return x.view(count, out_channels, height, width)


def grouped(net: nn.Module) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A network with its modulated convolutions in the published form, run plainly in torch."""
    for module in net.modules():
        if isinstance(module, ModulatedConv):
            module.forward = types.MethodType(grouped_forward, module)
    net.eval()

    def run(batch: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [net(torch.from_numpy(batch)).numpy()]

    return run


def make_net(name: str, weights: Path | None) -> nn.Module:
    """A network of an architecture, with weights from a file or the same random ones each time."""
    if weights is not None:
        net = build(name, models.metadata(weights).get("config"))
        net.load_state_dict(models.load_state(weights))
        return net
    torch.manual_seed(0)
    net = build(name, {})
    if name == "compact":
        nn.init.normal_(net.head.weight, std=0.01)  # it starts as the identity, which agrees in any precision
    return net


def images(folder: Path | None, count: int, size: int) -> np.ndarray:
    """(count, 3, size, size) float32 in [-1, 1]: pictures of a folder, blurred a little, or smooth noise."""
    if folder is None:
        coarse = np.random.default_rng(0).uniform(-1, 1, (count, 3, 24, 24)).astype(np.float32)
        return F.interpolate(torch.from_numpy(coarse), size=(size, size), mode="bilinear").numpy()
    files = sorted(path for path in folder.iterdir() if path.suffix in (".webp", ".png", ".jpg"))[:count]
    shrunk = [Image.open(file).convert("RGB").resize((size // 2, size // 2)).resize((size, size)) for file in files]
    return np.stack([np.asarray(picture, np.float32).transpose(2, 0, 1) / 127.5 - 1 for picture in shrunk])


def variants(name: str, size: int, options: argparse.Namespace) -> dict[str, Callable[[np.ndarray], list[np.ndarray]]]:
    """Every way to run a restorer here; each has a network of its own, as engines keep theirs."""
    weights = options.weights if name == "compact" else None
    precisions = ["fp32", "bf16"] if cpu_info().native_bf16 else ["fp32"]
    found: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {}
    if name == "gfpgan_clean_512":
        found[BASE] = grouped(make_net(name, None))
    for engine in ("torch", "openvino"):
        for precision in precisions:
            found[f"{engine} {precision}"] = make_engine(
                make_net(name, weights), (size, size), device="cpu", engine=engine, precision=precision
            )
    if options.int8:
        # Not by make_engine, which refuses what agrees too little: random weights may, and the time is the same.
        calibration = images(options.faces, WANTED_CROPS if size < 512 else 4, size)
        model = quantise(convert(make_net(name, weights), (size, size)), calibration)
        found["openvino int8"] = OpenVinoEngine(lambda: compile_model(model, "fp32"), (size, size), "int8")
    return found


def restorer_rows(name: str, size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per variant and batch size."""
    runs = variants(name, size, options)
    faces = images(options.faces, max(options.batches), size)
    reference = runs["torch fp32"](faces[:1])[0]
    span = 2.0 if options.weights and name == "compact" else float(np.ptp(reference))
    agreement = {key: agreement_db(reference, run(faces[:1])[0], span) for key, run in runs.items()}
    rows = []
    for count in options.batches:
        batch = np.ascontiguousarray(faces[:count])
        calls = {key: (lambda run=run, batch=batch: run(batch)) for key, run in runs.items()}
        # The comparison above was the warm-up of a batch of one.
        seconds = interleaved(calls, options.rounds, cpu_time=options.cpu_time, warm_up=count > 1)
        for key, times in seconds.items():
            row = {"network": name, "batch": count, "variant": key, "ms per face": 1000 * min(times) / count}
            row["of torch fp32"] = ratio(seconds, key, "torch fp32")
            row["of grouped"] = ratio(seconds, key, BASE) if BASE in seconds else None
            row["dB to torch fp32"] = None if key == "torch fp32" else agreement[key]
            rows.append(row)
    return rows


def detector_rows(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per engine, for one image of 640 x 640 px."""
    engines: dict[str, Engine] = {
        engine: make_engine(make_net(name, None), None, device="cpu", engine=engine, precision="fp32")
        for engine in ("torch", "openvino")
    }
    image = images(None, 1, 640)
    seconds = interleaved(
        {key: (lambda engine=engine: engine(image)) for key, engine in engines.items()},
        max(3, options.rounds),
        cpu_time=options.cpu_time,
    )
    return [
        {"network": name, "variant": f"{key} fp32", "ms at 640": 1000 * min(times)} for key, times in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*RESTORERS, *DETECTORS], default=[*RESTORERS, *DETECTORS])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--faces", type=Path, help="folder of face pictures; without it smooth noise is used")
    parser.add_argument("--weights", type=Path, help="weights of compact")
    parser.add_argument("--quick", action="store_true", help="512 px networks: batch 1 alone, two rounds")
    parser.add_argument("--no-int8", dest="int8", action="store_false", help="leave int8 out")
    parser.add_argument("--json", type=Path, help="write the record here instead of printing it")
    parser.add_argument("--cpu-time", action="store_true", help="processor time of all threads, not wall time")
    options = parser.parse_args()
    print(f"{cpu_info()}; {clock_name(options.cpu_time)}\nauto for an image: {resolve('cpu', bf16_agrees=True)}")
    restorers: list[dict[str, Any]] = []
    for name, size in RESTORERS.items():
        if name not in options.only:
            continue
        chosen = argparse.Namespace(**vars(options))
        if options.quick and size == 512:
            chosen.batches, chosen.rounds = [1], 2
        rows = restorer_rows(name, size, chosen)
        print_table(f"{name} on {machine()['cpu']}", rows)
        restorers += rows
    detectors = [row for name in DETECTORS if name in options.only for row in detector_rows(name, options)]
    print_table("detectors, 640 x 640 px", detectors)
    finish({"clock": clock_name(options.cpu_time), "restorers": restorers, "detectors": detectors}, options.json)


if __name__ == "__main__":
    main()
