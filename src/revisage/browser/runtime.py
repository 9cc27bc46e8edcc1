"""ONNX Runtime Web: which of its files the page takes, and where they come from. They do not ship with revisage."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from revisage import models
from revisage.core import InputError
from revisage.models import ModelEntry

__all__ = ["LICENCE", "RUNTIME", "copy_runtime"]

_VERSION = "1.30.0"
RUNTIME = ModelEntry(
    name="onnxruntime-web",
    arch="onnxruntime-web",
    url=f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{_VERSION}.tgz",
    sha256="d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
    bytes=33_106_585,
    licence="MIT",
)
"""The package as npm has it; its SHA-512 there is q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7Qm
RMDs1SigqR4CXAfKYQ==."""

_FILES = {
    "ort.wasm.min.mjs": "ort.wasm.min.js",
    "ort-wasm-simd-threaded.mjs": "ort-wasm-simd-threaded.js",
    "ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs": "ort.webgpu.min.js",
    "ort-wasm-simd-threaded.asyncify.mjs": "ort-wasm-simd-threaded.asyncify.js",
    "ort-wasm-simd-threaded.asyncify.wasm": "ort-wasm-simd-threaded.asyncify.wasm",
}
"""What the page loads, and its names there: many servers do not know that .mjs is JavaScript."""

_ABOUT = "package.json"

LICENCE = """MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def copy_runtime(folder: Path, source: Path | None, *, entry: ModelEntry = RUNTIME) -> str:
    """Copy what the page needs of ONNX Runtime Web into a folder that is there.

    Args:
        folder: where to.
        source: the npm package: its .tgz, or its folder in node_modules; fetched into the model folder if None.
        entry: what is fetched.

    Returns:
        Its version.

    Raises:
        InputError: the source is no such package.
        ModelError: it cannot be fetched.
    """
    path = models.pull(entry) if source is None else source
    wrong = InputError(f"{path} is no npm package onnxruntime-web: name the .tgz of `npm pack onnxruntime-web`")
    missing = {_ABOUT, *(f"dist/{name}" for name in _FILES)}
    version = ""
    try:
        for name, file in _contents(path, set(missing)):
            if name == _ABOUT:
                version = json.load(file)["version"]
            else:
                with (folder / _FILES[name.removeprefix("dist/")]).open("wb") as copy:
                    shutil.copyfileobj(file, copy)
            missing.remove(name)
    except (FileNotFoundError, KeyError, ValueError, tarfile.TarError, EOFError):
        raise wrong from None
    if missing:
        raise wrong
    return version


def _contents(path: Path, names: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Files of the package, from its folder, or from its archive in one pass."""
    if path.is_dir():
        for name in names:
            with (path / name).open("rb") as file:
                yield name, file
        return
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            name = member.name.partition("/")[2]
            content = archive.extractfile(member) if name in names else None
            if content is not None:
                yield name, content
