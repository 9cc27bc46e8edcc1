"""Writing photos, with the metadata of the photo that they were made from.

Where source and output are of one format, its metadata are copied as they are stored and the pixels lie as they did
(turned as the EXIF tag says); else EXIF, ICC profile, XMP and resolution are carried over and the pixels are upright.
TIFF is laid out here, with Pillow's directory: Pillow writes no 16-bit colour, OpenCV no tags, and tifffile no EXIF.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from revisage.core import OutputError
from revisage.media import png_chunks, webp_chunks
from revisage.media.behind_jpeg import Behind, with_segments, without_promises
from revisage.media.frame import Frame
from revisage.media.image_file import ImageFile, pillow_unlimited, written
from revisage.media.interface import MediaInfo
from revisage.media.picture_texts import xmp_of
from revisage.media.png_chunks import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, Header, PngFile
from revisage.media.still.source import EXIF_ORIENTATION, Still, open_picture, read_heif, read_still, rgb_to_cmyk

__all__ = ["StillSink"]

Samples = NDArray[Any]
_BY_PILLOW: dict[str, tuple[str, dict[str, Any]]] = {
    "heic": ("HEIF", {"quality": 90, "chroma": 444}),
    "avif": ("AVIF", {"quality": 90, "subsampling": "4:4:4"}),
    "jp2": ("JPEG2000", {}),
    "ppm": ("PPM", {}),
}
"""Pillow's name and options of a format: a phone's photo is at 67 dB as HEIC, 46 dB as AVIF; the others are exact."""


class StillSink:
    """Writes one photo. Unchanged samples in the source's own format give the source's own bytes.

    Attributes:
        notes: what the format could not keep, one line each.
    """

    def __init__(self, path: Path, info: MediaInfo, container: str) -> None:
        self.notes: list[str] = []
        self._info = info
        self._container = container
        self._written = False
        self._file = ImageFile(path)

    def write(self, frame: Frame) -> None:
        """Encode the picture.

        Raises:
            DiskFullError: no space is left.
            OutputError: it cannot be written, or a picture was written before.
        """
        if self._written:
            raise OutputError(
                f"{self._file.path}: {self._container.upper()} holds one picture; name a .gif or video file"
            )
        samples = frame.rgb() if frame.layout.family == "yuv" else frame.to_array()
        still = read_still(self._info.path) if self._info.kind == "image" else None
        if still is not None and self._is_unchanged(samples, still):
            with written(self._info.path):
                self._file.write(self._info.path.read_bytes())
        else:
            self._file.write(self._encoded(samples, still))
        self._written = True

    def _is_unchanged(self, samples: Samples, still: Still) -> bool:
        same_format = still.container == self._container and not still.truncated and still.pages == 1
        return same_format and samples.dtype == still.samples.dtype and np.array_equal(samples, still.samples)

    def _encoded(self, samples: Samples, still: Still | None) -> bytes:
        metadata = Metadata() if still is None else read_metadata(still.path)
        keep_more = still is not None and self._keeps_more(samples, still)
        if not keep_more:
            metadata = replace(metadata, xmp=without_promises(metadata.xmp))
        if self._container == "png":
            return encode_png(samples, still, metadata)
        if self._container == "tiff":
            return encode_tiff_photo(samples, still, metadata)
        if samples.dtype == np.uint16:
            self.notes.append(f"{self._container.upper()} has 8 bits a sample; the source has 16")
        if self._container == "webp":
            return encode_webp(samples, still, metadata, lossless=self._lossless(still))
        if self._container == "bmp":
            return encode_bmp(samples, metadata)
        if self._container in _BY_PILLOW:
            return self._encoded_by_pillow(samples, metadata)
        if samples.ndim == 3 and samples.shape[2] in (2, 4):
            self.notes.append("JPEG has no transparency; it was laid on white")
            samples = _on_white(samples)
        return encode_jpeg(samples, still, metadata, keep_more=keep_more)

    def _keeps_more(self, samples: Samples, still: Still) -> bool:
        """Whether what lies behind the photo goes behind the output, too; says what becomes of it."""
        if still.more:
            self.notes.append(f"{still.more} beside the photo are left out; the photo is kept")
        behind = Behind.of(still.path.read_bytes()) if still.container == "jpeg" else None
        if not behind:
            return False
        if self._container != "jpeg" or not behind.is_whole or samples.shape[:2] != still.samples.shape[:2]:
            self.notes.append("a gain map, a film or other pictures behind the photo are left out; the photo is kept")
            return False
        if behind.film:
            self.notes.append("a film behind the photo stays as it is, with its faces as they were")
        if behind.pictures:
            self.notes.append("further pictures behind the photo stay as they are, with their faces as they were")
        return True

    def _encoded_by_pillow(self, samples: Samples, metadata: Metadata) -> bytes:
        name, options = _BY_PILLOW[self._container]
        if self._container == "ppm" and samples.ndim == 3 and samples.shape[2] in (2, 4):
            self.notes.append("PPM has no transparency; it was laid on white")
            samples = _on_white(samples)
        if self._container in ("heic", "avif"):
            read_heif()
            fitting = metadata.fitting(samples)
            kept = {"exif": metadata.exif, "icc_profile": fitting.icc_profile, "xmp": metadata.xmp}
            options = {**options, **{key: value for key, value in kept.items() if value}}
        elif metadata.exif or metadata.icc_profile or metadata.xmp:
            self.notes.append(f"{self._container.upper()} keeps no EXIF, colour profile or XMP here")
        file = io.BytesIO()
        _image(samples).save(file, name, **options)
        return file.getvalue()

    def _lossless(self, still: Still | None) -> bool:
        """Whether the source is coded without loss."""
        if still is None:
            return self._info.kind == "animation"
        if still.container == "webp":
            return webp_chunks.parse_webp(still.path).lossless
        return still.container != "jpeg"

    def close(self) -> None:
        """Finish the file.

        Raises:
            OutputError: no picture was written, or the file cannot be.
        """
        if not self._written:
            self.abort()
            raise OutputError(f"{self._file.path}: there is no picture to write")
        self._file.close()

    def abort(self) -> None:
        """Give up and remove the file. Does nothing after :meth:`close`."""
        self._file.abort()


def _on_white(samples: Samples) -> Samples:
    """Grey or RGB of samples with alpha, over white."""
    largest = int(np.iinfo(samples.dtype).max)
    opacity = samples[..., -1:] / largest
    flat = np.rint(samples[..., :-1] * opacity + largest * (1 - opacity)).astype(samples.dtype)
    return flat[..., 0] if flat.shape[2] == 1 else flat


QUALITY = 95
"""Of JPEG and lossy WebP where the source does not ask for more."""


@dataclass(frozen=True)
class Metadata:
    """What formats have in common: EXIF (a TIFF block, upright), ICC profile, XMP packet, pixels per inch."""

    exif: bytes = b""
    icc_profile: bytes | None = None
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None

    def fitting(self, samples: Samples) -> Metadata:
        """Without the profile if it is for another number of colours than ``samples`` have."""
        space = (self.icc_profile or b"")[16:20]
        wanted = b"RGB " if samples.ndim == 3 and samples.shape[2] >= 3 else b"GRAY"
        return self if space == wanted else replace(self, icc_profile=None)


def read_metadata(path: Path) -> Metadata:
    """The metadata of a photo, as far as Pillow can read them."""
    with pillow_unlimited(), open_picture(path) as image:
        exif = image.getexif()
        exif[EXIF_ORIENTATION] = 1
        try:
            block = exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) > 1 else b""
        except (ValueError, TypeError, KeyError, struct.error):
            block = b""  # damaged EXIF cannot be carried into another format
        dpi = image.info.get("dpi")
        return Metadata(
            block,
            image.info.get("icc_profile"),
            xmp_of(image),
            (float(dpi[0]), float(dpi[1])) if dpi else None,
        )


def eight_bit(samples: Samples) -> NDArray[np.uint8]:
    """Samples at 8 bits, rounded."""
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8)


def _image(samples: Samples) -> Image.Image:
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    samples = np.ascontiguousarray(eight_bit(samples))
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    return Image.frombytes(modes[channels], (samples.shape[1], samples.shape[0]), samples.tobytes())


def _as_stored(samples: Samples, still: Still | None, container: str) -> Samples:
    """Turned back to how the source's file holds it, if its EXIF goes into the output unchanged."""
    if still is None or still.container != container:
        return samples
    return np.ascontiguousarray(still.orientation.stored(samples))


