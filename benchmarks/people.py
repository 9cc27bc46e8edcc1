"""Are the people of a film told apart? A film made of known people, and what `revisage analyze` makes of it.

    python benchmarks/people.py --faces FOLDER [--clips FOLDER] [--reader FILE] [--people 16] [--first 0] [--seed 7]
        [--frames 10] [--json FILE] [--film FILE]

`--faces` holds aligned faces (FFHQ frame) and, beside it, their list FOLDER.csv; those of the London set show the same
people neutral and smiling. Each person is seen in five shots, alone or beside another, at 40 to 180 px, moving,
turning in the plane and coming nearer, neutral or smiling; `--clips` adds people who talk, in several shots each.
The film is coded well, then badly. Purity: the part of all seen faces that belongs to whoever their group shows most.
Completeness: the part of each person's faces that is in the one group that holds most of them. Each person's neutral
photo is given with a name, too: of the names found, how many are right.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import revisage
from footage import write_clip
from measuring import finish, print_table
from revisage import media, people, readers
from revisage.faces import ffhq_template

SIZE_HW = (480, 854)
SMALLEST, LARGEST = 40, 180
BOX = 200 / 512
"""Width of a face's box as a part of an aligned crop's side."""
SHOTS_EACH, TALKS_EACH = 5, 3
QUALITIES = {"good": ("18", 1.0), "bad": ("37", 0.6)}
"""CRF of the film, and the scale at which it is coded."""


@dataclass(frozen=True)
class Actor:
    """Somebody in a shot: a picture, the path of the face's centre (px of the frame) and its width."""

    name: str
    picture: np.ndarray
    centre: tuple[float, float]
    width: float
    seed: int

    def place(self, moment: float) -> np.ndarray:
        """The affine from picture to frame at a moment from 0 to 1."""
        side = self.picture.shape[0]
        random = np.random.default_rng(self.seed)
        drift, sway, nearer = random.uniform(-0.3, 0.3, 2), random.uniform(-6, 6), random.uniform(0.95, 1.15)
        scale = self.width / (BOX * side) * nearer**moment
        angle = np.radians(sway * np.sin(2 * np.pi * (moment + random.random())))
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = ffhq_template(side).mean(axis=0)
        target = np.array(self.centre) + drift * self.width * moment
        return np.column_stack((linear, target - linear @ middle))


