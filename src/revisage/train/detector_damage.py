"""Damage to training images as cameras, light and codecs do it: colour, light, blur, noise, loss of detail, JPEG.

Deliberately cheap, as one core feeds the training. All functions take and give (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from revisage.train.recode import from_planes, recoded, to_planes

__all__ = ["coded_as_video", "cover_mouth", "damage_image"]

UInt8 = npt.NDArray[np.uint8]


def damage_image(image: UInt8, rng: np.random.Generator) -> UInt8:
    """A damaged copy of the image; about one in six is left as it is."""
    if rng.random() < 0.15:
        return np.ascontiguousarray(image)
    if rng.random() < 0.7:
        image = change_light(image, rng)
    if rng.random() < 0.12:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8, copy=False)
    kind = rng.random()
    if kind < 0.1:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8)), np.uint8)
    elif kind < 0.2:
        image = blur_by_motion(image, rng)
    elif kind < 0.35:
        image = lose_detail(image, rng)
    if rng.random() < 0.2:
        image = add_noise(image, rng)
    if rng.random() < 0.35:
        image = compress(image, rng)
    return np.ascontiguousarray(image)


def change_light(image: UInt8, rng: np.random.Generator) -> UInt8:
    """Gain, offset, gamma and colour cast in one look-up table per channel; one in eight is low light."""
    ramp = np.linspace(0, 1, 256)
    gamma = np.exp(rng.uniform(-0.5, 0.5))
    dark = rng.random() < 0.12
    gain = rng.uniform(0.2, 0.5) if dark else rng.uniform(0.65, 1.3)
    # Low light scales about black; other changes of contrast about middle grey.
    pivot, offset = (0.0, rng.uniform(0, 0.05)) if dark else (0.5, rng.uniform(-0.08, 0.08))
    cast = gain * rng.uniform(0.88, 1.12, 3)
    tables = np.clip((ramp[:, None] ** gamma - pivot) * cast + pivot + offset, 0, 1)
    order = rng.permutation(3) if rng.random() < 0.03 else np.arange(3)
    return np.asarray(cv2.LUT(image[..., order], np.round(tables * 255).astype(np.uint8)[None]), np.uint8)


def blur_by_motion(image: UInt8, rng: np.random.Generator) -> UInt8:
    """A straight streak of 3 to 11 px in any direction."""
    length = int(rng.integers(3, 12)) | 1
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = (length - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    start, end = (np.round((length - 1) / 2 + sign * reach).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def lose_detail(image: UInt8, rng: np.random.Generator) -> UInt8:
    """Shrunk by up to three and enlarged again."""
    height, width = image.shape[:2]
    factor = rng.uniform(1.3, 3.0)
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    back = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(small, (width, height), interpolation=back), np.uint8)


def add_noise(image: UInt8, rng: np.random.Generator) -> UInt8:
    """Gaussian noise, of each channel or of all alike, with a spread of 2 to 20 levels."""
    height, width = image.shape[:2]
    channels = 3 if rng.random() < 0.6 else 1
    noise = rng.standard_normal((height, width, channels), np.float32) * np.float32(rng.uniform(2, 20))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compress(image: UInt8, rng: np.random.Generator) -> UInt8:
    """JPEG at quality 15 to 80."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 81))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8) if done else image


def coded_as_video(image: UInt8, crf: int) -> UInt8:
    """What H.264 at a rate factor keeps in the second of two equal frames; an odd last row or column stays."""
    height, width = (side // 2 * 2 for side in image.shape[:2])
    planes = to_planes(np.ascontiguousarray(image[:height, :width]))
    *_, last = recoded([planes, planes], "h264", crf)
    coded = image.copy()
    coded[:height, :width] = from_planes(last)
    return coded


def cover_mouth(image: UInt8, landmarks: npt.NDArray[np.floating[Any]], rng: np.random.Generator) -> None:
    """Draw a face mask over nose, mouth and chin, in place. landmarks: (5, 2) px, eyes, nose, mouth corners."""
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks.astype(np.float64)
    down = (left_mouth + right_mouth - left_eye - right_eye) / 2
    across = right_eye - left_eye + 1e-3
    low = rng.uniform(0.3, 0.55)
    outline = np.array(
        [
            left_eye + low * down - 0.35 * across,
            nose - rng.uniform(0.0, 0.4) * down,
            right_eye + low * down + 0.35 * across,
            right_mouth + 0.3 * down + 0.3 * across,
            (left_mouth + right_mouth) / 2 + 0.65 * down,
            left_mouth + 0.3 * down - 0.3 * across,
        ]
    )
    if not (np.abs(outline) < 4 * max(image.shape)).all():
        return
    grey = rng.uniform(10, 245)
    colour = np.clip(grey + rng.normal(0, 25, 3), 0, 255)
    hull = cv2.convexHull(outline.astype(np.float32)).reshape(-1, 2)
    cv2.fillConvexPoly(image, np.round(hull * 16).astype(np.int32), colour.tolist(), cv2.LINE_AA, 4)
    # Pleats: a mask is not one flat colour.
    for part in (0.3, 0.6):
        start = np.round(outline[0] + part * (outline[5] - outline[0])).astype(int).tolist()
        end = np.round(outline[2] + part * (outline[3] - outline[2])).astype(int).tolist()
        cv2.line(image, start, end, (colour * rng.uniform(0.75, 1.0)).tolist(), 1, cv2.LINE_AA)
