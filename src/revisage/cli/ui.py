"""``revisage ui``: the page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ui"]


def ui(
    host: Annotated[str, typer.Option(help="Address to listen on; 127.0.0.1 is this computer alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where uploads and results are kept.")
    ] = None,
    max_upload: Annotated[int | None, typer.Option(min=1, metavar="MB", help="Largest upload, in megabytes.")] = None,
) -> int:
    """Open the page: restore a video without the command line."""
    from revisage.service import ServiceSettings
    from revisage.ui import run_page

    limit = None if max_upload is None else max_upload * 1_000_000
    settings = ServiceSettings.load(data_dir=data_dir, max_upload_bytes=limit)
    return run_page(settings, host=host, port=port, browser=browser)