def encode_png(samples: Samples, still: Still | None, metadata: Metadata) -> bytes:
    """A PNG in the source's colour type where it can hold the samples; 8 or 16 bits as they are."""
    own = _as_stored(samples, still, "png")
    source = png_chunks.parse_png(still.path) if still is not None and still.container == "png" else None
    pixels, colour = _png_pixels(own, source)
    height, width = own.shape[:2]
    same = source is not None and colour == source.header.colour and colour != PALETTE
    head = _png_head(metadata.fitting(samples)) if source is None else source.head
    dropped: tuple[bytes, ...] = (b"tRNS", b"hIST", b"bKGD", b"sBIT", b"PLTE")
    if source is not None and colour == PALETTE:
        dropped = ()
    elif same:
        dropped = (b"tRNS", b"hIST", b"sBIT")
    dropped = (*dropped, png_chunks.SEAL)
    header = Header(width, height, pixels.dtype.itemsize * 8, colour)
    chunks = [(b"IHDR", header.pack()), *((kind, data) for kind, data in head if kind not in dropped)]
    chunks.append((b"IDAT", png_chunks.encode_pixels(pixels, colour)))
    chunks += [*(source.tail if source is not None else []), (b"IEND", b"")]
    return png_chunks.SIGNATURE + b"".join(png_chunks.chunk(kind, data) for kind, data in chunks)


