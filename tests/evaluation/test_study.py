"""The blind study: nothing gives the methods away, sides are balanced, and the score is right."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from revisage.cli.app import run
from revisage.core.errors import InputError, OutputError
from revisage.evaluation.study import StudyKey, key_path, load_key, make_study
from revisage.evaluation.study_score import Answers, agreement, load_answers, score_study, wilson
from sample_media import plain_frames, write_video

METHODS = ("alphamethod", "betamethod")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures by two methods."""
    folder = tmp_path_factory.mktemp("study")
    for shade, name in enumerate(METHODS):
        (folder / name).mkdir()
        for item in range(7):
            Image.new("RGB", (64, 48), (40 + 90 * shade, 20 * item, 0)).save(folder / name / f"picture{item}.png")
    return folder


@pytest.fixture
def study(folders: Path, tmp_path: Path) -> tuple[Path, StudyKey]:
    return tmp_path / "out", make_study([str(folders)], tmp_path / "out", seed=4)


def answers(key: StudyKey, rater: str, chosen: str) -> Answers:
    """All answers for one method, or all ``equal``."""
    given = [
        {
            "trial": t.id,
            "answer": chosen if chosen == "equal" else "left" if t.left == chosen else "right",
            "seconds": 1,
        }
        for t in key.trials
    ]
    return Answers.model_validate({"study": key.study, "rater": rater, "answers": given})


def test_nothing_that_raters_get_names_a_method(study: tuple[Path, StudyKey]) -> None:
    folder, key = study
    page = (folder / "index.html").read_text(encoding="utf-8")
    names = [path.name for path in folder.rglob("*")]
    for word in (*METHODS, "picture0"):
        assert word not in page
        assert not any(word in name for name in names)
    assert len(names) == 2 + 14
    assert load_key(key_path(folder)) == key
    assert "{{" not in page and "http" not in page.replace("http-equiv", "")


def test_sides_are_balanced_and_follow_the_seed(folders: Path, study: tuple[Path, StudyKey], tmp_path: Path) -> None:
    _, key = study
    lefts = Counter(trial.left for trial in key.trials)
    assert sorted(lefts.values()) == [3, 4]
    assert make_study([str(folders)], tmp_path / "same", seed=4).trials == key.trials
    assert make_study([str(folders)], tmp_path / "other", seed=5).trials != key.trials


def test_three_files_make_three_pairs(tmp_path: Path) -> None:
    paths = []
    for name in "abc":
        paths.append(str(tmp_path / f"{name}.png"))
        Image.new("RGB", (32, 32), (ord(name), 0, 0)).save(paths[-1])
    key = make_study(paths, tmp_path / "out")
    assert {frozenset((t.left, t.right)) for t in key.trials} == {frozenset(pair) for pair in ("ab", "ac", "bc")}


