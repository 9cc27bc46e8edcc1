"""Files appear complete or not at all, and one wording says why one cannot be written."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from revisage.core import (
    DiskFullError,
    OutputError,
    OutputExistsError,
    check_absent,
    check_file,
    check_folder,
    file_sha256,
    is_disk_full,
    output_error,
    partial_path,
    publish,
    write_text,
    written_beside,
)


def test_what_is_there_is_replaced_only_when_allowed(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    check_absent(file, overwrite=False)
    write_text(file, "one", overwrite=False)
    with pytest.raises(OutputExistsError, match=r"a\.txt exists; pass overwrite=True to replace it$") as refused:
        write_text(file, "two", overwrite=False)
    assert refused.value.told("use --overwrite").endswith("a.txt exists; use --overwrite to replace it")
    assert file.read_text() == "one"
    write_text(file, "two", overwrite=True)
    assert file.read_text() == "two"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "is a folder; name a file"),
        ("absent/a.mp4", "there is no folder .*absent; make it first, or name another"),
        ("source.mp4", "is the input; a source is never overwritten"),
        ("hard_link.mp4", "is the input; a source is never overwritten"),
        ("other.mp4", "exists; pass overwrite=True"),
    ],
)
def test_a_file_that_could_not_be_written_is_refused_before_the_work(tmp_path: Path, name: str, said: str) -> None:
    source = tmp_path / "source.mp4"
    source.touch()
    (tmp_path / "hard_link.mp4").hardlink_to(source)
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.mp4").touch()
    with pytest.raises(OutputError, match=said):
        check_file(tmp_path / name, overwrite=False, source=source)
    check_file(tmp_path / "other.mp4", overwrite=True, source=source)
    check_file(tmp_path / "absent" / "a.mp4", overwrite=False, make_folder=True)


def test_a_folder_of_results_must_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_folder(tmp_path / "absent")
    check_folder(tmp_path)
    with pytest.raises(OutputError, match="is a file; name a folder"):
        check_folder(tmp_path / "file")


def test_a_full_disk_is_told_from_other_failures(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    assert isinstance(output_error(tmp_path, full), DiskFullError)
    other = output_error(tmp_path, OSError(errno.EIO, "Input/output error"))
    assert type(other) is OutputError
    assert str(other).endswith(": Input/output error")
    wrapped = RuntimeError("stream failed")
    wrapped.__context__ = full
    assert is_disk_full(wrapped)
    assert str(output_error(tmp_path, RuntimeError("a\nb"))).endswith(": a b")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    partial_path(file).symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match="no space left for"):
        write_text(file, "x" * 100_000, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert file.read_text() == "old"


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    with pytest.raises(KeyError), written_beside(file) as partial:
        assert partial.suffix == ".png"
        partial.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with written_beside(file) as partial:
        partial.write_text("whole")
        assert not file.exists()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("letter", ["x", "é"])
def test_names_as_long_as_the_file_system_allows(tmp_path: Path, letter: str) -> None:
    file = tmp_path / (letter * (251 // len(letter.encode())) + ".txt")
    write_text(file, "text", overwrite=False)
    assert file.read_text() == "text"
    assert partial_path(file) != partial_path(file.with_name(letter + file.name[1:-5] + ".txt"))


def test_publishing_replaces_and_makes_the_folder(tmp_path: Path) -> None:
    finished = tmp_path / "finished"
    finished.write_text("new")
    target = tmp_path / "folder" / "target"
    publish(finished, target)
    assert target.read_text() == "new"
    with pytest.raises(OutputError, match="cannot write"):
        publish(tmp_path / "absent", target)
    assert target.read_text() == "new"


def test_publishing_onto_another_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished, target = tmp_path / "finished", tmp_path / "target"
    finished.write_text("new")
    replace = Path.replace

    def across(self: Path, other: Path) -> Path:
        if self == finished:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", across)
    publish(finished, target)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("target", "new")]


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a"
    content = bytes(range(256)) * 5000
    file.write_bytes(content)
    assert file_sha256(file) == hashlib.sha256(content).hexdigest()


def test_names_too_long_and_read_only_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="more than 255 bytes; name another"):
        check_file(tmp_path / ("x" * 252 + ".mkv"), overwrite=False)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(OutputError, match="is read-only; name another"):
        check_file(tmp_path / "a.mkv", overwrite=False)
    check_file(tmp_path / "a.mkv", overwrite=False, writes=False)
