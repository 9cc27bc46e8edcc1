"""Reading photos: PNG, JPEG, WebP, TIFF and BMP, upright, at the depth they have."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from revisage.core import InputError
from revisage.media import video
from revisage.media.formats import FORMATS, format_of_content
from revisage.media.frame import Frame, Orientation
from revisage.media.image_file import DAMAGED, check_pixels, pillow_unlimited
from revisage.media.interface import Extent, MediaInfo, OpenSource
from revisage.media.png_chunks import GREY, GREY_ALPHA, RGB, SIGNATURE, Header, decode_16_bit, parse_png
from revisage.media.webp_chunks import parse_webp

__all__ = [
    "EXIF_ORIENTATION",
    "Still",
    "StillSource",
    "open_picture",
    "read_heif",
    "read_still",
    "rgb_to_cmyk",
    "still_extent",
]

Samples = NDArray[Any]
EXIF_ORIENTATION = 274
_ORIENTATIONS = {
    2: Orientation(flip_columns=True),
    3: Orientation(flip_rows=True, flip_columns=True),
    4: Orientation(flip_rows=True),
    5: Orientation(transpose=True),
    6: Orientation(transpose=True, flip_columns=True),
    7: Orientation(transpose=True, flip_rows=True, flip_columns=True),
    8: Orientation(transpose=True, flip_rows=True),
}


@dataclass
class Still:
    """A photo as read.

    Attributes:
        container: ``png``, ``jpeg``, ``webp``, ``tiff`` or ``bmp``.
        mode: Pillow's name of the pixels in the file (``P``, ``CMYK``, ``L`` ...), at 8 bits also of deeper ones.
        samples: upright: ``(H, W)`` grey or ``(H, W, C)`` grey and alpha, RGB, or RGB and alpha; uint8 or uint16.
        stored: the file's own ``(H, W, 4) uint8`` samples, upright, of a CMYK picture.
        orientation: how the file's pixels were turned to be upright; none for TIFF, which Pillow turns itself.
        icc_profile: as embedded, or None.
        pages: number of pictures in the file.
        bits: of a sample in the file, where more than are read.
        more: what a HEIC or AVIF holds beside the picture, in words; empty for nothing.
        truncated: the data end too early; what is missing is black or grey.
    """

    path: Path
    container: str
    mode: str
    samples: Samples
    stored: Samples | None = None
    orientation: Orientation = field(default_factory=Orientation)
    icc_profile: bytes | None = None
    pages: int = 1
    bits: int | None = None
    more: str = ""
    truncated: bool = False


def exif_orientation(image: Image.Image) -> Orientation:
    """How a picture's EXIF tag says it is to be turned."""
    try:
        return _ORIENTATIONS.get(image.getexif().get(EXIF_ORIENTATION, 1), Orientation())
    except DAMAGED:
        return Orientation()  # damaged EXIF: shown as it is stored, as browsers do


@lru_cache(maxsize=1)
def read_heif() -> None:
    """Teach Pillow HEIF, once: libheif puts tiled pictures together and turns them upright."""
    import pillow_heif

    pillow_heif.register_heif_opener()


def open_picture(path: Path) -> Image.Image:
    """A picture opened by Pillow, its pixels not read yet.

    Raises:
        OSError: it is none.
    """
    found = format_of_content(path)
    if found is not None and found.name == "heic":
        read_heif()
    return Image.open(path)


def read_still(path: Path) -> Still:
    """Decode the photo at ``path``.

    Raises:
        InputError: not a picture, damaged beyond its first rows, too large to be real, or of a kind of pixels
            (floating point, 32 bits) that photos do not have.
    """
    _check_header(path)
    with pillow_unlimited():
        try:
            with open_picture(path) as image:
                check_pixels(path, *image.size)
                return _decode(path, image)
        except DAMAGED as error:
            raise InputError(f"{path}: the picture cannot be decoded ({_one_line(error)})") from None


