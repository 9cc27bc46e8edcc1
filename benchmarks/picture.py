"""What do `--color restore`, `--denoise` and `--dust` do to the whole picture, each alone and all of them to old film?

    python benchmarks/picture.py [--only color,denoise,faces,dust,film] [--shared DIR] [--frames N] [--draws N]
        [--json FILE]

The tables of docs/picture.md. Frames of clips are damaged, go through a restoration with `--strength 0` (faces as
they are) and FFV1, and are compared with what they were; PSNR is of whole frames and of 88 dB at most.

`color`: fading drawn as in the training preset `archive`, or a gain of each channel, deviation 0.15 of its logarithm;
`nearer` counts the shots whose PSNR is higher than before. ΔE is CIE76 of pixels.
`denoise`: white noise, H.264 or an older codec, the frames behind the first 12 of a clip; beside it FFmpeg's filters,
in 4:2:0; `unfiltered` is what bringing the frames there and to RGB leaves. `ms a frame` is the processor time that
`--denoise` adds.
`faces`: white noise, faces restored, with and without `--denoise 1`; measures of benchmarks/presets.py.
`dust`: specks as in `archive`, new in each frame; the first and the last frame are not measured. `removed` is the
part of the absolute error within the specks that is gone, noise and coding counted; `elsewhere` are the pixels, % of
all, that changed by more than 3 levels and lie more than 3 px from the specks.
`film`: all damage of `archive` in colour but scratches and hairs, on a piece around a face; means over draws.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from footage import noisy, write_clip
from measuring import finish, print_table
from pieces import Image, Restorer, Yardstick, cut_piece, mean, read_pictures
from revisage.datasets.damage import degrade_file
from revisage.measures import psnr
from revisage.media import open_source
from revisage.train import find_preset
from revisage.train.degrade import ArchiveDegradation
from revisage.train.degrade.film import Wear, WearRates

SHOTS = ("asl_brother.mkv@10", "asl_thanks.mkv@15", "retalking_1.mp4@30", "s18.mp4@60")
SHOTS += ("short_hamilton_clip.mp4@0", "short_hamilton_clip.mp4@150", "swiz3n.mpg@20")
FOUR = ("asl_brother.mkv@10", "short_hamilton_clip.mp4@150", "bottle-detection.mp4@100", "retalking_1.mp4@30")
FIVE = (*FOUR, "swiz3n.mpg@20")
FILMS = ("swiz3n.mpg@20", "retalking_1.mp4@30")

SEED, MOST = 2026, 88.0
CAST = 0.15
FACE_SPECKS, SEEN, MARGIN = 20, 3, 3
"""Specks on a face's room (a face fills half of the shorter side), levels by which a pixel has to change for that
to count, and px around a speck that are filled with it."""

NO_FACES = {"strength": 0.0}
OLDER = {"mpeg2video": "14", "mjpeg": "14", "mpeg4": "14"}
"""Codecs before H.264, with the quantiser that leaves 35 to 37 dB of these clips."""
FILTERS = {
    "unfiltered": "null",
    "nlmeans": "nlmeans=s=2",
    "bilateral": "bilateral=sigmaS=2:sigmaR=0.05",
    "dctdnoiz": "dctdnoiz=s=8",
    "deblock": "deblock",
}
WAYS: dict[str, dict[str, Any]] = {
    "restored": {},
    "--dust --denoise 1": {"dust": True, "denoise": 1.0},
    "--dust --denoise 1 --color restore": {"dust": True, "denoise": 1.0, "color": "restore"},
}

LEAD = 12
"""Frames coded before those that are measured."""
FORM = av.VideoFormat("yuv420p")

Random = np.random.Generator


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    record: dict[str, Any] = {"frames": options.frames, "draws": options.draws}
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(options.shared, options.frames, options.draws, Path(folder), Restorer())
        for part in options.only:
            record[part] = list(PARTS[part](bench))
            print_table(part, record[part])
    finish(record, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,...")
    parser.add_argument("--frames", type=int, default=5, help="of each clip")
    parser.add_argument("--draws", type=int, default=4, help="of fading, casts and film")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


@dataclass(frozen=True)
class _Bench:
    """Where footage comes from, how much of it, and a folder to work in."""

    shared: Path
    count: int
    draws: int
    folder: Path
    restore: Restorer

    def pictures(self, clip: str, count: int | None = None) -> list[Image]:
        """The first frames of a shot, with even sides."""
        name, _, first = clip.partition("@")
        with open_source(self.shared / "clips" / name) as source:
            frames = [frame.rgb() for frame in itertools.islice(source.frames(int(first)), count or self.count)]
        height, width = (side // 2 * 2 for side in frames[0].shape[:2])
        return [np.ascontiguousarray(frame[:height, :width]) for frame in frames]

    def without_loss(self, pictures: Sequence[Image]) -> Path:
        """A file that holds these pictures as they are."""
        file = self.folder / "source.mkv"
        write_clip(file, pictures, codec="ffv1", form="bgr0")
        return file

    def coded(self, pictures: Sequence[Image], crf: int) -> Path:
        """These pictures in H.264."""
        file = self.folder / "source.mp4"
        write_clip(file, pictures, crf=str(crf))
        return file

    def restored(self, source: Path, **options: Any) -> list[Image]:
        """What is made of a file."""
        return self.timed(source, **options)[0]

    def timed(self, source: Path, **options: Any) -> tuple[list[Image], float]:
        """The same, and the processor's seconds a frame."""
        target = self.folder / "restored.mkv"
        seconds = self.restore(source, target, codec="ffv1", **options)
        return read_pictures(target), seconds


