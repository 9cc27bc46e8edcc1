"""Whole restorations of small real files: what is kept, changed, taken up again, left behind."""

from __future__ import annotations

import itertools
import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import revisage
from revisage import media
from revisage.core.errors import CancelledError, DiskFullError, OutputError, ProcessingError
from revisage.core.progress import CancelToken, Progress
from revisage.engines import model_files
from revisage.pipeline import SegmentResult, Tally, plan
from sample_media import audio_packets, face_frames, plain_frames, read_video, write_video

KEPT = "3 of 3 segments are finished and kept beside the output: do the same again to go on from there$"


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def left_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``segment_frames=4`` the clip of 12 frames has three: a segment holds at least one block."""
    monkeypatch.setattr(plan, "BLOCK", 4)
    monkeypatch.setattr(plan, "RUN_IN", 2)


def test_a_video_is_restored_where_its_face_is_and_nowhere_else(
    face_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mkv"
    report = revisage.restore(face_clip, output, model=str(tiny_model), codec="ffv1", report=tmp_path / "r.json")
    before, after = read_video(face_clip), read_video(output)
    assert [time for time, _ in before] == [time for time, _ in after]
    assert [data for _, data in audio_packets(face_clip)] == [data for _, data in audio_packets(output)]
    changed = np.any([np.any(a != b, axis=-1) for (_, a), (_, b) in zip(before, after, strict=True)], axis=0)
    rows, columns = np.nonzero(changed)
    (face,) = (track.mean_size for track in report.tracks)
    assert 20 < face < 200
    assert np.ptp(rows) < 2.5 * face
    assert np.ptp(columns) < 2.5 * face
    assert left_in(tmp_path) == {"out.mkv", "r.json"}
    assert (report.frames, report.faces, report.files[0].frames_changed) == (12, 12, 12)
    assert report.files[0].measures.avs_ms == 0
    assert report.files[0].measures.frr == "1"
    assert report.model is not None
    assert report.model["architecture"] == "compact"
    assert set(report.files[0].timings.stages) >= {"decode", "align", "restore", "composite", "encode"}
    assert json.loads((tmp_path / "r.json").read_text())["config"]["codec"] == "ffv1"


def test_strength_0_gives_the_source_back(face_clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    output = tmp_path / "out.mkv"
    report = revisage.restore(face_clip, output, model=str(tiny_model), codec="ffv1", strength=0)
    assert all(
        t == u and np.array_equal(a, b)
        for (t, a), (u, b) in zip(read_video(face_clip), read_video(output), strict=True)
    )
    assert (report.faces, report.files[0].faces.left, report.files[0].faces.found) == (0, 12, 12)


@pytest.fixture(scope="module")
def faces_between(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames without a face, 12 with one, 30 without, each a closed group."""
    frames = [*plain_frames(30, (270, 480)), *face_frames(12), *plain_frames(30, (270, 480))]
    groups = {"x264-params": "scenecut=0:keyint=6:min-keyint=6"}
    return write_video(tmp_path_factory.mktemp("between") / "between.mp4", frames, audio=True, options=groups)


def video_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        found = [(p.pts, bytes(p)) for p in container.demux(video=0) if p.size]
    return [data for _, data in sorted(found)]


@pytest.mark.parametrize("workers", [1, 2])
def test_groups_without_a_face_are_copied(
    faces_between: Path, compiled_model: Path, tmp_path: Path, workers: int, short_blocks: None
) -> None:
    output = tmp_path / "out.mp4"
    options = {"model": str(compiled_model), "segment_frames": 4, "fine": "keep"}
    report = revisage.restore(faces_between, output, workers=workers, **options)  # type: ignore[arg-type]
    assert (report.files[0].frames_copied, report.files[0].frames_changed) == (60, 12)
    before, after = read_video(faces_between), read_video(output)
    assert [time for time, _ in before] == [time for time, _ in after]
    assert report.files[0].measures.avs_ms == 0
    old, new = video_packets(faces_between), video_packets(output)
    assert [a == b for a, b in zip(old, new, strict=True)] == [True] * 30 + [False] * 12 + [True] * 30
    for number in (*range(30), *range(42, 72)):
        assert np.array_equal(before[number][1], after[number][1])


def test_copying_changes_nothing_of_what_is_restored(faces_between: Path, tiny_model: Path, tmp_path: Path) -> None:
    outputs = {}
    for copying in ("always", "never"):
        outputs[copying] = tmp_path / f"{copying}.mp4"
        revisage.restore(faces_between, outputs[copying], model=str(tiny_model), crf=0, copy_untouched=copying)
    always, never = (read_video(path) for path in outputs.values())
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(always, never, strict=True))