def _check_header(path: Path) -> None:
    """What Pillow would decode, or allocate for, before it lets the size be looked at."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(SIGNATURE):
        parse_png(path)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        parse_webp(path)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).replace(f"'{getattr(error, 'filename', '')}'", "").split()) or type(error).__name__


def _decode(path: Path, image: Image.Image) -> Still:
    found = next((one for one in FORMATS if image.format in one.readers and not one.is_video), None)
    if found is None:
        raise InputError(f"{path}: {image.format} pictures are not supported; convert it to PNG or JPEG")
    container = found.name
    pages = int(getattr(image, "n_frames", 1)) if container == "tiff" else 1
    orientation = exif_orientation(image)
    still = Still(path, container, image.mode, np.empty(0), icc_profile=image.info.get("icc_profile"), pages=pages)
    still.bits = _bits_beyond(path, image)
    still.more = _beside(path, image)
    deep = _deep_samples(path, image)
    if deep is not None:
        still.samples, still.orientation = deep, orientation
    else:
        still.truncated = _load(image)
        still.samples = _samples(still, image)
        still.orientation = Orientation() if container == "tiff" else orientation
    if still.stored is not None:
        still.stored = np.ascontiguousarray(still.orientation.upright(still.stored))
    still.samples = np.ascontiguousarray(still.orientation.upright(still.samples))
    if container == "tiff":
        still.orientation = Orientation()
    return still


_HIGH_DEPTH = 0x40
"""In the third byte of ``av1C`` (AV1 in ISOBMFF, 2.3.3)."""


def _bits_beyond(path: Path, image: Image.Image) -> int | None:
    """How many bits a sample has in a HEIC or AVIF, where that is more than the 8 that are read."""
    if image.format == "HEIF":
        bits = int(image.info.get("bit_depth", 8))
        return bits if bits > 8 else None
    if image.format != "AVIF":
        return None
    head = _head(path)
    at = head.find(b"av1C")
    if at < 0 or not head[at + 6] & _HIGH_DEPTH:
        return None
    return 12 if head[at + 6] & _HIGH_DEPTH >> 1 else 10


def _head(path: Path) -> bytes:
    """So much of a file that the boxes that describe its pictures are in it."""
    with path.open("rb") as file:
        return file.read(1 << 16)


def _beside(path: Path, image: Image.Image) -> str:
    """What a HEIC or AVIF holds beside its picture: a gain map (ISO 21496-1, or Apple's), depth, other pictures."""
    if image.format not in ("HEIF", "AVIF"):
        return ""
    further = [str(kind) for kind in image.info.get("aux", ())]
    has_gain_map = b"tmap" in _head(path) or any("gainmap" in kind for kind in further)
    found = {
        "a gain map": has_gain_map,
        "a depth map": bool(image.info.get("depth_images")),
        "further pictures": image.format == "HEIF" and int(getattr(image, "n_frames", 1)) > 1,
    }
    return " and ".join(what for what, is_there in found.items() if is_there)


def _load(image: Image.Image) -> bool:
    """Decode; if the data end too early keep what is there and return True.

    Raises:
        OSError: nothing could be decoded.
    """
    try:
        image.load()
    except OSError:
        if image.format == "TIFF":
            raise
        image.tile = []  # type: ignore[attr-defined]  # what was decoded stays
        pixels = np.asarray(image)
        if not pixels.any():
            raise
        return True
    return False


def _deep_samples(path: Path, image: Image.Image) -> Samples | None:
    """The samples of a 16-bit picture, not turned; None for one of 8 bits or fewer."""
    if image.format == "PNG":
        header = parse_png(path).header
        return _deep_png(path, header) if header.depth == 16 else None
    if isinstance(image, TiffImageFile):
        depths = set(image.tag_v2.get(258, (1,)))
        if depths & {32, 64} or image.mode in ("F", "I"):
            raise InputError(f"{path}: samples of 32 bits or floating point are not supported; convert it to 16 bits")
        if depths == {16}:
            return _deep_tiff(path)
    return None


def _deep_png(path: Path, header: Header) -> Samples:
    rgba = decode_16_bit(path.read_bytes())
    png = parse_png(path)
    key = png.chunk(b"tRNS")
    if key is not None and header.colour in (GREY, RGB):
        # OpenCV ignores the colour that stands for transparent at this depth.
        wanted = np.frombuffer(key, ">u2")
        rgba[..., 3] = np.where((rgba[..., :3] == wanted).all(axis=-1), 0, 0xFFFF)
    grey = header.colour in (GREY, GREY_ALPHA)
    if header.colour in (GREY, RGB) and key is None:
        return rgba[..., 0] if grey else rgba[..., :3]
    return rgba[..., 2:] if grey else rgba


def _deep_tiff(path: Path) -> Samples:
    import av.error

    try:
        with video.open_file(path) as container:
            picture = next(container.decode(video=0))
    except (av.error.FFmpegError, StopIteration):
        raise InputError(f"{path}: its 16-bit TIFF coding is not supported; convert it to PNG") from None
    return picture.to_ndarray().astype(np.uint16, copy=False)


def _samples(still: Still, image: Image.Image) -> Samples:
    """8-bit (or Pillow's 16-bit grey, of PGM in 32 bits) samples of a loaded picture, as stored."""
    if image.mode.startswith("I;16") or (image.mode == "I" and still.container == "ppm"):
        return np.asarray(image).astype(np.uint16, copy=False)
    if image.mode == "CMYK":
        still.stored = np.asarray(image)
        return np.asarray(cmyk_to_rgb(image, still.icc_profile))
    has_alpha = image.has_transparency_data
    if image.mode in ("L", "LA", "RGB", "RGBA") and has_alpha == image.mode.endswith("A"):
        return np.asarray(image)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("LA" if has_alpha else "L"))
    return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))