def _color(bench: _Bench) -> Iterator[dict[str, Any]]:
    for name, damage in {"faded": _faded, "cast": _cast, "clean": None}.items():
        rows = []
        for number, clip in enumerate(SHOTS):
            clean = bench.pictures(clip)
            for draw in range(bench.draws if damage else 1):
                random = np.random.default_rng((SEED, number, draw))
                damaged = damage(clean, random) if damage else clean
                after = bench.restored(bench.without_loss(damaged), color="restore", **NO_FACES)
                rows.append({"before": _measured(damaged, clean), "after": _measured(after, clean)})
        yield {"damage": name, "shots": len(rows), **_before_and_after(rows)}


def _faded(pictures: Sequence[Image], random: Random) -> list[Image]:
    ranges = ArchiveDegradation()
    black, fade = random.uniform(*ranges.black), random.uniform(*ranges.dye_fade)
    white = min(1.0, black + random.uniform(*ranges.contrast))
    levels = np.linspace(black, white, 256)[:, None] * (1.0, 1.0 - fade / 2, 1.0 - fade) * 255
    return [_looked_up(picture, levels) for picture in pictures]


def _cast(pictures: Sequence[Image], random: Random) -> list[Image]:
    levels = np.arange(256)[:, None] * np.exp(random.normal(0, CAST, 3))
    return [_looked_up(picture, levels) for picture in pictures]


def _looked_up(picture: Image, levels: NDArray[np.float64]) -> Image:
    return np.asarray(cv2.LUT(picture, np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None]), np.uint8)


def _measured(pictures: Sequence[Image], clean: Sequence[Image]) -> dict[str, float]:
    return {"PSNR": _psnr(pictures, clean), "ΔE": mean(map(_delta_e, pictures, clean))}


def _psnr(pictures: Sequence[Image], clean: Sequence[Image]) -> float:
    return mean(min(MOST, psnr(*pair)) for pair in zip(pictures, clean, strict=True))


def _delta_e(picture: Image, clean: Image) -> float:
    labs = [cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for each in (picture, clean)]
    return float(np.linalg.norm(labs[0] - labs[1], axis=2).mean())


def _before_and_after(rows: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, object]:
    found: dict[str, object] = {
        f"{name} {side}": mean(row[side][name] for row in rows)
        for name, side in itertools.product(("PSNR", "ΔE"), ("before", "after"))
    }
    return found | {"nearer": sum(row["after"]["PSNR"] > row["before"]["PSNR"] for row in rows)}


