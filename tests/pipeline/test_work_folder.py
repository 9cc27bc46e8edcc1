"""The work folder takes up only what is sound and belongs to the same run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_fakes import scan

from revisage.core.errors import OutputError
from revisage.pipeline.work_folder import WorkFolder


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
