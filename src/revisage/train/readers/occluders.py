"""Things before a face, drawn: hands, microphones, glasses, lettering, strands of hair, masks of cloth, objects.

What is drawn tells what it hides; no shape is copied from pictures. A surface may be taken from one, so that not only
what is plain is known to be before a face.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from revisage.core import Image

__all__ = ["OCCLUDERS", "occlude"]

Mask = NDArray[np.uint8]
Colour = tuple[int, int, int]
Paint = Colour | NDArray[np.uint8]
"""One colour, or one for each pixel."""

Random = np.random.Generator

_SHADES = 0.25
"""How much lighter and darker an object is from one side to the other."""


def occlude(
    image: Image, random: Random, *, kinds: Sequence[str] = (), surface: Image | None = None
) -> tuple[Image, NDArray[np.bool_]]:
    """A copy of an aligned face with one to two things drawn before it, and where they hide it.

    Args:
        image: ``(size, size, 3) uint8 RGB``, an aligned face (FFHQ frame).
        random: drawn from.
        kinds: names of :data:`OCCLUDERS` to choose from; empty: all.
        surface: ``(h, w, 3) uint8 RGB``, a picture that two of three large things take their texture from, are rounded
            by light and throw a shadow; without it all are plain.

    Returns:
        The picture, and ``(size, size) bool``.
    """
    covered = image.copy()
    hidden = np.zeros(image.shape[:2], bool)
    names = tuple(kinds) or tuple(OCCLUDERS)
    for _ in range(1 + int(random.random() < 0.25)):
        name = names[int(random.integers(len(names)))]
        mask, colour = OCCLUDERS[name](covered, random)
        texture = None
        if surface is not None and name in _SOLID and random.random() < 2 / 3:
            texture = _texture(surface, len(image), random)
            _throw_shadow(covered, mask, random)
        _paint(covered, mask, colour, random, texture)
        hidden |= mask > 127
    return covered, hidden


def _paint(image: Image, mask: Mask, colour: Paint, random: Random, texture: NDArray[np.float32] | None) -> None:
    """Colour, a slope of light over it, and some grain, where the mask is; in place."""
    side = len(image)
    angle = random.uniform(0, 2 * math.pi)
    ys, xs = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
    light = 1 + random.uniform(0, 2 * _SHADES) * (math.cos(angle) * xs + math.sin(angle) * ys)
    grain = random.normal(0, random.uniform(0, 8), (side, side, 1)).astype(np.float32)
    plain = np.array(colour, np.float32)
    if texture is not None:
        light = light * _rounded(mask, random)
        plain = plain + texture
    paint = np.clip(plain * light[..., None] + grain, 0, 255)
    share = (mask.astype(np.float32) / 255)[..., None]
    image[:] = np.rint(image * (1 - share) + paint * share).astype(np.uint8)


def _texture(surface: Image, side: int, random: Random) -> NDArray[np.float32]:
    """What is in a part of a picture about its mean colour, ``(side, side, 3)``."""
    height, width = surface.shape[:2]
    window = max(8, round(min(height, width) * random.uniform(0.15, 0.6)))
    top, left = int(random.integers(height - window + 1)), int(random.integers(width - window + 1))
    part = cv2.resize(surface[top : top + window, left : left + window], (side, side), interpolation=cv2.INTER_LINEAR)
    detail = part.astype(np.float32) - part.mean(axis=(0, 1), dtype=np.float32)
    return detail * np.float32(random.uniform(0.2, 1.0))


def _rounded(mask: Mask, random: Random) -> NDArray[np.float32]:
    """Light on a body that is darker toward its edges: factors, 1 in its middle."""
    depth = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
    inside = np.clip(depth / (len(mask) * random.uniform(0.01, 0.08)), 0, 1)
    factors: NDArray[np.float32] = (1 - random.uniform(0, 0.5) * (1 - inside)).astype(np.float32)
    return factors


def _throw_shadow(image: Image, mask: Mask, random: Random) -> None:
    """Darken the face about a body, more on one side; in place."""
    side = len(image)
    shift = np.array([[1, 0, random.normal(0, 0.02) * side], [0, 1, random.normal(0.01, 0.02) * side]])
    moved = cv2.warpAffine(mask, shift, (side, side))
    shade = cv2.GaussianBlur(moved, (0, 0), side * random.uniform(0.01, 0.04)).astype(np.float32) / 255
    image[:] = np.rint(image * (1 - random.uniform(0, 0.5) * shade[..., None])).astype(np.uint8)


def _blank(image: Image) -> Mask:
    return np.zeros(image.shape[:2], np.uint8)


def _place(image: Image, random: Random) -> tuple[int, int]:
    """Somewhere on the face: it fills the middle of the crop."""
    x, y = random.uniform(0.28, 0.72), random.uniform(0.38, 0.88)
    return round(x * len(image)), round(y * len(image))


def _any_colour(random: Random) -> Colour:
    red, green, blue = (int(value) for value in random.integers(10, 246, 3))
    return red, green, blue


def _hand(image: Image, random: Random) -> tuple[Mask, Colour]:
    """A palm with fingers, of about the colour of the face."""
    side, mask = len(image), _blank(image)
    x, y = _place(image, random)
    reach, turn = side * random.uniform(0.1, 0.2), random.uniform(0, 360)
    cv2.ellipse(mask, (x, y), (round(reach), round(reach * 0.8)), turn, 0, 360, 255, -1, cv2.LINE_AA)
    for finger in range(int(random.integers(2, 5))):
        angle = math.radians(turn - 30 + 22 * finger + random.uniform(-5, 5))
        length = reach * random.uniform(1.6, 2.4)
        tip = (round(x + length * math.cos(angle)), round(y + length * math.sin(angle)))
        cv2.line(mask, (x, y), tip, 255, max(2, round(reach * random.uniform(0.3, 0.45))), cv2.LINE_AA)
    centre = image[side // 2 - side // 8 : side // 2 + side // 8, side * 3 // 8 : side * 5 // 8]
    skin = centre.reshape(-1, 3).mean(axis=0) * random.uniform(0.75, 1.2)
    red, green, blue = (int(value) for value in np.clip(skin, 0, 255))
    return mask, (red, green, blue)


def _microphone(image: Image, random: Random) -> tuple[Mask, Colour]:
    """A dark ball on a stick that comes from below."""
    side, mask = len(image), _blank(image)
    x, y = round(side * random.uniform(0.35, 0.65)), round(side * random.uniform(0.66, 0.92))
    radius = round(side * random.uniform(0.07, 0.14))
    foot = (round(x + side * random.uniform(-0.4, 0.4)), side)
    cv2.line(mask, (x, y), foot, 255, max(2, round(radius * random.uniform(0.6, 1.2))), cv2.LINE_AA)
    axes = (radius, round(radius * random.uniform(1.0, 1.4)))
    cv2.ellipse(mask, (x, y), axes, random.uniform(-30, 30), 0, 360, 255, -1, cv2.LINE_AA)
    grey = int(random.integers(10, 90))
    return mask, (grey, grey, grey)


def _glasses(image: Image, random: Random) -> tuple[Mask, Colour]:
    """Rims about both eyes, half of the time with dark lenses: rims alone hide nothing but what they cross."""
    side, mask = len(image), _blank(image)
    dark = random.random() < 0.5
    thickness = max(1, round(side * random.uniform(0.006, 0.02)))
    width, height = (round(side * random.uniform(low, high)) for low, high in ((0.08, 0.11), (0.055, 0.09)))
    y = round(side * random.uniform(0.46, 0.5))
    for x in (0.377, 0.623):
        centre = (round(side * x), y)
        cv2.ellipse(mask, centre, (width, height), 0, 0, 360, 255, -1 if dark else thickness, cv2.LINE_AA)
    cv2.line(mask, (round(side * 0.377) + width, y), (round(side * 0.623) - width, y), 255, thickness, cv2.LINE_AA)
    for x, edge in ((0.377, 0.2), (0.623, 0.8)):
        start = round(side * x) + (width if edge > 0.5 else -width)
        cv2.line(mask, (start, y), (round(side * edge), y), 255, thickness, cv2.LINE_AA)
    grey = int(random.integers(5, 70))
    return mask, (grey, grey, grey)


def _lettering(image: Image, random: Random) -> tuple[Mask, Paint]:
    """A caption, a title or a logo: lines of letters, often with an outline, some on a bar; or a bar alone."""
    side = len(image)
    y = side * random.uniform(0.2, 0.95)
    if random.random() < 0.15:
        mask = _blank(image)
        cv2.rectangle(mask, (0, round(y)), (side, round(y + side * random.uniform(0.06, 0.16))), 255, -1)
        return mask, _any_colour(random)
    ink, cover = _letters(side, y, random)
    colour = _letter_colour(random)
    about = np.array((0, 0, 0) if sum(colour) > 380 else (255, 255, 255), np.float32)
    share = ink.astype(np.float32)[..., None] / 255
    return cover, np.rint(about * (1 - share) + np.array(colour, np.float32) * share).astype(np.uint8)


def _letters(side: int, y: float, random: Random) -> tuple[Mask, Mask]:
    """One to three lines from ``y`` on: what of each pixel is letters, and what is letters or what they stand on."""
    size = side * math.exp(random.uniform(math.log(0.05), math.log(0.22)))
    font = ImageFont.load_default(size)
    bold = round(size * random.uniform(0.0, 0.09))
    edge = round(size * random.uniform(0.04, 0.12)) if random.random() < 0.6 else 0
    ink, cover = (PillowImage.new("L", (side, side)) for _ in range(2))
    x = side * random.uniform(-0.1, 0.5)
    for line in range(1 + int(random.integers(3) if size < 0.12 * side else 0)):
        place, text = (x, y - size + 1.2 * size * line), _words(random, max(2, round(1.6 * side / size)))
        ImageDraw.Draw(ink).text(place, text, fill=255, font=font, stroke_width=bold)
        ImageDraw.Draw(cover).text(place, text, fill=255, font=font, stroke_width=bold + edge)
    turn = random.normal(0, 8) if random.random() < 0.2 else 0.0
    letters, wide = (np.asarray(drawn.rotate(turn, PillowImage.Resampling.BILINEAR)) for drawn in (ink, cover))
    return letters, _on_a_bar(wide) if random.random() < 0.15 else wide


def _words(random: Random, length: int) -> str:
    """Letters, capital or not, digits and gaps."""
    capital = random.random() < 0.5
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if capital else "abcdefghijklmnopqrstuvwxyzABCDEFGHI"
    drawn = random.integers(0, len(letters), length)
    gaps = random.random(length) < 0.18
    digits = random.random(length) < 0.08
    return "".join(
        " " if gap else str(int(number) % 10) if digit else letters[int(number)]
        for number, gap, digit in zip(drawn, gaps, digits, strict=True)
    )


def _on_a_bar(letters: Mask) -> Mask:
    """The rectangle about letters."""
    bar = np.zeros_like(letters)
    x, y, width, height = cv2.boundingRect(letters)
    bar[y : y + height, x : x + width] = 255
    return bar


def _letter_colour(random: Random) -> Colour:
    """White mostly, as captions are; yellow, black or any."""
    usual: tuple[Colour, ...] = ((255, 255, 255), (255, 255, 255), (250, 235, 30), (0, 0, 0))
    return usual[int(random.integers(len(usual)))] if random.random() < 0.7 else _any_colour(random)


def _hair(image: Image, random: Random) -> tuple[Mask, Colour]:
    """Strands that fall over the face from above."""
    side, mask = len(image), _blank(image)
    root = np.array([side * random.uniform(0.2, 0.8), -0.1 * side])
    tip = np.array([side * random.uniform(0.15, 0.85), side * random.uniform(0.4, 0.9)])
    spread = side * random.uniform(0.04, 0.14)
    parts = np.linspace(0, 1, 12)[:, None]
    for _ in range(int(random.integers(15, 60))):
        bow = np.array([random.normal(0, spread), 0]) * np.sin(parts * math.pi)
        strand = root + (tip - root) * parts + bow + np.array([random.normal(0, spread), 0]) * (0.4 + 0.6 * parts)
        cv2.polylines(mask, [np.rint(strand).astype(np.int32)], False, 255, 1 + side // 128, cv2.LINE_AA)
    tone = random.uniform(0.1, 1.0)
    return mask, (round(200 * tone), round(160 * tone), round(110 * tone))


def _object(image: Image, random: Random) -> tuple[Mask, Colour]:
    """Anything with straight edges or none, from a cup to a scarf over half the face."""
    side, mask = len(image), _blank(image)
    x, y = _place(image, random)
    width, height = (round(side * random.uniform(0.08, 0.3)) for _ in range(2))
    turn = random.uniform(0, 180)
    if random.random() < 0.5:
        cv2.ellipse(mask, (x, y), (width, height), turn, 0, 360, 255, -1, cv2.LINE_AA)
    else:
        corners = cv2.boxPoints(((x, y), (2 * width, 2 * height), turn))
        cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 255, cv2.LINE_AA)
    return mask, _any_colour(random)


def _veil(image: Image, random: Random) -> tuple[Mask, Colour]:
    """A mask of cloth or a scarf from the nose down."""
    side, mask = len(image), _blank(image)
    top, middle = side * random.uniform(0.5, 0.66), side * random.uniform(0.48, 0.62)
    left, right = side * random.uniform(0.12, 0.24), side * random.uniform(0.76, 0.88)
    bottom = side * random.uniform(0.88, 1.0)
    outline = [(left, top), (side / 2, middle), (right, top), (right - 0.06 * side, 0.82 * side)]
    outline += [(side * 0.6, bottom), (side * 0.4, bottom), (left + 0.06 * side, 0.82 * side)]
    cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 255, cv2.LINE_AA)
    return mask, _any_colour(random)


OCCLUDERS: dict[str, Callable[[Image, Random], tuple[Mask, Paint]]] = {
    "hand": _hand,
    "microphone": _microphone,
    "glasses": _glasses,
    "lettering": _lettering,
    "hair": _hair,
    "object": _object,
    "veil": _veil,
}
"""What is drawn, by name: a mask and what it is painted with, for a face."""

_SOLID = ("hand", "microphone", "object", "veil")
"""Those that have a surface to speak of."""
