"""Photos: what is read, what is kept, and what an untouched or changed one becomes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from revisage.core.errors import InputError, OutputError
from revisage.core.values import Region
from revisage.media import Frame, open_image_sink, open_source

SPOT = Region(16, 8, 32, 24)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gradient(channels: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """A smooth picture of 40 x 56 px, no two channels alike, opaque enough everywhere."""
    rows, columns = np.mgrid[0:40, 0:56]
    planes = [3 * rows + 2 * columns, 200 - 2 * rows + columns, 250 - 4 * columns, 255 - rows]
    picture = np.stack([np.clip(plane, 0, 255) for plane in planes[4 - channels if channels == 2 else 0 :]], -1)
    picture = picture[..., :channels].astype(np.float64) * (np.iinfo(dtype).max / 255)
    return np.squeeze(np.rint(picture).astype(dtype), -1) if channels == 1 else np.rint(picture).astype(dtype)


def save(path: Path, array: NDArray[Any], mode: str, **options: Any) -> Path:
    Image.frombytes(mode, (array.shape[1], array.shape[0]), np.ascontiguousarray(array).tobytes()).save(path, **options)
    return path


def read(path: Path) -> Frame:
    with open_source(path) as source:
        assert source.info.kind == "image"
        (frame,) = source.frames()
    assert frame.size_hw == source.info.size_hw
    return frame


def rewrite(path: Path, output: Path, change: Callable[[Frame], Frame] | None = None) -> list[str]:
    """Read ``path``, change it, write ``output``; the sink's notes."""
    with open_source(path) as source:
        sink = open_image_sink(output, source)
        for frame in source.frames():
            sink.write(change(frame) if change else frame)
        sink.close()
    return sink.notes  # type: ignore[attr-defined]


def brighter(frame: Frame) -> Frame:
    return frame.add_rgb(SPOT, np.full((*SPOT.size_hw, 3), 6.0, np.float32))


CASES = [
    ("rgb.png", 3, np.uint8, "gbrp"),
    ("rgba.png", 4, np.uint8, "gbrap"),
    ("grey.png", 1, np.uint8, "gray"),
    ("grey_alpha.png", 2, np.uint8, "ya8"),
    ("rgb16.png", 3, np.uint16, "gbrp16le"),
    ("rgba16.png", 4, np.uint16, "gbrap16le"),
    ("grey16.png", 1, np.uint16, "gray16le"),
    ("rgb.tif", 3, np.uint8, "gbrp"),
    ("rgba.tif", 4, np.uint8, "gbrap"),
    ("grey.tif", 1, np.uint8, "gray"),
    ("rgb16.tif", 3, np.uint16, "gbrp16le"),
    ("grey16.tif", 1, np.uint16, "gray16le"),
    ("rgb.bmp", 3, np.uint8, "gbrp"),
    ("rgb.webp", 3, np.uint8, "gbrp"),
    ("rgba.webp", 4, np.uint8, "gbrap"),
]


def make(path: Path, channels: int, dtype: Any) -> NDArray[Any]:
    array = gradient(channels, dtype)
    if dtype == np.uint16:
        order = {1: array, 3: array[..., ::-1] if channels == 3 else array, 4: None}
        native = array[..., [2, 1, 0, 3]] if channels == 4 else order[channels]
        assert cv2.imwrite(str(path), native)
    else:
        options = {"lossless": True, "exact": True} if path.suffix == ".webp" else {}
        save(path, array, {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels], **options)
    return array


@pytest.mark.parametrize(("name", "channels", "dtype", "layout"), CASES)
def test_lossless_formats_keep_every_sample(tmp_path: Path, name: str, channels: int, dtype: Any, layout: str) -> None:
    array = make(tmp_path / name, channels, dtype)
    frame = read(tmp_path / name)
    assert frame.layout.name == layout
    np.testing.assert_array_equal(frame.to_array(), array)

    rewrite(tmp_path / name, tmp_path / f"same{name}")
    assert (tmp_path / f"same{name}").read_bytes() == (tmp_path / name).read_bytes()

    rewrite(tmp_path / name, tmp_path / f"new{name}", brighter)
    expected = brighter(frame).to_array()
    assert not np.array_equal(expected, array)
    changed = read(tmp_path / f"new{name}")
    assert changed.layout.name == layout
    np.testing.assert_array_equal(changed.to_array(), expected)


