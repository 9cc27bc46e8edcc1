"""What a look through a set of faces reports."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from revisage.cli.app import run as main
from revisage.core.errors import InputError
from revisage.core.values import Face
from revisage.datasets.training_sets import DatasetReport, check_dataset, perceptual_hash
from revisage.faces.alignment import crop_affine, warp_antialiased
from revisage.faces.detect import load_detector
from sample_media import face_frames

Image = NDArray[np.uint8]


def aligned(frame: Image, face: Face, size: int = 256) -> Image:
    affine = crop_affine(face.landmarks, size)
    return warp_antialiased(frame, affine, (size, size), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_REFLECT_101)


def write(path: Path, image: Image, *options: int) -> None:
    cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]), list(options))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with each fault once."""
    folder = tmp_path_factory.mktemp("faces")
    frame = face_frames(1)[0]
    crop = aligned(frame, load_detector("compact")(frame)[0])
    write(folder / "good.png", crop)
    write(folder / "good_again.bmp", crop)
    write(folder / "good_as_jpeg.jpg", crop, cv2.IMWRITE_JPEG_QUALITY, 80)
    write(folder / "moved.png", np.roll(crop, (30, 45), axis=(0, 1)))
    write(
        folder / "nobody.png",
        cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, crop.shape, np.uint8), (0, 0), 9),
    )
    write(folder / "oblong.png", frame[:256])
    write(folder / "small.png", crop[:200:2, :200:2])
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def report(faces: Path) -> DatasetReport:
    return check_dataset(faces)


def names(files: list[str]) -> list[str]:
    return [Path(file).name for file in files]


def test_sizes_and_what_can_be_used(report: DatasetReport) -> None:
    assert report.images == 8
    assert report.usable == 5
    assert report.sizes == {"256x256": 5, "480x256": 1, "100x100": 1}
    assert names(report.small) == ["small.png"]
    assert names(report.not_square) == ["oblong.png"]
    assert names(list(report.unreadable)) == ["broken.png"]


def test_repeats_are_grouped(report: DatasetReport) -> None:
    assert [names(group) for group in report.duplicates] == [["good.png", "good_again.bmp"]]
    near = [set(names(group)) for group in report.near_duplicates]
    assert any({"good.png", "good_as_jpeg.jpg"} <= group for group in near)


def test_faces_missing_and_out_of_place_are_named(report: DatasetReport) -> None:
    assert names(report.no_face) == ["nobody.png"]
    assert names(list(report.misaligned)) == ["moved.png"]
    assert report.misaligned[next(iter(report.misaligned))] > 0.2


def test_licences_come_from_the_list(faces: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.csv"
    listing.write_text(f"file,licence\n{faces / 'good.png'},MIT\n{faces / 'moved.png'},\n", encoding="utf-8")
    found = check_dataset(listing, detector=None)
    assert found.licences == {"MIT": 1, "not stated": 1}
    assert found.lists == {str(faces): 2}
    assert not found.faces_checked
    assert found.no_face == []


def test_the_hash_survives_coding_and_size_but_not_another_picture() -> None:
    first = face_frames(1)[0]
    bits = perceptual_hash(first)
    assert (
        bits ^ perceptual_hash(cv2.resize(first, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    ).bit_count() <= 3
    assert (bits ^ perceptual_hash(np.ascontiguousarray(first[:, ::-1]))).bit_count() > 10


def test_the_command_leaves_with_two_when_nothing_is_of_use(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "check", str(faces), "--no-faces", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["usable"] == 5
    assert main(["dataset", "check", str(faces), "--no-faces", "--size", "1024"]) == 2
    printed = capsys.readouterr()
    assert "too small" in printed.out
    assert "none of 8 images can be used at 1024 px" in printed.err
    with pytest.raises(InputError, match="lists no image"):
        check_dataset(tmp_path)
