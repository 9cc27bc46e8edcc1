"""A source looked at in parts, by whomever and in whatever order: the scan is that of one who reads it through."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from revisage import restore
from revisage.core import CancelledError, CancelToken, Progress, RestoreConfig
from revisage.media import open_source
from revisage.pipeline import (
    Networks,
    PartFolder,
    ProcessRunner,
    Scan,
    ScanJob,
    ScanPart,
    fingerprint,
    scan_parts,
    scan_source,
)
from sample_media import face_frames, plain_frames, write_video

CONFIG = RestoreConfig()
NETWORKS = Networks(CONFIG)
SPACING = 4
"""Seconds from frame to frame: fifteen frames make a part."""


class Backwards:
    """Takes jobs as bytes, and does the last first."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def run(self, *_: Any, **__: Any) -> Iterator[Any]:
        raise AssertionError("there is nothing to restore")

    def scan(self, jobs: Iterable[ScanJob], *, cancel: CancelToken, on_frame: Any) -> Iterator[ScanPart]:
        sent = [pickle.dumps(job) for job in jobs]
        for data in reversed(sent):
            job = pickle.loads(data)
            self.asked.append(job.first)
            for part in scan_parts(job, NETWORKS, cancel, on_frame):
                yield pickle.loads(pickle.dumps(part))


