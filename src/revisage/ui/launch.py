"""Start the page: Streamlit in a process of its own, with everything remote switched off."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from revisage.core import MissingExtraError
from revisage.service import DataFolder, ServiceSettings

__all__ = ["page_command", "run_page"]

_THEME = {
    "theme.light.primaryColor": "#1f6f8b",
    "theme.dark.primaryColor": "#5fb4cf",
    "theme.baseRadius": "medium",
}


def page_command(*, host: str, port: int, browser: bool, max_upload_megabytes: int) -> list[str]:
    """The command line that serves the page."""
    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "false" if browser else "true",
        "server.maxUploadSize": str(max_upload_megabytes),
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        "browser.serverAddress": host,
        "client.showErrorDetails": "none",
        "client.toolbarMode": "minimal",
        **_THEME,
    }
    page = Path(__file__).with_name("page_server.py")
    flags = [text for name, value in options.items() for text in (f"--{name}", value)]
    return [sys.executable, "-m", "streamlit", "run", str(page), *flags]


def run_page(settings: ServiceSettings, *, host: str, port: int, browser: bool) -> int:
    """Serve the page until it is stopped; returns the exit code.

    Raises:
        MissingExtraError: Streamlit or what the job store needs is not installed.
        OutputError: the data folder cannot be made.
    """
    if any(importlib.util.find_spec(name) is None for name in ("streamlit", "sqlalchemy")):
        raise MissingExtraError("The page", "ui")
    DataFolder(settings.data_dir)
    megabytes = max(1, settings.max_upload_bytes // 1_000_000)
    command = page_command(host=host, port=port, browser=browser, max_upload_megabytes=megabytes)
    environment = {**os.environ, **settings.environment()}
    if os.name == "posix":  # in this process's place: whoever ends it ends the page, and nothing is left behind
        os.execve(command[0], command, environment)
    try:
        return subprocess.run(command, env=environment, check=False).returncode
    except KeyboardInterrupt:
        return 130
