"""Evaluations of real files: pairing, areas, bad input, and the record."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from revisage.api import evaluate
from revisage.cli.app import run
from revisage.core.errors import ConfigError, InputError
from revisage.evaluation import Evaluation
from revisage.evaluation.frame_scores import Series
from revisage.measures import MEASURES
from sample_media import face_frames, plain_frames, write_video

Image = np.ndarray


def blurred(frames: list[Image], sigma: float = 2.0) -> list[Image]:
    return [cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four frames of a face: clean, a little blurred, much blurred; and plain ones."""
    folder = tmp_path_factory.mktemp("evaluate")
    frames = face_frames(4)
    return {
        "clean": write_video(folder / "clean.mkv", frames),
        "restored": write_video(folder / "restored.mkv", blurred(frames, 1.5)),
        "input": write_video(folder / "input.mkv", blurred(frames, 4)),
        "plain": write_video(folder / "plain.mkv", plain_frames(4, (270, 480))),
    }


@pytest.fixture(scope="module")
def face_result(clips: dict[str, Path]) -> Evaluation:
    return evaluate(clips["restored"], clips["clean"], input=clips["input"], samples=1)


def test_what_is_nearer_to_the_original_measures_better(face_result: Evaluation) -> None:
    sides = face_result.files[0].sides
    for area in ("whole", "faces"):
        better, worse = sides["restored"].area(area), sides["input"].area(area)
        for name in ("psnr", "ssim", "gmsd"):
            first, second = better[name].value, worse[name].value
            assert first is not None and second is not None
            assert (first > second) == (MEASURES[name].better == "higher"), (area, name)
        own = sides["reference"].area(area)["sharpness"].value
        assert own is not None
        assert own > (better["sharpness"].value or 0) > (worse["sharpness"].value or 0)
    inside = [sides[name].faces["face_sharpness"].value or 0 for name in ("reference", "restored", "input")]
    assert inside[0] > inside[1] > inside[2]
    assert "face_sharpness" not in sides["restored"].whole


def test_each_measured_frame_has_its_time_and_faces(face_result: Evaluation) -> None:
    file = face_result.files[0]
    assert (file.frames, file.seconds) == ([0, 1, 2, 3], [0, 0.04, 0.08, 0.12])
    assert file.tracks == 1
    assert [len(regions) for regions in file.regions] == [1, 1, 1, 1]
    temporal = file.sides["restored"].whole["tmse"]
    assert temporal.series[0] is None
    assert all(value is not None for value in temporal.series[1:])
    assert "tmse" not in file.sides["reference"].whole
    assert file.sides["reference"].whole["warping_error"].value is not None


