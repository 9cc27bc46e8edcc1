"""What is finer than a crop: changed in the frame first, by a net that sees the frame's own pixels.

A crop of 256 px shows a face of 140 px pixel by pixel. Of a larger face it shows a reduction, and what is finer stays
in the frame: pores and lashes, but noise, blocks and blur too. There a fine restorer goes first; the crop is then cut
from what is left, so that a restorer sees it, and its own change is added to it by the same mask.

Not each face needs that: a clean one is left as it is, and of a sharp one nothing is shown that a restorer makes of its
crop; nor of a small one that is clean. All are told by :class:`revisage.core.Detail`, and settled for a whole track: a
face whose measures waver about the limits would else be changed in one frame and left in the next.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core import Detail, Face, Region
from revisage.faces.alignment import (
    AlignedFace,
    FineChange,
    align,
    crop_scale,
    invert,
    transform,
    warp_antialiased,
)
from revisage.faces.compositing import landmark_mask, shown_region
from revisage.faces.pixel_damage import damage_of

if TYPE_CHECKING:
    from revisage.media import Frame

__all__ = [
    "BY_FRAME",
    "FineChoice",
    "FineNet",
    "crop_share",
    "detail_of",
    "fine_share",
    "sharpness",
    "track_choices",
    "wants_restorer",
    "with_fine",
]

FineNet = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""The change, ``(h, w, 3) float32`` in 1/255, of a ``(h, w, 3) uint8 RGB`` picture."""

_BEGINS, _WHOLE = 1.0, 1.5
"""Frame pixels in one of the crop: up to the first nothing is finer than the crop, from the second on the change is
shown in full. Between, it grows smoothly, so that nothing switches while a face comes nearer."""

_CONTEXT = 32
"""The net looks at some 90 px around a pixel; beyond this many it finds next to nothing that it did not know."""

_SAMPLE, _SAMPLE_EDGE = 128, 16
"""Side of the window in a face's middle that is looked at first, and what does not count of it on each side (px)."""

_IN_STILLS, _IN_TRACKS = (0.9, 1.2), (1.3, 1.6)
"""Root mean square of the change in that window (1/255): up to the first nothing is changed, from the second on all.
Clean faces have 0.4 to 0.7 (grainy ones 1.8), JPEG 90 and 75 0.6 to 0.8, where the net gains nothing, JPEG 50, where
it gains 0.37 dB, 1.0 to 1.4. H.264 has as much from crf 28 to 32, where 0.05 to 0.10 dB are not worth half as much time
again in each frame of a film."""

_CODED_BLOCK = 16
"""Blocks of codecs lie at multiples of this (px), with halved colours. A part of a frame that begins at one shows by
the place alone where the edge of a block may be, which the net has learnt."""

_TINT_CELL, _TINT_SIGMA = 8, 3.0
"""Low frequencies of a change: the side of a cell (px) and the deviation of a Gaussian in cells, 24 px together. Steps
between the blocks of codecs, 8 and 16 px wide, are finer than that."""

_SHARP = (0.70, 0.78)
"""Ratios of bands (see `sharpness`) of faces twice as large as their crops, after the fine change. Blurred by 2 px
they have 0.64 to 0.73, and a restorer of the crop brings 1.1 dB. Damaged in thirteen other ways (noise, JPEG, H.264,
reduced to a half and a third) they have 0.70 to 1.04, and there it brings nothing, costs up to 0.5 dB, and its time."""

_DAMAGED = (0.0, 1.0)
"""Damage of small faces (see :mod:`revisage.faces.pixel_damage`), of which nothing is restored, and all."""

_CLEARLY = 4
"""Measures in a row that must lie beyond the other limit before a track's face is taken for another than it was."""

_INNER_FACE = ((0.39, 0.86), (0.27, 0.73))
"""From the brows to the chin, rows and columns as parts of the crop's side."""


def fine_share(face: AlignedFace) -> float:
    """How much of a fine change is shown of a face: 0 where its crop shows every pixel, 1 where it shows 2 of 3."""
    return _smooth_step((1 / crop_scale(face.affine) - _BEGINS) / (_WHOLE - _BEGINS))


def crop_share(frame: Frame, face: AlignedFace) -> float:
    """How much of what a restorer changes in the crop is shown where nothing finer is judged, 0 to 1.

    A small face that is clean needs nothing of it, a large one all.

    Args:
        frame: that the face was aligned in; not changed.
        face: the face.
    """
    share = fine_share(face)
    return share if share == 1 else share + (1 - share) * _damaged(frame, face, BY_FRAME)


@dataclass(frozen=True)
class FineChoice:
    """What is done with a face; None settles that by the frame alone.

    Attributes:
        needed: 0 to 1, of a large face how much of what a fine restorer changes is shown: 0 leaves a clean one alone.
        sharp: 0 to 1, of a large face how much of what a restorer changes in the crop is left out.
        damaged: 0 to 1, of a small face how much of what a restorer changes in the crop is shown.
    """

    needed: float | None = 1.0
    sharp: float | None = 0.0
    damaged: float | None = 1.0