def _denoise(bench: _Bench) -> Iterator[dict[str, Any]]:
    for name, sigma, crf in (
        ("noise 8, H.264 crf 10", 8, 10),
        ("noise 8, H.264 crf 28", 8, 28),
        ("H.264 crf 36", 0, 36),
        ("clean", 0, None),
    ):
        yield _means(name, [_denoised(bench, clip, sigma, crf) for clip in FOUR])
    for codec, quantiser in OLDER.items():
        yield _means(codec, [_denoised_older(bench, clip, codec, quantiser) for clip in FOUR])


def _denoised(bench: _Bench, clip: str, sigma: float, crf: int | None) -> dict[str, float]:
    clean, random = bench.pictures(clip, LEAD + bench.count), np.random.default_rng(SEED)
    damaged = [noisy(picture, sigma, random) for picture in clean] if sigma else clean
    kept = clean[LEAD:]
    if crf is None:
        return _beside_filters(bench, bench.without_loss(damaged[LEAD:]), kept)
    return _beside_filters(bench, _tail(bench, bench.coded(damaged, crf)), kept)


def _denoised_older(bench: _Bench, clip: str, codec: str, quantiser: str) -> dict[str, float]:
    clean, file = bench.pictures(clip, LEAD + bench.count), bench.folder / "older.mkv"
    form = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    # Each picture of MJPEG is by itself.
    pictures = clean[LEAD:] if codec == "mjpeg" else clean
    write_clip(file, pictures, codec=codec, form=form, qmin=quantiser, qmax=quantiser)
    return _beside_filters(bench, file if codec == "mjpeg" else _tail(bench, file), clean[LEAD:])


def _tail(bench: _Bench, file: Path) -> Path:
    """The frames of a file behind the first ones, as they are in it: a codec spends more on those."""
    tail = bench.folder / "tail.mkv"
    with av.open(file) as container:
        write_clip(tail, list(container.decode(video=0))[LEAD:], codec="ffv1")
    return tail


def _beside_filters(bench: _Bench, source: Path, clean: Sequence[Image]) -> dict[str, float]:
    as_found = read_pictures(source)
    _, usual = bench.timed(source, **NO_FACES, copy_untouched="never")
    after, seconds = bench.timed(source, denoise=1.0, **NO_FACES)
    found = {"source": _psnr(as_found, clean), "compact-fine": _psnr(after, clean)}
    found |= {name: _psnr(_filtered(source, graph), clean) for name, graph in FILTERS.items()}
    return found | {"ms a frame": 1000 * (seconds - usual)}


def _filtered(source: Path, graph: str) -> list[Image]:
    """What a filter of FFmpeg makes of a file's frames in 4:2:0."""
    done = []
    with av.open(source) as container:
        shown = container.streams.video[0]
        chain = av.filter.Graph()
        nodes = [
            chain.add_buffer(width=shown.width, height=shown.height, format=FORM, time_base=shown.time_base),
            chain.add(*graph.split("=", 1)),
            chain.add("buffersink"),
        ]
        chain.link_nodes(*nodes).configure()
        for frame in container.decode(video=0):
            chain.push(frame.reformat(format="yuv420p"))
            done.append(chain.pull().to_ndarray(format="rgb24"))
    return done


