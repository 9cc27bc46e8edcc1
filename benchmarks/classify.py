"""How often ``revisage dataset classify`` is right: a confusion matrix on held-out material damaged on purpose.

    python benchmarks/classify.py --shared ../shared [--json FILE]          # measure on held-out material
    python benchmarks/classify.py --shared ../shared --fit                  # fit the network on training material

Held-out: faces/test512, scenes/test, clips and gifs; fitted on: faces/train256 and scenes/train. A source is reduced by
a factor between 1 and 2, damaged by one kind (or none), and written as a PNG, a GIF or an H.264 video (CRF 16; the
damage "compressed" is JPEG quality 6 to 27, in videos as often H.264 at CRF 38 to 46). Fitting and measuring use the
same ranges of damage; pictures and clips differ.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage

from measuring import finish, print_table
from revisage.datasets.damage import KINDS, apply_damage, draw_damage
from revisage.datasets.signs import CATEGORIES, classify, measure_signs
from revisage.media import Frame, open_image_sink, open_plain_video, open_source, probe

Clip = list[NDArray[np.uint8]]
DATA = Path(__file__).resolve().parents[1] / "src" / "revisage" / "datasets" / "data" / "classify.json"
CONTAINERS = (".png", ".gif", ".mp4")
HIDDEN = 24


@dataclass(frozen=True)
class Material:
    """A file, where it is from, and the seed of all that is drawn for it."""

    path: Path
    group: str
    seed: int


@dataclass(frozen=True)
class Sample:
    """A file made from a material, with what is true about it."""

    path: Path
    group: str
    category: str


def photos(shared: Path, *, held_out: bool, count: int) -> list[Material]:
    """Faces and scenes that are sharp at their size, drawn evenly."""
    listed = shared / "faces" / ("test512.csv" if held_out else "train256.csv")
    with listed.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if int(row["native_px"]) >= (512 if held_out else 256)]
    faces = sorted(shared / row["file"] if "/" in row["file"] else listed.with_suffix("") / row["file"] for row in rows)
    scenes = sorted((shared / "scenes" / ("test" if held_out else "train")).glob("*.webp"))
    found = []
    for group, files in (("faces", faces), ("scenes", scenes)):
        order = np.random.default_rng(7 + held_out).permutation(len(files))[:count]
        found += [Material(files[number], group, 1000 * held_out + place) for place, number in enumerate(order)]
    return found


def moving(shared: Path, turns: int) -> list[Material]:
    """Clips and GIFs, each several times with other draws."""
    found = []
    for group, folder, suffixes in (("clips", "clips", {".mp4", ".mkv", ".mpg"}), ("gifs", "gifs", {".gif"})):
        files = sorted(path for path in (shared / folder).iterdir() if path.suffix in suffixes)
        found += [
            Material(path, group, 5000 + 10 * place + turn) for place, path in enumerate(files) for turn in range(turns)
        ]
    return found


def base_clip(material: Material, random: np.random.Generator) -> Clip:
    """Frames of the source, reduced by 1 to 2 (by 1.5 to 2 where it was compressed or has a palette)."""
    clip = material.group in ("clips", "gifs")
    with open_source(material.path) as source:
        first = int(random.integers(0, max(1, min(40, source.info.frame_count or 40) - 4))) if clip else 0
        frames = [frame.rgb() for frame in source.frames(first, first + 4 if clip else 1)]
    height, width = frames[0].shape[:2]
    factor = random.uniform(1.5, 2) if clip else random.uniform(1, min(2.0, max(1.0, min(height, width) / 128)))
    size = max(64, round(width / factor) // 2 * 2), max(64, round(height / factor) // 2 * 2)
    return [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]


def panned(frames: Clip, container: str) -> Clip:
    """A still moved by a pixel a frame, where the container is to hold several."""
    if len(frames) > 1 or container == ".png":
        return frames
    image = frames[0]
    return [np.ascontiguousarray(image[index : image.shape[0] - 4 + index, : image.shape[1] - 4]) for index in range(4)]


def drawn(material: Material, wanted: int) -> tuple[Clip, str, float, bool]:
    """Damaged (or clean) frames of a material, the container they go into, the CRF, and whether Pillow writes them."""
    random = np.random.default_rng((material.seed, wanted))
    category = CATEGORIES[wanted]
    moves = material.group in ("clips", "gifs")
    container = CONTAINERS[int(random.choice(3, p=(0.2, 0.4, 0.4) if moves else (0.5, 0.25, 0.25)))]
    frames = panned(base_clip(material, random), container)
    crf = 16.0
    if category == "compressed" and container == ".mp4" and random.random() < 0.5:
        crf = float(random.integers(38, 47))
    elif category in KINDS:
        frames = apply_damage(frames, draw_damage(category, int(random.integers(2**31))))
    return frames, container, crf, bool(random.random() < 0.5)


def make(material: Material, folder: Path, wanted: int) -> Sample:
    """One damaged (or clean) file of a material."""
    frames, container, crf, pillow = drawn(material, wanted)
    path = folder / f"{material.path.stem}_{material.seed}_{CATEGORIES[wanted]}{container}"
    write(path, frames, crf, pillow=pillow)
    return Sample(path, material.group, CATEGORIES[wanted])


def write(path: Path, frames: Clip, crf: float, *, pillow: bool) -> None:
    """Write frames as a PNG, a GIF (by Pillow or by our own writer) or an H.264 video."""
    if path.suffix == ".png":
        PillowImage.fromarray(frames[0]).save(path)
    elif path.suffix == ".gif" and pillow:
        palette = PillowImage.fromarray(frames[0][::2, ::2]).quantize(256)
        pictures = [PillowImage.fromarray(frame).quantize(palette=palette) for frame in frames]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80)
    elif path.suffix == ".gif":
        still = path.with_suffix(".png")
        PillowImage.fromarray(frames[0]).save(still)
        sink = open_image_sink(path, probe(still))
        for index, frame in enumerate(frames):
            sink.write(Frame.from_array(frame, pts=80 * index, duration=80, index=index))
        sink.close()
        still.unlink()
    else:
        height, width = (side // 2 * 2 for side in frames[0].shape[:2])
        with open_plain_video(path, size_hw=(height, width), rate=12, crf=crf) as video:
            for frame in frames:
                video.write(frame[:height, :width])


def samples(materials: list[Material], folder: Path) -> Iterator[Sample]:
    """Every clip in each category; photos in one category each, in turn."""
    for place, material in enumerate(materials):
        wanted = [place % len(CATEGORIES)] if material.group in ("faces", "scenes") else range(len(CATEGORIES))
        for number in wanted:
            sample = make(material, folder, number)
            yield sample
            sample.path.unlink(missing_ok=True)


def untouched(shared: Path) -> Iterator[Sample]:
    """The GIFs as they are: a palette's dither is no noise."""
    for path in sorted((shared / "gifs").glob("*.gif")):
        yield Sample(path, "gifs as they are", "clean")


