"""What the tests of the training share."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import write_material


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn faces and a perceptual backbone with random weights."""
    return write_material(tmp_path_factory.mktemp("material"))
