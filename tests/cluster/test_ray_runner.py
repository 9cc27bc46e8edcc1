"""A film restored by the workers of a cluster: the same bytes as in one process.

The first is restored with weights for torch, the others with a network in OpenVINO's form, which is two files.
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import revisage
from revisage import pipeline
from revisage.cli.app import run
from revisage.cluster import RayRunner
from revisage.core import CancelledError, CancelToken, Progress, make_config
from sample_media import face_frames, write_video

OPTIONS = {"temporal": "off", "segment_frames": 4, "fine": "keep"}
"""Without the network for fine detail, which takes half the time; whole files of a batch are restored with it."""


@pytest.fixture(scope="session")
def undisturbed(face_clip: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The output of one process."""
    out = tmp_path_factory.mktemp("undisturbed") / "out.mkv"
    revisage.restore(face_clip, out, model=str(tiny_model), **OPTIONS)
    return out.read_bytes()


def test_a_cluster_gives_the_same_bytes(
    cluster: Any, face_clip: Path, tiny_model: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    seen = []
    with RayRunner(cluster.address) as runner:
        report = revisage.restore(
            face_clip, tmp_path / "out.mkv", model=str(tiny_model), runner=runner, progress=seen.append, **OPTIONS
        )
    assert (tmp_path / "out.mkv").read_bytes() == undisturbed
    assert report.faces == 12
    assert [moment.done for moment in seen if moment.stage == "restore"][-1] == 12
    assert [path.name for path in tmp_path.iterdir()] == ["out.mkv"]


def test_side_outputs_come_back_to_where_they_were_asked_for(
    cluster: Any, face_clip: Path, compiled_model: Path, tmp_path: Path
) -> None:
    """Pictures, the comparison and what an int8 network is made with all travel: workers share no disk with us."""
    here, there = tmp_path / "here", tmp_path / "there"
    asked = {"model": str(compiled_model), **OPTIONS}
    for folder, extra in ((here, {}), (there, {"cluster": cluster.address})):
        folder.mkdir()
        revisage.restore(
            face_clip,
            folder / "out.mkv",
            save_faces=folder / "faces",
            save_frames=folder / "frames",
            compare=folder / "side.mkv",
            **asked,
            **extra,
        )
    names = sorted(path.relative_to(here) for path in here.rglob("*") if path.is_file())
    assert len(names) == 2 + 3 * 12 + 2 * 12
    assert names == sorted(path.relative_to(there) for path in there.rglob("*") if path.is_file())
    assert all((here / name).read_bytes() == (there / name).read_bytes() for name in names)


def test_a_batch_gives_whole_files_to_the_workers(
    cluster: Any, face_clip: Path, compiled_model: Path, tmp_path: Path
) -> None:
    inputs, out, seen = tmp_path / "in", tmp_path / "out", []
    (inputs / "deep").mkdir(parents=True)
    for name in ("a.mkv", "deep/b.mkv"):
        (inputs / name).write_bytes(face_clip.read_bytes())
    (inputs / "bad.mkv").write_bytes(b"no video at all")
    options: dict[str, Any] = {"model": str(compiled_model), "temporal": "off", "cluster": cluster.address}
    report = revisage.batch([inputs], out, recursive=True, progress=seen.append, **options)
    assert {entry.source.name: entry.state for entry in report.entries} == {
        "a.mkv": "restored",
        "b.mkv": "restored",
        "bad.mkv": "failed",
    }
    assert report.exit_code == 2
    whole = tmp_path / "whole.mkv"
    revisage.restore(face_clip, whole, model=str(compiled_model), temporal="off")
    assert (out / "a.mkv").read_bytes() == (out / "deep" / "b.mkv").read_bytes() == whole.read_bytes()
    assert {moment.file for moment in seen} >= {"a.mkv", "b.mkv"}
    done = next(entry for entry in report.entries if entry.source.name == "a.mkv").report
    assert done.output is not None
    assert done.output["path"] == str(out / "a.mkv")
    again = revisage.batch([inputs], out, recursive=True, **options)
    assert {entry.state for entry in again.entries} == {"skipped", "failed"}


def test_a_long_film_of_a_batch_is_restored_by_its_segments(
    cluster: Any, face_clip: Path, compiled_model: Path, tmp_path: Path
) -> None:
    config = make_config(model=str(compiled_model), temporal="off")
    files = {face_clip: tmp_path / "out.mkv", tmp_path / "none.mkv": tmp_path / "none_restored.mkv"}
    seen: list[Progress] = []
    with RayRunner(cluster.address, long_film=10) as runner:
        report = pipeline.run_batch(files, config, no_restoration_here, elsewhere=runner, progress=seen.append)
    assert {entry.source: entry.state for entry in report.entries} == {
        face_clip: "restored",
        tmp_path / "none.mkv": "failed",
    }
    whole = tmp_path / "whole.mkv"
    revisage.restore(face_clip, whole, model=str(compiled_model), temporal="off")
    assert (tmp_path / "out.mkv").read_bytes() == whole.read_bytes()
    assert max(moment.done for moment in seen if moment.stage == "restore") == 12


def test_the_scan_of_a_long_film_is_made_in_parts_by_the_cluster(
    cluster: Any, compiled_model: Path, tmp_path: Path
) -> None:
    """Twelve faces in three minutes; of a batch, and by itself."""
    times = [15 * index for index in range(12)]
    film = write_video(tmp_path / "film.mkv", face_frames(12), pts=times, time_base=Fraction(1), options={"g": "2"})
    config = make_config(model=str(compiled_model), temporal="off")
    networks = pipeline.Networks(config)
    here = pipeline.scan_source(film, pipeline.fingerprint(film), config, networks)
    with RayRunner(cluster.address, long_film=10) as runner:
        told: list[int] = []
        scan = pipeline.scan_source(
            film,
            pipeline.fingerprint(film),
            config,
            networks,
            runner=runner,
            progress=lambda moment: told.append(moment.done),
        )
        report = pipeline.run_batch({film: tmp_path / "out.mkv"}, config, no_restoration_here, elsewhere=runner)
    assert scan.to_json() == here.to_json()
    assert told == list(range(1, 13))
    assert [entry.state for entry in report.entries] == ["restored"]
    revisage.restore(film, tmp_path / "whole.mkv", model=str(compiled_model), temporal="off")
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def no_restoration_here(source: Path, target: Path) -> Any:
    raise AssertionError("the cluster does it")


def test_a_stop_leaves_nothing(cluster: Any, face_clip: Path, compiled_model: Path, tmp_path: Path) -> None:
    token = CancelToken()

    def stop_at_the_first(moment: Progress) -> None:
        if moment.stage == "restore":
            token.cancel()

    with pytest.raises(CancelledError):
        revisage.restore(
            face_clip,
            tmp_path / "out.mkv",
            model=str(compiled_model),
            cluster=cluster.address,
            progress=stop_at_the_first,
            cancel=token,
            **OPTIONS,
        )
    assert list(tmp_path.iterdir()) == []
    assert list(Path(tempfile.gettempdir()).glob("revisage-worker-*")) == []


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_no_cluster_at_an_address_is_said_at_once(
    address: str, capsys: pytest.CaptureFixture[str], face_clip: Path, tmp_path: Path
) -> None:
    code = run(["restore", str(face_clip), str(tmp_path / "out.mkv"), "--cluster", address])
    assert code == 2
    assert f"no Ray cluster at {address}: begin one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
