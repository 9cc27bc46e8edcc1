"""Which sink writes an image of which format, and the one for photos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from revisage.core import OutputError
from revisage.media.animation_sink import AnimationSink, GifSink
from revisage.media.delta_sink import ApngSink, WebpSink
from revisage.media.formats import IMAGE_SUFFIXES, format_of
from revisage.media.frame import Frame
from revisage.media.image_file import ImageFile, reported
from revisage.media.info import MediaInfo
from revisage.media.sink import EncodeOptions, Sink
from revisage.media.source import Source
from revisage.media.still import Still, read_still
from revisage.media.still_encoders import (
    Metadata,
    encode_bmp,
    encode_jpeg,
    encode_png,
    encode_tiff_photo,
    encode_webp,
    read_metadata,
)
from revisage.media.webp_chunks import parse_webp

__all__ = ["StillSink", "image_format", "open_image_sink"]

Samples = NDArray[Any]
_ANIMATIONS: dict[str, type[AnimationSink]] = {"gif": GifSink, "apng": ApngSink, "png": ApngSink, "webp": WebpSink}


def open_image_sink(path: Path, source: Source | MediaInfo, options: EncodeOptions) -> Sink:
    """A sink that writes the whole of an animation or a photo to ``path``, in the format of its extension.

    ``.png`` and ``.webp`` are animated unless the source is one picture. Sizes follow from the frames.

    Args:
        path: to be written; replaced if it is there.
        source: of the frames, or what :func:`~revisage.media.info.probe` said of it. Its file must stay where it is
            until the sink is closed: metadata and untouched pictures are copied from it.
        options: none of them applies to images.

    Raises:
        OutputError: no image format has this extension, or it cannot hold what the source has; or the path cannot be
            written.
        DiskFullError: no space is left.
    """
    del options
    info = source if isinstance(source, MediaInfo) else source.info
    kind = image_format(path, info)
    return StillSink(path, info, kind) if isinstance(kind, str) else kind(path, info)


def image_format(path: Path, info: MediaInfo) -> type[AnimationSink] | str:
    """What writes an image of the name's extension: the sink of an animated format, or the name of a still one.

    Raises:
        OutputError: no image format has this extension, or it cannot hold what the source has.
    """
    asked = format_of(path.suffix)
    if asked is None or asked.is_video:
        known = ", ".join(sorted(IMAGE_SUFFIXES))
        raise OutputError(f"{path}: no image format has the extension '{path.suffix}'; use one of {known}")
    animation = _ANIMATIONS.get(asked.name)
    single = info.kind == "image" or info.frame_count == 1
    same = animation is not None and info.kind == "animation" and info.codec == animation.format
    if animation is not None and (same or not single or "image" not in asked.kinds):
        return animation
    if not single:
        raise OutputError(f"{path}: {asked.name.upper()} holds one picture; name a .gif, .png, .webp or video file")
    return asked.name


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
            with reported(self._info.path):
                self._file.write(self._info.path.read_bytes())
        else:
            self._file.write(self._encoded(samples, still))
        self._written = True

    def _is_unchanged(self, samples: Samples, still: Still) -> bool:
        same_format = still.container == self._container and not still.truncated and still.pages == 1
        return same_format and samples.dtype == still.samples.dtype and np.array_equal(samples, still.samples)

    def _encoded(self, samples: Samples, still: Still | None) -> bytes:
        metadata = Metadata() if still is None else read_metadata(still.path)
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
        if samples.ndim == 3 and samples.shape[2] in (2, 4):
            self.notes.append("JPEG has no transparency; it was laid on white")
            samples = _on_white(samples)
        return encode_jpeg(samples, still, metadata)

    def _lossless(self, still: Still | None) -> bool:
        """Whether the source is coded without loss."""
        if still is None:
            return self._info.kind == "animation"
        if still.container == "webp":
            return parse_webp(still.path).lossless
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