BY_FRAME = FineChoice(None, None, None)
"""Nothing is known of the face but the frame."""


def with_fine(
    frame: Frame,
    face: AlignedFace,
    net: FineNet | None,
    share: float,
    choice: FineChoice = BY_FRAME,
    *,
    always: bool = False,
) -> AlignedFace:
    """A face with the fine change of its part of the frame, and how much of what a restorer changes in it is shown.

    Args:
        frame: that the face was aligned in; not changed.
        face: the face.
        net: says what to change; only a face without any share needs none.
        share: 0 to 1, how much of that is changed: 0 is a small face, 1 a large one, and those between are some of
            both.
        choice: what is done with the face.
        always: a clean face is changed, too.

    Returns:
        The face with its ``fine`` set; the face itself where it is small and restored fully, or where nothing of it
        lies in the frame.
    """
    if share == 0:
        damaged = _damaged(frame, face, choice)
        return face if damaged == 1 else replace(face, fine=FineChange(face.region, None, face.crop, damaged))
    region = _region(frame, face)
    if region is None:
        return face
    assert net is not None
    needed = 1.0 if always else choice.needed
    if needed is None:
        needed = _within(_middle_change(frame, face, net, region), _IN_STILLS)
    delta, crop = _changed(frame, face, net, region, share * needed)
    rest = share * (1 - (sharpness(crop) if choice.sharp is None else choice.sharp))
    if share < 1:
        rest += (1 - share) * _damaged(frame, face, choice)
    return replace(face, fine=FineChange(region, delta, crop, rest))


def detail_of(frame: Frame, face: Face, net: FineNet, size: int) -> Detail | None:
    """What there is to know about the fine detail of a face; None where nothing of it is in the frame.

    Args:
        frame: that shows it.
        face: the face.
        net: says what to change; not called for a face whose crop shows every pixel.
        size: side of the crop (px).
    """
    aligned = align(frame, face, size)
    share, region = fine_share(aligned), _region(frame, aligned)
    if region is None:
        return None
    damage = damage_of(frame, aligned) if share < 1 else None
    if share == 0:
        return Detail(damage=damage)
    change = _middle_change(frame, aligned, net, region)
    inner = _inner_region(frame, aligned, region)
    _, crop = _changed(frame, aligned, net, inner, share * _within(change, _IN_TRACKS))
    return Detail(change, _ratio_of_bands(crop), damage)


def track_choices(details: Mapping[int, Detail], frames: int) -> list[FineChoice]:
    """What is done with a face in each frame of its track.

    One choice holds for all frames, by the medians of all measures. Only where several measures in a row say clearly
    the other of what those before said, it changes, over the frames between two measures.

    Args:
        details: what was measured in some frames, by their places in the track.
        frames: of the track.

    Returns:
        For each frame the choice; by the frame alone where nothing was measured.
    """
    needed = _along({place: detail.change for place, detail in details.items()}, _IN_TRACKS, frames)
    sharp = _along({place: detail.sharpness for place, detail in details.items()}, _SHARP, frames)
    damaged = _along({place: detail.damage for place, detail in details.items()}, _DAMAGED, frames)
    return [FineChoice(*choice) for choice in zip(needed, sharp, damaged, strict=True)]


def wants_restorer(detail: Detail) -> bool:
    """Whether anything of what a restorer makes of its crop would be shown of a face of which no more is known."""
    (choice,) = track_choices({0: detail}, 1)
    is_soft, is_damaged = choice.sharp is not None and choice.sharp < 1, bool(choice.damaged)
    return is_soft or is_damaged


def _along(measures: Mapping[int, float | None], limits: tuple[float, float], frames: int) -> Sequence[float | None]:
    """How far what was measured in some frames of a track lies between two limits, 0 to 1, for each frame."""
    known = {place: measure for place, measure in sorted(measures.items()) if measure is not None}
    if not known:
        return [None] * frames
    held = np.interp(np.arange(frames), list(known), _held(list(known.values()), limits))
    return [round(float(part), 4) for part in held]


def _damaged(frame: Frame, face: AlignedFace, choice: FineChoice) -> float:
    return _within(damage_of(frame, face), _DAMAGED) if choice.damaged is None else choice.damaged


def _held(values: Sequence[float], limits: tuple[float, float]) -> list[float]:
    """How far each of some values in a row lies between two limits, 0 to 1: that of the median of those it is with."""
    low, high = limits
    clear = [(place, value >= high) for place, value in enumerate(values) if not low < value < high]
    starts = [0]
    last: bool | None = None
    for is_high, run in itertools.groupby(clear, key=lambda entry: entry[1]):
        places = [place for place, _ in run]
        if len(places) >= _CLEARLY:
            if last is not None and last != is_high:
                starts.append(places[0])
            last = is_high
    held: list[float] = []
    for start, stop in itertools.pairwise([*starts, len(values)]):
        middle = statistics.median(values[start:stop])
        held += [_within(middle, limits)] * (stop - start)
    return held


