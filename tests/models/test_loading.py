from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from revisage.core.errors import ModelError
from revisage.models.weight_files import load_state, metadata


def _state(value: float) -> dict[str, Tensor]:
    return {"a.weight": torch.full((2, 3), value), "a.bias": torch.zeros(2)}


def _value(path: Path, params_key: str | None = None) -> float:
    return float(load_state(path, params_key)["a.weight"][0, 0])


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_of_both_formats(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "x.pth"
    torch.save({"params_ema": _state(1.5)}, path, _use_new_zipfile_serialization=not legacy)
    assert _value(path) == 1.5


def test_the_asked_key_comes_first_then_the_usual_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    content: dict[str, Any] = {
        "other": _state(0),
        "state_dict": _state(1),
        "params": _state(2),
        "params_ema": _state(3),
    }
    torch.save(content, path)
    assert _value(path, "other") == 0
    assert _value(path, "absent") == 3
    for gone, found in (("params_ema", 2), ("params", 1)):
        del content[gone]
        torch.save(content, path)
        assert _value(path) == found
    torch.save(_state(7), path)
    assert _value(path, "params_ema") == 7


def test_data_parallel_prefix_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({f"module.{key}": value for key, value in _state(4).items()}, path)
    assert _value(path) == 4
    torch.save({"module.x": torch.zeros(1), "y": torch.zeros(1)}, path)
    assert set(load_state(path)) == {"module.x", "y"}


def test_safetensors_keep_their_type(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({key: value.half() for key, value in _state(0.5).items()}, path)
    assert load_state(path)["a.weight"].dtype == torch.float16
    assert _value(path) == 0.5


class _Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploited",)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"params_ema": _Exploit()}, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="refused to load"):
        load_state(tmp_path / "x.pth")
    assert not (tmp_path / "exploited").exists()


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x80", b"PK\x03\x04 zip no more", bytes(64), b"\xff" * 500])
def test_wrong_content_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError) as raised:
        load_state(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.97])
def test_truncated_files_are_refused(tmp_path: Path, name: str, part: float) -> None:
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(_state(1), path)
    else:
        save_file(_state(1), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ModelError, match=r"damaged or not a weights file|refused to load"):
        load_state(path)


@pytest.mark.parametrize("content", [{}, {"params": {}}, [1, 2], {"a": 3}, {1: torch.zeros(1)}, "text"])
def test_files_without_a_state_dict(tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"holds no weights|is not a state dict"):
        load_state(path)


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such weights file"):
        load_state(tmp_path / "x.pth")
    with pytest.raises(ModelError, match="is a folder"):
        load_state(tmp_path)
    (tmp_path / "empty.pth").touch()
    with pytest.raises(ModelError, match="is empty"):
        load_state(tmp_path / "empty.pth")


def test_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    record = {"arch": "compact", "config": {"size": 128}}
    save_file(_state(1), path, metadata={"revisage": json.dumps(record)})
    assert metadata(path) == record
    save_file(_state(1), path, metadata={"format": "pt"})
    assert metadata(path) == {}
    save_file(_state(1), path)
    assert metadata(path) == {}
    torch.save(_state(1), tmp_path / "x.pth")
    assert metadata(tmp_path / "x.pth") == {}


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_damaged_metadata(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file(_state(1), path, metadata={"revisage": text})
    with pytest.raises(ModelError, match="damaged"):
        metadata(path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(ModelError, match="damaged"):
        metadata(path)
