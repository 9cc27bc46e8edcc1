"""What does each set of options of `restore --preset` gain over the default, on the footage that it is for?

    python benchmarks/presets.py [--footage tuning|report] [--choose] [--shared DIR] [--presets NAME ...]
        [--seeds N ...] [--frames N] [--options JSON] [--json FILE] [--keep DIR]

Short pieces of film, cut around the largest face, are damaged as `revisage dataset degrade --preset NAME` does,
restored by default and with the preset, and compared with what they were: the whole frame, and the face with some room
around it. Pieces are of clips, and of photos that a camera drifts over. Time is processor time of whole restorations,
networks loaded before. `--options '{"film": [{"dust": true}]}'` measures options of your own beside them.

`--footage tuning --choose` measures CANDIDATES too and says which of them the rule takes (`_chosen`). The table of
docs/presets.md is of the other half, `--footage report`, which no choice has seen.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from measuring import finish, print_table
from pieces import Image, Restorer, Yardstick, cut_piece, mean, read_pictures
from revisage.core import PRESETS
from revisage.datasets.damage import degrade_file
from revisage.media import open_source
from revisage.train import find_preset

FOOTAGE: dict[str, Sequence[str]] = {
    "tuning": ("clips/asl_brother.mkv@10", "clips/asl_thanks.mkv@15", "clips/s18.mp4@60", "scenes/train"),
    "report": ("clips/swiz3n.mpg@20", "clips/retalking_1.mp4@30", "clips/short_hamilton_clip.mp4@150", "scenes/test"),
}
"""Below ../shared: files with the first frame that is taken, and a folder of labelled photos. Nothing is in both."""

PHOTOS = 3
"""How many of a folder's photos are taken, spread over those of one face."""
LEAST_FACE, LEAST_ROOM = 80, 0.75
"""Longer side (px) of a photo's face, and from its centre to the picture's edge in that side."""
DRIFT, ZOOM = (0.9, 0.6), 0.002
"""How a photo moves from frame to frame (px), and by what part it grows."""

SHARES = (0.5, 0.75, 1.0)
CANDIDATES: dict[str, Sequence[Mapping[str, Any]]] = {
    "archive": [{"dust": True, "denoise": share} for share in SHARES],
    "family-tape": [{"deinterlace": True, "denoise": share} for share in SHARES],
    "film": [{"dust": True, "denoise": share} for share in SHARES],
    "meme": [{"strength": share} for share in (0.5, 0.7, 0.85)],
    "photo": [{"denoise": share} for share in SHARES],
    "surveillance": [{"denoise": share} for share in (0.25, *SHARES)],
    "webcam": [{"denoise": share} for share in SHARES],
}
"""What a preset may become."""

IDENTITY_KEPT, NIQE_KEPT = 0.003, 0.5
"""What a preset's identity may be below the default's, and its NIQE above the higher of the default's and the
original's."""

ENDINGS = {"meme": ".gif", "photo": ".png"}


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    rows: list[dict[str, Any]] = []
    restore = Restorer()
    with tempfile.TemporaryDirectory() as temporary:
        for number, shots in enumerate(_all_shots(options.shared, FOOTAGE[options.footage], options.frames)):
            place = (options.keep or Path(temporary)) / f"{options.footage}-{number}"
            film, photo = (Yardstick(cut_piece(part, place), options.shared) for part in (shots, shots[:1]))
            for name, seed in itertools.product(options.presets, options.seeds):
                own = [*options.options.get(name, ()), *(_candidates(name) if options.choose else ())]
                yard = photo if name == "photo" else film
                found = list(_rows(name, seed, yard, place / f"{name}-{seed}", own, restore))
                print_table(f"{name}, piece {number}, {seed}", found)
                rows += [{"preset": name, "piece": number, "seed": seed, **row} for row in found]
    means = _means(rows)
    print(_markdown(means))
    if options.choose:
        for name in options.presets:
            print(f"{name}: {_chosen([row for row in means if row['preset'] == name])}")
    finish({"footage": options.footage, "frames": options.frames, "rows": rows}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    names = [name for name in PRESETS if name != "none"]
    parser.add_argument("--presets", nargs="*", choices=names, default=names)
    parser.add_argument("--footage", choices=FOOTAGE, default="report")
    parser.add_argument("--choose", action="store_true", help="measure what each preset may become, too")
    parser.add_argument("--seeds", nargs="*", type=int, default=[11])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="by preset, lists of options")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep what was measured there")
    return parser.parse_args()


def _candidates(preset: Any) -> Iterator[Mapping[str, Any]]:
    """What a preset may become, and is not yet."""
    return (each for each in CANDIDATES[preset] if each != PRESETS[preset].options)