def _transform(image: Image.Image, profile: bytes, mode: str) -> Image.Image | None:
    """``image`` through its CMYK profile to sRGB, or from sRGB to it; None where the profile cannot do that."""
    try:
        cmyk = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.createProfile("sRGB")
        first, second = (cmyk, srgb) if mode == "RGB" else (srgb, cmyk)
        return ImageCms.profileToProfile(image, first, second, ImageCms.Intent.RELATIVE_COLORIMETRIC, mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def cmyk_to_rgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """A CMYK picture in sRGB, through its profile if it has one that serves."""
    return (profile and _transform(image, profile, "RGB")) or image.convert("RGB")


def rgb_to_cmyk(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The way back of :func:`cmyk_to_rgb`."""
    return (profile and _transform(image, profile, "CMYK")) or image.convert("CMYK")


@dataclass
class StillSource(OpenSource):
    """A photo as a source of one frame at time 0, lasting one second.

    Raises:
        InputError: see :func:`read_still`.
    """

    path: Path
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        still = read_still(self.path)
        self.truncated = still.truncated
        if still.truncated:
            self.warnings.append(f"{self.path}: the picture ends too early; the rest of it is missing")
        if still.pages > 1:
            self.warnings.append(f"{self.path}: holds {still.pages} pages; only the first is taken")
        if still.bits:
            self.warnings.append(f"{self.path}: has {still.bits} bits a sample; 8 of them are taken")
        self._frame = Frame.from_array(still.samples, time_base=Fraction(1, 1000), duration=1000)
        height, width = still.samples.shape[:2]
        self.info = MediaInfo(
            path=self.path,
            kind="image",
            container=still.container,
            codec=still.container,
            width=width,
            height=height,
            frame_count=1,
            pixel_format=self._frame.layout.name,
            bit_depth=self._frame.layout.depth,
            has_alpha=self._frame.layout.has_alpha,
        )

    def frames(self, first: int = 0, stop: int | None = None, *, first_pts: int | None = None) -> Iterator[Frame]:
        """The one frame, unless the range asked for leaves it out."""
        if first <= 0 and (stop is None or stop > 0) and (first_pts is None or first_pts <= 0):
            yield self._frame


def still_extent(path: Path) -> Extent:
    """How large a photo says it is; nothing is decoded.

    Raises:
        InputError: it is damaged, or too large to be real.
    """
    with pillow_unlimited():
        try:
            with open_picture(path) as image:
                check_pixels(path, *image.size)
                height, width = exif_orientation(image).size((image.height, image.width))
        except DAMAGED:
            raise InputError(f"{path}: the picture cannot be decoded; it is damaged") from None
    return Extent("image", width, height, frame_count=1)
