"""The cookbook's commands do what its pages say: each is run, on small media that bear the pages' names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from revisage.cli.app import run
from sample_media import face_frames, write_video

PAGES = Path(__file__).resolve().parents[1] / "docs" / "cookbook"
SHORT = "--set steps=1 --set batch=2 --set workers=0 --set threads=1 --set validate_every=1 --set checkpoint_every=1"
"""What the test adds to a page's training."""


def blocks(page: str, language: str = "sh") -> list[str]:
    text = (PAGES / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    lines = "".join(blocks(page)).replace("\\\n", " ").splitlines()
    return [f"{line} {SHORT}" if line.startswith("revisage train restorer") else line for line in lines]


def small(count: int) -> list[np.ndarray]:
    return [np.asarray(Image.fromarray(frame).resize((320, 180))) for frame in face_frames(count)]


def clip(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    write_video(path, small(4), audio=path.suffix == ".mp4")


def gif(path: Path) -> None:
    first, *rest = (Image.fromarray(frame) for frame in small(3))
    first.save(path, save_all=True, append_images=rest, duration=80, loop=0)


def photo(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(small(1)[0]).save(path, quality=80)


def large_photo(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(face_frames(1)[0]).resize((1440, 810)).save(path, quality=90)


def portrait(path: Path) -> None:
    Image.fromarray(face_frames(1)[0]).save(path, quality=95)


MATERIAL: dict[str, dict[str, Callable[[Path], None]]] = {
    "old-film.md": {"reel.mp4": clip},
    "vhs.md": {"tape.mkv": clip},
    "webcam.md": {"call.mp4": clip},
    "gif.md": {"clip.gif": gif},
    "photo-album.md": {"scan.jpg": photo, "portrait.jpg": portrait, "album/one.jpg": photo, "album/two.jpg": photo},
    "many-files.md": {"archive/one.jpg": photo, "archive/inside/two.jpg": photo},
    "training.md": {"photos/one.jpg": large_photo, "photos/two.png": large_photo, "call.mp4": clip},
}
LEFT = {
    "old-film.md": ["trial.mp4", "trial_compare.mp4", "people.json", "reel_restored.mp4", "report.json"],
    "vhs.md": ["tape_restored.mkv", "unsteady.json", "master.mkv"],
    "webcam.md": ["call_restored.mp4", "clean.mp4", "large.mp4"],
    "gif.md": [f"clip_restored.{ending}" for ending in ("gif", "webp", "png", "mp4")],
    "photo-album.md": [
        "scan_restored.png",
        "restored/one.jpg",
        "restored/two.jpg",
        "faces/cmp",
        "guided.png",
        "marked.jpg",
    ],
    "many-files.md": ["restored/one.jpg", "restored/inside/two.jpg"],
    "training.md": ["faces.jpg", "runs/mine", "mine.safetensors", "call_restored.mp4"],
}


def test_every_page_is_run_and_in_the_index() -> None:
    pages = {path.name for path in PAGES.glob("*.md")} - {"README.md"}
    assert pages == {*MATERIAL, "api.md"}
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(([\w-]+\.md)\)", index)) == pages
    assert blocks("README.md") == []


@pytest.mark.parametrize("page", MATERIAL)
def test_its_commands_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, make in MATERIAL[page].items():
        make(tmp_path / name)
    listed = commands(page)
    assert len(listed) >= 3
    for line in listed:
        program, *words = shlex.split(line)
        assert program == "revisage"
        assert run(words) == 0, line
    assert [name for name in LEFT[page] if not (tmp_path / name).exists()] == []
