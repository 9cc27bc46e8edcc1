"""A small version of benchmarks/service_chaos.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_lose_and_double_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import service_chaos

    result = service_chaos.run(jobs=3, kills=3, workers=1, seed=3, minutes=12)
    assert result["ok"], result
    assert sys.modules.pop("service_chaos")