def _png_pixels(samples: Samples, source: PngFile | None) -> tuple[Samples, int]:
    """Samples and colour type: a palette if the source's holds every colour; 16-bit grey with alpha becomes RGBA."""
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if source is not None and source.header.colour == PALETTE and channels >= 3:
        indices = png_chunks.palette_indices(source, samples)
        if indices is not None:
            return indices, PALETTE
    if channels == 2 and samples.dtype == np.uint16:
        return samples[..., [0, 0, 0, 1]], RGBA
    return samples, {1: GREY, 2: GREY_ALPHA, 3: RGB, 4: RGBA}[channels]


def _png_head(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    head = []
    if metadata.icc_profile:
        head.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc_profile)))
    if metadata.dpi:
        across, down = (round(value / 0.0254) for value in metadata.dpi)
        head.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if metadata.exif:
        head.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        head.append(png_chunks.xmp_chunk(metadata.xmp))
    return head


def encode_jpeg(samples: Samples, still: Still | None, metadata: Metadata, *, keep_more: bool = False) -> bytes:
    """A JPEG; from a JPEG, in its own mode and sampling, with tables at least as fine as its own and quality 95's.

    Coarser tables of the source would take the restored detail away again. With ``keep_more`` all that lies behind the
    source's picture lies behind this one.
    """
    own = eight_bit(_as_stored(samples, still, "jpeg"))
    file = io.BytesIO()
    if still is None or still.container != "jpeg":
        fitting = metadata.fitting(samples)
        exif = b"Exif\0\0" + metadata.exif if metadata.exif else b""
        _image(own).save(
            file,
            "JPEG",
            quality=QUALITY,
            subsampling=0,
            exif=exif,
            icc_profile=fitting.icc_profile,
            dpi=tuple(round(value) for value in metadata.dpi) if metadata.dpi else (0, 0),
            xmp=metadata.xmp or None,
        )
        return file.getvalue()
    image = _image(own) if still.mode != "CMYK" else _cmyk_image(samples, still)
    with pillow_unlimited(), Image.open(still.path) as source:
        assert isinstance(source, JpegImagePlugin.JpegImageFile)
        sampling = JpegImagePlugin.get_sampling(source)
        tables = _fine_tables(source)
        progressive = bool(source.info.get("progressive"))
    image.save(file, "JPEG", qtables=tables, subsampling=max(sampling, 0), progressive=progressive, optimize=True)
    return with_segments(file.getvalue(), still.path.read_bytes(), keep_more=keep_more)


