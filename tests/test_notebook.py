"""The notebook runs from its first cell to its last, on a few frames."""

from __future__ import annotations

import ast
import copy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "notebooks" / "restore.ipynb"


# Of the kernel's libraries, not of ours; and its sockets are closed by the garbage collector.
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning"
)
def test_it_runs_and_shows_a_face_that_came_nearer_to_the_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook.cells)
    short = copy.deepcopy(notebook)
    [settings] = [cell for cell in short.cells if "FRAMES = 60" in cell.source]
    settings.source = settings.source.replace("FRAMES = 60", "FRAMES = 8").replace("every=10", "every=4")
    NotebookClient(short, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(out.get("text", "") for cell in short.cells for out in cell.get("outputs", []))
    assert "track 0: 8 frames" in printed
    assert "8 faces in 8 of 8 frames" in printed
    assert "8 faces were restored with revisage" in printed
    assert any("image/png" in out.get("data", {}) for cell in short.cells for out in cell.get("outputs", []))
    damaged, restored = (
        ast.literal_eval(line.split(" ", 1)[1])
        for line in printed.splitlines()
        if line.startswith(("input {", "restored {"))
    )
    assert restored["psnr"] > damaged["psnr"]
    assert restored["ssim"] > damaged["ssim"]
