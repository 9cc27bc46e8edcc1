"""`revisage store`, `dataset from-store` and `export`: what they print, leave and refuse."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from revisage.cli.app import run
from revisage.core.values import Face
from revisage.datasets.training_sets import LICENCE
from revisage.faces.alignment import ffhq_template
from revisage.facestore import Consent, FaceSource, KeptFrame, KeptTrack, MadeWith
from revisage.facestore.face_store import FaceStore
from revisage.train.images import FaceSource as TrainingSource
from revisage.train.images import listed_images, read_image


def kept(seed: int, *, native: float = 100.0, sharpness: float = 0.7) -> KeptFrame:
    before, after = np.random.default_rng(seed).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    face = Face((10.0 + 300 * seed, 5.0, 50.0, 60.0), ffhq_template(64), 0.9)
    return KeptFrame(seed, seed, "1/25", face, 1.0, native, sharpness, before, after)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Person 1: a clean face, an enlarged, a blurred and a noisy one; person 2: a clean one."""
    folder = tmp_path / "store"
    frames = (kept(0), kept(1, native=40.0), kept(2, sharpness=0.3), kept(3, sharpness=1.5))
    consent, made = Consent("all, in writing", date(2026, 1, 2)), MadeWith("m", "2", "3")
    with FaceStore.create(folder) as opened:
        opened.add([KeptTrack(0, 0, 9, frames)], FaceSource("a.mp4", "1a" * 32, 1), consent, made)
        opened.add(
            [KeptTrack(0, 0, 9, (kept(5),))], FaceSource("b.mp4", "1b" * 32, 1), consent, MadeWith("m", "2", "3")
        )
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "faces.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_list_name_forget_purge(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["store", "name", str(store), "1", "Ada"]) == 0
    assert run(["store", "list", str(store), "--json"]) == 0
    out = capsys.readouterr().out.split("\n", 1)
    assert out[0] == "person 1 is called Ada"
    people = json.loads(out[1])["people"]
    assert [(entry["label"], len(entry["faces"])) for entry in people] == [("Ada", 4), (None, 1)]
    assert run(["store", "list", str(store), "--person", "Ada"]) == 0
    assert "all, in writing (2026-01-02)" in capsys.readouterr().out
    assert run(["store", "forget", str(store), "Ada"]) == 0
    assert capsys.readouterr().out == f"4 faces of Ada deleted from {store}\n"
    assert run(["store", "forget", str(store), "Ada"]) == 2
    assert "no person 'Ada'" in capsys.readouterr().err
    assert run(["store", "purge", str(store), "--yes"]) == 0
    assert capsys.readouterr().out == f"1 face deleted; {store} is gone\n"
    assert run(["store", "list", str(store)]) == 2
    assert "is no face store" in capsys.readouterr().err


def test_a_training_set_holds_clean_input_crops_with_their_consents(store: Path, tmp_path: Path) -> None:
    assert run(["dataset", "from-store", str(store), "-o", str(tmp_path / "set")]) == 0
    rows = rows_of(tmp_path / "set")
    assert [(row["person"], row["licence"], row["consent"], row["consent_date"]) for row in rows] == [
        (person, LICENCE, "all, in writing", "2026-01-02") for person in ("1", "2")
    ]
    listed = listed_images(TrainingSource(path=tmp_path / "set" / "faces.csv"))
    for image, seed in zip(listed, (0, 5), strict=True):
        assert image.licence == LICENCE
        np.testing.assert_array_equal(read_image(image), kept(seed).before)


def test_a_training_set_of_one_person_and_day(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dataset", "from-store", str(store), "-o", str(tmp_path / "set")]
    assert run([*words, "--person", "2", "--since", "2020-01-01"]) == 0
    assert [row["source"] for row in rows_of(tmp_path / "set")] == ["b.mp4"]
    assert run(words) == 2
    assert "exists; use --overwrite" in capsys.readouterr().err
    assert run([*words, "--overwrite"]) == 0
    assert len(rows_of(tmp_path / "set")) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"store", "set"}
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    assert run(["dataset", "from-store", str(store), "-o", str(tmp_path / "photos"), "--overwrite"]) == 2
    assert (tmp_path / "photos" / "a.jpg").exists()
    assert run(["dataset", "from-store", str(store), "-o", str(tmp_path / "x"), "--since", "2999-01-01"]) == 2
    assert "holds no faces from that day on" in capsys.readouterr().err
    assert run(["dataset", "from-store", str(store), "-o", str(tmp_path / "x"), "--min-sharpness", "0.9"]) == 2
    assert "3 not sharp, 1 enlarged, 1 noisy" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_collecting_without_consent_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["restore", "tape.mp4", "--collect", str(tmp_path / "store")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "only with consent" in err
    assert not (tmp_path / "store").exists()


def test_export_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(tmp_path / "no"), "-o", str(tmp_path / "m.safetensors")]) == 2
    assert "no such run" in capsys.readouterr().err
    assert run(["export", str(tmp_path), "-o", str(tmp_path / "m.safetensors"), "--checkpoint", "first"]) == 2
    assert "choose one of best, last" in capsys.readouterr().err
    assert run(["export", "compact", "-o", str(tmp_path / "m.npz"), "--base", "compact"]) == 2
    assert "compact is an embedded model" in capsys.readouterr().err
