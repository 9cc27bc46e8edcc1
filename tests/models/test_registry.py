from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from revisage.core.errors import ModelError
from revisage.models import registry
from revisage.models.registry import ModelEntry, Registry
from revisage.nets import architectures


def _entry(name: str, **changes: object) -> ModelEntry:
    fields: dict[str, object] = {
        "name": name,
        "file": f"{name}.pth",
        "url": "https://example.org/x",
        "sha256": None,
        "bytes": None,
        "arch": "srvgg_x4",
        "params_key": None,
        "licence": "none",
    }
    return ModelEntry(**{**fields, **changes})  # type: ignore[arg-type]


def test_holds_the_official_list(shared: Path) -> None:
    official = json.loads((shared / "weights" / "official.json").read_text(encoding="utf-8"))["models"]
    for listed in official:
        if listed["name"] == "parsenet":
            continue  # nothing here has a use for a parse map
        entry = dataclasses.asdict(registry.find(listed["name"]))
        if listed["name"] == "stylegan2-ffhq-512":
            # The list describes it in words; here it has an architecture that can be built.
            listed["arch"] = "stylegan2_512"
        assert {key: entry[key] for key in listed} == listed


def test_holds_what_was_found_out_since(shared: Path) -> None:
    more = json.loads((shared / "weights" / "official_more.json").read_text(encoding="utf-8"))["models"]
    listed = next(model for model in more if model["name"] == "codeformer")
    entry = dataclasses.asdict(registry.find("codeformer"))
    assert {key: entry[key] for key in listed} == listed


def test_onnx_models_are_those_that_were_found(shared: Path) -> None:
    more = json.loads((shared / "weights" / "official_more.json").read_text(encoding="utf-8"))["models"]
    listed = {model["name"]: model for model in more if model["name"].endswith("-onnx")}
    assert len(listed) == 3
    for name, model in listed.items():
        entry = dataclasses.asdict(registry.find(name))
        assert {key: entry[key] for key in ("file", "url", "sha256", "licence")} == {
            key: model[key] for key in ("file", "url", "sha256", "licence")
        }
        assert registry.find(name.removesuffix("-onnx")).without_torch == name


def test_every_architecture_can_be_built() -> None:
    names = {name for record in architectures() for name in record.names}
    buildable = {*names, "gfpgan-onnx", "mobilefacenet-onnx", "raft_large", "raft_small", "yunet"}
    assert {entry.arch for entry in registry.entries()} <= buildable


def test_embedded_models_are_the_compact_ones() -> None:
    assert [entry.name for entry in registry.entries() if entry.embedded] == [
        "compact",
        "compact-natural",
        "compact-detector",
        "compact-fine",
        "compact-reader",
    ]


def test_name_in_any_case_and_with_blanks() -> None:
    assert registry.find(" GFPGAN-1.4 ").file == "GFPGANv1.4.pth"


def test_unknown_name_gets_the_near_match_and_the_list() -> None:
    with pytest.raises(ModelError, match=r"unknown model 'gfpgan-1.5'; did you mean 'gfpgan-1.4'\? \(there are: comp"):
        registry.find("gfpgan-1.5")
    with pytest.raises(ModelError) as raised:
        registry.find("zzzzzzz")
    assert "did you mean" not in str(raised.value)
    assert "retinaface-r50" in str(raised.value)


def test_a_failed_add_changes_nothing() -> None:
    mine = Registry([_entry("a")])
    with pytest.raises(ValueError, match="named 'a'"):
        mine.add(_entry("b"), _entry("a"))
    with pytest.raises(ValueError, match=r"file 'A\.PTH'"):
        mine.add(_entry("b"), _entry("c", file="A.PTH"))
    assert [entry.name for entry in mine.entries()] == ["a"]


def test_own_registry_does_not_touch_the_default() -> None:
    mine = Registry(registry.entries())
    mine.add(_entry("mine"))
    assert mine.find("mine").name == "mine"
    with pytest.raises(ModelError):
        registry.find("mine")


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../evil.pth"},
        {"file": "a\\b.pth"},
        {"file": ".hidden"},
        {"file": ""},
        {"sha256": "123"},
        {"sha256": "G" * 64},
        {"url": None},
        {"name": "Upper"},
    ],
)
def test_malformed_entries_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"plain file name|64 lower-case|address|lower case"):
        _entry(**{"name": "a", **changes})  # type: ignore[arg-type]


def test_what_this_installation_can_run_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.find_usable("gfpgan-1.4").name == "gfpgan-1.4"
    monkeypatch.setitem(sys.modules, "torch", None)
    assert registry.find_usable("gfpgan-1.4").name == "gfpgan-1.4-onnx"
    assert registry.find_usable("restoreformer").name == "restoreformer"  # restore says what to install
