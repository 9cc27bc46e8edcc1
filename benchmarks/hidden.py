"""Is what is before a face left as it is, at what cost to whole faces, and do eyes and mouth stay as open as they are?

    python benchmarks/hidden.py --faces FOLDER --weights FOLDER [--count N] [--only covered,whole,openings,clips]
        [--seed N] [--textures FOLDER] [--clips FILE ...] [--json FILE] [--sheet PNG]

Aligned faces (FFHQ frame, 512 px) are damaged (level `medium` of the restorer's check), reduced to 256 px and go
through `revisage.restore_image`, detector and all.

`covered`: something is drawn before each face first, one kind after the other. Told is the mean change inside it over
that of the face beside it (as far as the paste mask reaches; a rim of 2 px about the edge counts to neither), with
`hidden` restore and spare; and the same for the rim. With `--textures`, a folder of pictures, things have surfaces.
`whole`: gains of PSNR and VGGD with nothing before the faces, with and without.
`openings`: errors of the eyes' and the mouth's opening, by face-api.js' 68 landmarks, against the clean face: of the
damaged face, and of the restored one. Closed eyes, and open mouths, are told apart.
`clips`: the same in the first frames of `--clips`, reduced to a half with noise, coded and restored at twice the size.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import revisage
from footage import noisy, write_clip
from measuring import finish, print_table
from pieces import Image, openings, read_pictures
from revisage.faces import align, ffhq_template, landmark_mask
from revisage.measures import Vggd, psnr
from revisage.media import Frame, open_source
from revisage.train.degrade import degrade, generator
from revisage.train.readers import OCCLUDERS, Teachers, occlude
from revisage.train.restorer.pairs import LEVELS

SIZE, RIM = 256, 2
PARTS = ("covered", "whole", "openings", "clips")
MODES = ("restore", "spare")
CLOSED, OPEN = 0.2, 0.15
FRAMES, NOISE, CRF = 60, 6.0, 30
VGG = "quality/vgg19_normalised_conv3_1.safetensors"


def main() -> None:
    options = _options()
    files = sorted(options.faces.glob("*.webp"))
    chosen = [files[place] for place in np.linspace(0, len(files) - 1, options.count).astype(int)]
    faces = [cv2.imread(str(file))[..., ::-1].copy() for file in chosen]
    record: dict[str, object] = {"count": len(faces), "seed": options.seed}
    if "covered" in options.only:
        record["covered"] = _covered(faces, options)
        print_table("change inside what is before a face, over that beside it", record["covered"])
    if "whole" in options.only:
        record["whole"] = _whole(faces, options)
        print_table("whole faces: gains at medium", record["whole"])
    if "openings" in options.only:
        record["openings"] = _openings(faces, options)
        print_table("errors of openings against the clean face", record["openings"])
    if "clips" in options.only:
        record["clips"] = [row for clip in options.clips for row in _clip_openings(clip, options)]
        print_table("errors of openings against the clean clip", record["clips"])
    finish(record, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--textures", type=Path)
    parser.add_argument("--clips", type=Path, nargs="*", default=[])
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    return parser.parse_args()


def _reduced(image: Image) -> Image:
    return np.ascontiguousarray(cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def _damaged(face: Image, number: int, seed: int) -> Image:
    return _reduced(degrade(face, LEVELS["medium"], generator(seed, number))[0])


def _covered(faces: list[Image], options: argparse.Namespace) -> list[dict[str, object]]:
    surfaces = sorted(options.textures.glob("*.webp"))[:: 1 + 7] if options.textures else []
    rows, sheet = [], []
    for kind in OCCLUDERS:
        sums = {mode: np.zeros(4) for mode in MODES}
        for number, face in enumerate(faces):
            random = generator(options.seed, number)
            surface = cv2.imread(str(surfaces[number % len(surfaces)]))[..., ::-1] if surfaces else None
            covered, hidden = occlude(face, random, kinds=[kind], surface=surface)
            shown = _damaged(covered, number, options.seed)
            parts = _parts(cv2.resize(hidden.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA) > 0.5)
            if parts is None:
                continue
            tiles = [shown]
            for mode in MODES:
                after = revisage.restore_image(shown, hidden=mode)
                change = np.abs(after.astype(np.int16) - shown).mean(axis=2)
                if change.any():  # a face that is not found, or left alone, says nothing
                    sums[mode] += [*(change[part].mean() for part in parts), 1]
                tiles.append(after)
            if number < 3:
                sheet.append(np.hstack(tiles))
        rows.append({"kind": kind, **_ratios(sums)})
    if options.sheet:
        cv2.imwrite(str(options.sheet), np.vstack(sheet)[..., ::-1])
    whole = {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name != "kind"}
    return [*rows, {"kind": "all", **whole}]


def _parts(hidden: NDArray[np.bool_]) -> list[NDArray[np.bool_]] | None:
    """Inside, beside and the rim, within the paste mask; None where nothing much of the face is hidden or left."""
    mask = landmark_mask(ffhq_template(SIZE), SIZE) > 0.5
    round_ = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RIM + 1, 2 * RIM + 1))
    wide = cv2.dilate(hidden.astype(np.uint8), round_) > 0
    narrow = cv2.erode(hidden.astype(np.uint8), round_) > 0
    inside = narrow if (narrow & mask).sum() > 40 else hidden
    parts = [inside & mask, ~wide & mask, wide & ~narrow & mask]
    return parts if all(part.sum() > 40 for part in parts) and parts[1].sum() > 0.3 * mask.sum() else None


def _ratios(sums: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    found = {}
    for mode, (inside, beside, rim, count) in sums.items():
        found |= {
            f"{mode}: inside %": float(100 * inside / max(beside, 1e-9)),
            f"{mode}: rim %": float(100 * rim / max(beside, 1e-9)),
            f"{mode}: beside": float(beside / max(count, 1)),
            f"{mode}: faces": float(count),
        }
    return found


def _whole(faces: list[Image], options: argparse.Namespace) -> list[dict[str, object]]:
    vggd = Vggd(options.weights / VGG)
    values: dict[str, list[tuple[float, float]]] = {name: [] for name in ("input", *MODES)}
    for number, face in enumerate(faces):
        clean, shown = _reduced(face), _damaged(face, number, options.seed)
        for name in values:
            after = shown if name == "input" else revisage.restore_image(shown, hidden=name)
            values[name].append((psnr(after, clean), vggd(after, clean)))
    means = {name: np.mean(found, axis=0) for name, found in values.items()}
    gains = {mode: (means[mode] - means["input"]) for mode in MODES}
    return [
        {
            "hidden": mode,
            "PSNR dB": float(means[mode][0]),
            "gain dB": float(gains[mode][0]),
            "VGGD": float(means[mode][1]),
            "VGGD gain": float(-gains[mode][1]),
            "gains kept %": float(100 * min(gains[mode] / gains["restore"])),
        }
        for mode in MODES
    ]


def _openings(faces: list[Image], options: argparse.Namespace) -> list[dict[str, object]]:
    clean = np.stack([_reduced(face) for face in faces])
    shown = np.stack([_damaged(face, number, options.seed) for number, face in enumerate(faces)])
    after = np.stack([revisage.restore_image(image) for image in shown])
    return _opening_errors(Teachers(options.weights), (clean, shown, after))


def _clip_openings(clip: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    with open_source(clip) as source:
        frames = [frame.rgb() for frame in itertools.islice(source.frames(), FRAMES)]
    height, width = (side // 4 * 4 for side in frames[0].shape[:2])
    frames = [np.ascontiguousarray(frame[:height, :width]) for frame in frames]
    track = max(revisage.scan(clip).tracks, key=lambda track: len(track.boxes))
    with tempfile.TemporaryDirectory() as folder:
        damaged, restored = Path(folder) / "damaged.mp4", Path(folder) / "restored.mkv"
        _write_half(damaged, frames, options.seed)
        revisage.restore(damaged, restored, upscale=2, codec="ffv1")
        shown = [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in read_pictures(damaged)]
        after = read_pictures(restored)
    seen = range(track.start, min(track.stop, len(frames)))
    sides = [
        np.stack([align(Frame.from_array(side[index]), track.face(index), SIZE).crop for index in seen])
        for side in (frames, shown, after)
    ]
    return [{"clip": clip.name, **row} for row in _opening_errors(Teachers(options.weights), sides)]


def _write_half(path: Path, frames: list[Image], seed: int) -> None:
    random, (height, width) = np.random.default_rng(seed), frames[0].shape[:2]
    small = (cv2.resize(frame, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for frame in frames)
    write_clip(path, (noisy(picture, NOISE, random) for picture in small), rate=30, crf=str(CRF))


def _opening_errors(teachers: Teachers, sides: Sequence[Image]) -> list[dict[str, object]]:
    """Of clean, damaged and restored faces, ``(n, SIZE, SIZE, 3)`` each."""
    eyes, mouths = zip(*(openings(teachers, images) for images in sides), strict=True)
    rows = []
    for part, (source, before, restored), limit in (("eyes", eyes, CLOSED), ("mouth", mouths, OPEN)):
        for name, there in (("all", source >= 0), ("closed", source < limit), ("open", source >= limit)):
            if there.any():
                errors = [float(np.abs(found - source)[there].mean()) for found in (before, restored)]
                rows.append(
                    {"part": part, "which": name, "n": int(there.sum()), "damaged": errors[0], "restored": errors[1]}
                )
    return rows


if __name__ == "__main__":
    main()