def test_what_cannot_be_compared_gives_one_line(folders: Path, tmp_path: Path) -> None:
    one = tmp_path / "one"
    (one / "a").mkdir(parents=True)
    with pytest.raises(InputError, match="each of two methods"):
        make_study([str(one)], tmp_path / "out")
    (one / "b").mkdir()
    Image.new("RGB", (32, 32)).save(one / "a" / "x.png")
    Image.new("RGB", (32, 32)).save(one / "a" / "y.png")
    Image.new("RGB", (32, 32)).save(one / "b" / "x.png")
    with pytest.raises(InputError, match="nothing called 'y'"):
        make_study([str(one)], tmp_path / "out")
    clip = write_video(tmp_path / "a.mkv", plain_frames(2))
    with pytest.raises(InputError, match="browsers do not show"):
        make_study([str(clip), f"b={clip}"], tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(OutputError, match="something other"):
        make_study([str(folders)], tmp_path / "full", overwrite=True)
    assert not (tmp_path / "out").exists()


def test_the_score_counts_wins_ties_items_and_raters(study: tuple[Path, StudyKey]) -> None:
    _, key = study
    one, other = METHODS
    results = {Path(name): [answers(key, name, chosen)] for name, chosen in (("x", one), ("y", one), ("z", other))}
    results[Path("w")] = [answers(key, "w", "equal")]
    found = score_study(key, results)
    entry = found.preferences[0]
    assert (entry.one, entry.wins, entry.losses, entry.ties) == (one, 14, 7, 7)
    assert entry.share == pytest.approx(2 / 3, abs=1e-4)
    assert entry.items["picture0"] == (2, 1, 1)
    # 21 decided answers: Wilson's interval and the exact sign test, from tables.
    assert (entry.low, entry.high) == (pytest.approx(0.4537, abs=2e-4), pytest.approx(0.8281, abs=2e-4))
    assert entry.p == pytest.approx(0.189247, abs=1e-6)
    assert found.agreement == pytest.approx(1 / 6, abs=1e-4)


def test_all_ties_have_no_preference(study: tuple[Path, StudyKey]) -> None:
    _, key = study
    found = score_study(key, {Path("a"): [answers(key, "a", "equal")], Path("b"): [answers(key, "b", "equal")]})
    assert found.preferences[0].share is None
    assert (found.agreement, found.alpha, found.left_share) == (1.0, None, None)


def test_results_that_do_not_belong_give_one_line(
    study: tuple[Path, StudyKey], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, key = study
    sheet = answers(key, "Ann", METHODS[0])
    (tmp_path / "ann.json").write_text(sheet.model_dump_json())
    (tmp_path / "twice.json").write_text(sheet.model_dump_json())
    (tmp_path / "other.json").write_text(sheet.model_copy(update={"study": "x"}).model_dump_json())
    (tmp_path / "broken.json").write_text('{"study": 1')
    (tmp_path / "empty.csv").write_text("study,rater,trial,answer,seconds\n")
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    for names, message in (
        (["ann.json", "twice.json"], "two results of 'Ann'"),
        (["other.json"], "another study"),
        (["broken.json"], "no results of a study"),
        (["empty.csv"], "no answer"),
        (["columns.csv"], "column 'trial' is missing"),
        (["none.json"], "no such file"),
    ):
        paths = [str(tmp_path / name) for name in names]
        assert run(["evaluate", "study", "score", *paths, "--key", str(key_path(folder))]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
    assert (
        run(["evaluate", "study", "score", str(tmp_path / "ann.json"), "--key", str(key_path(folder)), "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["preferences"][0]["wins"] == 7


def test_csv_and_json_results_are_the_same(study: tuple[Path, StudyKey], tmp_path: Path) -> None:
    _, key = study
    sheet = answers(key, 'A "b", c', METHODS[1])
    lines = ["study,rater,trial,answer,seconds"]
    lines += [f'{key.study},"A ""b"", c",{answer.trial},{answer.answer},1' for answer in sheet.answers]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "a.json").write_text(sheet.model_dump_json())
    assert load_answers(tmp_path / "a.csv") == load_answers(tmp_path / "a.json")


def test_alpha_agrees_with_the_published_example() -> None:
    # Krippendorff (2011), example B: two observers, ten units, nominal data of two values.
    first, second = "0100000000", "1110010100"[:10]
    raters = [[(str(unit), value) for unit, value in enumerate(values)] for values in (first, second)]
    assert agreement(raters)[1] == pytest.approx(0.095, abs=0.001)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_mirrors(counts: tuple[int, int]) -> None:
    wins, total = counts
    low, high = wilson(wins, total)
    assert 0 <= low <= wins / total <= high <= 1
    assert wilson(total - wins, total) == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_what_browsers_show_is_taken_by_its_record(tmp_path: Path) -> None:
    for method in "ab":
        folder = tmp_path / "in" / method
        folder.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(folder / "x.avif")
        write_video(folder / "y.mov", plain_frames(2))
        write_video(folder / "z.mp4", plain_frames(2), codec="libsvtav1")
    key = make_study([str(tmp_path / "in")], tmp_path / "out")
    assert {trial.item for trial in key.trials} == {"x", "y", "z"}
