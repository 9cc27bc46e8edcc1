from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
from file_server import FileServer, Handler, cut_after, whole_or_range

from revisage.core.errors import DiskFullError, ModelError
from revisage.models import download, pull, verify


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_brings_the_file_and_nothing_else(file_server: FileServer, model_folder: Path) -> None:
    path = pull(file_server.entry())
    assert path == model_folder / "test-model.pth"
    assert path.read_bytes() == file_server.payload
    assert _names(model_folder) == ["test-model.pth"]


def test_progress_ends_at_the_total(file_server: FileServer) -> None:
    seen: list[tuple[int, int | None]] = []
    pull(file_server.entry(), progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (len(file_server.payload), len(file_server.payload))


def test_licence_is_shown_once_before_the_transfer(file_server: FileServer) -> None:
    shown: list[tuple[str, int]] = []

    def show(entry: object) -> None:
        shown.append((entry.licence, len(file_server.ranges)))  # type: ignore[attr-defined]

    pull(file_server.entry(), on_licence=show)
    pull(file_server.entry(), on_licence=show)
    assert shown == [("test licence", 0)]


def test_present_file_needs_no_server(file_server: FileServer) -> None:
    pull(file_server.entry())
    asked = len(file_server.ranges)
    pull(file_server.entry())
    assert len(file_server.ranges) == asked


def test_damaged_present_file_is_refused_and_kept(file_server: FileServer, model_folder: Path) -> None:
    model_folder.mkdir()
    (model_folder / "test-model.pth").write_bytes(b"mine")
    with pytest.raises(ModelError, match="damaged or another file"):
        pull(file_server.entry())
    assert (model_folder / "test-model.pth").read_bytes() == b"mine"
    assert file_server.ranges == []


def test_goes_on_after_each_cut(file_server: FileServer) -> None:
    file_server.behaviours = [cut_after(3000), cut_after(3000), whole_or_range]
    path = pull(file_server.entry())
    assert path.read_bytes() == file_server.payload
    assert file_server.ranges == [None, "bytes=3000-", "bytes=6000-"]


def test_goes_on_with_the_partial_file_of_an_earlier_call(file_server: FileServer, model_folder: Path) -> None:
    file_server.behaviours = [cut_after(3000), cut_after(0)]
    with pytest.raises(ModelError, match="stopped at 3000 of 10240 bytes"):
        pull(file_server.entry())
    assert _names(model_folder) == ["test-model.pth.part"]
    file_server.behaviours = [whole_or_range]
    assert pull(file_server.entry()).read_bytes() == file_server.payload
    assert file_server.ranges[-1] == "bytes=3000-"


def test_length_announced_too_large(file_server: FileServer, model_folder: Path) -> None:
    def boast(handler: Handler) -> None:
        start, payload = handler.requested_start(), handler.server.payload
        total = len(payload) + 500
        if start:
            span = f"bytes {start}-{total - 1}/{total}"
            handler.send(206, payload[start:], Content_Range=span, Content_Length=total - start)
        else:
            handler.send(200, payload, Content_Length=total)

    file_server.behaviours = [boast]
    with pytest.raises(ModelError, match="stopped at 10240 of 10740 bytes"):
        pull(file_server.entry())
    assert not (model_folder / "test-model.pth").exists()


def test_length_announced_too_small(file_server: FileServer, model_folder: Path) -> None:
    file_server.behaviours = [lambda handler: handler.send(200, handler.server.payload, Content_Length=5000)]
    with pytest.raises(ModelError, match="its SHA-256 is"):
        pull(file_server.entry())
    assert _names(model_folder) == []


def test_announced_size_other_than_the_registry_says_is_refused_at_once(file_server: FileServer) -> None:
    with pytest.raises(ModelError, match="offers a file of 10240 bytes, but it should have 10000"):
        pull(file_server.entry(bytes=10000))
    assert file_server.ranges == [None]


def test_server_without_length_that_sends_too_much(file_server: FileServer, model_folder: Path) -> None:
    file_server.behaviours = [lambda handler: handler.send(200, handler.server.payload)]
    with pytest.raises(ModelError, match="sent more than the 10000 bytes"):
        pull(file_server.entry(bytes=10000))
    assert _names(model_folder) == []


def test_wrong_bytes_are_refused(file_server: FileServer, model_folder: Path) -> None:
    with pytest.raises(ModelError, match=f"expected {'0' * 64}"):
        pull(file_server.entry(sha256="0" * 64))
    assert _names(model_folder) == []


def test_server_that_ignores_ranges_makes_it_start_over(file_server: FileServer) -> None:
    def whole(handler: Handler) -> None:
        handler.send(200, handler.server.payload, Content_Length=len(handler.server.payload))

    file_server.behaviours = [cut_after(3000), whole]
    assert pull(file_server.entry()).read_bytes() == file_server.payload
    assert file_server.ranges == [None, "bytes=3000-"]


def test_range_that_starts_elsewhere_is_not_appended(file_server: FileServer) -> None:
    def elsewhere(handler: Handler) -> None:
        payload = handler.server.payload
        handler.send(206, payload[100:], Content_Range=f"bytes 100-{len(payload) - 1}/{len(payload)}")

    file_server.behaviours = [cut_after(3000), elsewhere, whole_or_range]
    assert pull(file_server.entry()).read_bytes() == file_server.payload
    assert file_server.ranges == [None, "bytes=3000-", None]


def test_partial_file_of_other_content_is_fetched_anew(file_server: FileServer, model_folder: Path) -> None:
    model_folder.mkdir()
    (model_folder / "test-model.pth.part").write_bytes(b"x" * 2000)
    assert pull(file_server.entry()).read_bytes() == file_server.payload
    assert file_server.ranges == ["bytes=2000-", None]


def test_partial_file_that_is_complete_needs_no_more_bytes(file_server: FileServer, model_folder: Path) -> None:
    model_folder.mkdir()
    (model_folder / "test-model.pth.part").write_bytes(file_server.payload)
    assert pull(file_server.entry()).read_bytes() == file_server.payload
    assert file_server.ranges == [f"bytes={len(file_server.payload)}-"]


def test_partial_file_longer_than_the_whole_starts_over(file_server: FileServer, model_folder: Path) -> None:
    model_folder.mkdir()
    (model_folder / "test-model.pth.part").write_bytes(file_server.payload + b"more")
    assert pull(file_server.entry()).read_bytes() == file_server.payload
    assert file_server.ranges == ["bytes=10244-", None]


def test_not_found_is_said_at_once(file_server: FileServer, model_folder: Path) -> None:
    file_server.behaviours = [lambda handler: handler.send_error(404, "Not Found")]
    with pytest.raises(ModelError, match=r"could not fetch http://127.*: the server answered 404 Not Found"):
        pull(file_server.entry())
    assert len(file_server.ranges) == 1
    assert _names(model_folder) == []


def test_web_page_is_refused(file_server: FileServer, model_folder: Path) -> None:
    file_server.behaviours = [lambda handler: handler.send(200, b"<html>Log in", Content_Type="text/html; charset=u")]
    with pytest.raises(ModelError, match="is a web page"):
        pull(file_server.entry(sha256=None))
    assert _names(model_folder) == []


def test_empty_answer_is_no_model(file_server: FileServer, model_folder: Path) -> None:
    file_server.behaviours = [lambda handler: handler.send(200, b"")]
    with pytest.raises(ModelError, match="the server sent nothing"):
        pull(file_server.entry(sha256=None))
    assert not (model_folder / "test-model.pth").exists()


def test_passing_trouble_is_tried_again(file_server: FileServer) -> None:
    file_server.behaviours = [lambda handler: handler.send_error(503, "Busy"), whole_or_range]
    assert pull(file_server.entry()).read_bytes() == file_server.payload


def test_lasting_trouble_ends_after_three_tries(file_server: FileServer) -> None:
    file_server.behaviours = [lambda handler: handler.send_error(503, "Busy")]
    with pytest.raises(ModelError, match="503 Busy; check the connection"):
        pull(file_server.entry())
    assert len(file_server.ranges) == 3


def test_nobody_listening(file_server: FileServer) -> None:
    file_server.server_close()
    with pytest.raises(ModelError, match="could not fetch"):
        pull(file_server.entry())


def test_only_http_addresses(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with pytest.raises(ModelError, match="only http and https"):
        download.fetch(secret.as_uri(), tmp_path / "out.part")
    assert not (tmp_path / "out.part").exists()


def test_unknown_hash_is_recorded_with_a_warning(file_server: FileServer, model_folder: Path) -> None:
    warnings: list[str] = []
    path = pull(file_server.entry(sha256=None), on_warning=warnings.append)
    digest = hashlib.sha256(file_server.payload).hexdigest()
    assert (model_folder / "test-model.pth.sha256").read_text() == f"{digest}  test-model.pth\n"
    assert len(warnings) == 1
    assert digest in warnings[0]
    assert verify(file_server.entry(sha256=None)).source == "recorded"
    path.write_bytes(b"changed")
    with pytest.raises(ModelError, match="damaged or another file"):
        verify(file_server.entry(sha256=None))


def test_later_download_must_agree_with_the_recorded_hash(file_server: FileServer, model_folder: Path) -> None:
    entry = file_server.entry(sha256=None)
    pull(entry, on_warning=lambda _: None).unlink()
    file_server.payload = b"something else"
    with pytest.raises(ModelError, match=r"to accept it delete test-model.pth.sha256"):
        pull(entry)
    assert _names(model_folder) == ["test-model.pth.sha256"]


def test_without_any_hash_an_old_beginning_is_not_trusted(file_server: FileServer, model_folder: Path) -> None:
    model_folder.mkdir()
    (model_folder / "test-model.pth.part").write_bytes(b"x" * 2000)
    path = pull(file_server.entry(sha256=None), on_warning=lambda _: None)
    assert path.read_bytes() == file_server.payload


def test_licence_and_warning_are_logged_by_default(file_server: FileServer, caplog: pytest.LogCaptureFixture) -> None:
    pull(file_server.entry(sha256=None))
    assert "its licence: test licence" in caplog.text
    assert "was recorded beside" in caplog.text


def test_too_little_room_is_said_before_the_transfer(
    file_server: FileServer, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 100, 100))
    with pytest.raises(DiskFullError, match="make room"):
        pull(file_server.entry())
    assert _names(model_folder) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_disk_that_fills_up_leaves_nothing(file_server: FileServer, model_folder: Path) -> None:
    model_folder.mkdir()
    (model_folder / "test-model.pth.part").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match="no space left"):
        pull(file_server.entry())
    assert _names(model_folder) == []


def test_folder_that_cannot_be_made(file_server: FileServer, model_folder: Path) -> None:
    model_folder.write_text("a file")
    with pytest.raises(ModelError, match=r"cannot write into the model folder .*models: "):
        pull(file_server.entry())


def test_file_that_cannot_be_written(
    file_server: FileServer, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ModelError, match="cannot write into the model folder"):
        pull(file_server.entry())


def test_interrupted_call_keeps_the_beginning_and_frees_the_claim(file_server: FileServer, model_folder: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(file_server.entry(), progress=interrupt)
    assert _names(model_folder) == ["test-model.pth.part"]


def test_two_at_once_transfer_once(file_server: FileServer) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.3)
        whole_or_range(handler)

    file_server.behaviours = [slow]
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(pull(file_server.entry()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 2
    assert file_server.ranges == [None]


def test_claim_of_a_process_that_died_expires(file_server: FileServer, model_folder: Path) -> None:
    model_folder.mkdir()
    claim = model_folder / "test-model.pth.lock"
    claim.touch()
    os.utime(claim, (time.time() - 3600, time.time() - 3600))
    assert pull(file_server.entry()).read_bytes() == file_server.payload
    assert not claim.exists()
