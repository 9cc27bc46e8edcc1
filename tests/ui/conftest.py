"""What tests of the page leave as they found it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _own_main_module() -> Iterator[None]:
    """Streamlit's AppTest puts the script that it runs in the place of ``__main__`` and leaves it there: processes that
    a later test spawns would run that script first."""
    found = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = found