def test_a_run_that_copies_is_taken_up_where_it_stopped(
    faces_between: Path, tiny_model: Path, tmp_path: Path, short_blocks: None
) -> None:
    def crash(progress: Progress) -> None:
        if progress.stage == "restore" and progress.faces == 9:
            raise MemoryError

    whole, resumed = tmp_path / "whole.mp4", tmp_path / "resumed.mp4"
    options = {"model": str(tiny_model), "segment_frames": 4, "fine": "keep"}
    revisage.restore(faces_between, whole, **options)  # type: ignore[arg-type]
    with pytest.raises(MemoryError):
        revisage.restore(faces_between, resumed, progress=crash, **options)  # type: ignore[arg-type]
    report = revisage.restore(faces_between, resumed, **options)  # type: ignore[arg-type]
    assert report.files[0].timings.reused_segments == 2
    assert whole.read_bytes() == resumed.read_bytes()


def test_a_part_is_copied_as_far_as_it_holds_whole_groups(
    faces_between: Path, tiny_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    report = revisage.restore(faces_between, output, model=str(tiny_model), strength=0, start=0.04, end=1.6)
    assert (report.frames, report.files[0].frames_copied) == (39, 30)
    before = [picture for _, picture in read_video(faces_between)][1:40]
    after = [picture for _, picture in read_video(output)]
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)][5:35] == [True] * 30


def test_variable_times_and_frames_without_faces_are_kept(tmp_path: Path, tiny_model: Path) -> None:
    pts = [3, 4, 5, 9, 10, 17, 18]
    source = write_video(tmp_path / "a.mkv", plain_frames(7), codec="ffv1", pts=pts)
    report = revisage.restore(source, tmp_path / "b.mkv", model=str(tiny_model), codec="ffv1")
    before, after = read_video(source), read_video(tmp_path / "b.mkv")
    assert [t for t, _ in before] == [t for t, _ in after]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(before, after, strict=True))
    assert report.faces == 0
    assert report.tracks == []


