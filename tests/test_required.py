"""On a machine that has everything, a test that skips for want of something is a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest

def test_that_needs_material(): pytest.skip("needs the clips")
def test_that_needs_another_cpu(): pytest.skip("this CPU has no bf16 in hardware")
def test_that_runs(): pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("REVISAGE_REQUIRE_SHARED", raising=False)
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(test_tests=TESTS, test_package='import pytest\npytest.importorskip("no_such_package")')
    return pytester


def test_skips_are_skips_elsewhere(suite: pytest.Pytester) -> None:
    suite.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1, skipped=3)


def test_skips_fail_where_nothing_is_missing(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVISAGE_REQUIRE_SHARED", "1")
    result = suite.runpytest_subprocess("-p", "no:cacheprovider", "--continue-on-collection-errors")
    result.assert_outcomes(passed=1, skipped=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*nothing is missing here, but the test skips: needs the clips*"])
