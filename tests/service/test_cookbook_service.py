"""The cookbook's page about the service does what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from service_process import live_service

from test_cookbook import blocks, clip, photo


def test_the_service_and_its_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "tape.mp4")
    photo(tmp_path / "me.jpg")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    serve, *shell = blocks("api.md")
    assert serve == "revisage serve\n"
    with live_service(tmp_path / "data") as service:
        for block in shell:
            script = block.replace("http://127.0.0.1:8000", service.address)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, env=environment
            )
            assert done.returncode == 0, block + done.stderr
        assert '"statements":[{' in done.stdout
        for block in blocks("api.md", "python"):
            exec(block.replace("http://127.0.0.1:8000", service.address), {})
    for name in ("tape_restored.mp4", "me_restored.jpg", "again.mp4"):
        assert (tmp_path / name).stat().st_size > 0
