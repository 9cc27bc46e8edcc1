"""Writing baseline TIFF at 8 and 16 bits a sample with the tags of another one (TIFF 6.0, Adobe 1992).

Pillow writes no 16-bit colour and OpenCV no tags, so the pixels are laid out here; the directory is Pillow's.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

__all__ = ["encode_tiff", "kept_tags"]

WHITE_IS_GREATEST, RGB, CMYK = 1, 2, 5
UNCOMPRESSED, DEFLATE = 1, 8
_EXIF, _GPS = 34665, 34853
_STRUCTURE = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 318, 319, 320, 322, 323, 324)
).union((325, 330, 332, 334, 338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532))
"""Tags about how pixels are laid out, which the writer sets itself."""


def kept_tags(image: TiffImageFile) -> ImageFileDirectory_v2:
    """The tags of a loaded TIFF that do not describe how its pixels are laid out; EXIF and GPS with their content."""
    kept = ImageFileDirectory_v2()
    exif = image.getexif()
    for tag in image.tag_v2:
        if tag in _STRUCTURE:
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
    directory[259] = DEFLATE if compressed else UNCOMPRESSED
    directory[262] = CMYK if cmyk else RGB if channels >= 3 else WHITE_IS_GREATEST
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
