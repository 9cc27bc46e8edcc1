from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import platformdirs
import pytest

from revisage import models
from revisage.core.errors import ModelError
from revisage.models import registry
from revisage.models.registry import ModelEntry


def _entry(content: bytes, **changes: object) -> ModelEntry:
    known = dataclasses.replace(
        registry.find("gfpgan-1.4"), file="x.pth", sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)
    )
    return dataclasses.replace(known, **changes)  # type: ignore[arg-type]


def _put(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "x.pth").write_bytes(content)


def test_folder_is_the_one_asked_for(model_folder: Path) -> None:
    assert models.folder() == model_folder
    assert models.local_path("gfpgan-1.4") == model_folder / "GFPGANv1.4.pth"
    assert not models.is_present("gfpgan-1.4")
    assert not model_folder.exists()


def test_folder_is_the_cache_of_this_user_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REVISAGE_MODELS")
    assert models.folder() == platformdirs.user_cache_path("revisage")


def test_embedded_files_are_inside_the_package(model_folder: Path) -> None:
    path = models.local_path("compact")
    assert path.parts[-3:] == ("models", "embedded", "compact.safetensors")


def test_unknown_model() -> None:
    with pytest.raises(ModelError, match="unknown model"):
        models.local_path("nothing")


def test_right_file_passes(model_folder: Path) -> None:
    _put(model_folder, b"weights")
    verified = models.verify(_entry(b"weights"))
    assert verified.source == "registry"
    assert verified.bytes == 7
    assert verified.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_file_put_there_by_hand_with_nothing_known_of_it(model_folder: Path) -> None:
    _put(model_folder, b"weights")
    assert models.verify(_entry(b"", sha256=None, bytes=None)).source == "nothing"


def test_absent_file_names_the_command() -> None:
    with pytest.raises(ModelError, match=r"not on this machine .* revisage models pull gfpgan-1.4"):
        models.verify("gfpgan-1.4")


def test_truncated_file_is_told_by_its_size(model_folder: Path) -> None:
    _put(model_folder, b"weigh")
    with pytest.raises(ModelError, match=r"x.pth is 5 bytes long but should be 7: delete it"):
        models.verify(_entry(b"weights"))


def test_changed_file_is_told_by_its_hash(model_folder: Path) -> None:
    _put(model_folder, b"WEIGHTS")
    with pytest.raises(ModelError, match="is damaged or another file"):
        models.verify(_entry(b"weights"))


def test_folder_in_the_place_of_the_file(model_folder: Path) -> None:
    (model_folder / "x.pth").mkdir(parents=True)
    assert not models.is_present(_entry(b""))
    with pytest.raises(ModelError, match="cannot read"):
        models.verify(_entry(b""))
