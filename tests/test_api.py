"""The public functions: what they take, give, and refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import revisage
from revisage import faces
from revisage.cli.app import run
from revisage.core import make_config
from revisage.core.errors import ConfigError, InputError, ModelError, OutputError
from revisage.pipeline import kept_networks
from sample_media import face_frames, write_video


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return face_frames(1)[0]


def test_faces_are_found_with_landmarks_where_they_are(picture: np.ndarray) -> None:
    (face,) = revisage.detect_faces(picture)
    x, y, width, height = face.box
    assert 0 < x < x + width < 480
    assert 0 < y < y + height < 270
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    assert 0.3 < face.score <= 1
    assert revisage.detect_faces(np.zeros((60, 80, 3), np.uint8)) == []


def test_an_image_is_restored_in_its_face_only(picture: np.ndarray, tiny_model: Path) -> None:
    before = picture.copy()
    restored = revisage.restore_image(picture, model=str(tiny_model))
    assert np.array_equal(picture, before)
    assert (restored.shape, restored.dtype) == (picture.shape, np.uint8)
    assert restored.flags.c_contiguous
    changed = (restored != picture).any(axis=-1)
    assert 0.01 < changed.mean() < 0.5
    assert not changed[:, :60].any()
    assert np.array_equal(restored, revisage.restore_image(picture, model=str(tiny_model)))
    assert np.array_equal(revisage.restore_image(picture, model=str(tiny_model), strength=0), picture)
    assert revisage.restore_image(picture, model=str(tiny_model), upscale=1.5).shape == (405, 720, 3)


def test_strength_works_continuously(picture: np.ndarray, tiny_model: Path) -> None:
    changes = [
        np.abs(revisage.restore_image(picture, model=str(tiny_model), strength=s).astype(int) - picture).mean()
        for s in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert changes[0] == 0
    steps = np.diff(changes)
    assert (steps > 0).all()
    assert steps.max() < 1.6 * steps.min()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        [[1, 2, 3]],
    ],
)
def test_other_arrays_are_refused(wrong: object) -> None:
    for function in (revisage.restore_image, revisage.detect_faces):
        with pytest.raises(ValueError, match=r"expected an image"):
            function(wrong)


def test_a_view_that_is_not_contiguous_is_taken(picture: np.ndarray, tiny_model: Path) -> None:
    view = np.asfortranarray(picture)
    direct = revisage.restore_image(picture, model=str(tiny_model))
    assert np.array_equal(revisage.restore_image(view, model=str(tiny_model)), direct)


def test_a_restorer_takes_crops_and_gives_crops(tiny_model: Path) -> None:
    restorer = revisage.load_restorer(tiny_model)
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    restored = restorer(crops)
    assert (restored.shape, restored.dtype, restorer.size) == (crops.shape, np.uint8, 64)
    with pytest.raises(ValueError, match="crops"):
        restorer(crops[0])
    with pytest.raises(ModelError, match=r"gfpgan-1\.4"):
        revisage.load_restorer("gfpgan-1.5")


def test_config_options_and_files_say_the_same(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    config = revisage.RestoreConfig(model=str(tiny_model), strength=0.5, end="0.08")
    (tmp_path / "config.json").write_text(json.dumps({"model": str(tiny_model), "strength": 0.1, "end": 0.08}))
    outputs = [tmp_path / f"{number}.mkv" for number in range(3)]
    revisage.restore(face_clip, outputs[0], config=config)
    revisage.restore(face_clip, outputs[1], config=tmp_path / "config.json", strength=0.5)
    report = revisage.restore(face_clip, outputs[2], config=config.model_dump(mode="json", exclude_unset=True))
    assert len({path.read_bytes() for path in outputs}) == 1
    assert report.config["strength"] == 0.5
    for wrong in ({"strenght": 1}, tmp_path / "none.json", face_clip):
        with pytest.raises(ConfigError):
            revisage.restore(face_clip, tmp_path / "x.mkv", config=wrong)


def test_a_folder_gives_one_report_with_an_entry_each(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    album.mkdir()
    (album / "a.mkv").write_bytes(face_clip.read_bytes())
    (album / "b.mkv").write_bytes(b"broken")
    report = revisage.restore(album, tmp_path / "out", model=str(tiny_model), end=0.08)
    assert [entry.error is None for entry in report.files] == [True, False]
    assert report.outputs == [tmp_path / "out" / "a.mkv"]
    assert (report.frames, report.faces, len(report.failed)) == (2, 2, 1)
    for words in ({"scan": revisage.scan(face_clip)}, {"compare": tmp_path / "c.mkv"}):
        with pytest.raises(ConfigError, match="belongs to one file"):
            revisage.restore(album, **words)
    with pytest.raises(OutputError, match="needs a folder"):
        revisage.restore(album, face_clip)


def test_an_output_folder_takes_the_inputs_name(face_clip: Path, tiny_model: Path, tmp_path: Path) -> None:
    report = revisage.restore(face_clip, tmp_path, model=str(tiny_model), end=0.04)
    assert report.output == tmp_path / "talk.mkv"


def test_a_scan_holds_what_was_found(face_clip: Path) -> None:
    found = revisage.scan(str(face_clip))
    assert (found.frames, len(found.shots), len(found.tracks), found.faces) == (12, 1, 1, 12)
    assert found.size_hw == (270, 480)
    nothing = revisage.scan(face_clip, detection_threshold=0.999)
    assert nothing.tracks == []
    with pytest.raises(InputError, match=r"no frame could be read between --start and --end; it lasts 0:00\.5"):
        revisage.scan(face_clip, start=100)


def test_probe_tells_what_a_file_holds(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a.mp4", face_frames(2), audio=True)
    info = revisage.probe(str(clip))
    assert (info.width, info.height, info.kind, len(info.audio)) == (480, 270, "video", 1)
    json.dumps(info.to_json())
    with pytest.raises(InputError, match="no such file"):
        revisage.probe(tmp_path / "none.mp4")


def test_a_clip_without_faces_gives_no_tracks(shared: Path) -> None:
    """Seconds 15 to 20 hold hands that the detector takes for a face in single frames."""
    found = revisage.scan(shared / "clips" / "bottle-detection.mp4", start=15, end=20)
    assert found.frames > 100
    assert not found.tracks


def test_options_for_type_checkers_are_the_fields_of_the_config() -> None:
    hints = get_type_hints(revisage.RestoreOptions)
    assert list(hints) == list(revisage.RestoreConfig.model_fields)
    for name, field in revisage.RestoreConfig.model_fields.items():
        if get_origin(field.annotation) is Literal:
            assert set(get_args(field.annotation)) == set(get_args(get_args(hints[name])[0])), name


def test_errors_speak_the_language_of_the_caller(
    face_clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there.mkv"
    there.touch()
    with pytest.raises(revisage.UserError, match=r"there\.mkv exists; pass overwrite=True to replace it$"):
        revisage.restore(face_clip, there)
    assert run(["restore", str(face_clip), str(there)]) == 2
    assert "there.mkv exists; use --overwrite to replace it\n" in capsys.readouterr().err


def test_networks_stay_loaded_until_they_are_dropped(
    picture: np.ndarray, face_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[dict[str, object]] = []
    load = faces.load_detector
    monkeypatch.setattr(
        faces, "load_detector", lambda *name, **options: loads.append(options) or load(*name, **options)
    )
    revisage.drop_networks()
    (first,) = revisage.detect_faces(picture)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(revisage.detect_faces, [picture] * 8))
    assert [face.box for (face,) in found] == [first.box] * 8
    assert revisage.scan(face_clip, end=0.04).faces == 1
    assert revisage.restore(face_clip, tmp_path / "out.mkv", end=0.04, dry_run=True).files[0].faces.found == 1
    assert len(loads) == 1
    revisage.detect_faces(picture, threshold=0.4)
    assert [options["threshold"] for options in loads] == [None, 0.4]
    assert revisage.restore(face_clip, tmp_path / "out.mkv", end=0.04, dry_run=True, fine="keep").faces == 0
    assert len(loads) == 2, "the settings that were changed do not concern it"
    revisage.drop_networks()
    revisage.detect_faces(picture)
    assert len(loads) == 3


def test_a_model_file_that_has_changed_is_loaded_anew(tiny_model: Path, tmp_path: Path) -> None:
    model = tmp_path / tiny_model.name
    model.write_bytes(tiny_model.read_bytes())
    config = make_config(model=str(model))
    networks = kept_networks(config)
    assert kept_networks(make_config(model=str(model), strength=0.5)) is networks
    assert kept_networks(make_config(model=str(model), detector="yunet")) is not networks
    os.utime(model, (0, 0))
    assert kept_networks(config) is not networks


def test_a_detector_can_be_kept(picture: np.ndarray) -> None:
    detector = revisage.load_detector(threshold=0.5)
    assert [face.box for face in detector(picture)] == [face.box for face in revisage.detect_faces(picture)]
    with pytest.raises(ConfigError, match="detector cannot be 'retina'"):
        revisage.load_detector("retina")


def test_a_wrong_model_is_refused_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys, revisage\n"
        f"try: revisage.restore({str(tmp_path / 'photo.png')!r}, model='gfpgan-9')\n"
        "except revisage.UserError as error: print(error)\n"
        "print(*{'torch', 'openvino', 'av'} & set(sys.modules))\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0].startswith("unknown model 'gfpgan-9'; did you mean 'gfpgan-1'?")
    assert lines[1] == ""
