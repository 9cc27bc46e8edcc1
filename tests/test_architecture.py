"""Who may import whom, and what an import costs."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import revisage

PACKAGE = Path(revisage.__file__).parent
ORDER = [
    "cli",
    "ui",
    "service",
    "client",
    "demo",
    "live_stream",
    "api",
    "streams",
    "cluster",
    "evaluation",
    "datasets",
    "browser",
    "train",
    "pipeline",
    "people",
    "provenance",
    "measures",
    "temporal",
    "facestore",
    "readers",
    "restorers",
    "faces",
    "engines",
    "nets",
    "models",
    "media",
    "core",
]
FREE = {"__init__", "__main__", "_version"}
# What draws the doors, in every room.
DOORS = {"lazy_loader"}
OUTSIDE = {
    "core": {"pydantic", "numpy"},
    "media": {"av", "PIL", "pillow_heif", "numpy", "cv2", "upath"},
    "models": {"platformdirs", "safetensors", "torch", "numpy"},
    "nets": {"torch", "numpy", "pydantic"},
    "measures": {"numpy", "cv2", "torch", "skimage", "piq"},
    "temporal": {"numpy", "cv2", "torch", "torchvision"},
    "readers": {"numpy", "cv2"},
    "pipeline": {"numpy", "pydantic"},
    "streams": {"av", "numpy", "cv2", "PIL", "sdl2", "pyvirtualcam"},
    "people": {"numpy", "cv2", "pydantic"},
    "cluster": {"ray"},
    "provenance": {"c2pa", "cryptography", "pydantic"},
    "cli": {"typer", "rich", "pydantic"},
}


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(file.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(file)
    return found


@functools.cache
def tree_of(file: Path) -> ast.Module:
    """A file parsed; many tests read the same files."""
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def imported(file: Path) -> set[str]:
    """Full names of the modules that a file imports, those for type checking included."""
    names: set[str] = set()
    for node in ast.walk(tree_of(file)):
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
        foreign = {name for name in top if name not in sys.stdlib_module_names} - {"revisage"} - DOORS
        assert foreign <= OUTSIDE[room], f"{file.relative_to(PACKAGE)} imports {sorted(foreign - OUTSIDE[room])}"


def names_of_doors() -> dict[str, dict[str, str]]:
    """Of each room, the names in its door with the module that defines each."""
    doors: dict[str, dict[str, str]] = {}
    for stub in sorted(PACKAGE.rglob("__init__.pyi")):
        package = ".".join(["revisage", *stub.parent.relative_to(PACKAGE).parts])
        doors[package] = {
            alias.name: f"{package}.{node.module}"
            for node in tree_of(stub).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
    return doors


def test_every_room_has_a_door_that_says_what_it_is_for() -> None:
    for file in PACKAGE.rglob("__init__.py"):
        module = importlib.import_module(".".join(["revisage", *file.parent.relative_to(PACKAGE).parts]))
        assert module.__doc__, file
        assert list(module.__all__) == sorted(module.__all__), file
        if file.with_suffix(".pyi").exists():
            stub = ast.parse(file.with_suffix(".pyi").read_text(encoding="utf-8")).body[-1]
            assert isinstance(stub, ast.Assign)
            assert sorted(ast.literal_eval(stub.value)) == list(module.__all__), file


def test_nobody_enters_a_room_but_by_its_door() -> None:
    for room, files in rooms().items():
        for file in files:
            for name in imported(file):
                parts = name.split(".")
                inside = len(parts) > 3 and (PACKAGE / parts[1]).is_dir()
                assert not inside or parts[1] == room, f"{file.relative_to(PACKAGE)} imports {name}: use the door"


def modules() -> dict[str, Path]:
    return {
        ".".join(["revisage", *file.relative_to(PACKAGE).with_suffix("").parts]): file
        for files in rooms().values()
        for file in files
        if file.name != "__init__.py"
    }


def needs() -> dict[str, set[str]]:
    """The modules that each module imports, wherever in the file; what comes by a door counts as from behind it."""
    doors, known = names_of_doors(), modules()

    def home(name: str) -> str:
        package, _, attribute = name.rpartition(".")
        while attribute in doors.get(package, {}):
            name = f"{doors[package][attribute]}.{attribute}"
            package = doors[package][attribute]
        return name if name in known else package

    return {module: {home(name) for name in imported(file)} & set(known) for module, file in known.items()}


def test_files_do_not_need_each_other_in_circles() -> None:
    needed = needs()

    def comes_back_to(module: str) -> bool:
        reached: set[str] = set()
        ahead = set(needed[module])
        while ahead:
            reached |= ahead
            ahead = set().union(*(needed[other] for other in ahead)) - reached
        return module in reached

    circular = sorted(module for module in needed if comes_back_to(module))
    assert circular == []


def test_no_module_is_too_long() -> None:
    long = {
        str(file.relative_to(PACKAGE)): count
        for files in rooms().values()
        for file in files
        if (count := len(file.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert long == {}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, revisage; print(len(sys.modules)); print(*sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    loaded = {name.split(".")[0] for name in out[1].split()}
    heavy = {
        "torch",
        "cv2",
        "av",
        "openvino",
        "numpy",
        "PIL",
        "pydantic",
        "typer",
        "rich",
        "platformdirs",
        "safetensors",
    }
    assert heavy & loaded == set()
    assert [name for name in out[1].split() if name.startswith("revisage.")] == []


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = "import sys, revisage.cli.app; print(*{'torch', 'cv2', 'av', 'openvino', 'numpy', 'PIL'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == []


def test_all_is_sorted_and_there() -> None:
    assert revisage.__all__ == sorted(revisage.__all__)
    for name in revisage.__all__:
        assert getattr(revisage, name) is not None
    with pytest.raises(AttributeError, match="No revisage attribute nothing"):
        _ = revisage.nothing


def test_public_functions_stay_functions_whatever_is_imported() -> None:
    """A module of a function's name would take its place as soon as anything imported it."""
    told = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"} - {"_version"}
    assert not told & set(revisage.__all__)
    functions = {name for name in names_of_doors()["revisage"] if name[0].islower()}
    assert {"analyze", "evaluate", "live", "restore", "scan"} <= functions
    for name in functions:
        assert callable(getattr(revisage, name)), name
        assert getattr(revisage, name).__doc__, name


def test_what_the_documents_call_is_there() -> None:
    root = PACKAGE.parent.parent
    pages = [root / "README.md", *(root / "docs").rglob("*.md"), *(root / "docs").rglob("*.ipynb")]
    called = {name for page in pages for name in re.findall(r"\brevisage\.(\w+)\(", page.read_text(encoding="utf-8"))}
    assert {"analyze", "evaluate", "restore"} <= called
    assert called <= set(revisage.__all__)


def test_modules_state_what_they_offer_in_order() -> None:
    for room in (
        "api",
        "pipeline.scan",
        "pipeline.file_restoration",
        "pipeline.report",
        "pipeline.plan",
        "core.errors",
    ):
        names = importlib.import_module(f"revisage.{room}").__all__
        assert names == sorted(names), room
