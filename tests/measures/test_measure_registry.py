"""The registry of measures: a plain object whose additions succeed as a whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from revisage.measures import MEASURES, Instruments, Measure, MeasureRegistry
from revisage.measures.catalogue import WeightsWanted


def contrast() -> Measure:
    return Measure(
        *("contrast", "contrast", "", "reference", 1, "image"),
        lambda _: lambda image: float(image.std()),
        against_reference=False,
    )


def test_a_copy_takes_measures_that_the_original_does_not() -> None:
    more = MEASURES.copy()
    more.add(contrast())
    assert list(more) == [*MEASURES, "contrast"]
    board = np.tile(np.array([[0, 200], [200, 0]], np.uint8)[..., None], (8, 8, 3))
    assert Instruments(more).get("contrast")(board) == pytest.approx(100)


def test_an_addition_that_fails_changes_nothing() -> None:
    registry = MeasureRegistry(contrast())
    with pytest.raises(ValueError, match="'contrast' already"):
        registry.add(replace(contrast(), name="other"), contrast())
    assert list(registry) == ["contrast"]


def test_measures_of_one_image_are_not_against_a_reference() -> None:
    with pytest.raises(ValueError, match="contrast: what takes one image"):
        replace(contrast(), against_reference=True)
    with pytest.raises(ValueError, match="measures of one image only, not of a pair"):
        replace(MEASURES["psnr"], reported=True)


def test_what_is_not_here_is_told_and_what_is_found_is_noted(tmp_path: Path) -> None:
    wanted = WeightsWanted("net", (("net.bin", None),), "make one")
    registry = MeasureRegistry(replace(contrast(), load=lambda find: find(wanted).read_bytes))
    absent = Instruments(registry, tmp_path)
    assert absent.get("contrast") is None
    assert absent.missing("contrast") == "net.bin is not on this machine: make one"
    assert absent.networks == {"net": {"missing": "net.bin is not on this machine: make one"}}
    (tmp_path / "net.bin").write_bytes(b"weights")
    there = Instruments(registry, tmp_path)
    assert there.missing("contrast") is None
    assert [file["file"] for file in there.networks["net"]["files"]] == ["net.bin"]


def test_each_measure_names_its_unit_and_direction_once() -> None:
    assert len({info.title for info in MEASURES.values()}) == len(MEASURES)
    assert all(info.paper or info.name in {"psnr", "vggd", "ids_spread", "flicker"} for info in MEASURES.values())
