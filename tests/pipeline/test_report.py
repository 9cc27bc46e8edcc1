"""Reports and measures say what was done."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import pytest
from pipeline_fakes import scan, track

from revisage.core.config import RestoreConfig, make_config
from revisage.media import stream_times
from revisage.pipeline.plan import make_plan
from revisage.pipeline.report import (
    FileReport,
    Report,
    face_counts,
    machine,
    measured,
    sync_difference_ms,
    track_summaries,
)
from revisage.pipeline.restoration import Tally
from sample_media import plain_frames, write_video

RESULTS = [
    Tally(frames=10, changed=10, restored={"0": (10, 8.0)}, seconds={"align": 0.5}, full=20, got=18, measured=2),
    Tally(
        frames=5,
        changed=4,
        restored={"0": (2, 2.0), "3": (4, 1.0)},
        failed=1,
        failures=["frame 12 was kept"],
        seconds={"align": 0.25, "encode": 1},
    ),
]


def total(tallies: list[Tally]) -> Tally:
    summed = Tally()
    for tally in tallies:
        summed.add(tally)
    return summed


def test_results_of_segments_add_up() -> None:
    totals = total(RESULTS)
    assert (totals.frames, totals.changed, totals.failed, totals.faces) == (15, 14, 1, 16)
    assert totals.seconds == {"align": 0.75, "encode": 1}
    assert totals.strength == pytest.approx(11 / 16)
    assert totals.failures == ["frame 12 was kept"]
    assert total([]).strength is None


def test_each_track_and_each_face_is_accounted_for() -> None:
    found = scan(15, tracks=[track(0, 0, 12), track(3, 10, 5), track(4, 0, 3, size=10)])
    totals = total(RESULTS)
    counts = face_counts(found, make_plan(found, RestoreConfig()), totals)
    assert (counts.tracks, counts.found, counts.restored, counts.left, counts.failed) == (3, 20, 16, 3, 1)
    first, second, third = track_summaries(found, totals, {})
    assert (first.restored, first.strength, first.first_seconds, first.last_seconds) == (12, 0.833, 0, 0.44)
    assert (second.restored, second.strength, second.mean_size) == (4, 0.25, 60)
    assert (third.restored, third.strength) == (0, 0)


def test_measures_state_ratios_exactly() -> None:
    found = measured(
        total(RESULTS),
        size_hw=(270, 480),
        output_hw=(540, 960),
        rates=(Fraction(30000, 1001), Fraction(30)),
        avs_ms=None,
    )
    assert (found.frr, found.resolution_percent) == ("1000/1001", 200)
    assert (found.fei_measured, found.fei_change) == (0.9, 9)
    nothing = measured(total([]), size_hw=(1, 1), output_hw=(1, 1), rates=(None, None), avs_ms=2.5)
    assert (nothing.frr, nothing.fei_asked, nothing.fei_measured, nothing.avs_ms) == (None, None, None, 2.5)


def test_a_report_survives_its_file_and_its_config_can_be_fed_back(tmp_path: Path) -> None:
    config = make_config(strength=0.5, start="1:02.5", save_faces="faces")
    report = Report(
        config=config.model_dump(mode="json", exclude_unset=True),
        machine=machine(),
        files=[FileReport(input={"path": "a.mp4"}, warnings=["torn"], truncated=True)],
    )
    report.save(tmp_path / "r.json")
    data = json.loads((tmp_path / "r.json").read_text())
    assert Report.model_validate(data) == report
    assert make_config(data["config"]) == config
    assert (report.truncated, report.warnings, report.output, report.faces) == (True, ["torn"], None, 0)
    assert data["machine"]["processor"]


def shifted(source: Path, target: Path, seconds: float, *, drop: int = 0) -> Path:
    """A copy whose audio comes later, without its first packets."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        streams = {s.index: writer.add_stream_from_template(s) for s in reader.streams}
        dropped = 0
        for packet in reader.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                if dropped < drop:
                    dropped += 1
                    continue
                packet.pts += round(seconds / packet.time_base)
                packet.dts += round(seconds / packet.time_base)
            packet.stream = streams[packet.stream.index]
            writer.mux(packet)
    return target


def test_sound_that_moved_against_the_picture_is_measured(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a.mkv", plain_frames(25), audio=True)
    assert sync_difference_ms(clip, clip) == 0
    assert sync_difference_ms(clip, shifted(clip, tmp_path / "late.mkv", 0.12)) == pytest.approx(120, abs=1)
    cut = shifted(clip, tmp_path / "cut.mkv", 0.05, drop=3)
    assert sync_difference_ms(clip, cut) == pytest.approx(50, abs=1)
    assert sync_difference_ms(clip, cut, first=Fraction(-1, 20)) == pytest.approx(0, abs=1)
    silent = write_video(tmp_path / "silent.mkv", plain_frames(3))
    assert sync_difference_ms(silent, silent) is None
    assert sync_difference_ms(clip, silent) is None


def test_packet_times_are_exact(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a.mkv", plain_frames(4), codec="ffv1", pts=[0, 1, 5, 6])
    times = stream_times(clip)
    assert times.video.pts == [Fraction(n, 25) for n in (0, 1, 5, 6)]
    assert times.audio == []
