"""The work folder takes up only what is sound and belongs to the same run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_fakes import scan

from revisage.core.errors import OutputError
from revisage.pipeline.work_folder import WorkFolder, tidy


def finish(work: WorkFolder, number: int, content: bytes = b"video") -> None:
    work.segment_path(number, ".mkv").write_bytes(content)
    work.record(number, ".mkv", {"frames": number})


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    folder = WorkFolder(tmp_path / "out.mkv")
    folder.open("key")
    finish(folder, 0)
    finish(folder, 1)
    return folder


def again(tmp_path: Path, key: str = "key") -> WorkFolder:
    folder = WorkFolder(tmp_path / "out.mkv")
    folder.open(key)
    return folder


def test_it_lies_hidden_beside_the_output(work: WorkFolder, tmp_path: Path) -> None:
    assert work.path == tmp_path / ".out.mkv.revisage-work"


def test_finished_segments_are_taken_up(work: WorkFolder, tmp_path: Path) -> None:
    later = again(tmp_path)
    assert [later.finished(number, ".mkv") for number in range(3)] == [{"frames": 0}, {"frames": 1}, None]


def test_another_key_begins_anew(work: WorkFolder, tmp_path: Path) -> None:
    later = again(tmp_path, "other")
    assert later.finished(0, ".mkv") is None
    assert not later.segment_path(0, ".mkv").exists()


def test_a_changed_or_missing_segment_is_not_used(work: WorkFolder, tmp_path: Path) -> None:
    work.segment_path(0, ".mkv").write_bytes(b"other")
    work.segment_path(1, ".mkv").unlink()
    later = again(tmp_path)
    assert later.finished(0, ".mkv") is None
    assert later.finished(1, ".mkv") is None


@pytest.mark.parametrize("torn", ['{"segment": 2, "sha', "[]", '{"segment": 2}', "\x00\x00"])
def test_a_torn_last_line_costs_one_segment(work: WorkFolder, tmp_path: Path, torn: str) -> None:
    with (work.path / "manifest.jsonl").open("a") as stream:
        stream.write(torn)
    later = again(tmp_path)
    assert later.finished(1, ".mkv") == {"frames": 1}
    finish(later, 2)
    assert again(tmp_path).finished(2, ".mkv") == {"frames": 2}


def test_a_torn_first_line_begins_anew(work: WorkFolder, tmp_path: Path) -> None:
    (work.path / "manifest.jsonl").write_text('{"ke')
    assert again(tmp_path).finished(0, ".mkv") is None


def test_the_scan_is_kept_too(work: WorkFolder) -> None:
    assert work.saved_scan() is None
    work.save_scan(scan())
    assert work.saved_scan() == scan()
    (work.path / "scan.json").write_text("{")
    assert work.saved_scan() is None


def test_removing_leaves_nothing(work: WorkFolder, tmp_path: Path) -> None:
    work.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_the_users_matter(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        WorkFolder(tmp_path / "none" / "out.mkv").open("key")


def test_what_another_key_has_finished_is_set_aside_and_taken_up_again(work: WorkFolder, tmp_path: Path) -> None:
    other = again(tmp_path, "other")
    assert (other.set_aside, other.segments) == (2, 0)
    finish(other, 0, b"of the other")
    first = again(tmp_path)
    assert (first.set_aside, first.segments) == (1, 2)
    assert [first.finished(number, ".mkv") for number in range(2)] == [{"frames": 0}, {"frames": 1}]
    first.remove()
    assert again(tmp_path, "other").segments == 1


def test_nothing_is_left_when_the_output_is_complete(work: WorkFolder, tmp_path: Path) -> None:
    (tmp_path / ".out.mkv.revisage-work-no").mkdir()  # no key's: ours have eight digits
    finish(again(tmp_path, "other"), 0)
    again(tmp_path, "a third").remove_all()
    assert [entry.name for entry in tmp_path.iterdir()] == [".out.mkv.revisage-work-no"]


def test_beginning_anew_takes_nothing_up(work: WorkFolder, tmp_path: Path) -> None:
    later = WorkFolder(tmp_path / "out.mkv")
    later.open("key", resume=False)
    assert (later.segments, later.set_aside) == (0, 0)
    assert not later.segment_path(0, ".mkv").exists()


def test_outputs_of_one_name_have_folders_of_their_own_in_a_common_place(tmp_path: Path) -> None:
    place = tmp_path / "fast" / "disk"
    folders = [WorkFolder(tmp_path / name / "out.mkv", place) for name in ("a", "b")]
    for folder in folders:
        folder.open("key")
    assert sorted(place.iterdir()) == sorted(folder.path for folder in folders)


def test_it_knows_what_a_run_that_was_giving_names_had_named(work: WorkFolder, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    assert not work.was_publishing(output)
    output.write_bytes(b"complete")
    work.note_publishing(output, {"frames": 2})
    left = again(tmp_path)
    assert left.was_publishing(output)
    assert left.published(output) == {"frames": 2}
    output.write_bytes(b"of somebody else")
    assert not left.was_publishing(output)
    assert left.published(output) is None
    output.unlink()
    assert left.was_publishing(output)
    assert left.published(output) is None
    left.note_published()
    assert not left.was_publishing(output)


def test_the_remains_of_a_run_killed_at_its_end_are_cleared_away(tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    WorkFolder(output).path.mkdir()
    (tmp_path / ".out.mkv.revisage-lock").touch()
    tidy(output, done=False)
    assert list(tmp_path.iterdir()) == []
    finish(again(tmp_path), 0)
    tidy(output, done=False)
    assert again(tmp_path).segments == 1, "what can serve again is kept"
    tidy(output, done=True)
    assert list(tmp_path.iterdir()) == []
