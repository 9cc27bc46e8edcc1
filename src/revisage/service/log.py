"""The log of servers and workers: one line each on stderr, times in UTC, ids instead of names."""

from __future__ import annotations

import logging
import time

__all__ = ["set_up_log"]


def set_up_log() -> None:
    """Send what the service says to stderr. Libraries are heard from warnings on."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("revisage").setLevel(logging.INFO)