@cache
def _quality_tables() -> tuple[tuple[int, ...], ...]:
    """The tables of :data:`QUALITY`, in Pillow's order: luma, chroma."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=QUALITY)
    with Image.open(file) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return tuple(tuple(image.quantization[number]) for number in (0, 1))


def _fine_tables(source: JpegImagePlugin.JpegImageFile) -> list[list[int]]:
    """For each component the smaller of its own quantisation steps and those of :data:`QUALITY`."""
    layers = [layer[3] for layer in source.layer]
    own = [source.quantization[number] for number in layers]
    limits = [_quality_tables()[0 if number == 0 or source.mode == "CMYK" else 1] for number in range(len(own))]
    tables = [[min(pair) for pair in zip(*both, strict=True)] for both in zip(own, limits, strict=True)]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()
    return tables


def _cmyk_image(samples: Samples, still: Still) -> Image.Image:
    stored = np.ascontiguousarray(still.orientation.stored(_cmyk(samples, still)))
    return Image.frombytes("CMYK", (stored.shape[1], stored.shape[0]), stored.tobytes())


def _cmyk(samples: Samples, still: Still) -> Samples:
    """Upright RGB samples as CMYK; the source's own inks where the colour is as it was."""
    inks = np.asarray(rgb_to_cmyk(_image(samples[..., :3]), still.icc_profile))
    if still.stored is None or still.samples.shape != samples.shape:
        return inks
    same = (samples == still.samples).all(axis=-1)
    return np.where(same[..., None], still.stored, inks)


def encode_webp(samples: Samples, still: Still | None, metadata: Metadata, *, lossless: bool) -> bytes:
    """A WebP, with or without loss."""
    own = eight_bit(_as_stored(samples, still, "webp"))
    own = own[..., None] if own.ndim == 2 else own
    rgba = np.full((*own.shape[:2], 4), 255, dtype=np.uint8)
    rgba[..., :3] = own[..., :3] if own.shape[2] >= 3 else own[..., :1]
    alpha = own.shape[2] in (2, 4)
    if alpha:
        rgba[..., 3] = own[..., -1]
    coded = webp_chunks.encode_picture(rgba, lossless=lossless, quality=75 if lossless else QUALITY, alpha=alpha)
    fitting = metadata.fitting(rgba)
    chunks = {b"ICCP": fitting.icc_profile, b"EXIF": metadata.exif, b"XMP ": metadata.xmp}
    kept = {kind: data for kind, data in chunks.items() if data}
    if still is not None and still.container == "webp":
        kept = webp_chunks.parse_webp(still.path).metadata
    height, width = rgba.shape[:2]
    flags = webp_chunks.metadata_flags(kept) | (webp_chunks.ALPHA if alpha else 0)
    body = webp_chunks.extended_header(width, height, flags) if flags else b""
    body += webp_chunks.chunk(b"ICCP", kept[b"ICCP"]) if b"ICCP" in kept else b""
    body += coded
    body += b"".join(webp_chunks.chunk(kind, kept[kind]) for kind in (b"EXIF", b"XMP ") if kind in kept)
    return webp_chunks.riff(body)


def encode_tiff_photo(samples: Samples, still: Still | None, metadata: Metadata) -> bytes:
    """A TIFF, always without loss; from a TIFF, with its tags and in its inks."""
    if still is not None and still.container == "tiff":
        with pillow_unlimited(), Image.open(still.path) as source:
            assert isinstance(source, TiffImageFile)
            compressed = source.tag_v2.get(259, 1) != 1
            tags = kept_tags(source)
        cmyk = still.mode == "CMYK"
        return encode_tiff(_cmyk(samples, still) if cmyk else samples, tags, cmyk=cmyk, compressed=compressed)
    tags = ImageFileDirectory_v2()
    fitting = metadata.fitting(samples)
    if fitting.icc_profile:
        tags[34675] = fitting.icc_profile
    if metadata.xmp:
        tags[700] = metadata.xmp
    if metadata.dpi:
        tags[282], tags[283], tags[296] = metadata.dpi[0], metadata.dpi[1], 2
    return encode_tiff(samples, tags)


