"""Folders and patterns of inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisage.core.errors import InputError, OutputError
from revisage.media import find_media, is_collection
from revisage.media.dispatch import natural_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = ["frame10.png", "Frame2.PNG", "frame1.png", "clip.mp4", ".hidden.png", "notes.txt", "sub/deep3.gif"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_folder_lists_its_media_in_natural_order(folder: Path) -> None:
    found = find_media(folder)
    assert [path.name for path in found.files] == ["clip.mp4", "frame1.png", "Frame2.PNG", "frame10.png"]
    assert is_collection(folder)


def test_single_file_is_itself(folder: Path) -> None:
    assert find_media(str(folder / "notes.txt")).files == (folder / "notes.txt",)
    assert not is_collection(folder / "clip.mp4")


def test_pattern_searches_below(folder: Path) -> None:
    found = find_media(f"{folder}/**/*")
    assert [path.name for path in found.files] == ["clip.mp4", "frame1.png", "Frame2.PNG", "frame10.png", "deep3.gif"]
    outputs = found.outputs(folder / "out")
    assert outputs[folder / "sub" / "deep3.gif"] == folder / "out" / "sub" / "deep3.gif"


def test_a_name_with_brackets_is_a_file_if_it_exists(tmp_path: Path) -> None:
    path = tmp_path / "clip [1].mp4"
    path.touch()
    assert find_media(path).files == (path,)
    assert not is_collection(path)


def test_relative_pattern(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert [path.name for path in find_media("f*1*.png").files] == ["frame1.png", "frame10.png"]


@pytest.mark.parametrize("what", ["", "sub2", "*.avi", "absent/*.png"])
def test_nothing_there_is_said_in_one_line(tmp_path: Path, what: str) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(InputError) as error:
        find_media(f"{tmp_path}/{what}" if what else tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_outputs_over_inputs_are_refused(folder: Path) -> None:
    with pytest.raises(OutputError, match="another folder"):
        find_media(folder).outputs(folder / "sub" / "..")


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=6), st.sampled_from(["a", "B ", "x_"]))
def test_numbers_sort_by_value(numbers: list[int], prefix: str) -> None:
    names = sorted((f"{prefix}{n}.png" for n in numbers), key=natural_key)
    assert [int(name[len(prefix) : -4]) for name in names] == sorted(numbers)


@given(st.lists(st.text(max_size=8), max_size=8))
def test_any_names_can_be_compared(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    assert sorted(ordered) == sorted(names)


def test_what_is_left_alone_is_known(folder: Path) -> None:
    (folder / "IMG_1.HEIC").touch()
    found = find_media(folder)
    assert "IMG_1.HEIC" in [path.name for path in found.files]
    assert [path.name for path in found.skipped] == ["notes.txt"]
    assert find_media(f"{folder}/*.png").skipped == ()