def measure(shared: Path, count: int, turns: int) -> list[dict[str, str]]:
    """For each held-out sample what is true and what was said."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        materials = [*photos(shared, held_out=True, count=count), *moving(shared, turns)]
        for sample in itertools.chain(samples(materials, Path(folder)), untouched(shared)):
            said = classify(sample.path).category
            results.append(
                {"group": sample.group, "container": sample.path.suffix, "true": sample.category, "said": said}
                | {"file": sample.path.name}
            )
    return results


def show(results: list[dict[str, str]]) -> dict[str, float]:
    """Print the confusion matrix and the share that is right, in all and by group and container."""
    counts = Counter((entry["true"], entry["said"]) for entry in results)
    rows = [
        {
            "true": name,
            **{said: counts[name, said] for said in CATEGORIES},
            "right": right([e for e in results if e["true"] == name]),
        }
        for name in CATEGORIES
    ]
    print_table("Confusion matrix (rows: true, columns: said)", rows)
    shares = {"all": right(results)}
    for key in ("group", "container"):
        shares |= {name: right([e for e in results if e[key] == name]) for name in sorted({e[key] for e in results})}
    sizes = {
        name: sum(name in (e["group"], e["container"], "all") or name == "all" for e in results) for name in shares
    }
    print_table("Right", [{"of": name, "samples": sizes[name], "share": share} for name, share in shares.items()])
    return shares


def right(results: list[dict[str, str]]) -> float:
    """Share of the entries that are right."""
    return sum(entry["true"] == entry["said"] for entry in results) / max(1, len(results))


def training_table(shared: Path, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vectors of signs and categories of the training photos, each damaged in every way."""
    vectors, labels = [], []
    with tempfile.TemporaryDirectory() as folder:
        for material in photos(shared, held_out=False, count=count):
            for wanted, category in enumerate(CATEGORIES):
                sample = make(material, Path(folder), wanted)
                with open_source(sample.path) as source:
                    image = list(source.frames(0, 3))[-1].rgb()
                vectors.append(measure_signs(measured_part(image, material)).vector())
                labels.append(CATEGORIES.index(category))
                sample.path.unlink()
    return np.array(vectors), np.array(labels)