def _rows(
    preset: str, seed: int, yard: Yardstick, folder: Path, own: Sequence[Mapping[str, Any]], restore: Restorer
) -> Iterator[dict[str, Any]]:
    """The damaged piece, the default, the preset, and what else was asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    damaged = folder / f"damaged{ENDINGS.get(preset, '.mkv')}"
    damaged.unlink(missing_ok=True)
    degrade_file(yard.piece.file, damaged, _in_colour(preset), seed=seed)
    yield {"way": "damaged", **yard.measure(read_pictures(damaged)), "s a frame": None}
    yield {"way": "original", "NIQE": yard.niqe(yard.piece.pictures)}
    ways: dict[str, Mapping[str, Any]] = {"default": {}, "preset": {"preset": preset}}
    for way, chosen in (ways | {json.dumps(each): each for each in own}).items():
        output = folder / f"{re.sub(r'[^a-z0-9]+', '-', way).strip('-')}{damaged.suffix}"
        seconds = restore(damaged, output, **chosen)
        yield {"way": way, **yard.measure(read_pictures(output)), "s a frame": seconds}


def _in_colour(preset: str) -> Any:
    """The damage of a preset's footage; what has become grey has no reference."""
    return find_preset(preset).model_copy(update={"grey_probability": 0.0})


def _all_shots(shared: Path, places: Sequence[str], count: int) -> Iterator[list[Image]]:
    """The pictures of each piece, as large as they are."""
    for place in places:
        name, _, first = place.partition("@")
        if not first:
            yield from (_drifting(photo, count) for photo in _photos(shared / name))
            continue
        with open_source(shared / name) as source:
            yield [frame.rgb() for frame in itertools.islice(source.frames(int(first)), count)]


def _photos(folder: Path) -> Iterator[Image]:
    """Photos of one face that is large and has room around it."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    names = [name for name, label in sorted(labels.items()) if _serves(label)]
    for place in np.linspace(0, len(names) - 1, PHOTOS).astype(int):
        yield np.ascontiguousarray(cv2.imread(str(folder / names[place]))[..., ::-1])


def _serves(label: Mapping[str, Any]) -> bool:
    if [face["certain"] for face in label["faces"]] != [True]:
        return False
    left, top, width, height = label["faces"][0]["box"]
    x, y, side = left + width / 2, top + height / 2, max(width, height)
    room = min(x, label["width"] - x, y, label["height"] - y)
    return bool(side >= LEAST_FACE and room >= LEAST_ROOM * side)


def _drifting(photo: Image, count: int) -> list[Image]:
    """A photo as a camera in somebody's hand shows it."""
    height, width = photo.shape[:2]
    frames = []
    for number in range(count):
        scale = 1 + ZOOM * number
        shift = [(1 - scale) * side / 2 + step * number for side, step in zip((width, height), DRIFT, strict=True)]
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        frames.append(
            cv2.warpAffine(photo, matrix, (width, height), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
        )
    return frames


def _means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The means over pieces and seeds, a row for each preset and way."""
    columns = [name for name in max(rows, key=len) if name not in ("preset", "way", "piece", "seed")]
    means = []
    for preset, way in dict.fromkeys((row["preset"], row["way"]) for row in rows):
        alike = [row for row in rows if (row["preset"], row["way"]) == (preset, way)]
        told = {name: [row[name] for row in alike if row.get(name) is not None] for name in columns}
        known = {name: mean(values) for name, values in told.items() if values}
        means.append({"preset": preset, "way": way, **{name: known.get(name) for name in columns}})
    return means


def _chosen(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which way one preset should be, by a rule that was written before anything was measured: of all that keep PSNR,
    of the frame and of the face, and T-MSE as good as the default's, identity and NIQE nearly so, the one with the
    lowest VGGD; the default where there is none."""
    ways = {row["way"]: row for row in rows}
    usual = ways["default"]

    def keeps(row: Mapping[str, Any]) -> bool:
        return (
            all(row[name] >= usual[name] for name in ("frame PSNR", "PSNR"))
            and (usual.get("T-MSE") is None or row["T-MSE"] <= usual["T-MSE"])
            and row["identity"] >= usual["identity"] - IDENTITY_KEPT
            and row["NIQE"] <= max(usual["NIQE"], ways["original"]["NIQE"]) + NIQE_KEPT
        )

    candidates = [row for row in rows if row["way"] not in ("damaged", "original") and keeps(row)]
    return str(min(candidates, key=lambda row: row["VGGD"])["way"])


def _markdown(means: Sequence[Mapping[str, Any]]) -> str:
    """A line for each preset and way."""
    lines = [f"| {' | '.join(means[0])} |", f"|{'---|' * len(means[0])}"]
    for row in means:
        texts = (
            "–" if value is None else value if isinstance(value, str) else f"{value:.4g}" for value in row.values()
        )
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
