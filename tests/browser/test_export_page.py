"""The page's folder: what is in it, what it never replaces, and where ONNX Runtime Web comes from."""

from __future__ import annotations

import dataclasses
import http.server
import importlib.util
import io
import tarfile
import threading
from functools import partial
from pathlib import Path

import pytest

from revisage.browser import RUNTIME
from revisage.browser.runtime import _FILES, copy_runtime
from revisage.cli.app import run
from revisage.core import file_sha256


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a RUN and an --output FILE, or a page's folder by --web DIR"),
        (["compact"], "name a RUN and an --output FILE"),
        (["compact", "--web", "{page}"], "leave RUN and --output out"),
        (["compact", "-o", "{page}.onnx", "--ort", "here"], "--ort is for --web DIR"),
        (["compact", "-o", "{page}.onnx", "--shared"], "shared and int8 are for OpenVINO: name the output .xml"),
        (["--web", "{page}", "--ort", "{text}"], "is no npm package onnxruntime-web: name the .tgz of `npm pack"),
        (["--web", "{page}", "--ort", "{folder}"], "is no npm package onnxruntime-web"),
        (["--web", "{folder}"], "exists; use --overwrite to replace it"),
        (["--web", "{folder}", "--overwrite"], "holds something else than such a page; name another folder"),
        (["--web", "{text}"], "is a file; name a folder"),
    ],
)
def test_mistakes_are_one_line_and_lose_nothing(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    text = folder / "text"
    text.write_text("not to be lost")
    places = {"page": tmp_path / "page", "folder": folder, "text": text}
    assert run(["export", *(word.format(**places) for word in words)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert text.read_text() == "not to be lost"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_without_torch_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else found(name))
    assert run(["export", "--web", str(tmp_path / "page")]) == 2
    assert "run pip install 'revisage[export]'" in capsys.readouterr().err


def test_the_package_is_fetched_checked_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "served" / "onnxruntime-web-9.9.9.tgz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as made:
        for name in [*(f"dist/{name}" for name in _FILES), "package.json", "dist/left.out"]:
            content = b'{"version": "9.9.9"}' if name == "package.json" else name.encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    monkeypatch.setenv("REVISAGE_MODELS", str(tmp_path / "models"))
    target = tmp_path / "target"
    target.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(archive.parent))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        entry = dataclasses.replace(
            RUNTIME,
            url=f"http://127.0.0.1:{server.server_port}/{archive.name}",
            file=archive.name,
            sha256=file_sha256(archive),
            bytes=archive.stat().st_size,
        )
        assert copy_runtime(target, None, entry=entry) == "9.9.9"
        server.shutdown()
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        there: f"dist/{name}" for name, there in _FILES.items()
    }
