"""ONNX Runtime Web as npm has it, and a page made with it."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import platformdirs
import pytest

from revisage.browser import RUNTIME
from revisage.cli.app import run
from revisage.core import file_sha256


@pytest.fixture(scope="session")
def package() -> Path:
    """The npm package, fetched by npm once and kept in the user's cache folder."""
    assert RUNTIME.url is not None
    path = platformdirs.user_cache_path("revisage-tests") / RUNTIME.file
    if not path.is_file():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed, which brings onnxruntime-web")
        version = path.stem.rpartition("-")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [npm, "pack", f"onnxruntime-web@{version}", "--pack-destination", str(path.parent)]
        done = subprocess.run(words, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"npm could not fetch onnxruntime-web: {done.stderr.decode()[-200:]}")
    assert file_sha256(path) == RUNTIME.sha256
    return path


@pytest.fixture(scope="session")
def page_folder(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page as the command makes it."""
    folder = tmp_path_factory.mktemp("web") / "page"
    assert run(["export", "--web", str(folder), "--ort", str(package)]) == 0
    return folder


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def address(page_folder: Path) -> Iterator[str]:
    """Where a plain server of files gives it out."""
    handler = partial(_Quiet, directory=str(page_folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
