"""Media with something wrong in them give a valid output or an error in one line, in time and within memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from children import Outcome, try_files
from mutators import MUTATORS, Mutated, mutated_files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX")


Tried = Callable[[Iterable[Mutated]], Outcome]


@pytest.fixture
def tried(compiled_model: Path, tmp_path: Path) -> Tried:
    """What comes of files."""
    (tmp_path / "in").mkdir()
    return lambda files: try_files(files, tmp_path / "in", compiled_model, tmp_path / "wrong")


@pytest.mark.timeout(900)
def test_dozens_of_mutated_files(shared: Path, tried: Tried) -> None:
    outcome = tried(mutated_files(shared, 40, seed=7))
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert {kind for kind, _ in outcome.counts} == set(MUTATORS)
    assert outcome.counts.total() == 40


def test_files_that_once_were_answered_wrongly(shared: Path, tried: Tried) -> None:
    """A rate of next to nothing; a packet that its decoder calls a wrong argument."""
    outcome = tried(file for number in (1201, 1689) for file in mutated_files(shared, 1, seed=3030, first=number))
    assert not outcome.wrong, "\n".join(outcome.wrong)
    assert outcome.counts.total() == 2


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_two_thousand_mutated_files(shared: Path, tried: Tried, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = tried(mutated_files(shared, 2000, seed=1))
    with capsys.disabled():
        print(f"\n{outcome.table()}")  # noqa: T201 - the figures
    assert not outcome.wrong, "\n".join(outcome.wrong)
