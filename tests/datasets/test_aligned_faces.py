"""Aligned crops: where they come from, which are chosen, and the index."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from revisage.cli.app import run as main
from revisage.core.errors import ConfigError, InputError, OutputError
from revisage.datasets.aligned_crops import (
    Candidate,
    Look,
    check_sheet,
    chosen,
    outside_part,
    people_of,
    score,
    sharpness,
    write_sheet,
    yaw_degrees,
)
from revisage.datasets.aligned_faces import INDEX, AlignOptions, AlignReport, align_files, make_align_options
from revisage.datasets.training_sets import template_error
from revisage.faces.alignment import crop_affine, ffhq_template
from revisage.faces.detect import load_detector
from revisage.train.images import FaceSource, load_images
from sample_media import face_frames


@pytest.fixture(scope="module")
def run(face_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AlignReport]:
    """Crops of a clip and of a photo in a folder below, both of one woman."""
    folder = tmp_path_factory.mktemp("material")
    (folder / "photos").mkdir()
    (folder / face_clip.name).write_bytes(face_clip.read_bytes())
    cv2.imwrite(str(folder / "photos" / "portrait.png"), face_frames(1)[0][..., ::-1])
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (folder / "notes.txt").write_text("no media", encoding="utf-8")
    output = tmp_path_factory.mktemp("aligned") / "out"
    return output, align_files([folder], output, AlignOptions(size=256, per_person=3, licence="CC0"))


def test_crops_are_listed_and_hashed(run: tuple[Path, AlignReport]) -> None:
    output, report = run
    with (output / INDEX).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:7] == ["file", "source", "time", "native_px", "sharpness", "yaw", "score"]
    assert len(rows) == len(report.crops) > 1
    for row in rows:
        data = (output / row["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (256, 256, 3)
        assert 128 <= int(row["native_px"]) < 256
    assert sorted(path.name for path in output.iterdir()) == sorted([INDEX, *(row["file"] for row in rows)])
    assert [row["time"] for row in rows if "portrait" in row["source"]] == [""]


def test_no_person_has_too_many_and_bad_files_are_named(run: tuple[Path, AlignReport]) -> None:
    _, report = run
    people = [crop.person for crop in report.crops]
    assert max(people.count(person) for person in people) <= 3
    assert [Path(name).name for name in report.failed] == ["broken.jpg"]
    assert report.looked_at == 13


def test_crops_have_the_frame_that_training_expects(run: tuple[Path, AlignReport]) -> None:
    output, report = run
    find = load_detector("compact")
    for crop in report.crops[:2]:
        image = cv2.imread(str(output / crop.file))[..., ::-1]
        face = find(np.ascontiguousarray(image))[0]
        assert template_error(face, 256) < 0.12
    cache = load_images([FaceSource(path=output / INDEX)], 256)
    assert len(cache.files) == len(report.crops)
    assert cache.licences == {"CC0": len(report.crops)}


def test_small_faces_are_left_out(run: tuple[Path, AlignReport], face_clip: Path, tmp_path: Path) -> None:
    report = align_files([face_clip], tmp_path / "out", AlignOptions(size=512))
    assert report.crops == []
    assert report.dropped == {"smaller than 256 px in the source": 12}
    assert (tmp_path / "out" / INDEX).read_text(encoding="utf-8").count("\n") == 1


def test_the_command_says_what_it_did(
    face_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REVISAGE_MODELS", str(tmp_path / "no models"))
    out = str(tmp_path / "out")
    sheet = tmp_path / "sheet.jpg"
    small = ["--size", "128", "--per-person", "2", "--sheet", str(sheet)]
    assert main(["dataset", "align", str(face_clip), "-o", out, *small]) == 0
    said = capsys.readouterr().out
    assert "people: 1 (one for each track)" in said
    assert said.splitlines()[:2] == [str(tmp_path / "out" / INDEX), str(sheet)]
    with Image.open(sheet) as page:
        assert (page.format, page.width) == ("JPEG", 172)
    assert main(["dataset", "align", str(face_clip), "-o", out]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_sheet_shows_each_person_s_crops_together_page_after_page(
    run: tuple[Path, AlignReport], tmp_path: Path
) -> None:
    output, report = run
    first, other = report.crops[0], report.crops[-1]
    mixed = [replace(crop, person=number % 2, score=number / 999) for number, crop in enumerate([first, other] * 61)]
    pages = write_sheet(mixed, output, tmp_path / "sheet.png")
    assert [page.name for page in pages] == ["sheet.png", "sheet-2.png"]
    drawn = [np.asarray(Image.open(io.BytesIO(page.read_bytes()))) for page in pages]
    assert [page.shape for page in drawn] == [(2170, 1376, 3), (6 * 217, 1376, 3)]
    for place, crop in ((0, first), (60, first), (61, other), (79, other)):
        with Image.open(output / crop.file) as picture:
            expected = np.asarray(picture.convert("RGB").resize((160, 160), Image.Resampling.LANCZOS))
        left, top = place % 8 * 172 + 6, place // 8 * 217 + 6
        assert np.array_equal(drawn[0][top : top + 160, left : left + 160], expected)
    grounds = [tuple(drawn[0][place // 8 * 217 + 1, place % 8 * 172 + 1]) for place in range(80)]
    assert len(set(grounds[:61])) == len(set(grounds[61:])) == 1
    assert grounds[60] != grounds[61]
    assert write_sheet([], output, tmp_path / "none.png") == []


def test_a_sheet_replaces_nothing_unasked(tmp_path: Path) -> None:
    (tmp_path / "sheet-2.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"sheet-2\.png exists; pass overwrite=True"):
        check_sheet(tmp_path / "sheet.png", overwrite=False)
    check_sheet(tmp_path / "sheet.png", overwrite=True)
    check_sheet(tmp_path / "sheet.jpg", overwrite=False)
    with pytest.raises(ConfigError, match=r"name it \.jpg"):
        check_sheet(tmp_path / "sheet.csv", overwrite=True)


def test_bad_requests_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        align_files([tmp_path / "absent"], tmp_path / "out")
    with pytest.raises(InputError, match="no photo, video or GIF"):
        align_files([tmp_path], tmp_path / "out")
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"x\.png"):
        align_files([tmp_path], tmp_path / "out")
    with pytest.raises(OutputError, match="the input's"):
        align_files([tmp_path], tmp_path)
    with pytest.raises(ConfigError, match="size cannot be 3"):
        make_align_options(size=3)


def look(sharp: float = 6.0, yaw: float = 0.0, seed: int = 0) -> Look:
    pixels = np.random.default_rng(seed).standard_normal((24, 24)).astype(np.float32)
    return Look(native_px=300, outside=0.0, sharpness=sharp, yaw=yaw, picture=pixels)


def candidates(*looks: Look) -> list[Candidate]:
    return [Candidate(0, index, one, score(one)) for index, one in enumerate(looks)]


def test_sharp_and_frontal_comes_first() -> None:
    assert score(look(12)) > score(look(6)) > score(look(6, yaw=40)) > score(look(1))
    best = chosen(candidates(look(2, seed=1), look(9, seed=2), look(9, yaw=50, seed=3)), 1)
    assert [one.index for one in best] == [1]


def test_the_same_moment_is_taken_once() -> None:
    assert [one.index for one in chosen(candidates(look(5), look(6), look(4)), 3)] == [1]


def test_other_poses_are_kept() -> None:
    frontal = [look(6 + 0.1 * index, seed=index) for index in range(8)]
    turned = [look(5, yaw=angle, seed=20 + index) for index, angle in enumerate((-45, -20, 20, 45))]
    yaws = {one.look.yaw for one in chosen(candidates(*frontal, *turned), 8)}
    assert yaws == {0.0, -45, -20, 20, 45}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 50), st.floats(-80, 80), st.integers(0, 9)), max_size=25), st.integers(1, 8))
def test_never_more_than_asked_and_never_twice(looks: list[tuple[float, float, int]], count: int) -> None:
    given_ = candidates(*(look(*one) for one in looks))
    taken = chosen(given_, count)
    assert len(taken) <= count
    assert len({one.index for one in taken}) == len(taken)
    assert bool(taken) == bool(given_)


def test_people_are_told_apart_by_direction() -> None:
    one, other = np.eye(4, dtype=np.float32)[:2]
    near = (one + 0.4 * other) / np.linalg.norm(one + 0.4 * other)
    assert people_of([one, other, near.astype(np.float32), other]) == [0, 1, 0, 1]


def test_blur_is_less_sharp() -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8), (0, 0), 1)
    blurred = [sharpness(cv2.GaussianBlur(noise, (0, 0), sigma)) for sigma in (0.5, 2, 5)]
    assert blurred == sorted(blurred, reverse=True)
    assert sharpness(np.full((256, 256), 90, np.uint8)) == 0


def test_yaw_follows_the_nose() -> None:
    points = ffhq_template(512)
    assert abs(yaw_degrees(points)) < 3
    eyes = points[1, 0] - points[0, 0]
    for degrees in (-40, 25):
        turned = points.copy()
        turned[2, 0] += 0.55 * eyes * np.tan(np.deg2rad(degrees))
        assert yaw_degrees(turned) == pytest.approx(degrees, abs=3)
        tilted = turned @ np.array([[0.8, 0.6], [-0.6, 0.8]])
        assert yaw_degrees(tilted) == pytest.approx(yaw_degrees(turned), abs=1e-6)


def test_what_lies_outside_is_measured() -> None:
    whole = crop_affine(ffhq_template(256) + 100, 256)
    assert outside_part(whole, (456, 456)) == 0
    half = crop_affine(ffhq_template(256) - (128, 0), 256)
    assert outside_part(half, (256, 256)) == pytest.approx(0.5, abs=0.02)
