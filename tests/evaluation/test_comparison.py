"""Several methods beside each other: names, the best of each measure, CSV, JSON, the page's text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisage.cli.app import run
from revisage.core.errors import ConfigError
from revisage.evaluation import FileEvaluation, Score, Side, name_methods, rows
from revisage.evaluation.html_page import curves
from sample_media import plain_frames, write_video


def sides(**values: dict[str, Score]) -> FileEvaluation:
    return FileEvaluation(
        name="clip", sides={name: Side(path=name, size_hw=(1, 1), whole=scores) for name, scores in values.items()}
    )


def best(file: FileEvaluation) -> dict[str, tuple[str, ...]]:
    return {row.info.name: row.best for row in rows(file)}


def test_methods_get_the_shortest_names_that_differ(tmp_path: Path) -> None:
    assert list(name_methods(["a.mp4", "b.mp4"])) == ["a", "b"]
    assert list(name_methods(["a.mp4", "a.gif"])) == ["a.mp4", "a.gif"]
    assert list(name_methods(["one/a.mp4", "two/a.mp4"])) == ["one/a.mp4", "two/a.mp4"]
    assert name_methods(["ours=x/a.mp4", "b.mp4"]) == {"ours": Path("x/a.mp4"), "b": Path("b.mp4")}
    (tmp_path / "k=v.mp4").touch()
    assert list(name_methods([str(tmp_path / "k=v.mp4")])) == ["k=v"]
    with pytest.raises(ConfigError, match="two methods"):
        name_methods(["x=a.mp4", "x=b.mp4"])
    with pytest.raises(ConfigError, match="cannot be called"):
        name_methods(["reference=a.mp4"])


def test_the_best_is_the_highest_the_lowest_or_the_nearest() -> None:
    file = sides(
        a={"ssim": Score(value=0.9), "tmse": Score(value=2), "sharpness": Score(value=50)},
        b={"ssim": Score(value=0.8), "tmse": Score(value=1), "sharpness": Score(value=95)},
        c={"ssim": Score(value=0.90000001), "tmse": Score(), "sharpness": Score(value=130)},
        input={"ssim": Score(value=0.99)},
        reference={"sharpness": Score(value=100)},
    )
    assert best(file) == {"ssim": ("a", "c"), "tmse": ("b",), "sharpness": ("b",)}


def test_identical_frames_win_and_a_single_value_wins_nothing() -> None:
    file = sides(a={"psnr": Score(identical=5)}, b={"psnr": Score(value=60.0)}, reference={})
    assert best(file) == {"psnr": ("a",)}
    assert best(sides(a={"ssim": Score(value=1)}, reference={})) == {"ssim": ()}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("methods")
    frames = plain_frames(5)
    soft = [cv2.GaussianBlur(frame, (0, 0), 2) for frame in frames]
    random = np.random.default_rng(1)
    noisy = [np.clip(frame + random.normal(0, 12, frame.shape), 0, 255).astype(np.uint8) for frame in frames]
    kinds = {"clean": frames, "soft": soft, "noisy <b>": noisy}
    return {name: write_video(folder / f"{name.split()[0]}.mkv", made) for name, made in kinds.items()}


def words(clips: dict[str, Path], *more: str) -> list[str]:
    methods = [f"soft={clips['soft']}", f"noisy <b>={clips['noisy <b>']}"]
    return ["evaluate", "compare", *methods, "--reference", str(clips["clean"]), "--whole", "--samples", "1", *more]


def test_table_csv_json_and_page_say_the_same(
    clips: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--csv", str(tmp_path / "t.csv"), "--html", str(tmp_path / "t.html")]
    assert run(words(clips, "--json", *files)) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["best"]["whole"]["ssim"] == ["soft"]
    table = {row["measure"]: row for row in csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text()))}
    sides = record["files"][0]["sides"]
    assert float(table["ssim"]["soft"]) == pytest.approx(sides["soft"]["whole"]["ssim"]["value"], rel=1e-5)
    assert table["ssim"]["best"] == "soft"
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    assert f"★ {float(table['ssim']['soft']):.4f}" in page
    assert "noisy &lt;b&gt;" in page and "noisy <b>" not in page
    assert "{{" not in page and "http" not in page.replace("http-equiv", "")
    assert page.count('<svg class="plot"') >= 3
    assert run(words(clips, *files)) == 2
    assert "exists; use --overwrite" in capsys.readouterr().err


def test_the_table_marks_the_best(clips: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words(clips, "--max-frames", "2")) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("SSIM"))
    assert line.split()[2] == "*" and line.count("*") == 1


def test_a_missing_file_gives_one_line(clips: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "compare", "none.mp4", "--reference", str(clips["clean"])]) == 2
    assert capsys.readouterr().err == "revisage: error: none.mp4: no such file\n"


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=2, max_size=30).filter(any))
def test_curves_hold_only_numbers_inside_the_figure(values: list[float | None]) -> None:
    import re

    figure = curves("t", [0.04 * index for index in range(len(values))], {"a": values}, {"a": 0})
    assert "nan" not in figure and "inf" not in figure
    numbers = [
        tuple(map(float, pair))
        for text in re.findall(r'points="([^"]+)"', figure)
        for pair in (point.split(",") for point in text.split())
    ]
    assert all(0 <= x <= 640 and 0 <= y <= 220 for x, y in numbers)


def test_curves_need_values_of_one_length() -> None:
    with pytest.raises(ValueError, match="one value per time"):
        curves("t", [0, 1], {"a": [1.0]}, {"a": 0})
    with pytest.raises(ValueError, match="no value"):
        curves("t", [0, 1], {"a": [None, None]}, {"a": 0})
