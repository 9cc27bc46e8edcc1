"""What SECURITY.md promises of the code itself: nothing foreign is run, and weights are what they were."""

from __future__ import annotations

import ast
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import revisage
from revisage.models.registry import DEFAULT
from revisage.pipeline.work_folder import WorkFolder

PACKAGE = Path(revisage.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

RUNS_CODE = {"eval", "exec", "compile", "__import__"}
"""Builtins that make code of data."""

RUNS_CODE_ON_LOADING = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "code", "codeop"}
"""Modules that run what a file says, or are used for little else."""

SHELLS = {("os", "system"), ("os", "popen"), ("subprocess", "getoutput"), ("subprocess", "getstatusoutput")}
"""Functions that hand words to a shell."""

RACES = {("tempfile", "mktemp")}
"""Names for files that somebody else may take in between."""


def calls(path: Path) -> Iterator[tuple[ast.Call, tuple[str, ...]]]:
    """Each call of a module with the dotted name of what is called; no name where that is an expression."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node, tuple(_dotted(node.func))


def _dotted(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    return [*_dotted(node.value), node.attr] if isinstance(node, ast.Attribute) else [""]


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each import."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def keyword(call: ast.Call, name: str) -> object:
    value = next((each.value for each in call.keywords if each.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_code_is_made_of_data(path: Path) -> None:
    for call, name in calls(path):
        where = f"line {call.lineno}"
        assert not (len(name) == 1 and name[0] in RUNS_CODE), where
        assert name[-2:] not in SHELLS | RACES, where
        assert keyword(call, "shell") in (None, False), where
        assert keyword(call, "allow_pickle") in (None, False), where
        assert keyword(call, "verify") in (None, True), where
        if name[-2:] == ("torch", "load"):
            assert keyword(call, "weights_only") is True, where
        assert name[:1] != ("pickle",), f"{where}: only pickle's errors may be named"
    for module, name in imported(path):
        assert module.partition(".")[0] not in RUNS_CODE_ON_LOADING, module
        assert not (module == "pickle" and name), "only pickle's errors may be named"


def test_weights_come_over_https() -> None:
    for entry in DEFAULT.entries():
        assert entry.embedded or str(entry.url).startswith("https://"), entry.name


@pytest.mark.skipif(sys.platform == "win32", reason="file modes are of POSIX")
def test_what_is_in_work_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = WorkFolder(tmp_path / "out.mkv")
    folder.open("key")
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