@pytest.mark.usefixtures("short_blocks")
def test_the_number_of_segments_does_not_show(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    report = revisage.restore(
        face_clip, tmp_path / "a.mkv", model=str(tiny_model), segment_frames=4, codec="ffv1", batch=2
    )
    assert report.files[0].segments == 3
    times = [time for time, _ in read_video(tmp_path / "a.mkv")]
    assert times == [time for time, _ in read_video(face_clip)]


@pytest.mark.usefixtures("short_blocks")
def test_a_crashed_run_is_taken_up_where_it_stopped(
    face_clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.mkv"
    revisage.restore(face_clip, whole, model=str(tiny_model), segment_frames=4)

    def crash(progress: Progress) -> None:
        if progress.stage == "restore" and progress.done == 9:
            raise MemoryError("simulated crash")

    output = tmp_path / "out.mkv"
    with pytest.raises(MemoryError):
        revisage.restore(face_clip, output, model=str(tiny_model), segment_frames=4, progress=crash)
    assert left_in(tmp_path) == {"whole.mkv", ".out.mkv.revisage-work"}
    stages: list[str] = []
    report = revisage.restore(
        face_clip,
        output,
        model=str(tiny_model),
        segment_frames=4,
        progress=lambda progress: stages.append(progress.stage),
    )
    assert report.files[0].timings.reused_segments == 2
    assert "scan" not in stages
    assert report.faces == 12
    assert output.read_bytes() == whole.read_bytes()
    assert left_in(tmp_path) == {"whole.mkv", "out.mkv"}


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize(
    "failure", [OutputError("MP4 cannot hold this"), OSError(28, "No space left on device"), ProcessingError("torn")]
)
def test_an_assembly_that_fails_keeps_the_finished_segments(
    face_clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    output = tmp_path / "out.mkv"

    def refuse(*arguments: object, **options: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(media, "assemble", refuse)
        with pytest.raises(revisage.RevisageError, match=KEPT) as caught:
            revisage.restore(face_clip, output, model=str(tiny_model), segment_frames=4, fine="keep")
    assert isinstance(caught.value, DiskFullError) == isinstance(failure, OSError)
    assert left_in(tmp_path) == {".out.mkv.revisage-work"}
    report = revisage.restore(face_clip, output, model=str(tiny_model), segment_frames=4, fine="keep")
    assert report.files[0].timings.reused_segments == report.files[0].segments == 3
    assert left_in(tmp_path) == {"out.mkv"}


@pytest.mark.usefixtures("short_blocks")
def test_other_options_do_not_take_up_what_was_left(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    def crash(progress: Progress) -> None:
        if progress.stage == "restore" and progress.done == 9:
            raise MemoryError("simulated crash")

    with pytest.raises(MemoryError):
        revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model), segment_frames=4, progress=crash)
    report = revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model), segment_frames=4, strength=0.5)
    assert report.files[0].timings.reused_segments == 0


@pytest.mark.parametrize("stage", ["scan", "restore"])
@pytest.mark.parametrize("error", [CancelledError, KeyboardInterrupt])
def test_stopping_leaves_nothing(
    face_clip: Path, tiny_model: Path, tmp_path: Path, stage: str, error: type[BaseException]
) -> None:
    token = CancelToken()

    def stop(progress: Progress) -> None:
        if progress.stage == stage and progress.done == 3:
            if error is KeyboardInterrupt:
                raise KeyboardInterrupt
            token.cancel()

    with pytest.raises(error):
        revisage.restore(
            face_clip,
            tmp_path / "out.mp4",
            model=str(tiny_model),
            progress=stop,
            cancel=token,
            save_faces=tmp_path / "faces",
            compare=tmp_path / "compare.mp4",
        )
    assert left_in(tmp_path) == set()


@pytest.mark.usefixtures("short_blocks")
def test_a_failing_frame_is_kept_and_counted(
    face_clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from revisage.pipeline.restoration import FaceWork

    real, calls = FaceWork.show, []

    def show(self, canvas, item):
        calls.append(1)
        if len(calls) == 6:
            raise RuntimeError("no luck")
        return real(self, canvas, item)

    monkeypatch.setattr(FaceWork, "show", show)
    report = revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model), segment_frames=4, codec="ffv1")
    assert report.files[0].failures == ["frame 5 was kept as it was: RuntimeError: no luck"]
    assert (report.files[0].frames_changed, report.files[0].faces.failed, report.faces) == (11, 1, 11)
    assert np.array_equal(read_video(face_clip)[5][1], read_video(tmp_path / "out.mkv")[5][1])


def test_when_every_face_fails_the_run_fails(
    face_clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from revisage.pipeline.restoration import FaceWork

    monkeypatch.setattr(FaceWork, "show", lambda *_: 1 / 0)
    with pytest.raises(ProcessingError, match=r"no face could be restored; frame 0 was kept.*ZeroDivisionError"):
        revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model))
    assert "out.mkv" not in left_in(tmp_path)


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_workers_write_the_same_bytes(
    face_clip: Path, compiled_model: Path, tmp_path: Path, workers: int
) -> None:
    one, two = tmp_path / "one.mkv", tmp_path / "two.mkv"
    seen: list[Progress] = []
    revisage.restore(face_clip, one, model=str(compiled_model), segment_frames=4)
    report = revisage.restore(
        face_clip, two, model=str(compiled_model), segment_frames=4, workers=workers, progress=seen.append
    )
    assert one.read_bytes() == two.read_bytes()
    assert report.faces == 12
    assert max(p.done for p in seen if p.stage == "restore") == 12


