"""Media with something wrong in them give a valid output or an error in one line, in time and within memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from children import Outcome, try_files
from mutators import MUTATORS, mutated_files

from sample_media import write_tiny_compiled_model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX")


def tried(shared: Path, folder: Path, count: int, seed: int, first: int = 0) -> Outcome:
    model = write_tiny_compiled_model(folder / "tiny.xml")
    (folder / "in").mkdir()
    return try_files(mutated_files(shared, count, seed, first), folder / "in", model, folder / "wrong")


@pytest.mark.timeout(900)
def test_dozens_of_mutated_files(shared: Path, tmp_path: Path) -> None:
    outcome = tried(shared, tmp_path, 40, seed=7)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert {kind for kind, _ in outcome.counts} == set(MUTATORS)
    assert outcome.counts.total() == 40


@pytest.mark.parametrize("number", [1201, 1689])
def test_files_that_once_were_answered_wrongly(shared: Path, tmp_path: Path, number: int) -> None:
    """A rate of next to nothing; a packet that its decoder calls a wrong argument."""
    outcome = tried(shared, tmp_path, 1, seed=3030, first=number)
    assert not outcome.wrong, "\n".join(outcome.wrong)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_mutated_files(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = tried(shared, tmp_path, 2000, seed=1)
    with capsys.disabled():
        print(f"\n{outcome.table()}")  # noqa: T201 - the figures
    assert not outcome.wrong, "\n".join(outcome.wrong)
