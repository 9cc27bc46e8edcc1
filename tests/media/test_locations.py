"""Files in stores: read where they lie, no more of them than is needed; written when complete, or not at all."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import revisage
from revisage import media
from revisage.cli.app import run
from revisage.core import InputError, MissingExtraError, OutputError, OutputExistsError
from sample_media import face_frames, write_video
from store_server import CountingProxy, web_server

OPTIONS: dict[str, Any] = {"temporal": "off", "segment_frames": 4}


@pytest.fixture(scope="session")
def large_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of some 20 MB in which each frame is a key frame."""
    noise = np.random.default_rng(1)
    frames = (noise.integers(0, 256, (270, 480, 3), np.uint8) for _ in range(150))
    return write_video(tmp_path_factory.mktemp("large") / "noise.mkv", frames, codec="ffv1")


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of a face."""
    path = tmp_path_factory.mktemp("photo") / "me.png"
    Image.fromarray(face_frames(1)[0]).save(path)
    return path


@pytest.mark.parametrize(
    ("location", "remote"),
    [
        ("s3://bucket/tape.mp4", True),
        ("https://host/tape.mp4?key=1", True),
        ("file:///tmp/tape.mp4", False),
        ("/tmp/tape.mp4", False),
        ("C:/tape.mp4", False),
        ("odd name://x", False),
    ],
)
def test_what_is_an_address(location: str, remote: bool) -> None:
    assert media.is_address(location) == remote


def test_a_file_address_is_a_path() -> None:
    assert media.as_path("file:///tmp/tape.mp4") == Path("/tmp/tape.mp4")


def test_a_store_of_an_unknown_kind_is_said() -> None:
    with pytest.raises(InputError, match=r"no kind of store that is known .*nosuch"):
        media.as_path("nosuch://host/tape.mp4")


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "upath", None)
    with pytest.raises(MissingExtraError, match=r"such as s3:// needs .* 'revisage\[remote\]'"):
        media.as_path("s3://bucket/tape.mp4")


def test_from_store_to_store_gives_the_same_bytes(
    bucket: Any, face_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (bucket / "tape.mkv").write_bytes(face_clip.read_bytes())
    code = run(
        [
            "restore",
            str(bucket / "tape.mkv"),
            str(bucket / "out" / "tape.mkv"),
            "--model",
            str(tiny_model),
            "--temporal",
            "off",
        ]
    )
    assert code == 0
    revisage.restore(face_clip, tmp_path / "tape.mkv", model=str(tiny_model), temporal="off")
    assert (bucket / "out" / "tape.mkv").read_bytes() == (tmp_path / "tape.mkv").read_bytes()
    assert not any((Path(os.environ["REVISAGE_CACHE"]) / "outputs").iterdir())


def test_without_a_name_the_output_goes_beside_the_input(bucket: Any, tiny_model: Path, photo: Path) -> None:
    (bucket / "me.png").write_bytes(photo.read_bytes())
    report = revisage.restore(str(bucket / "me.png"), model=str(tiny_model))
    assert report.files[0].output is not None
    assert report.files[0].output["path"] == str(bucket / "me_restored.png")
    assert (bucket / "me_restored.png").exists()


def test_what_is_there_is_not_replaced_unasked(bucket: Any, face_clip: Path) -> None:
    (bucket / "out.mkv").write_bytes(b"precious")
    with pytest.raises(OutputExistsError):
        revisage.restore(face_clip, str(bucket / "out.mkv"))
    assert (bucket / "out.mkv").read_bytes() == b"precious"


def test_an_interrupted_run_is_taken_up(bucket: Any, face_clip: Path, tiny_model: Path) -> None:
    class Failing:
        """Does the first job, then the machine is gone."""

        def run(self, jobs: Any, *, cancel: Any, on_frame: Any) -> Any:
            from revisage.pipeline import SerialRunner

            yield from SerialRunner().run(itertools.islice(jobs, 1), cancel=cancel, on_frame=on_frame)
            raise SystemExit(15)

    out = str(bucket / "out.mkv")
    with pytest.raises(SystemExit):
        revisage.restore(face_clip, out, model=str(tiny_model), runner=Failing(), **OPTIONS)
    assert not media.as_path(out).exists()
    report = revisage.restore(face_clip, out, model=str(tiny_model), **OPTIONS)
    assert report.files[0].timings is not None
    assert report.files[0].timings.reused_segments == 1


def test_a_batch_from_a_store_into_a_store(bucket: Any, face_clip: Path, tiny_model: Path) -> None:
    for name in ("in/a.mkv", "in/deep/b.mkv"):
        (bucket / name).write_bytes(face_clip.read_bytes())
    options: dict[str, Any] = {"recursive": True, "model": str(tiny_model), "temporal": "off"}
    report = revisage.batch([str(bucket / "in")], str(bucket / "out"), **options)
    assert [entry.state for entry in report.entries] == ["restored", "restored"]
    assert (bucket / "out" / "a.mkv").read_bytes() == (bucket / "out" / "deep" / "b.mkv").read_bytes()
    events = [json.loads(line)["event"] for line in (bucket / "out" / "batch.jsonl").read_text().splitlines()]
    assert events == ["begun", "restored", "begun", "restored"]
    assert b"2 restored" in (bucket / "out" / "batch.html").read_bytes()
    again = revisage.batch([str(bucket / "in")], str(bucket / "out"), **options)
    assert [entry.state for entry in again.entries] == ["skipped", "skipped"]
    matched = media.find_media(str(bucket / "in" / "*.mkv"))
    assert [str(path) for path in matched.files] == [str(bucket / "in" / "a.mkv")]


def test_a_segment_reads_only_what_it_needs(s3: CountingProxy, bucket: Any, large_clip: Path) -> None:
    tape = bucket / "noise.mkv"
    tape.write_bytes(large_clip.read_bytes())
    size = large_clip.stat().st_size
    assert size > 15 * 2**20
    with media.open_source(large_clip) as source:
        pts = [frame.pts for frame in source.frames(75, 80)]
    with media.open_source(str(tape)) as source:
        before = s3.sent
        found = list(source.frames(75, 80, first_pts=pts[0]))
        read = s3.sent - before
    assert [frame.pts for frame in found] == pts
    assert read < 5 * 2**20, f"{read} of {size} bytes"


def test_a_web_server_is_read_by_ranges_and_never_written(large_clip: Path, tmp_path: Path) -> None:
    with web_server(large_clip.parent) as server:
        address = f"http://127.0.0.1:{server.server_port}/noise.mkv"
        with media.open_source(address) as source:
            before = server.sent
            assert next(source.frames(0, 1)).pts == 0
            assert server.sent - before < 3 * 2**20
            assert source.info.frame_count is None or source.info.frame_count == 150
        with pytest.raises(OutputError, match="read-only"):
            revisage.restore(large_clip, f"http://127.0.0.1:{server.server_port}/out.mkv")
        with pytest.raises(InputError, match="no such file"):
            revisage.probe(f"http://127.0.0.1:{server.server_port}/none.mkv")


def test_a_photo_of_a_store_is_read_as_a_whole(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "me.png").write_bytes(photo.read_bytes())
    with web_server(tmp_path) as server:
        assert revisage.probe(f"http://127.0.0.1:{server.server_port}/me.png?key=1").kind == "image"


def test_short_films_decode_alike_from_everywhere(bucket: Any, tmp_path: Path) -> None:
    """Formats with their index at the end, in between, or without any."""
    for ending in ("mp4", "mov", "ts", "avi", "webm"):
        codec = "libvpx" if ending == "webm" else "libx264"
        here = write_video(tmp_path / f"clip.{ending}", face_frames(5), codec=codec)
        there = bucket / here.name
        there.write_bytes(here.read_bytes())
        with media.open_source(here) as local, media.open_source(there) as remote:
            assert remote.info.container == local.info.container
            pairs = list(zip(local.frames(), remote.frames(), strict=True))
            assert len(pairs) == 5
            assert all(a.pts == b.pts and np.array_equal(a.rgb(), b.rgb()) for a, b in pairs)
