"""compose.yaml, read as Docker Compose would read it: Docker itself is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from revisage.cli.app import make_app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def file() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return found


def ours(file: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: part for name, part in file["services"].items() if part.get("image") == "revisage:local"}


def test_there_are_a_service_two_workers_and_a_database(file: dict[str, Any]) -> None:
    assert set(file["services"]) == {"service", "worker", "quick", "database"}
    assert file["services"]["worker"]["deploy"]["replicas"] == 2


def test_every_command_is_one_of_the_command_line(file: dict[str, Any]) -> None:
    root: Any = typer.main.get_command(make_app())
    for name, part in ours(file).items():
        program, verb, *words = part["command"]
        assert program == "revisage", name
        root.commands[verb].make_context(verb, words)  # raises for an option that there is not


def test_what_is_referred_to_is_there(file: dict[str, Any]) -> None:
    for part in file["services"].values():
        assert set(part.get("secrets", [])) <= set(file["secrets"])
        assert set(part.get("depends_on", {})) <= set(file["services"])
        assert {volume.split(":")[0] for volume in part.get("volumes", [])} <= set(file["volumes"])
    for part in ours(file).values():
        assert "/data" in {volume.split(":")[1] for volume in part["volumes"]}
    assert "REVISAGE_SERVICE_DATA_DIR=/data" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_nothing_is_reached_from_outside_but_the_service_on_this_machine(file: dict[str, Any]) -> None:
    ports = {name: part["ports"] for name, part in file["services"].items() if "ports" in part}
    assert ports == {"service": ["127.0.0.1:8000:8000"]}