def encode_bmp(samples: Samples, metadata: Metadata) -> bytes:
    """A BMP of 8-bit grey, RGB or RGBA."""
    image = _image(samples)
    file = io.BytesIO()
    image = image.convert("RGBA") if image.mode == "LA" else image
    image.save(file, "BMP", **({"dpi": metadata.dpi} if metadata.dpi else {}))
    return file.getvalue()


_WHITE_IS_GREATEST, _TIFF_RGB, _CMYK = 1, 2, 5
_UNCOMPRESSED, _DEFLATE = 1, 8
_EXIF, _GPS, _SEAL = 34665, 34853, 52545
"""The last is a C2PA manifest, which is void as soon as anything else in the file changes."""
_STRUCTURE = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 318, 319, 320, 322, 323, 324)
).union((325, 330, 332, 334, 338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532))
"""Tags about how pixels are laid out, which the writer sets itself."""


def kept_tags(image: TiffImageFile) -> ImageFileDirectory_v2:
    """The tags of a loaded TIFF that do not describe how its pixels are laid out; EXIF and GPS with their content."""
    kept = ImageFileDirectory_v2()
    exif = image.getexif()
    for tag in image.tag_v2:
        if tag in _STRUCTURE or tag == _SEAL:
            continue
        single = ImageFileDirectory_v2()
        try:
            single.tagtype[tag] = image.tag_v2.tagtype[tag]
            single[tag] = dict(exif.get_ifd(tag)) if tag in (_EXIF, _GPS) else image.tag_v2[tag]
            single.tobytes()
        except (ValueError, TypeError, KeyError, AttributeError, struct.error, OSError):
            continue  # a tag that Pillow cannot write again is not worth losing the picture for
        kept.tagtype[tag] = single.tagtype[tag]
        kept[tag] = single[tag]
    return kept


def encode_tiff(
    samples: NDArray[Any], tags: ImageFileDirectory_v2, *, cmyk: bool = False, compressed: bool = True
) -> bytes:
    """A TIFF file of one strip.

    Args:
        samples: ``(H, W)`` grey or ``(H, W, C)`` grey and alpha, RGB, RGB and alpha, or CMYK; uint8 or uint16.
        tags: further tags; those about the layout of pixels are set here.
        cmyk: four channels are CMYK.
        compressed: without loss, with horizontal differences.
    """
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, channels = samples.shape
    alpha = channels == 2 or (channels == 4 and not cmyk)
    data = _differences(samples) if compressed else samples
    raw = data.astype(data.dtype.newbyteorder("<")).tobytes()
    strip = zlib.compress(raw, 6) if compressed else raw
    directory = tags
    directory[256], directory[257] = width, height
    directory[258] = (samples.dtype.itemsize * 8,) * channels
    directory[259] = _DEFLATE if compressed else _UNCOMPRESSED
    directory[262] = _CMYK if cmyk else _TIFF_RGB if channels >= 3 else _WHITE_IS_GREATEST
    directory[273], directory[278], directory[279] = 0, height, len(strip)
    directory[274], directory[277], directory[284] = 1, channels, 1
    if compressed:
        directory[317] = 2
    if alpha:
        directory[338] = 2  # not premultiplied
    file = io.BytesIO()
    directory.save(file)
    return file.getvalue() + strip


def _differences(samples: NDArray[Any]) -> NDArray[Any]:
    """Each sample minus its left neighbour, wrapping (TIFF predictor 2)."""
    result = samples.copy()
    result[:, 1:] -= samples[:, :-1]
    return result
