"""What a result says of itself: in every format that has a place for it, without touching pixels or other metadata."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageSequence

import revisage
from revisage.core import InputError
from revisage.provenance import Statement, label_picture, read_statements
from sample_media import face_frames, read_video, write_video

SAID = Statement(software="revisage 9.9", model="a <b> & 'c'", sha256="ab" * 32, strength=0.75, frames=3, faces=7)
OLDER = SAID.model_copy(update={"software": "revisage 9.8", "faces": 1})


def picture(path: Path, **options: object) -> np.ndarray:
    """A picture with alpha where its format has it, stored in the file; its pixels as they are read again."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 4), dtype=np.uint8)
    kind = path.suffix[1:]
    image = Image.fromarray(pixels, "RGBA") if kind in ("png", "webp") else Image.fromarray(pixels[..., :3].copy())
    image.save(path, **options)
    return pixels_of(path)


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.stack([np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)])


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "lossless.webp", "a.gif", "a.tif"])
def test_a_picture_carries_it_and_shows_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    before = picture(path, **({"lossless": True} if "lossless" in name else {}))
    assert read_statements(path) == []
    assert label_picture(path, OLDER)
    assert label_picture(path, SAID)
    assert read_statements(path) == [OLDER, SAID]
    assert np.array_equal(pixels_of(path), before)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.tif"])
def test_a_model_may_have_any_name(name: str, tmp_path: Path) -> None:
    path, said = tmp_path / name, SAID.model_copy(update={"model": "modèle 顔 " + "x" * 240})
    Statement.model_validate(said.model_dump())
    picture(path)
    assert label_picture(path, said)
    assert read_statements(path) == [said]


