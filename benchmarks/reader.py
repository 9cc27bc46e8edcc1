"""Does the face reader read faces as its teachers do, clean and damaged, and how fast?

    python benchmarks/reader.py --faces FOLDER --teachers FOLDER --reader FILE [--scenes FOLDER] [--json FILE]
        [--sheet PNG]

`--faces` holds aligned faces (FFHQ frame) and, beside it, their list FOLDER.csv; those of the London set, which shows
the same people neutral and smiling, are told apart. `--scenes` holds photos with `labels.json`; faces of 64 px or more
(of a crop) are cut out by their labelled landmarks. The teachers see the clean faces; what they say of the damaged ones
stands beside what the reader says. Faces that the landmarks' teacher does not see are left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from measuring import finish, print_table
from revisage.faces import crop_affine, crop_scale, warp_antialiased
from revisage.readers import FaceReader, FaceReadings, load_reader
from revisage.train.degrade import degrade, generator
from revisage.train.readers import Labels, Teachers, occlude, trusted_faces
from revisage.train.restorer.pairs import LEVELS

Crops = np.ndarray
SIZE, SMALLEST = 256, 64
AT_ONCE = 32


def main() -> None:
    options = _options()
    reader, teachers = load_reader(options.reader), Teachers(options.teachers)
    sets = {"faces": _faces(options.faces)}
    if options.scenes:
        sets["scenes"] = _scene_faces(options.scenes)
    rows, hidden = [], []
    for name, crops in sets.items():
        labels = _labels(teachers, crops)
        seen = trusted_faces(labels)
        for level in ("clean", "medium"):
            shown = crops if level == "clean" else _damaged(crops, level)
            of_teachers = labels if level == "clean" else _labels(teachers, shown)
            rows.append({"set": name, "level": level, **_agreement(_read(reader, shown), labels, of_teachers, seen)})
        hidden.append({"set": name, **_hidden(crops[seen], labels.landmarks[seen], reader)})
    print_table("reader against its teachers on the clean face", rows)
    people = _london(options.faces)
    verification = [_verified(level, sets["faces"], people, reader, teachers) for level in ("clean", "medium")]
    print_table("the same person, neutral and smiling: area under the ROC curve", verification)
    print_table("what is hidden by things drawn before the face", hidden)
    times = _times(reader, sets["faces"])
    print_table("ms a face of 256 px", [times])
    if options.sheet:
        _write_sheet(options.sheet, sets, reader)
    result = {"agreement": rows, "verification": verification, "hidden": hidden, "times": times}
    finish({**result, "reader": str(reader.info)}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--reader", required=True, help="weights of `revisage train reader`")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    return parser.parse_args()


def _listed(folder: Path) -> list[dict[str, str]]:
    with folder.with_suffix(".csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _faces(folder: Path) -> Crops:
    images = [cv2.imread(str(folder / row["file"])) for row in _listed(folder)]
    return np.stack([cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., ::-1] for image in images])


def _scene_faces(folder: Path) -> Crops:
    crops = []
    for name, record in json.loads((folder / "labels.json").read_text(encoding="utf-8")).items():
        faces = [face for face in record["faces"] if face["certain"] and face.get("landmarks")]
        image = cv2.imread(str(folder / name))[..., ::-1] if faces else None
        for face in faces:
            affine = crop_affine(face["landmarks"], SIZE)
            if SIZE / crop_scale(affine) >= SMALLEST:
                flags, border = cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101
                crops.append(warp_antialiased(image, affine, (SIZE, SIZE), interpolation=flags, border=border))
    return np.stack(crops)


def _damaged(crops: Crops, level: str, seed: int = 5) -> Crops:
    return np.stack([degrade(crop, LEVELS[level], generator(seed, number))[0] for number, crop in enumerate(crops)])


def _labels(teachers: Teachers, crops: Crops) -> Labels:
    parts = [teachers(np.ascontiguousarray(crops[first : first + AT_ONCE])) for first in range(0, len(crops), AT_ONCE)]
    names = ("identity", "mirrored", "pose", "landmarks", "expression")
    return Labels(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _read(reader: FaceReader, crops: Crops) -> FaceReadings:
    return reader(np.ascontiguousarray(crops))


def _eye_distance(landmarks: np.ndarray) -> np.ndarray:
    return np.linalg.norm(landmarks[:, 36:42].mean(1) - landmarks[:, 42:48].mean(1), axis=1)


def _agreement(read: FaceReadings, clean: Labels, of_teachers: Labels, seen: np.ndarray) -> dict[str, object]:
    """The reader's and, after a slash, the teachers' own distance to what these say of the clean face."""
    in_crop = (read.landmarks + 0.5) / SIZE
    values: dict[str, object] = {"faces": int(seen.sum()), "left out": int((~seen).sum())}
    for who, identity, pose, landmarks, expression in (
        ("reader", read.identity, read.pose, in_crop, read.expression),
        ("teachers", of_teachers.identity, of_teachers.pose, of_teachers.landmarks, of_teachers.expression),
    ):
        off = np.linalg.norm(landmarks - clean.landmarks, axis=2).mean(1) / _eye_distance(clean.landmarks)
        turned = np.abs(pose - clean.pose)[seen]
        values |= {
            f"{who} cosine": float((identity * clean.identity).sum(1)[seen].mean()),
            f"{who} yaw": float(turned[:, 0].mean()),
            f"{who} pitch": float(turned[:, 1].mean()),
            f"{who} roll": float(turned[:, 2].mean()),
            f"{who} landmarks %": float(100 * off[seen].mean()),
            f"{who} expression %": float(100 * (expression.argmax(1) == clean.expression.argmax(1))[seen].mean()),
        }
    return values


def _london(folder: Path) -> dict[str, dict[str, int]]:
    """Of each person of the London set the places of both pictures in the list."""
    people: dict[str, dict[str, int]] = {}
    for place, row in enumerate(_listed(folder)):
        if row["file"].startswith("london"):
            look, name = row["source_path"].split("/")[-2:]
            people.setdefault(name[:3], {})["neutral" if "neutral" in look else "smiling"] = place
    return {name: places for name, places in people.items() if len(places) == 2}


def _verified(
    level: str, crops: Crops, people: Mapping[str, Mapping[str, int]], reader: FaceReader, teachers: Teachers
) -> dict[str, object]:
    neutral, smiling = (crops[[places[look] for places in people.values()]] for look in ("neutral", "smiling"))
    if level != "clean":
        neutral, smiling = _damaged(neutral, level), _damaged(smiling, level, seed=6)
    of_reader = _read(reader, neutral).identity @ _read(reader, smiling).identity.T
    of_teacher = _labels(teachers, neutral).identity @ _labels(teachers, smiling).identity.T
    return {"level": level, "people": len(people), "reader": _area(of_reader), "MobileFaceNet": _area(of_teacher)}


def _area(cosines: np.ndarray) -> float:
    """Area under the ROC curve: how often a pair of one person is more alike than a pair of two."""
    same, other = np.diag(cosines), cosines[~np.eye(len(cosines), dtype=bool)]
    above = (same[:, None] > other).mean() + 0.5 * (same[:, None] == other).mean()
    return float(above)


def _hidden(crops: Crops, landmarks: np.ndarray, reader: FaceReader) -> dict[str, object]:
    pictures, masks = zip(*(occlude(crop, generator(9, number)) for number, crop in enumerate(crops)), strict=True)
    before, after = _read(reader, crops), _read(reader, np.stack(pictures))
    columns, rows = np.clip(np.rint(landmarks * SIZE - 0.5), 0, SIZE - 1).astype(int).transpose(2, 0, 1)
    hidden = np.stack([mask[y, x] for mask, x, y in zip(masks, columns, rows, strict=True)])
    found = after.visibility < 0.5
    return {
        "hidden landmarks %": float(100 * hidden.mean()),
        "accuracy %": float(100 * (found == hidden).mean()),
        "area under ROC": _ranked(after.visibility[~hidden], after.visibility[hidden]),
        "hidden ones found %": float(100 * found[hidden].mean()),
        "visible ones kept %": float(100 * (~found)[~hidden].mean()),
        "called hidden in whole faces %": float(100 * (before.visibility < 0.5).mean()),
    }


def _ranked(above: np.ndarray, below: np.ndarray) -> float:
    """How often one of the first is above one of the second."""
    order = np.sort(below)
    return float(np.searchsorted(order, above).mean() / len(order))


def _times(reader: FaceReader, crops: Crops) -> dict[str, float]:
    """Wall time counts on an idle machine only, processor time (of all threads) on any."""
    taken = []
    for number in range(60):
        before = time.perf_counter(), time.process_time()
        reader(crops[number : number + 1])
        taken.append([1000 * (b - a) for a, b in zip(before, (time.perf_counter(), time.process_time()), strict=True)])
    wall, processor = np.array(taken[10:]).T
    return {"wall median": float(np.median(wall)), "processor median": float(np.median(processor))}


def _write_sheet(path: Path, sets: Mapping[str, Crops], reader: FaceReader) -> None:
    """Faces clean, damaged and half hidden, with what was read: visible landmarks green, hidden ones red."""
    rows = []
    for crops in sets.values():
        chosen = crops[:: len(crops) // 8][:8]
        covered = np.stack([occlude(crop, generator(9, number))[0] for number, crop in enumerate(chosen)])
        for shown in (chosen, _damaged(chosen, "medium"), covered):
            tiles = [_drawn(crop, reader) for crop in shown]
            rows += [np.hstack(tiles)]
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def _drawn(crop: np.ndarray, reader: FaceReader) -> np.ndarray:
    read, picture = reader(crop[None]), crop.copy()
    for (x, y), visible in zip(read.landmarks[0], read.visibility[0], strict=True):
        colour = (0, 255, 0) if visible >= 0.5 else (255, 0, 0)
        cv2.circle(picture, (round(float(x)), round(float(y))), 2, colour, -1, cv2.LINE_AA)
    return picture


if __name__ == "__main__":
    main()