def _region(frame: Frame, face: AlignedFace) -> Region | None:
    """The part of a frame that a face's fine change is made from; None where nothing of the face is in it."""
    shown = shown_region(landmark_mask(face.landmarks, face.size), invert(face.affine), frame.size_hw)
    return None if shown is None else _with_context(shown, frame.size_hw)


def _inner_region(frame: Frame, face: AlignedFace, region: Region) -> Region:
    """The part of a face's region that the sharpness of its crop is told by: half of it, or less."""
    rows, columns = (np.array(part) * face.size for part in _INNER_FACE)
    corners = transform(invert(face.affine), [(x, y) for x in columns for y in rows])
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    left, right = (int(side) for side in np.clip((left, right), region.left, region.right))
    top, bottom = (int(side) for side in np.clip((top, bottom), region.top, region.bottom))
    if left == right or top == bottom:
        return region
    return _with_context(Region(left, top, right, bottom), frame.size_hw)


def _changed(
    frame: Frame, face: AlignedFace, net: FineNet, region: Region, part: float
) -> tuple[NDArray[np.float32] | None, NDArray[np.uint8]]:
    """A part, 0 to 1, of a fine change, None where that is nothing, and the face's crop with it."""
    if part == 0:
        return None, face.crop
    delta = _without_tint(net(frame.rgb(region))) * np.float32(part)
    return delta, _changed_crop(face, region, delta)


def _middle_change(frame: Frame, face: AlignedFace, net: FineNet, region: Region) -> float:
    """Root mean square of what a net would change in a face's middle (1/255); the most there is for a small one."""
    if min(region.size_hw) < 2 * _SAMPLE:
        return 255.0
    middle = transform(invert(face.affine), [face.landmarks.mean(axis=0)])[0]
    sides = []
    for centre, least, most in zip(middle, (region.left, region.top), (region.right, region.bottom), strict=True):
        first = round(float(centre)) - _SAMPLE // 2
        sides.append(int(np.clip(first // _CODED_BLOCK * _CODED_BLOCK, least, most - _SAMPLE)))
    left, top = sides
    seen = net(frame.rgb(Region(left, top, left + _SAMPLE, top + _SAMPLE)))
    inner = seen[_SAMPLE_EDGE:-_SAMPLE_EDGE, _SAMPLE_EDGE:-_SAMPLE_EDGE]
    return float(np.sqrt(np.mean(np.square(inner))))


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Whether the face in a crop is as fine as its pixels: 0 soft, 1 sharp, smooth between.

    The deviation of the band above a Gaussian of 1 px over that of the octave below it. Faces differ by a tenth in it,
    whatever their skin and hair.
    """
    return _within(_ratio_of_bands(crop), _SHARP)


def _ratio_of_bands(crop: NDArray[np.uint8]) -> float:
    rows, columns = (slice(int(low * len(crop)), int(high * len(crop))) for low, high in _INNER_FACE)
    grey = cv2.cvtColor(np.ascontiguousarray(crop[rows, columns]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    soft, softer = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1.0, 2.0))
    return float((grey - soft).std()) / max(float((soft - softer).std()), 1e-3)


def _within(value: float, limits: tuple[float, float]) -> float:
    """How far a value lies between two limits, 0 to 1, smoothly."""
    low, high = limits
    return _smooth_step((value - low) / (high - low))


def _smooth_step(value: float) -> float:
    part = float(np.clip(value, 0, 1))
    return part * part * (3 - 2 * part)


def _with_context(region: Region, size_hw: tuple[int, int]) -> Region:
    return Region(
        max(0, region.left - _CONTEXT) // _CODED_BLOCK * _CODED_BLOCK,
        max(0, region.top - _CONTEXT) // _CODED_BLOCK * _CODED_BLOCK,
        min(size_hw[1], region.right + _CONTEXT),
        min(size_hw[0], region.bottom + _CONTEXT),
    )


def _without_tint(delta: NDArray[np.float32]) -> NDArray[np.float32]:
    """A change without its low frequencies: it takes detail away and adds some, it does not colour a face."""
    height, width = delta.shape[:2]
    cells = (max(1, width // _TINT_CELL), max(1, height // _TINT_CELL))
    coarse = cv2.GaussianBlur(cv2.resize(delta, cells, interpolation=cv2.INTER_AREA), (0, 0), _TINT_SIGMA)
    tint = cv2.resize(coarse.reshape(*cells[::-1], 3), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(delta - tint, dtype=np.float32)


def _changed_crop(face: AlignedFace, region: Region, delta: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The crop as cut from the changed frame: cutting is linear, so the change is cut alike and added."""
    to_crop = face.affine.copy()
    to_crop[:, 2] = transform(face.affine, [(region.left, region.top)])[0]
    side = (face.size, face.size)
    change = warp_antialiased(delta, to_crop, side, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)
    return np.clip(np.rint(face.crop + change), 0, 255).astype(np.uint8)
