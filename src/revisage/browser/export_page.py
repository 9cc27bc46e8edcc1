"""One folder with a page, its networks and what runs them: any web server can give it out, and none is asked later."""

from __future__ import annotations

import importlib.util
import json
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from revisage import engines, models, train
from revisage._version import __version__
from revisage.browser.runtime import LICENCE, copy_runtime
from revisage.core import EMBEDDED_RESTORERS, MissingExtraError, OutputError, check_absent, check_folder, folder_beside

__all__ = ["export_page"]

_RESTORER, _DETECTOR = EMBEDDED_RESTORERS["faithful"], "compact-detector"

_PROBE_STEP, _PROBED = 0.37, 64
"""The page shows the restorer sines of multiples of the first, and compares so many of its numbers with ours before it
trusts a graphics card."""


def export_page(folder: Path, *, runtime: Path | None = None, overwrite: bool = False) -> Path:
    """Write the page that restores faces in a camera's picture or a clip, all in the browser.

    Args:
        folder: takes its name when all is written.
        runtime: the npm package onnxruntime-web, its .tgz or its folder; fetched if None.
        overwrite: whether a page that is there is replaced. No other folder is.

    Returns:
        The page, ``folder/index.html``.

    Raises:
        OutputExistsError: the folder is there.
        OutputError: it holds something else, or cannot be written.
        MissingExtraError: without the extra ``export``.
        InputError: ``runtime`` is no such package.
        ModelError: it cannot be fetched.
    """
    if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx")):
        raise MissingExtraError("export --web", "export")
    _check(folder, overwrite=overwrite)
    with folder_beside(folder) as page:
        shutil.copytree(Path(str(resources.files("revisage.browser") / "page")), page, dirs_exist_ok=True)
        (page / "onnxruntime").mkdir()
        version = copy_runtime(page / "onnxruntime", runtime)
        _write_models(page / "models")
        (page / "LICENCES.txt").write_text(_licences(version), encoding="utf-8")
    return folder / "index.html"


def _check(folder: Path, *, overwrite: bool) -> None:
    check_folder(folder)
    if folder.exists() and any(folder.iterdir()):
        check_absent(folder, overwrite=overwrite)
        if not (folder / "models" / "models.json").is_file():
            raise OutputError(f"{folder} holds something else than such a page; name another folder")


def _write_models(folder: Path) -> None:
    folder.mkdir()
    for name in (_RESTORER, _DETECTOR):
        train.export_model(name, folder / f"{name}.onnx")
        shutil.copyfile(models.local_path(name).with_suffix(".md"), folder / f"{name}.md")
    size = int(models.metadata(models.local_path(_RESTORER))["config"]["size"])
    about = {
        "revisage": __version__,
        "size": size,
        "threshold": float(models.metadata(models.local_path(_DETECTOR))["threshold"]),
        "probe": _probe(folder / f"{_RESTORER}.onnx", size),
        "weights_sha256": {name: models.verify(name).sha256 for name in (_RESTORER, _DETECTOR)},
    }
    (folder / "models.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _probe(path: Path, size: int) -> dict[str, Any]:
    """Some numbers that the restorer makes of a pattern, and where they stand in its output."""
    engine = engines.OpenVinoEngine(
        lambda: engines.compile_model(engines.read_model(path), "fp32"), (size, size), "fp32"
    )
    pattern = np.sin(np.arange(3 * size * size) * _PROBE_STEP).astype(np.float32)
    output = engine(pattern.reshape(1, 3, size, size))[0].ravel()
    places = np.linspace(0, len(output) - 1, _PROBED).astype(int)
    return {"step": _PROBE_STEP, "places": places.tolist(), "values": [round(float(v), 5) for v in output[places]]}


def _licences(version: str) -> str:
    """Whose the files of the page are."""
    cards = ", ".join(f"models/{name}.md" for name in (_RESTORER, _DETECTOR))
    licences = "; ".join(f"{name}: {models.find(name).licence}" for name in (_RESTORER, _DETECTOR))
    return (
        f"The page and its scripts: revisage {__version__}, Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0\n\n"
        f"models/: {licences} ({cards})\n\n"
        f"onnxruntime/: ONNX Runtime Web {version}, of the npm package onnxruntime-web, its files renamed from .mjs "
        f"to .js\n\n{LICENCE}"
    )