def test_palette_png_stays_one_while_the_colours_suffice(tmp_path: Path) -> None:
    image = Image.fromarray(gradient(3)).quantize(200)
    image.save(tmp_path / "in.png", transparency=7)
    rewrite(tmp_path / "in.png", tmp_path / "same.png", lambda frame: frame.with_rgb(np.roll(frame.rgb(), 1, 0)))
    frame = read(tmp_path / "in.png")
    assert frame.layout.has_alpha
    rewrite(tmp_path / "in.png", tmp_path / "new.png", brighter)
    np.testing.assert_array_equal(read(tmp_path / "new.png").to_array(), brighter(frame).to_array())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied_and_plays_the_same(tmp_path: Path, suffix: str, orientation: int) -> None:
    array = gradient(3)
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "camera"
    path, output = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    options: dict[str, Any] = {".jpg": {"quality": 97, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    save(path, array, "RGB", exif=exif, **options)
    turned = Image.fromarray(array)
    turned.getexif()[274] = orientation
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(turned))
    frame = read(path)
    assert frame.size_hw == upright.shape[:2]
    tolerance = 6 if suffix == ".jpg" else 0
    assert np.abs(frame.rgb().astype(int) - upright).max() <= tolerance
    rewrite(path, output, brighter)
    again = read(output)
    assert np.abs(again.rgb().astype(int) - brighter(frame).rgb()).max() <= tolerance
    with Image.open(output) as image:
        assert image.getexif().get(271) == "camera"
    rewrite(path, tmp_path / "other.bmp")
    with Image.open(tmp_path / "other.bmp") as image:
        np.testing.assert_array_equal(np.asarray(image), frame.rgb())


def test_jpeg_keeps_metadata_and_its_untouched_blocks(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[270] = "a face"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>here</x:xmpmeta>"
    save(
        tmp_path / "in.jpg",
        gradient(3),
        "RGB",
        quality=60,
        exif=exif,
        icc_profile=SRGB,
        dpi=(300, 300),
        xmp=xmp,
        comment=b"hello",
        progressive=True,
    )
    rewrite(tmp_path / "in.jpg", tmp_path / "out.jpg", brighter)
    with Image.open(tmp_path / "in.jpg") as old, Image.open(tmp_path / "out.jpg") as new:
        for key in ("exif", "icc_profile", "dpi", "xmp", "comment", "progressive"):
            assert new.info[key] == old.info[key]
        assert all(
            a <= b for n in old.quantization for a, b in zip(new.quantization[n], old.quantization[n], strict=True)
        )
    before, after = read(tmp_path / "in.jpg").rgb(), read(tmp_path / "out.jpg").rgb()
    # 4:2:0 blocks are 16 px; those that the spot does not touch decode nearly as they did.
    assert np.abs(after[:, 48:].astype(int) - before[:, 48:]).max() <= 3
    inside = SPOT.slices
    assert abs(float((after[inside].astype(int) - before[inside]).mean()) - 6) < 0.5


def test_coarse_jpeg_does_not_lose_restored_detail(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    detail = cv2.GaussianBlur(rng.normal(128, 60, (64, 64)), (0, 0), 1.2).clip(0, 255).astype(np.uint8)
    restored = np.repeat(detail[..., None], 3, axis=2)
    save(tmp_path / "in.jpg", cv2.GaussianBlur(restored, (0, 0), 2), "RGB", quality=20)
    rewrite(tmp_path / "in.jpg", tmp_path / "out.jpg", lambda frame: frame.with_rgb(restored))
    error = read(tmp_path / "out.jpg").rgb().astype(float) - restored
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 38


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_stays_cmyk_and_keeps_its_inks(tmp_path: Path, suffix: str) -> None:
    inks = gradient(4)
    options: dict[str, Any] = {"quality": 95} if suffix == ".jpg" else {}
    save(tmp_path / f"in{suffix}", inks, "CMYK", **options)
    rewrite(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", brighter)
    with Image.open(tmp_path / f"in{suffix}") as old, Image.open(tmp_path / f"out{suffix}") as new:
        assert new.mode == "CMYK"
        before, after = np.asarray(old).astype(int), np.asarray(new).astype(int)
    assert np.abs(after[:, 40:] - before[:, 40:]).max() <= (2 if suffix == ".jpg" else 0)
    frame = read(tmp_path / f"in{suffix}")
    assert frame.layout.name == "gbrp"
    error = read(tmp_path / f"out{suffix}").rgb().astype(int) - brighter(frame).rgb()
    assert np.abs(error).mean() < 1.5


def test_grey_jpeg_stays_grey(tmp_path: Path) -> None:
    save(tmp_path / "in.jpg", gradient(1), "L", quality=90)
    rewrite(tmp_path / "in.jpg", tmp_path / "out.jpg", brighter)
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.mode == "L"


def test_png_keeps_its_other_chunks(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("Author", "somebody")
    text.add_itxt("Title", "été", lang="fr")
    options = {"pnginfo": text, "dpi": (144, 144), "icc_profile": SRGB}
    save(tmp_path / "in.png", gradient(3), "RGB", **options)
    rewrite(tmp_path / "in.png", tmp_path / "out.png", brighter)
    with Image.open(tmp_path / "in.png") as old, Image.open(tmp_path / "out.png") as new:
        assert new.text == old.text  # type: ignore[attr-defined]
        assert new.info["dpi"] == old.info["dpi"]
        assert new.info["icc_profile"] == SRGB


def test_tiff_keeps_its_tags(tmp_path: Path) -> None:
    tags = ImageFileDirectory_v2()
    tags[270], tags[305] = "scan 7", "scanner"
    save(
        tmp_path / "in.tif", gradient(3), "RGB", tiffinfo=tags, dpi=(600, 600), icc_profile=SRGB, compression="tiff_lzw"
    )
    rewrite(tmp_path / "in.tif", tmp_path / "out.tif", brighter)
    with Image.open(tmp_path / "out.tif") as image:
        assert (image.tag_v2[270], image.tag_v2[305]) == ("scan 7", "scanner")  # type: ignore[attr-defined]
        assert image.info["dpi"] == (600, 600)
        assert image.info["icc_profile"] == SRGB


def test_several_pages_are_said_to_be_left_out(tmp_path: Path) -> None:
    pages = [Image.fromarray(gradient(3) // n) for n in (1, 2, 3)]
    pages[0].save(tmp_path / "in.tif", save_all=True, append_images=pages[1:])
    with open_source(tmp_path / "in.tif") as source:
        (frame,) = source.frames()
        assert "3 pages" in source.warnings[0]
    np.testing.assert_array_equal(frame.rgb(), gradient(3))


def test_lossy_webp_stays_lossy_and_keeps_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[270] = "a face"
    save(tmp_path / "in.webp", gradient(3), "RGB", quality=80, exif=exif, icc_profile=SRGB)
    rewrite(tmp_path / "in.webp", tmp_path / "out.webp", brighter)
    data = (tmp_path / "out.webp").read_bytes()
    assert b"VP8 " in data
    assert b"VP8L" not in data
    with Image.open(tmp_path / "out.webp") as image:
        assert image.getexif()[270] == "a face"
        assert image.info["icc_profile"] == SRGB


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    array = make(tmp_path / "really.png", 3, np.uint8)
    (tmp_path / "really.png").rename(tmp_path / "photo.jpg")
    np.testing.assert_array_equal(read(tmp_path / "photo.jpg").rgb(), array)
    rewrite(tmp_path / "photo.jpg", tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.format == "JPEG"


@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tif", "bmp", "gif"])
def test_any_format_into_any_other(tmp_path: Path, target: str) -> None:
    exif = Image.Exif()
    exif[270] = "a face"
    save(tmp_path / "in.png", gradient(4), "RGBA", exif=exif, icc_profile=SRGB, dpi=(144, 144))
    notes = rewrite(tmp_path / "in.png", tmp_path / f"out.{target}")
    assert bool(notes) == (target == "jpg")
    with Image.open(tmp_path / f"out.{target}") as image:
        assert image.size == (56, 40)
        if target in ("jpg", "webp", "png"):
            assert image.getexif()[270] == "a face"
            assert image.info["icc_profile"] == SRGB
        if target in ("png", "webp", "tif"):
            np.testing.assert_array_equal(np.asarray(image.convert("RGBA")), gradient(4))


def header_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    tiny = io.BytesIO()
    Image.new("RGB", (8, 8)).save(tiny, "BMP")
    bmp = bytearray(tiny.getvalue())
    bmp[18:26] = struct.pack("<ii", 100_000, 100_000)
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16_000_000).to_bytes(3, "little") * 2
    webp = b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";"
    return {"png": header_png(100_000, 100_000), "bmp": bytes(bmp), "webp": webp, "gif": gif}


@pytest.mark.parametrize("kind", ["png", "bmp", "webp", "gif"])
def test_image_bombs_are_refused_by_their_header(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(bombs()[kind])
    with pytest.raises(InputError, match="more than the limit") as error:
        open_source(path)
    assert "\n" not in str(error.value)


def test_large_pictures_below_the_limit_raise_no_warning(tmp_path: Path) -> None:
    Image.new("1", (12_000, 9_000)).save(tmp_path / "large.png")  # above what Pillow warns of
    with open_source(tmp_path / "large.png") as source:
        assert source.info.size_hw == (9_000, 12_000)


@pytest.mark.parametrize(("suffix", "kept"), [(".jpg", 0.6), (".png", 0.6)])
def test_a_cut_off_photo_gives_what_is_there(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(5).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    save(tmp_path / f"full{suffix}", noise, "RGB")
    data = (tmp_path / f"full{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * kept)])
    with open_source(path) as source:
        (frame,) = source.frames()
        assert source.truncated
        assert "ends too early" in source.warnings[0]
    whole = read(tmp_path / f"full{suffix}").rgb()
    np.testing.assert_array_equal(frame.rgb()[:48], whole[:48])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"])
@pytest.mark.parametrize("kept", [12, 30, 60])
def test_a_photo_cut_off_in_its_head_is_refused_in_one_line(tmp_path: Path, suffix: str, kept: int) -> None:
    save(tmp_path / f"full{suffix}", gradient(3), "RGB")
    path = tmp_path / f"cut{suffix}"
    path.write_bytes((tmp_path / f"full{suffix}").read_bytes()[:kept])
    with pytest.raises(InputError) as error:
        open_source(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_floating_point_is_refused(tmp_path: Path) -> None:
    Image.fromarray(gradient(1).astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(InputError, match="floating point"):
        open_source(tmp_path / "float.tif")


def test_unknown_extension_and_second_picture_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "in.png", 3, np.uint8)
    with open_source(tmp_path / "in.png") as source:
        with pytest.raises(OutputError, match=r"\.xyz"):
            open_image_sink(tmp_path / "out.xyz", source)
        assert not (tmp_path / "out.xyz").exists()
        sink = open_image_sink(tmp_path / "out.jpg", source)
        (frame,) = source.frames()
        sink.write(frame)
        with pytest.raises(OutputError, match="one picture"):
            sink.write(frame)
        sink.abort()
    assert not (tmp_path / "out.jpg").exists()


def test_a_format_that_is_only_read_is_refused_as_an_output(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (9, 90, 200)).save(tmp_path / "a.png")
    with (
        open_source(tmp_path / "a.png") as source,
        pytest.raises(OutputError, match=r"ICO files are read but not written; name a \.png"),
    ):
        open_image_sink(tmp_path / "b.ico", source)
    assert not (tmp_path / "b.ico").exists()


def test_abort_after_close_keeps_the_file(tmp_path: Path) -> None:
    make(tmp_path / "in.png", 3, np.uint8)
    with open_source(tmp_path / "in.png") as source:
        sink = open_image_sink(tmp_path / "out.png", source.info)
        sink.write(next(source.frames()))
        sink.close()
        sink.abort()
    assert (tmp_path / "out.png").exists()


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    make(tmp_path / "in.png", 3, np.uint8)
    with open_source(tmp_path / "in.png") as source, pytest.raises(OutputError, match="cannot write"):
        open_image_sink(tmp_path / "absent" / "out.png", source)
