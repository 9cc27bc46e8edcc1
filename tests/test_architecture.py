"""Who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import revisage

PACKAGE = Path(revisage.__file__).parent
ORDER = [
    "cli",
    "demo",
    "ui",
    "service",
    "client",
    "api",
    "demo_scene",
    "evaluate",
    "datasets",
    "train",
    "pipeline",
    "temporal",
    "facestore",
    "restorers",
    "faces",
    "engines",
    "nets",
    "models",
    "media",
    "core",
]
FREE = {"__init__", "__main__", "_version"}
OUTSIDE = {
    "core": {"pydantic", "numpy"},
    "media": {"av", "PIL", "numpy", "cv2"},
    "models": {"pooch", "safetensors", "torch", "numpy"},
    "nets": {"torch", "numpy", "pydantic"},
    "temporal": {"numpy", "cv2", "torch", "torchvision"},
    "pipeline": {"numpy", "pydantic"},
    "cli": {"typer", "rich", "pydantic"},
}


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(file.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(file)
    return found


def imported(file: Path) -> set[str]:
    """Full names of the modules that a file imports, those for type checking included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_every_room_has_its_place() -> None:
    assert set(rooms()) - FREE - {"demo_data"} <= set(ORDER)


@pytest.mark.parametrize("room", ORDER)
def test_imports_point_down_only(room: str) -> None:
    below = {*ORDER[ORDER.index(room) :], "_version", "__version__"}
    for file in rooms().get(room, []):
        ours = {name.split(".")[1] for name in imported(file) if name.startswith("revisage.")}
        assert ours <= below, f"{file.relative_to(PACKAGE)} imports {sorted(ours - below)}"


@pytest.mark.parametrize("room", OUTSIDE)
def test_a_room_uses_only_the_libraries_it_may(room: str) -> None:
    for file in rooms()[room]:
        top = {name.split(".")[0] for name in imported(file)}
        foreign = {name for name in top if name not in sys.stdlib_module_names} - {"revisage"}
        assert foreign <= OUTSIDE[room], f"{file.relative_to(PACKAGE)} imports {sorted(foreign - OUTSIDE[room])}"


def test_no_module_is_too_long() -> None:
    long = {
        str(file.relative_to(PACKAGE)): count
        for files in rooms().values()
        for file in files
        if (count := len(file.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert long == {}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, revisage; print(len(sys.modules)); print(*sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    loaded = {name.split(".")[0] for name in out[1].split()}
    heavy = {"torch", "cv2", "av", "openvino", "numpy", "PIL", "pydantic", "typer", "rich", "pooch", "safetensors"}
    assert heavy & loaded == set()
    assert [name for name in out[1].split() if name.startswith("revisage.")] == ["revisage._version"]


def test_all_is_sorted_and_there() -> None:
    assert revisage.__all__ == sorted(revisage.__all__)
    for name in revisage.__all__:
        assert getattr(revisage, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = revisage.nothing


@pytest.mark.parametrize("name", ["detect_faces", "load_restorer", "probe", "restore", "restore_image", "scan"])
def test_public_functions_stay_functions_whatever_is_imported(name: str) -> None:
    for room in ("api", "cli.entry", "pipeline.executor", "restorers", "faces.detect", "media"):
        importlib.import_module(f"revisage.{room}")
    assert callable(getattr(revisage, name))
    assert getattr(revisage, name).__doc__


def test_modules_state_what_they_offer_in_order() -> None:
    for room in ("api", "pipeline.scan", "pipeline.executor", "pipeline.report", "pipeline.plan", "core.errors"):
        names = importlib.import_module(f"revisage.{room}").__all__
        assert names == sorted(names), room