def written(path: Path, pictures: Iterable[Any], *, key_frames: int = 6, **options: Any) -> Path:
    frames = list(pictures)
    times = [SPACING * index for index in range(len(frames))]
    return write_video(
        path, frames, pts=times, time_base=Fraction(1), options={"g": str(key_frames), "preset": "ultrafast"}, **options
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face over the first border, black over the second, a cut at the third, and a picture held over the fourth."""
    seen, plain, black = face_frames(24), plain_frames(8, (270, 480)), [np.zeros((270, 480, 3), np.uint8)] * 4
    pictures = [*seen[:22], *plain[:6], *black, *seen[4:17], *plain[:8], *([plain[7]] * 9), *plain[2:5]]
    assert len(pictures) == 65
    return written(tmp_path_factory.mktemp("film") / "film.mkv", pictures)


def scanned(path: Path, config: RestoreConfig = CONFIG, **options: Any) -> Scan:
    return scan_source(path, fingerprint(path), config, NETWORKS, **options)


@pytest.fixture(scope="module")
def through(film: Path) -> Scan:
    return scanned(film)


def test_the_film_is_what_it_is_said_to_be(through: Scan) -> None:
    assert through.shots == [(0, 22), (22, 32), (32, 45), (45, 65)]
    assert [(track.start, track.stop) for track in through.tracks] == [(0, 22), (32, 45)]


def test_parts_in_any_order_give_the_same_scan(film: Path, through: Scan) -> None:
    backwards, told = Backwards(), []
    assert scanned(film, runner=backwards, progress=told.append).to_json() == through.to_json()
    assert backwards.asked == [4, 3, 2, 1, 0]
    assert [moment.done for moment in told] == list(range(1, 66))


def test_processes_give_the_same_scan(film: Path, through: Scan) -> None:
    assert scanned(film, runner=ProcessRunner(2)).to_json() == through.to_json()


@pytest.mark.parametrize("end", [59, 60, 61, 130])
def test_an_end_holds_in_parts_too(film: Path, end: int) -> None:
    config = RestoreConfig(end=end)
    scan = scanned(film, config)
    assert len(scan.pts) == -(-end // SPACING)
    assert scanned(film, config, runner=Backwards()).to_json() == scan.to_json()


def test_frames_before_the_start_are_counted_by_reading_them(film: Path) -> None:
    backwards = Backwards()
    scan = scanned(film, RestoreConfig(start=100, end=190), runner=backwards)
    assert (scan.first, scan.frames, backwards.asked) == (25, 23, [0])
    assert scanned(film, RestoreConfig(start=100, end=190)).to_json() == scan.to_json()


def test_an_interrupted_scan_goes_on_behind_the_parts_that_it_finished(
    film: Path, through: Scan, tmp_path: Path
) -> None:
    kept, stop, told = PartFolder(tmp_path / "parts"), CancelToken(), []

    def tell(moment: Progress) -> None:
        if moment.done == 40:
            stop.cancel()

    with pytest.raises(CancelledError):
        scanned(film, progress=tell, cancel=stop, kept=kept)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["part-00000.npz", "part-00001.npz"]
    assert scanned(film, progress=told.append, kept=kept).to_json() == through.to_json()
    assert [moment.done for moment in told] == [15, 30, *range(31, 66)]
    beside = Backwards()
    assert scanned(film, runner=beside, kept=kept).to_json() == through.to_json()
    assert beside.asked == [4]


def test_a_run_that_dies_while_it_scans_keeps_what_it_saw(film: Path, tiny_model: Path, tmp_path: Path) -> None:
    told: list[Progress] = []

    def crash(moment: Progress) -> None:
        if moment.done == 40:
            raise KeyError("simulated crash")

    whole, output = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    restore(film, whole, model=str(tiny_model))
    with pytest.raises(KeyError):
        restore(film, output, model=str(tiny_model), progress=crash)
    (work,) = tmp_path.glob(".out.mkv.*")
    assert len(list((work / "scan-parts").iterdir())) == 2
    restore(film, output, model=str(tiny_model), progress=told.append)
    assert [moment.done for moment in told if moment.stage == "scan"] == [15, 30, *range(31, 66)]
    assert output.read_bytes() == whole.read_bytes()
    assert not work.exists()


def test_a_part_is_read_as_it_was_kept(film: Path, tmp_path: Path) -> None:
    with open_source(film) as source:
        (part,) = scan_parts(ScanJob(str(film), source.info, CONFIG, 1, 2), NETWORKS, CancelToken(), lambda _: None)
    folder = PartFolder(tmp_path / "parts")
    folder.save(part)
    again = folder.load(1)
    assert again is not None
    for name, value in vars(part).items():
        read = vars(again)[name]
        assert type(read) is type(value), name
        np.testing.assert_array_equal(np.asarray(read), np.asarray(value), err_msg=name)
    (tmp_path / "parts" / "part-00001.npz").write_bytes(b"torn")
    assert folder.load(1) is None


def test_parts_of_a_damaged_film_are_not_trusted(film: Path, tmp_path: Path) -> None:
    """What there is to say of its damage takes reading it from end to end."""
    data = bytearray(film.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200_000] = np.random.default_rng(1).bytes(200_000)
    broken, cut_off = tmp_path / "broken.mkv", tmp_path / "cut_off.mkv"
    broken.write_bytes(data)
    cut_off.write_bytes(film.read_bytes()[: len(data) * 3 // 4])
    assert scanned(cut_off).truncated
    for damaged in (broken, cut_off):
        scan = scanned(damaged)
        assert scanned(damaged, runner=Backwards(), kept=PartFolder(tmp_path / "parts")).to_json() == scan.to_json()
        assert scanned(damaged, kept=PartFolder(tmp_path / damaged.stem)).to_json() == scan.to_json()


def test_a_film_without_key_frames_on_the_way_is_read_through(tmp_path: Path) -> None:
    far = written(tmp_path / "far.mkv", plain_frames(50), key_frames=1000)
    assert scanned(far, runner=Backwards()).to_json() == scanned(far).to_json()


def test_parts_of_interlaced_film_are_made_progressive(tmp_path: Path) -> None:
    comb = [
        np.where(np.arange(64)[:, None, None] % 2, picture, 255 - picture) for picture in plain_frames(34, (64, 80))
    ]
    times = [SPACING * index for index in range(34)]
    options = {"g": "6", "x264-params": "tff=1"}
    film = write_video(tmp_path / "film.mkv", comb, pts=times, time_base=Fraction(1), options=options)
    progressive = RestoreConfig(deinterlace=True)
    scan = scanned(film, progressive)
    assert scan.colours != scanned(film).colours, "the lines were mixed"
    assert scanned(film, progressive, runner=Backwards()).to_json() == scan.to_json()


@pytest.mark.parametrize("name", ["film.mp4", "film.ts"])
def test_other_containers(tmp_path: Path, name: str) -> None:
    told: list[Progress] = []
    film = written(tmp_path / name, plain_frames(40, (64, 80)))
    scan = scanned(film)
    assert scanned(film, runner=Backwards(), progress=told.append).to_json() == scan.to_json()
    assert [moment.done for moment in told] == list(range(1, 41))
