"""A profile says what each thread did when, and how many items waited."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

import revisage
from revisage.core import CancelToken
from revisage.core.errors import ConfigError, OutputError
from revisage.pipeline.restoration import StageClock, StageThreads, Trace


def test_work_is_noted_by_thread() -> None:
    trace = Trace()
    clock = StageClock({}, trace)

    def work() -> None:
        with clock("align"), trace.span("inside"):
            pass

    thread = threading.Thread(target=work, name="revisage-align")
    thread.start()
    thread.join()
    events = trace.events()
    spans = {event["name"]: event for event in events if event["ph"] == "X"}
    assert spans.keys() == {"align", "inside"}
    assert spans["align"]["ts"] <= spans["inside"]["ts"]
    assert spans["align"]["dur"] >= spans["inside"]["dur"]
    (named,) = (event for event in events if event["name"] == "thread_name")
    assert named["args"] == {"name": "revisage-align"}
    assert named["tid"] == spans["align"]["tid"] != threading.get_native_id()
    assert {event["pid"] for event in events} == {os.getpid()}


def test_the_length_of_queues_is_noted() -> None:
    trace = Trace()
    with StageThreads(CancelToken(), trace) as threads:
        assert list(threads.ahead(lambda: range(5), depth=4, name="count")) == list(range(5))
    counted = [event for event in trace.events() if event["ph"] == "C"]
    assert [event["name"] for event in counted] == ["after count"] * 5
    assert all(0 <= event["args"]["waiting"] <= 4 for event in counted)


def test_a_run_writes_its_profile(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = {"model": str(tiny_model), "end": 0.2, "profile": tmp_path / "profile.json"}
    report = revisage.restore(face_clip, tmp_path / "out.mkv", **options)  # type: ignore[arg-type]
    events = json.loads((tmp_path / "profile.json").read_text())
    spans = {event["name"] for event in events if event["ph"] == "X"}
    assert spans >= {"load", "scan", "decode", "align", "restore", "composite", "encode", "assemble"}
    timings = report.files[0].timings
    assert timings.busy.keys() == timings.stages.keys()
    with pytest.raises(OutputError, match="exists"):
        revisage.restore(face_clip, tmp_path / "other.mkv", **options)  # type: ignore[arg-type]


def test_a_profile_is_of_one_file(face_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="profile belongs to one file"):
        revisage.restore(face_clip.parent, tmp_path / "out", profile=tmp_path / "profile.json")