def main() -> None:
    options = _options()
    recogniser = readers.load_recogniser(options.reader)
    photos = _london(options.faces, options.people, options.first)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for quality, (crf, scale) in QUALITIES.items():
            film = options.film or Path(folder) / f"{quality}.mkv"
            film = film.with_stem(f"{film.stem}-{quality}") if options.film else film
            truth = _write(film, _shots(photos, options), crf, scale)
            rows.append({"film": quality, **_judged(film, truth, recogniser, photos, options.threshold, scale)})
    print_table("people of a film told apart", rows)
    about = {"first": options.first, "seed": options.seed}
    finish({"reader": recogniser.name, "threshold": options.threshold, **about, "films": rows}, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--reader", default=readers.READER)
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--first", type=int, default=0, help="who of the list is the first that is taken")
    parser.add_argument("--seed", type=int, default=7, help="of the shots; another makes another film")
    parser.add_argument("--frames", type=int, default=10, help="of each shot")
    parser.add_argument("--threshold", type=float, default=readers.SAME_PERSON)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--film", type=Path, help="keep the films under this name")
    return parser.parse_args()


def _london(folder: Path, count: int, first: int) -> dict[str, dict[str, Path]]:
    """Both photos of people by name, taken evenly from all."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    with folder.with_suffix(".csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["file"].startswith("london"):
                look, name = row["source_path"].split("/")[-2:]
                found[name[:3]]["neutral" if "neutral" in look else "smiling"] = folder / row["file"]
    both = [(name, looks) for name, looks in sorted(found.items()) if len(looks) == 2]
    return dict(both[first :: max(1, len(both) // count)][:count])


Shot = list[tuple[np.ndarray, dict[str, tuple[float, float]]]]
"""Frames, and where in each the face of whom is."""


def _shots(photos: dict[str, dict[str, Path]], options: argparse.Namespace) -> Iterator[Shot]:
    random = np.random.default_rng(options.seed)
    cast = [name for name in photos for _ in range(SHOTS_EACH)]
    random.shuffle(cast)
    talks = [] if options.clips is None else list(_talks(options.clips, options.frames))
    random.shuffle(talks)
    every = max(1, len(cast) // (len(talks) + 1))
    number = 0
    while cast:
        names = [cast.pop()]
        if cast and cast[-1] != names[0] and random.random() < 0.3:
            names.append(cast.pop())
        yield _staged(names, photos, options.frames, random)
        number += 1
        if talks and number % every == 0:
            yield talks.pop()
    yield from talks


def _staged(names: list[str], photos: dict[str, dict[str, Path]], frames: int, random: np.random.Generator) -> Shot:
    height, width = SIZE_HW
    actors = []
    for place, name in enumerate(names):
        path = photos[name][str(random.choice(["neutral", "smiling"]))]
        picture = cv2.imread(str(path))[..., ::-1]
        x = width * (place + 0.5) / len(names) + random.uniform(-0.1, 0.1) * width / len(names)
        size = float(np.exp(random.uniform(np.log(SMALLEST), np.log(LARGEST))))
        actors.append(Actor(name, picture, (x, height * random.uniform(0.4, 0.55)), size, int(random.integers(1e9))))
    backdrop = cv2.resize(
        random.integers(30, 220, (4, 6, 3)).astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return [_frame(backdrop, actors, number / max(1, frames - 1)) for number in range(frames)]


def _frame(
    backdrop: np.ndarray, actors: list[Actor], moment: float
) -> tuple[np.ndarray, dict[str, tuple[float, float]]]:
    frame, places = backdrop.astype(np.float32), {}
    for actor in actors:
        affine = actor.place(moment)
        side = actor.picture.shape[0]
        small = cv2.GaussianBlur(actor.picture, (0, 0), max(0.01, 0.4 / np.linalg.norm(affine[0, :2])))
        ramp = np.clip(np.minimum(np.arange(side), np.arange(side)[::-1]) / (0.06 * side), 0, 1)
        mask = cv2.warpAffine(np.minimum.outer(ramp, ramp).astype(np.float32), affine, SIZE_HW[::-1])[..., None]
        frame += mask * (cv2.warpAffine(small, affine, SIZE_HW[::-1]).astype(np.float32) - frame)
        x, y = affine[:, :2] @ ffhq_template(side).mean(axis=0) + affine[:, 2]
        places[actor.name] = (float(x), float(y))
    return np.clip(frame, 0, 255).astype(np.uint8), places


def _talks(folder: Path, frames: int) -> Iterator[Shot]:
    """Shots of the clips with one face, far apart in each; padded to the film's size."""
    for name in ("swiz3n.mpg", "retalking_1.mp4", "s18.mp4"):
        with media.open_source(folder / name) as source:
            pictures = [frame.rgb() for frame in itertools.islice(source.frames(), TALKS_EACH * 25)]
        for first in range(0, len(pictures) - frames, len(pictures) // TALKS_EACH):
            yield [
                (_fitted(picture), {name: (SIZE_HW[1] / 2, SIZE_HW[0] / 2)})
                for picture in pictures[first : first + frames]
            ]


def _fitted(picture: np.ndarray) -> np.ndarray:
    height, width = SIZE_HW
    factor = min(height / picture.shape[0], width / picture.shape[1])
    inside = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    canvas = np.full((height, width, 3), 90, np.uint8)
    top, left = (height - inside.shape[0]) // 2, (width - inside.shape[1]) // 2
    canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return canvas


def _write(path: Path, shots: Iterator[Shot], crf: str, scale: float) -> list[dict[str, tuple[float, float]]]:
    """The film, and who is where in each frame (px of the film before it is reduced)."""
    truth = []
    height, width = (round(side * scale / 2) * 2 for side in SIZE_HW)

    def pictures() -> Iterator[np.ndarray]:
        for picture, places in itertools.chain.from_iterable(shots):
            truth.append(places)
            yield cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)

    write_clip(path, pictures(), crf=crf, preset="fast")
    return truth


def _judged(film, truth, recogniser, photos, threshold, scale) -> dict[str, object]:
    scan = revisage.scan(film)
    owners = {track.id: _owner(track, truth, scale) for track in scan.tracks}
    detector = revisage.load_detector()
    # Each is named by the neutral photo; half of their shots show the other one.
    known = people.read_people({name: [looks["neutral"]] for name, looks in photos.items()}, detector, recogniser)
    found = people.find_people(scan.footage(film), recogniser, known=known, threshold=threshold)
    plain = people.find_people(scan.footage(film), recogniser, threshold=threshold, every=None)
    sizes = {track.id: len(track.boxes) for track in scan.tracks}
    named = [person for person in found.people if person.name]
    right = sum(Counter(_of(person, owners, sizes)).most_common(1)[0][0] == person.name for person in named)
    return {
        "frames": scan.frames,
        "shots": len(scan.shots),
        "tracks": len(scan.tracks),
        "people": len({name for places in truth for name in places}),
        "groups": len(plain.people),
        "nobody's": sum(owner is None for owner in owners.values()),
        **_scores(plain, owners, sizes, ""),
        **_scores(found, owners, sizes, " named"),
        "names right": f"{right} of {len(named)}, {len(known) - len(named)} not found",
    }


def _owner(track, truth, scale) -> str | None:
    """Whose face a track is: whoever is nearest in most of its frames, within a face's size."""
    votes: Counter[str] = Counter()
    for place, (x, y, width, height) in enumerate(track.boxes):
        for name, (right, down) in truth[track.start + place].items():
            away = np.hypot(x + width / 2 - right * scale, y + height / 2 - down * scale)
            if away < max(width, height) or name.endswith((".mp4", ".mpg")):
                votes[name] += 1
    return votes.most_common(1)[0][0] if votes else None


def _of(person, owners, sizes) -> Counter:
    count: Counter[str | None] = Counter()
    for track in person.tracks:
        count[owners[track]] += sizes[track]
    return count


def _scores(found, owners, sizes, mark: str) -> dict[str, float]:
    groups = [_of(person, owners, sizes) for person in found.people]
    everybody = sum((Counter(count) for count in groups), Counter())
    purity = sum(count.most_common(1)[0][1] for count in groups) / everybody.total()
    whole = {name: max(count[name] for count in groups) for name in everybody if name is not None}
    complete = sum(whole.values()) / sum(everybody[name] for name in whole)
    return {f"purity{mark} %": round(100 * purity, 2), f"completeness{mark} %": round(100 * complete, 2)}


if __name__ == "__main__":
    main()