def measured_part(image: NDArray[np.uint8], material: Material) -> NDArray[np.uint8]:
    """Of a face in FFHQ framing what a detector's box shows, at times the whole; of a scene a part of 256 px."""
    height, width = image.shape[:2]
    if material.group == "faces" and material.seed % 3:
        return np.ascontiguousarray(image[height // 4 : height * 9 // 10, width // 5 : width * 4 // 5])
    top, left = max(0, height - 256) // 2, max(0, width - 256) // 2
    return np.ascontiguousarray(image[top : top + 256, left : left + 256])


def fit(vectors: NDArray[np.float64], labels: NDArray[np.int64], *, seed: int = 1) -> dict[str, NDArray[np.float64]]:
    """The small network: tanh units, cross entropy, weight decay, all samples in each step."""
    mean, scale = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(vectors.shape[1], HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, len(CATEGORIES))
    )
    inputs = torch.from_numpy((vectors - mean) / scale).float()
    targets = torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.5)
    for _ in range(600):
        noisy = inputs + 0.15 * torch.randn_like(inputs)
        loss = torch.nn.functional.cross_entropy(net(noisy), targets, label_smoothing=0.03)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    names = ("hidden", "hidden_bias", "output", "output_bias")
    weights = (part.detach().numpy().astype(np.float64).T for part in net.parameters())
    return {"mean": mean, "scale": scale, **dict(zip(names, weights, strict=True))}


def fit_and_save(shared: Path, count: int) -> None:
    """Fit on four fifths, say how it does on the rest, then fit on all and write the package's file."""
    vectors, labels = training_table(shared, count)
    kept = np.arange(len(labels)) // len(CATEGORIES) % 5 != 0
    net = fit(vectors[kept], labels[kept])
    hidden = np.tanh((vectors[~kept] - net["mean"]) / net["scale"] @ net["hidden"] + net["hidden_bias"])
    said = (hidden @ net["output"] + net["output_bias"]).argmax(axis=1)
    print(f"{(said == labels[~kept]).mean():.3f} right of {len(said)} samples of training material left out of the fit")
    DATA.parent.mkdir(exist_ok=True)
    values = {name: np.round(value, 4).tolist() for name, value in fit(vectors, labels).items()}
    DATA.write_text(json.dumps(values) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder of the development material")
    parser.add_argument("--fit", action="store_true", help="fit the network on training material and write it")
    parser.add_argument("--count", type=int, default=150, help="photos of faces, and as many of scenes")
    parser.add_argument("--turns", type=int, default=2, help="draws for each clip and GIF")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.fit:
        fit_and_save(arguments.shared, arguments.count)
        return
    results = measure(arguments.shared, arguments.count, arguments.turns)
    shares = show(results)
    wrong = [entry for entry in results if entry["true"] != entry["said"]]
    finish({"right": shares, "samples": len(results), "wrong": wrong}, arguments.json)


if __name__ == "__main__":
    main()