def test_further_views_behind_a_photo_are_found(tmp_path: Path) -> None:
    path, noise = tmp_path / "a.jpg", np.random.default_rng(0)
    views = [Image.fromarray(noise.integers(0, 256, (40, 56, 3), dtype=np.uint8)) for _ in range(3)]
    packet = b'<x:xmpmeta><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta>'
    views[0].save(path, "MPO", save_all=True, append_images=views[1:], xmp=packet)  # behind the index of views
    before = pixels_of(path)
    assert label_picture(path, SAID)
    assert read_statements(path) == [SAID]
    assert len(before) == 3
    assert np.array_equal(pixels_of(path), before)
    with Image.open(path) as image:
        end = image.mpinfo[0xB002][0]["Size"]  # type: ignore[attr-defined]
    assert path.read_bytes()[end - 2 : end + 2] == b"\xff\xd9\xff\xd8"


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.gif"])
def test_an_animation_keeps_times_and_loops(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    frames = [Image.new("RGB", (32, 24), (40 * number, 90, 200)) for number in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[70, 80, 90, 100], loop=3)
    before, times = pixels_of(path), durations(path)
    assert label_picture(path, SAID)
    assert read_statements(path) == [SAID]
    assert np.array_equal(pixels_of(path), before)
    assert durations(path) == times
    with Image.open(path) as image:
        assert image.info["loop"] == 3


def durations(path: Path) -> list[float]:
    with Image.open(path) as image:
        times = []
        for frame in ImageSequence.Iterator(image):
            frame.load()  # WebP tells a picture's time then
            times.append(frame.info["duration"])
        return times


OTHERS = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:source>attic</dc:source>'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif"])
def test_what_others_wrote_stays(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    exif = Image.Exif()
    exif[271] = "Box"
    if name == "a.png":
        from PIL.PngImagePlugin import PngInfo

        chunks = PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", OTHERS, zip=True)
        picture(path, pnginfo=chunks, exif=exif)
    elif name == "a.tif":
        picture(path, tiffinfo={700: OTHERS.encode(), 271: "Box"})
    else:
        picture(path, xmp=OTHERS.encode(), exif=exif)
    assert label_picture(path, SAID)
    with Image.open(path) as image:
        text = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or image.tag_v2[700]
        assert image.getexif()[271] == "Box"
    root = ElementTree.fromstring(text)
    values = [element.text for element in root.iter() if element.text and element.text.strip()]
    assert values[0] == "attic"
    assert sum(value.endswith("compositeWithTrainedAlgorithmicMedia") for value in values) == 1
    assert read_statements(path) == [SAID]


def test_further_pictures_of_a_jpeg_are_found_as_before(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    first, second = (Image.new("RGB", (48, 32), colour) for colour in ((200, 30, 30), (30, 30, 200)))
    first.save(path, format="MPO", save_all=True, append_images=[second])
    before = pixels_of(path)
    assert len(before) == 2
    assert label_picture(path, SAID)
    assert np.array_equal(pixels_of(path), before)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:0],
        lambda data: b"BM" + data,
        lambda data: data[:40],
        lambda data: data.replace(b"rdf:RDF", b"rdx:RDF"),
    ],
)
@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif", "tif"])
def test_a_file_that_is_built_otherwise_stays_as_it_is(kind: str, damage: object, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    picture(path, **({"xmp": OTHERS.encode()} if kind in ("jpg", "webp") else {}))
    data = damage(path.read_bytes())  # type: ignore[operator]
    path.write_bytes(data)
    if not label_picture(path, SAID):
        assert path.read_bytes() == data


@pytest.mark.parametrize("text", ["revisage:", "revisage:{}", 'revisage:{"faces": -1}', "revisage:" + "[" * 5000, "x"])
def test_what_only_looks_like_one_is_passed_over(text: str) -> None:
    assert Statement.all_in(f"{text} {SAID.to_text()}") == [SAID]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm", ".avi", ".gif", ".png", ".jpg"])
def test_a_result_says_what_was_done(suffix: str, tmp_path: Path, tiny_model: Path) -> None:
    source = write_video(tmp_path / "talk.mkv", face_frames(3))
    if suffix == ".jpg":
        source = tmp_path / "talk.png"
        Image.fromarray(face_frames(1)[0]).save(source)
    output = tmp_path / f"out{suffix}"
    report = revisage.restore(source, output, model=str(tiny_model), strength=0.5)
    [said] = revisage.verify(output).statements
    assert (said.software, said.model) == (f"revisage {revisage.__version__}", tiny_model.name)
    assert (said.strength, said.faces, said.frames) == (0.5, report.faces, 1 if suffix == ".jpg" else 3)
    assert not any("label" in note for note in report.files[0].notes)


def test_it_is_a_further_line_of_the_comment(tmp_path: Path, tiny_model: Path) -> None:
    import av

    source = write_video(tmp_path / "a.mkv", face_frames(2))
    with av.open(str(source)) as opened, av.open(str(tmp_path / "talk.mp4"), "w") as made:
        made.metadata["comment"] = "grandma, 1987"
        stream = made.add_stream_from_template(opened.streams.video[0])
        for packet in opened.demux(opened.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    for source, output in (("talk.mp4", "once.mp4"), ("once.mp4", "twice.mp4")):
        revisage.restore(tmp_path / source, tmp_path / output, model=str(tiny_model))
    comment = revisage.probe(tmp_path / "twice.mp4").metadata["comment"]
    assert comment.splitlines()[0] == "grandma, 1987"
    assert len(revisage.verify(tmp_path / "twice.mp4").statements) == 2


def test_nothing_is_said_of_nothing_and_only_what_is_wanted(tmp_path: Path, tiny_model: Path) -> None:
    source = write_video(tmp_path / "talk.mkv", face_frames(2))
    revisage.restore(source, tmp_path / "silent.mkv", model=str(tiny_model), provenance=False)
    revisage.restore(source, tmp_path / "said.mkv", model=str(tiny_model))
    assert revisage.verify(tmp_path / "silent.mkv").statements == ()
    shown = [read_video(tmp_path / name) for name in ("silent.mkv", "said.mkv")]
    assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(*shown, strict=True))
    empty = write_video(tmp_path / "empty.mkv", [np.full((120, 160, 3), 90, np.uint8)] * 2)
    revisage.restore(empty, tmp_path / "nobody.mkv", model=str(tiny_model))
    assert revisage.verify(tmp_path / "nobody.mkv").statements == ()


def test_a_format_without_a_place_is_told(tmp_path: Path, tiny_model: Path) -> None:
    source = tmp_path / "talk.bmp"
    Image.fromarray(face_frames(1)[0]).save(source)
    report = revisage.restore(source, tmp_path / "out.bmp", model=str(tiny_model))
    assert any("no place for the label" in note for note in report.files[0].notes)
    assert revisage.verify(tmp_path / "out.bmp").statements == ()


def test_the_command_tells_and_its_exit_code_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from revisage.cli.app import run

    for name in ("said.png", "silent.png"):
        picture(tmp_path / name)
    label_picture(tmp_path / "said.png", SAID)
    assert run(["verify", str(tmp_path / "said.png")]) == 0
    assert "7 faces were restored with revisage 9.9" in capsys.readouterr().out
    assert run(["verify", str(tmp_path / "said.png"), str(tmp_path / "silent.png"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [len(said["statements"]) for said in found.values()] == [1, 0]
    with pytest.raises(InputError, match="no such file"):
        revisage.verify(tmp_path / "none.png")


def test_a_packet_that_is_too_long_for_a_jpeg_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture(path)
    data = path.read_bytes()
    long = b"http://ns.adobe.com/xap/1.0/\0" + OTHERS.encode().replace(b"attic", b"a" * (65_480 - len(OTHERS)))
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(long) + 2) + long + data[2:])
    before = path.read_bytes()
    assert not label_picture(path, SAID)
    assert path.read_bytes() == before