def test_without_weights_a_measure_says_why(face_result: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = face_result.files[0].sides["restored"]
    for area, name, word in (("whole", "lpips", "models pull"), ("faces", "ids", "models pull mobilefacenet")):
        score = scores.area(area)[name]
        assert score.value is None
        assert score.note is not None and word in score.note


def test_a_record_reads_back_from_its_json(face_result: Evaluation) -> None:
    assert Evaluation.model_validate_json(face_result.to_json()) == face_result


def test_equal_files_are_identical_and_no_infinity_gets_out(clips: dict[str, Path], tmp_path: Path) -> None:
    found = evaluate(shutil.copy(clips["plain"], tmp_path), clips["plain"], samples=1)
    score = found.files[0].sides["restored"].whole["psnr"]
    assert (score.value, score.note, score.identical) == (None, "identical", 4)
    inside = found.files[0].sides["restored"].faces["psnr"]
    assert inside.note == "no face was found in the reference"
    assert not {"NaN", "Infinity"} & set(found.to_json().replace(",", " ").split())


def test_another_video_is_told(clips: dict[str, Path]) -> None:
    found = evaluate(clips["plain"], clips["clean"], area="whole", samples=1)
    assert any("hardly resembles" in text for text in found.files[0].warnings)


def test_frames_without_a_partner_are_an_error(clips: dict[str, Path], tmp_path: Path) -> None:
    frames = plain_frames(4, (270, 480))
    short = write_video(tmp_path / "short.mkv", frames[:3])
    late = write_video(tmp_path / "late.mkv", frames, pts=(0, 1, 2, 4))
    with pytest.raises(InputError, match=r"a frame at 0.120 s, but .*short.mkv ends before it.*--match nearest"):
        evaluate(short, clips["plain"], area="whole")
    with pytest.raises(InputError, match=r"plain.mkv goes on at 0.120 s"):
        evaluate(clips["plain"], short, area="whole")
    with pytest.raises(InputError, match=r"a frame at 0.120 s, but .*late.mkv has its next one at 0.160 s"):
        evaluate(late, clips["plain"], area="whole")
    found = evaluate(late, clips["plain"], area="whole", match="nearest", samples=1)
    assert found.files[0].frames == [0, 1, 2, 3]
    assert "40 ms apart" in found.files[0].warnings[0]


def test_frames_are_paired_by_time_across_time_bases(clips: dict[str, Path], tmp_path: Path) -> None:
    shifted = write_video(
        tmp_path / "shifted.mp4",
        plain_frames(4, (270, 480)),
        pts=[90000 + 3600 * n for n in range(4)],
        time_base=Fraction(1, 90000),
    )
    found = evaluate(shifted, clips["plain"], area="whole", samples=1)
    assert (found.files[0].sides["restored"].whole["psnr"].value or 99) > 40


def test_other_sizes_need_a_word(clips: dict[str, Path], tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.mkv", [cv2.resize(f, (240, 134)) for f in plain_frames(4, (270, 480))])
    with pytest.raises(InputError, match=r"240x134 and .* 480x270: --resize restored"):
        evaluate(small, clips["plain"], area="whole")
    found = {
        side: evaluate(small, clips["plain"], area="whole", samples=1, resize=side)
        for side in ("restored", "reference")
    }
    assert found["restored"].files[0].size_hw == (270, 480)
    assert found["reference"].files[0].size_hw == (134, 240)


def test_one_frame_has_no_change_over_time(tmp_path: Path) -> None:
    picture = plain_frames(1)[0]
    Pillow.fromarray(picture).save(tmp_path / "a.png")
    Pillow.fromarray(blurred([picture])[0]).save(tmp_path / "b.png")
    scores = evaluate(tmp_path / "b.png", tmp_path / "a.png", area="whole").files[0].sides["restored"].whole
    assert scores["tmse"].note == "needs two frames in a row"
    assert scores["ms_ssim"].note == "MS-SSIM needs at least 161 px a side, got 160x120"
    assert scores["psnr"].value is not None


def test_a_gif_without_delays_is_measured(tmp_path: Path) -> None:
    pictures = [Pillow.fromarray(frame) for frame in plain_frames(3)]
    for name in ("a.gif", "b.gif"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], duration=0)
    found = evaluate(tmp_path / "b.gif", tmp_path / "a.gif", area="whole", samples=1)
    assert found.files[0].sides["restored"].whole["psnr"].identical == 3


def test_folders_pair_by_name_and_one_bad_file_spoils_nothing(tmp_path: Path) -> None:
    clean, restored = tmp_path / "clean", tmp_path / "restored"
    for folder in (clean, restored):
        folder.mkdir()
        for name in ("a", "b"):
            Pillow.fromarray(plain_frames(1)[0]).save(folder / f"{name}.png")
    (restored / "b.png").rename(restored / "b_restored.png")
    (restored / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = evaluate(restored, clean, area="whole")
    assert [bool(file.error) for file in found.files] == [True, False]
    Pillow.fromarray(plain_frames(1)[0]).save(restored / "c.png")
    with pytest.raises(InputError, match=r"c.png has no partner"):
        evaluate(restored, clean)
    with pytest.raises(ConfigError, match="files or folders, not both"):
        evaluate(restored / "c.png", clean)


def test_nothing_is_compared_with_itself(clips: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "link.mkv").symlink_to(clips["plain"])
    for restored in (clips["plain"], tmp_path / "link.mkv"):
        with pytest.raises(ConfigError, match=r"is the reference itself; name the file of the restoration"):
            evaluate(restored, clips["plain"])
    shutil.copy(clips["plain"], tmp_path / "other.mkv")
    with pytest.raises(ConfigError, match=r"name the folder of the restoration"):
        evaluate(tmp_path / ".", tmp_path)
    with pytest.raises(ConfigError, match="reference itself"):
        evaluate(tmp_path / "other.mkv", clips["plain"], input=clips["plain"])


def test_the_command_prints_json_and_a_table_and_keeps_room_for_others(
    clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copy(clips["plain"], tmp_path)
    words = ["evaluate", str(copy), "--reference", str(clips["plain"]), "--whole", "--max-frames", "2"]
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["frames"] == [0, 1]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert "PSNR (dB)" in out and "identical" in out
    assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("n/a"))
    assert run(["evaluate", str(clips["plain"])]) == 2
    assert "reference" in capsys.readouterr().err
    assert run([*words, "--every", "0"]) == 2
    assert "--every" in capsys.readouterr().err
    assert run(["evaluate", "--help"]) == 0
    assert "--reference" in capsys.readouterr().out


@example([[8.9e307, 8.9e307]])
@settings(max_examples=60)
@given(st.lists(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=3), max_size=8))
def test_scores_are_free_of_nan_and_infinity(frames: list[list[float]]) -> None:
    series = Series(MEASURES["psnr"])
    for place, values in enumerate(frames):
        series.add(place, values)
    score = series.score(len(frames), "not measured")
    json.loads(score.model_dump_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert (score.value is None) == (score.note is not None)
