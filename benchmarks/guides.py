"""What does another photo of somebody do for their restored face, and somebody else's?

    python benchmarks/guides.py --faces SHARED/faces --weights SHARED/weights [--count 16] [--level heavy] [--json FILE]

The people of the London set, neutral and smiling in one session. The neutral photo is degraded as in
`restorer_bars.py` and restored by the embedded `compact`, alone and with the smiling one as its guide. `wrong` has the
photo of the next person instead, and `wrong, no gate` has it even where that is found out. `served` is the part that
got a guide. Figures are of the whole crop at 256 px; identity is MobileFaceNet's cosine to the source, not that of the
reader by which guides are checked.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from revisage import people, readers, restorers, temporal
from revisage.core import Crop, Face
from revisage.faces import ffhq_template
from revisage.measures import Embedder, Vggd, cosine, psnr
from revisage.people.guide_shares import LIKE
from revisage.train.degrade import degrade, generator
from revisage.train.restorer import pairs as levels

SIZE, SEED = 256, 2026
VGG = "quality/vgg19_normalised_conv3_1.safetensors"
IDENTITY = "identity/mobilefacenet.onnx"


@dataclass(frozen=True)
class Pair:
    """A neutral and a smiling photo of one person, 512 px."""

    face: Crop
    other: Crop


def main() -> int:
    options = _options()
    torch.set_num_threads(1)
    bench = Bench(options.weights)
    pairs = london(options.faces, options.count)
    report = {}
    for level in options.level:
        report[level] = rows = bench(pairs, level)
        _print(level, len(pairs), rows)
    if options.json:
        options.json.write_text(
            json.dumps({"seed": SEED, "pairs": len(pairs), "levels": report}, indent=1) + "\n", encoding="utf-8"
        )
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True, help="folder with test512/ and test512.csv")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the measures' networks")
    parser.add_argument("--count", type=int, default=16, help="pairs, spread over the set")
    parser.add_argument("--level", action="append", choices=("medium", "heavy"), help="default: both")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    options.level = options.level or ["medium", "heavy"]
    return options


def read(path: Path) -> Crop:
    """A picture as RGB."""
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def london(folder: Path, count: int) -> list[Pair]:
    """At most so many pairs, spread over all; the source's names begin with the number of the person."""
    files: dict[str, list[str]] = defaultdict(list)
    with (folder / "test512.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["file"].startswith("london_"):
                files[Path(row["source_path"]).name.partition("_")[0]].append(row["file"])
    both = [names for _, names in sorted(files.items()) if len(names) == 2]
    chosen = [both[place] for place in np.linspace(0, len(both) - 1, min(count, len(both))).astype(int)]
    return [Pair(*(read(folder / "test512" / name) for name in names)) for names in chosen]


def _embedded(embedder: Embedder, crop: Crop) -> np.ndarray:
    side = len(crop)
    return embedder(crop, Face((0, 0, side, side), ffhq_template(side).astype(np.float32), 1.0))


class Bench:
    """Restores, guides and measures."""

    def __init__(self, weights: Path) -> None:
        self.vggd, self.embedder = Vggd(weights / VGG), Embedder(weights / IDENTITY)
        self._restorer, self._reader = restorers.load_restorer(), readers.load_reader()
        self._flow = temporal.DisFlow()
        self._known: dict[int, float] = {}

    def __call__(self, pairs: list[Pair], level: str) -> dict[str, dict[str, float]]:
        """The means of each method over the pairs."""
        inputs, true, restored = [], [], []
        for number, pair in enumerate(pairs):
            degraded, target = degrade(pair.face, levels.LEVELS[level], generator(SEED, number))
            inputs.append(levels.reduce(degraded, SIZE))
            true.append(levels.reduce(target, SIZE))
            restored.append(self._restorer(inputs[-1][None])[0])
        guides = [levels.reduce(pair.other, SIZE) for pair in pairs]
        seen, given = self._reader(np.stack(inputs)), self._reader(np.stack(guides))
        likeness = seen.identity @ given.identity.T
        right = [float(likeness[place, place]) for place in range(len(pairs))]
        wrong = [float(likeness[place, (place + 1) % len(pairs)]) for place in range(len(pairs))]
        guided = self._guided(restored, inputs, guides, 0)
        checked = [new if like >= LIKE else old for new, old, like in zip(guided, restored, right, strict=True)]
        forced = self._guided(restored, inputs, guides, 1)
        gated = [new if like >= LIKE else old for new, old, like in zip(forced, restored, wrong, strict=True)]
        methods = {"restored": restored, "guided": checked, "wrong": gated, "wrong, no gate": forced}
        rows = {name: self._measured(crops, true) for name, crops in methods.items()}
        for name, likes in (("guided", right), ("wrong", wrong)):
            rows[name]["served"] = float(np.mean([like >= LIKE for like in likes]))
        base = rows["restored"]["each"]
        for row in rows.values():
            each = row.pop("each")
            row["vggd ratio"] = float(np.mean(each) / np.mean(base))
            row["worst ratio"] = float(np.max(np.array(each) / np.array(base)))
        return rows

    def _guided(self, restored: list[Crop], shown: list[Crop], photos: list[Crop], shift: int) -> list[Crop]:
        """Each face with the photo so many places further."""
        here, there = self._reader(np.stack(restored)), self._reader(np.stack(photos))
        five = ffhq_template(SIZE).astype(np.float32)
        results = []
        for place, crop in enumerate(restored):
            other = (place + shift) % len(photos)
            guide = people.Guide("", photos[other], there.landmarks[other], there.pose[other])
            read_of = here.landmarks[place], here.pose[place]
            results.append(people.with_detail(crop, shown[place], *read_of, guide, self._flow, five))
        return results

    def _measured(self, crops: list[Crop], true: list[Crop]) -> dict[str, object]:
        pairs = list(zip(crops, true, strict=True))
        identity = [cosine(_embedded(self.embedder, a), _embedded(self.embedder, b)) for a, b in pairs]
        each = [self._distance(a, b) for a, b in pairs]
        return {
            "psnr": float(np.mean([psnr(a, b) for a, b in pairs])),
            "vggd": float(np.mean(each)),
            "identity": float(np.mean(identity)),
            "each": each,
        }

    def _distance(self, crop: Crop, true: Crop) -> float:
        """VGGD; crops that several methods share are measured once."""
        key = hash(crop.tobytes())
        if key not in self._known:
            self._known[key] = self.vggd(crop, true)
        return self._known[key]


def _print(level: str, count: int, rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{level}: {count} pairs")
    for method, row in rows.items():
        served = f"  served {row['served']:.0%}" if "served" in row else ""
        print(
            f"  {method:<15} PSNR {row['psnr']:.2f}  VGGD {row['vggd']:.4f} (x {row['vggd ratio']:.4f}, worst x "
            f"{row['worst ratio']:.3f})  identity {row['identity']:.4f}{served}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
