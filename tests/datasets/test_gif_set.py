"""A set of GIFs from a video: layout, pairing, times, going on where it stopped."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from revisage.cli.app import run
from revisage.core.config import make_config
from revisage.core.errors import ConfigError, InputError, OutputError
from revisage.datasets.gif_manifest import GifSet, load_gif_set, make_gif_options
from revisage.datasets.gif_set import make_gif_set
from revisage.datasets.gif_windows import split_span
from revisage.media import open_source, probe
from revisage.pipeline.scan import Fingerprint, Scan, ScanSettings
from sample_media import face_frames, plain_frames, write_video

OPTIONS = {"min_seconds": 1, "liveliness": 0, "fps": 8, "max_side": 128, "kinds": ("noisy",)}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A talking face of 1.2 s at a changing rate, and a video without a face."""
    folder = tmp_path_factory.mktemp("videos")
    pts = [40 * index + (15 if index % 3 else 0) for index in range(30)]
    write_video(folder / "talk.mkv", face_frames(30), pts=pts, time_base=Fraction(1, 1000))
    write_video(folder / "empty.mp4", plain_frames(30))
    return folder


@pytest.fixture(scope="module")
def made(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GifSet]:
    folder = tmp_path_factory.mktemp("set") / "out"
    return folder, make_gif_set(videos, folder, make_gif_options(**OPTIONS), make_config())


def still_scan(frames: int) -> Scan:
    """A scan of so many frames, 10 a second, without faces."""
    print_ = Fingerprint(name="a", size=1, sha256="0" * 64, hashed="whole")
    settings = ScanSettings(detector="compact", detector_hash="")
    return Scan(
        source=print_,
        settings=settings,
        size_hw=(90, 160),
        time_base=Fraction(1, 10),
        pts=list(range(frames)),
        shots=[(0, frames)],
        tracks=[],
    )


@given(st.integers(2, 150), st.integers(1, 20), st.integers(0, 30))
def test_a_span_is_cut_into_clips_of_the_right_length(frames: int, shortest: int, more: int) -> None:
    options = make_gif_options(min_seconds=shortest / 10, max_seconds=(shortest + more) / 10)
    spans = split_span(still_scan(frames), 0, frames, options)
    assert bool(spans) == (frames >= shortest)
    assert all(shortest <= right - left <= shortest + more + 1 for left, right in spans)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_layout_and_the_manifest(made: tuple[Path, GifSet], videos: Path) -> None:
    folder, found = made
    assert load_gif_set(folder) == found
    assert [clip.name for clip in found.clips] == ["talk_00"]
    notes = {source.file: source.note for source in found.sources}
    assert notes["raw_videos/talk.mkv"] is None
    assert "no face" in str(notes["raw_videos/empty.mp4"])
    clip = found.clips[0]
    copy = clip.damaged[0]
    assert (clip.clean, copy.file) == ("gifs/clean/talk_00.gif", "gifs/noisy/talk_00.gif")
    assert (folder / "raw_videos" / "talk.mkv").read_bytes() == (videos / "talk.mkv").read_bytes()
    assert len(list((folder / copy.frames).iterdir())) == clip.frame_count
    assert not list(folder.rglob(".*"))
    assert max(clip.width, clip.height) == 128
    assert 0 < clip.faces[0].box[0] < clip.width


def test_times_are_the_sources(made: tuple[Path, GifSet]) -> None:
    folder, found = made
    clip = found.clips[0]
    base = Fraction(clip.time_base)
    with open_source(folder / clip.clean) as source:
        times = [frame.pts * frame.time_base for frame in source.frames()]
    wanted = [(pts - clip.first_pts) * base for pts in clip.pts]
    assert len(times) == len(wanted) == clip.frame_count
    assert max(abs(a - b) for a, b in zip(times, wanted, strict=True)) <= Fraction(1, 200)
    info = probe(folder / clip.clean)
    assert info.loop == 0
    assert float(info.duration or 0) == pytest.approx(clip.end_seconds - clip.start_seconds, abs=0.01)
    with open_source(folder / clip.damaged[0].file) as source:
        assert [frame.pts * frame.time_base for frame in source.frames()] == times


def test_clean_and_damaged_show_the_same_but_for_the_damage(made: tuple[Path, GifSet]) -> None:
    folder, found = made
    clip = found.clips[0]
    with open_source(folder / clip.clean) as one, open_source(folder / clip.damaged[0].file) as other:
        pairs = [(a.rgb().astype(float), b.rgb()) for a, b in zip(one.frames(), other.frames(), strict=True)]
    difference = np.array([(a - b).std() for a, b in pairs])
    assert (difference > 0.6 * clip.damaged[0].parameters["sigma"]).all()
    assert all(np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9 for a, b in pairs)


def test_a_second_run_mends_what_is_missing_with_the_same_bytes(
    made: tuple[Path, GifSet], videos: Path, tmp_path: Path
) -> None:
    import shutil

    folder, found = made
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    for name in ("manifest.json", "gifs/noisy/talk_00.gif"):
        (again / name).unlink()
    GifSet(options=found.options).save(again)
    assert make_gif_set(videos, again, found.options, make_config()) == found
    assert tree(again) == tree(folder)


def test_a_folder_with_something_else_is_left_alone(made: tuple[Path, GifSet], videos: Path, tmp_path: Path) -> None:
    folder, _ = made
    with pytest.raises(OutputError, match="other options"):
        make_gif_set(videos, folder, make_gif_options(**{**OPTIONS, "seed": 1}), make_config())
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "frames").mkdir()
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="something other"):
            make_gif_set(videos, tmp_path, make_gif_options(), make_config(), overwrite=overwrite)
    assert (tmp_path / "frames").is_dir()
    with pytest.raises(InputError, match="no such file"):
        make_gif_set(tmp_path / "none.mp4", tmp_path / "b", make_gif_options(), make_config())


def test_bad_options_and_manifests_give_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wet"):
        make_gif_options(kinds=("wet",))
    with pytest.raises(ConfigError, match="below min_seconds"):
        make_gif_options(min_seconds=3, max_seconds=2)
    with pytest.raises(InputError, match=r"no manifest\.json"):
        load_gif_set(tmp_path)
    (tmp_path / "manifest.json").write_text('{"clips": 3}')
    with pytest.raises(InputError, match="no manifest of GIFs"):
        load_gif_set(tmp_path)


def test_restored_gifs_pair_with_their_references(
    made: tuple[Path, GifSet], videos: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = made
    words = ["dataset", "gif", str(videos), str(folder), "--min-seconds", "1", "--liveliness", "0", "--fps", "8"]
    words += ["--max-side", "128", "--kinds", "noisy", "--restore", "--model", str(tiny_model), "--json"]
    assert run(words) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["clips"][0]["damaged"][0]["restored"] == "output_gifs/noisy/talk_00.gif"
    assert "no clip; no face" in err
    pair = next(load_gif_set(folder).pairs(folder))
    assert len(list((folder / "frames" / "enhanced" / "noisy" / "talk_00").iterdir())) == len(
        list((folder / "frames" / "input" / "noisy" / "talk_00").iterdir())
    )
    durations = {probe(path).duration for path in (pair.restored, pair.reference, pair.input)}
    assert len(durations) == 1