def _means(name: str, rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {"damage": name, **{column: mean(row[column] for row in rows) for column in rows[0]}}


def _faces(bench: _Bench) -> Iterator[dict[str, Any]]:
    piece = cut_piece(bench.pictures(FOUR[0]), bench.folder / "piece")
    yard, random = Yardstick(piece, bench.shared), np.random.default_rng(SEED)
    source = bench.without_loss([noisy(picture, 8, random) for picture in piece.pictures])
    yield {"way": "noise 8", **yard.measure(read_pictures(source))}
    for way, chosen in {"restored": {}, "--denoise 1": {"denoise": 1.0}}.items():
        yield {"way": way, **yard.measure(bench.restored(source, **chosen))}


def _dust(bench: _Bench) -> Iterator[dict[str, Any]]:
    for name, sigma, crf, specks in (
        ("dust alone", 0, None, FACE_SPECKS),
        ("with noise 5", 5, None, FACE_SPECKS),
        ("H.264 crf 20", 0, 20, FACE_SPECKS),
        ("no dust at all", 0, None, 0),
    ):
        yield {"damage": name, **_of_shots([_dusted(bench, clip, sigma, crf, specks) for clip in FIVE])}


def _dusted(bench: _Bench, clip: str, sigma: float, crf: int | None, specks: int) -> dict[str, float | None]:
    clean, random = bench.pictures(clip), np.random.default_rng(SEED)
    without = [noisy(picture, sigma, random) for picture in clean] if sigma else clean
    worn = _worn(without, specks)
    marked = [_changed(*pair) for pair in zip(worn, without, strict=True)]
    apart = [cv2.dilate(mark.astype(np.uint8), np.ones((2 * MARGIN + 1, 2 * MARGIN + 1))) == 0 for mark in marked]
    source = bench.without_loss(worn) if crf is None else bench.coded(worn, crf)
    before, after = read_pictures(source), bench.restored(source, dust=True, **NO_FACES)
    inner = range(1, len(clean) - 1)
    errors = [sum(_error(side[i], clean[i], marked[i]) for i in inner) for side in (before, after)]
    return {
        "removed": 100 * (1 - errors[1] / errors[0]) if specks else None,
        "before": _psnr([before[i] for i in inner], [clean[i] for i in inner]),
        "after": _psnr([after[i] for i in inner], [clean[i] for i in inner]),
        "elsewhere": 100 * mean((_changed(after[i], before[i]) & apart[i]).mean() for i in inner),
    }


def _changed(picture: Image, other: Image) -> NDArray[np.bool_]:
    """Where they differ by more than can be seen."""
    differs: NDArray[np.bool_] = np.abs(picture.astype(np.int16) - other).max(axis=2) > SEEN
    return differs


def _error(picture: Image, true: Image, where: NDArray[np.bool_]) -> float:
    return float(np.abs(picture.astype(np.int16) - true)[where].sum())


def _of_shots(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Means, and beside them the least and the most where a mean hides much."""
    columns = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
    removed, elsewhere = columns["removed"], columns["elsewhere"]
    return {
        **{name: mean(values) if values else None for name, values in columns.items()},
        "removed, least": min(removed, default=None),
        "removed, most": max(removed, default=None),
        "elsewhere, most": max(elsewhere),
    }


def _worn(pictures: Sequence[Image], specks: int) -> list[Image]:
    """With specks as a film's frames have them: each frame its own."""
    height, width = pictures[0].shape[:2]
    unit = min(height, width) / 2 / 512
    room = height * width / (512 * unit) ** 2
    rates = WearRates(grey=False, unit=unit, scratches=0, dust=specks * room, hairs=0)
    wear = Wear(rates, (height, width), np.random.default_rng(SEED))
    return [wear.worn(picture) for picture in pictures]


def _film(bench: _Bench) -> Iterator[dict[str, Any]]:
    damage = find_preset("archive").model_copy(
        update={"grey_probability": 0.0, "scratches": (0.0, 0.0), "hairs": (0.0, 0.0)}
    )
    for clip in FILMS:
        piece = cut_piece(bench.pictures(clip, 7), bench.folder / clip)
        yard = Yardstick(piece, bench.shared)
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ("damaged", *WAYS)}
        for draw in range(bench.draws):
            source = bench.folder / "film.mkv"
            source.unlink(missing_ok=True)
            degrade_file(piece.file, source, damage, seed=draw)
            found["damaged"].append(yard.measure(read_pictures(source)))
            for way, chosen in WAYS.items():
                found[way].append(yard.measure(bench.restored(source, **chosen)))
        for way, rows in found.items():
            yield {"clip": clip, "way": way, **{name: mean(row[name] for row in rows) for name in rows[0]}}


PARTS = {"color": _color, "denoise": _denoise, "faces": _faces, "dust": _dust, "film": _film}


if __name__ == "__main__":
    main()
