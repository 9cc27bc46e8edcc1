"""What ``streamlit run`` serves: the page, with uploads that go to the disk, and a browser that is opened once."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Route
from streamlit.starlette import App

from revisage.ui.film_ranges import FILM_PATH, send_film
from revisage.ui.uploads import UploadsToDisk

__all__ = ["app"]


@asynccontextmanager
async def _life(_app: App) -> AsyncIterator[dict[str, Any]]:
    if not st.get_option("server.headless"):  # Streamlit itself opens a browser for scripts, not for apps
        _open_browser(f"http://{_shown(st.get_option('server.address'))}:{st.get_option('server.port')}")
    yield {}


def _open_browser(address: str) -> None:
    """Show the page, where there is a screen; in a thread, as a browser may not return before it is closed."""
    if sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _shown(address: str) -> str:
    return f"[{address}]" if ":" in address else address


app = App(
    Path(__file__).with_name("page.py"),
    lifespan=_life,
    routes=[Route(FILM_PATH, send_film)],
    middleware=[Middleware(UploadsToDisk)],
)