@pytest.mark.usefixtures("short_blocks")
def test_a_worker_that_fails_stops_the_run(face_clip: Path, compiled_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "models" / "tiny.xml"
    model.parent.mkdir()
    for file in model_files(compiled_model):
        shutil.copy(file, model.parent)

    def damage(progress: Progress) -> None:
        if progress.stage == "scan":
            model.write_bytes(b"damaged")

    with pytest.raises(revisage.RevisageError, match=r"tiny\.xml is damaged"):
        revisage.restore(
            face_clip, tmp_path / "out.mkv", model=str(model), segment_frames=4, workers=2, progress=damage
        )
    assert "out.mkv" not in left_in(tmp_path)


def test_upscaling_keeps_times_and_doubles_sides(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    report = revisage.restore(face_clip, tmp_path / "out.mp4", model=str(tiny_model), upscale=2, fine="keep")
    after = read_video(tmp_path / "out.mp4")
    assert [t for t, _ in after] == [t for t, _ in read_video(face_clip)]
    assert after[0][1].shape == (540, 960, 3)
    assert report.files[0].measures.resolution_percent == 200


def test_a_part_begins_and_ends_where_it_should(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    report = revisage.restore(
        face_clip, tmp_path / "out.mkv", model=str(tiny_model), codec="ffv1", strength=0, start="0.12", end=0.32
    )
    assert report.frames == 5
    wanted = read_video(face_clip)[3:8]
    got = read_video(tmp_path / "out.mkv")
    assert [u - got[0][0] for u, _ in got] == [t - wanted[0][0] for t, _ in wanted]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(wanted, got, strict=True))


def test_side_outputs_are_written_and_named_as_gfpgans_users_know_them(
    face_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    revisage.restore(
        face_clip,
        tmp_path / "out.mp4",
        model=str(tiny_model),
        end=0.08,
        save_faces=tmp_path / "faces",
        save_frames=tmp_path / "frames",
        compare=tmp_path / "pairs" / "compare.mp4",
    )
    assert left_in(tmp_path) == {"out.mp4", "faces", "frames", "pairs"}
    for folder in ("cropped_faces", "restored_faces", "cmp"):
        assert left_in(tmp_path / "faces" / folder) == {"talk_frame000000_00.png", "talk_frame000001_00.png"}
    for folder in ("source", "target"):
        assert left_in(tmp_path / "frames" / folder) == {"talk_frame000000.png", "talk_frame000001.png"}
    assert picture(tmp_path / "faces" / "cmp" / "talk_frame000001_00.png").shape == (64, 128, 3)
    assert read_video(tmp_path / "pairs" / "compare.mp4")[1][1].shape == (270, 960, 3)
    assert audio_packets(tmp_path / "pairs" / "compare.mp4")
    with pytest.raises(OutputError, match=r"cropped_faces already holds pictures; pass overwrite=True"):
        revisage.restore(face_clip, tmp_path / "b.mp4", model=str(tiny_model), end=0.08, save_faces=tmp_path / "faces")


def test_a_picture_compares_one_frame_of_a_video(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    revisage.restore(face_clip, tmp_path / "out.mp4", model=str(tiny_model), compare=tmp_path / "pair.png")
    assert picture(tmp_path / "pair.png").shape == (270, 960, 3)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    face_clip: Path, tiny_model: Path, tmp_path: Path
) -> None:
    report = revisage.restore(
        face_clip, tmp_path / "out.mp4", model=str(tiny_model), dry_run=True, report=tmp_path / "r.json"
    )
    assert left_in(tmp_path) == set()
    assert report.dry_run
    assert report.output is None
    assert (report.files[0].faces.found, report.files[0].faces.left, report.files[0].segments) == (12, 0, 1)


@pytest.mark.parametrize("name", ["x" * 251 + ".mkv", "Movie: one.mkv", "**b** $x$ ![](y:z).mkv"])
def test_any_name_that_the_disk_takes_is_written(
    face_clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Relative, as a user in the folder names it: what stands before a colon is no protocol."""
    monkeypatch.chdir(tmp_path)
    report = revisage.restore(face_clip, name, model=str(tiny_model), end=0.05)
    assert report.output == Path(name)
    assert left_in(tmp_path) == {name}


def test_a_dry_run_of_a_folder_needs_no_folder_for_results(face_clip: Path, tmp_path: Path, tiny_model: Path) -> None:
    report = revisage.restore(face_clip.parent, tmp_path / "later", model=str(tiny_model), dry_run=True, end=0.05)
    assert [entry.error for entry in report.files if face_clip.name in entry.input["path"]] == [None]
    assert not (tmp_path / "later").exists()
    with pytest.raises(revisage.UserError, match="there is no folder"):
        revisage.restore(face_clip, tmp_path / "later" / "out.mkv", model=str(tiny_model), dry_run=True, end=0.05)


def test_a_dry_run_needs_no_place_to_write(
    face_clip: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    report = revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model), dry_run=True, end=0.05)
    assert report.dry_run
    with pytest.raises(OutputError, match="is read-only; name another"):
        revisage.restore(face_clip, tmp_path / "out.mkv", model=str(tiny_model))


def test_an_edited_scan_decides(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    found = revisage.scan(face_clip)
    found.save(tmp_path / "scan.json")
    data = json.loads((tmp_path / "scan.json").read_text())
    data["tracks"][0]["strength"] = 0.25
    (tmp_path / "scan.json").write_text(json.dumps(data))
    report = revisage.restore(face_clip, tmp_path / "a.mkv", model=str(tiny_model), scan=tmp_path / "scan.json")
    assert report.files[0].measures.fei_asked == pytest.approx(0.25, abs=0.01)
    report = revisage.restore(
        face_clip, tmp_path / "b.mkv", model=str(tiny_model), scan=found.model_copy(update={"tracks": []})
    )
    assert report.faces == 0


def test_a_photo_is_restored_in_place_of_its_name(tiny_model: Path, tmp_path: Path) -> None:
    Image.fromarray(face_frames(1)[0]).save(tmp_path / "photo.png")
    report = revisage.restore(
        tmp_path / "photo.png", model=str(tiny_model), save_faces=tmp_path / "faces", compare=tmp_path / "pair.jpg"
    )
    assert report.output == tmp_path / "photo_restored.png"
    assert left_in(tmp_path) == {"photo.png", "photo_restored.png", "faces", "pair.jpg"}
    assert left_in(tmp_path / "faces" / "cmp") == {"photo_00.png"}
    assert picture(tmp_path / "pair.jpg").shape == (270, 960, 3)
    before, after = (picture(tmp_path / name) for name in ("photo.png", "photo_restored.png"))
    assert before.shape == after.shape
    assert 0 < (before != after).mean() < 0.5


def test_an_aligned_face_is_restored_as_a_whole(tiny_model: Path, tmp_path: Path) -> None:
    face = face_frames(1)[0][40:240, 140:340]
    Image.fromarray(face).save(tmp_path / "face.png")
    report = revisage.restore(tmp_path / "face.png", model=str(tiny_model), aligned=True, upscale=2)
    after = picture(tmp_path / "face_restored.png")
    assert after.shape == (400, 400, 3)
    assert report.faces == 1
    revisage.restore(tmp_path / "face.png", tmp_path / "same.png", model=str(tiny_model), aligned=True, strength=0)
    assert np.array_equal(picture(tmp_path / "same.png"), face)


def test_a_gif_keeps_its_times_and_turns_into_a_video_and_back(tiny_model: Path, tmp_path: Path) -> None:
    pictures = [Image.fromarray(frame) for frame in face_frames(4)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[80, 90, 80, 120], loop=0)
    revisage.restore(tmp_path / "a.gif", tmp_path / "b.gif", model=str(tiny_model))
    with Image.open(tmp_path / "b.gif") as image:
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            durations.append(image.info["duration"])
    assert durations == [80, 90, 80, 120]
    revisage.restore(tmp_path / "a.gif", tmp_path / "c.mp4", model=str(tiny_model))
    times = [time for time, _ in read_video(tmp_path / "c.mp4")]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [
        Fraction(8, 100),
        Fraction(9, 100),
        Fraction(8, 100),
    ]
    revisage.restore(tmp_path / "c.mp4", tmp_path / "d.gif", model=str(tiny_model))
    with Image.open(tmp_path / "d.gif") as image:
        assert image.n_frames == 4


def test_a_result_of_a_segment_survives_the_manifest() -> None:
    tally = Tally(frames=3, changed=2, restored={"1": (2, 1.5)}, failures=["frame 1"], seconds={"align": 0.5})
    again = SegmentResult.of(json.loads(json.dumps(SegmentResult(7, tally, ("note",)).to_dict())))
    assert (again.number, again.notes, again.tally.faces, again.tally.strength) == (7, ("note",), 2, 0.75)
    assert again.tally.seconds == tally.seconds


class _Doubler:
    """Stands in for a Real-ESRGAN network."""

    scale = 2

    class info:  # noqa: N801 - an attribute of the interface
        sha256 = "ab" * 32

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.usefixtures("fresh_networks")
@pytest.mark.parametrize("upscale", [1, 2, 3])
def test_a_background_network_enlarges_and_faces_are_restored_on_it(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upscale: int
) -> None:
    monkeypatch.setattr("revisage.restorers.load_upscaler", lambda *_args, **_options: _Doubler())
    face = face_frames(1)[0]
    Image.fromarray(face).save(tmp_path / "a.png")
    report = revisage.restore(
        tmp_path / "a.png", tmp_path / "b.png", model=str(tiny_model), upscale=upscale, background="realesrgan-x2"
    )
    after = picture(tmp_path / "b.png")
    assert after.shape == (270 * upscale, 480 * upscale, 3)
    assert report.faces == 1
    if upscale == 2:
        changed = (after != _Doubler()(face)).any(axis=-1)
        assert 0.01 < changed.mean() < 0.5
        assert not changed[:, :100].any()
