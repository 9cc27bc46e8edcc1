"""Restorer and reader are made ready while a source is scanned, once somebody is seen whom they will be needed for."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from pipeline_fakes import landmarks

from revisage.core import Detail, Face, RestoreConfig
from revisage.pipeline.restoration import Networks, Preparation

CLEAN, DAMAGED, UNKNOWN = Detail(damage=0.0), Detail(damage=1.0), None


def seen(detail: Detail | None, score: float = 0.9) -> Face:
    return Face((10, 10, 60, 60), landmarks(5, 5, 120), score, detail)


def prepared(networks: Networks) -> bool:
    for thread in threading.enumerate():
        if thread.name == "revisage-prepare":
            thread.join()
    return bool(networks.restorer._engine._copies)  # type: ignore[attr-defined]


def test_a_damaged_face_has_the_embedded_networks_run_once() -> None:
    networks = Networks(RestoreConfig())
    told = Preparation(networks)
    told([seen(CLEAN), seen(UNKNOWN)])
    assert not prepared(networks)
    told([seen(CLEAN), seen(DAMAGED)])
    assert prepared(networks)
    assert networks.cover_reader is not None
    assert networks.cover_reader._engine._copies[0].shapes == {(1, 3, 112, 112)}  # type: ignore[attr-defined]
    restorer = networks.restorer
    networks.__dict__["restorer"] = None  # would fail if it were asked for again
    Preparation(networks)([seen(DAMAGED)])
    crop = np.full((1, restorer.size, restorer.size, 3), 90, np.uint8)
    assert restorer(crop).shape == crop.shape


def test_of_another_restorer_each_sure_face_wants_all_work(tiny_model: Path) -> None:
    networks = Networks(RestoreConfig(model=str(tiny_model), hidden="restore"))
    told = Preparation(networks)
    told([seen(UNKNOWN, score=0.2)])
    assert not networks._is_prepared
    told([seen(UNKNOWN)])
    assert networks._is_prepared
    assert prepared(networks)


def test_what_fails_in_preparing_is_told_where_a_face_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = Networks(RestoreConfig())

    def broken(batch: np.ndarray) -> list[np.ndarray]:
        raise RuntimeError("no luck")

    monkeypatch.setattr(networks.restorer, "_engine", broken)
    Preparation(networks)([seen(DAMAGED)])
    for thread in threading.enumerate():
        if thread.name == "revisage-prepare":
            thread.join()
    with pytest.raises(RuntimeError, match="no luck"):
        networks.restorer(np.zeros((1, 256, 256, 3), np.uint8))
