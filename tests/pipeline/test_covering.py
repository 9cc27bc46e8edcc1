"""What is before a face is left as it is: by the mask, softly, steadily; and a face mostly hidden altogether."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
from pipeline_fakes import landmarks

import revisage
from revisage.core import Crop, Face, Image, RestoreConfig
from revisage.faces import align, composite, hidden_share, shown_mask, with_cover
from revisage.faces.alignment import FineChange
from revisage.media import Frame
from revisage.pipeline import plan
from revisage.pipeline.restoration import Block, FrameInWork, Networks, PlannedFace, StageClock
from revisage.pipeline.restoration.covering import spare_covered
from revisage.pipeline.restoration.frame_restoration import FaceWork
from revisage.readers import FaceReadings
from revisage.temporal import Motion

SIZE, MOST = 64, 0.6
STILL = Motion(np.zeros((SIZE, SIZE, 2), np.float32), np.ones((SIZE, SIZE), np.float32))
DOUBTFUL = Motion(STILL.flow, np.zeros((SIZE, SIZE), np.float32))


class Reader:
    """Says that what is bright is before a face, a landmark there too; counts the crops that it is shown."""

    def __init__(self, *, tells: bool = True) -> None:
        self.tells, self.shown = tells, 0

    def __call__(self, crops: Crop) -> FaceReadings:
        self.shown += len(crops)
        count = len(crops)
        cover = np.stack([cv2.resize((crop[..., 0] > 200).astype(np.float32), (64, 64)) for crop in crops])
        identity, pose, expression = (np.zeros((count, wide), np.float32) for wide in (128, 3, 7))
        rows = np.linspace(0, SIZE - 1, 68, dtype=np.float32)
        points = np.stack([np.full((count, 68), SIZE / 2, np.float32), np.tile(rows, (count, 1))], axis=2)
        seen = 1 - np.stack([cells[np.rint(rows).astype(int), SIZE // 2] for cells in cover])
        return FaceReadings(identity, pose, points, expression, seen, cover if self.tells else None)


def item(
    index: int, bright: slice | None = None, motion: Motion | None = None, block: Block | None = None
) -> FrameInWork:
    """A frame with one grey face, some of whose rows something bright is before."""
    pixels = np.full((SIZE, SIZE, 3), 100, np.uint8)
    if bright is not None:
        pixels[bright] = 255
    frame, face = Frame.from_array(pixels, pts=index), Face((10, 10, 40, 40), landmarks(0, 0, SIZE))
    found = FrameInWork(frame, [PlannedFace(3, face, 1.0)], index=index, blocks=() if block is None else (block,))
    found.aligned = [align(frame, face, SIZE)]
    found.motions = [] if block is None else [motion]
    return found


def spared(items: list[FrameInWork], reader: Reader) -> list[FrameInWork]:
    return list(spare_covered(items, lambda: reader, MOST, StageClock()))


def test_a_whole_face_is_not_touched() -> None:
    [done] = spared([item(0)], Reader())
    assert done.aligned[0].covered is None
    assert done.planned[0].strength == 1


def sharper(crop: Crop) -> Crop:
    """A crop as some restorer might leave it: with a finer pattern."""
    pattern = np.indices((SIZE, SIZE)).sum(0)[..., None] % 2 * 40
    return np.clip(crop.astype(int) + pattern, 0, 255).astype(np.uint8)


def test_what_is_before_a_face_stays_and_the_rest_is_restored() -> None:
    [done] = spared([item(0, slice(42, 64))], Reader())
    face = done.aligned[0]
    restored = sharper(face.crop)
    shown = composite(done.frame, [(face, restored, 1.0)], own_colours=True).rgb()
    change = np.abs(shown.astype(int) - done.frame.rgb()).max(axis=2)
    assert not change[45:].any()
    assert change[25:38, 28:36].min() > 15
    # No edge is drawn: the mask falls over several pixels.
    assert np.abs(np.diff(shown_mask(face)[:, 32])).max() < 0.5
    assert 0.1 < hidden_share(face) < 0.5
    assert done.planned[0].strength == 1


def enlarged(done: FrameInWork) -> tuple[Image, Image]:
    """What a network for the background makes of a frame, at twice its size, without its face and with it."""

    def twice(picture: Image) -> Image:
        return np.ascontiguousarray(picture.repeat(2, axis=0).repeat(2, axis=1))

    networks = cast(Networks, SimpleNamespace(upscaler=twice, restorer=SimpleNamespace(size=SIZE)))
    work = FaceWork(RestoreConfig(color="keep"), networks, (2 * SIZE, 2 * SIZE))
    done.restored = [sharper(face.input) for face in done.aligned]
    canvas = work.canvas(done.frame)
    return canvas.rgb(), work.show(canvas, done).rgb()


def test_what_is_before_a_face_stays_in_an_enlarged_background_too() -> None:
    [done] = spared([item(0, slice(42, 64))], Reader())
    canvas, shown = enlarged(done)
    change = np.abs(shown.astype(int) - canvas).max(axis=2)
    assert not change[90:].any()
    assert change[50:76, 56:72].mean() > 5


def test_a_clean_face_is_left_as_the_enlarged_background_has_it() -> None:
    [done] = spared([item(0)], Reader())
    canvas, shown = enlarged(done)
    assert not np.array_equal(shown, canvas)
    face = done.aligned[0]
    done.aligned = [replace(face, fine=FineChange(face.region, None, face.crop, 0.0))]
    canvas, shown = enlarged(done)
    assert np.array_equal(shown, canvas)


def test_a_face_fades_as_more_of_it_is_hidden() -> None:
    face = item(0).aligned[0]
    lefts = []
    for rows in range(0, 65, 4):
        cells = np.zeros((64, 64), np.float32)
        cells[:rows] = 1
        lefts.append(with_cover(face, cells, MOST)[1])
    assert lefts[0] == 1
    assert lefts[-1] == 0
    assert lefts == sorted(lefts, reverse=True)
    assert any(0 < left < 1 for left in lefts)
    [gone] = spared([item(0, slice(0, 64))], Reader())
    assert not gone.faces


def test_a_calm_face_is_read_now_and_then_and_a_covered_or_doubtful_one_always() -> None:
    block = Block(0, 12, 0, 12)

    def read(bright: slice | None, motion: Motion) -> int:
        reader = Reader()
        spared([item(index, bright, motion if index else None, block) for index in range(12)], reader)
        return reader.shown

    assert read(None, STILL) == 4
    assert read(slice(48, 64), STILL) == 12
    assert read(None, DOUBTFUL) == 12


def test_a_face_that_stays_as_it_is_is_not_read() -> None:
    reader, clean = Reader(), item(0, slice(48, 64))
    face = clean.aligned[0]
    clean.aligned = [replace(face, fine=FineChange(face.region, None, face.crop, rest=0))]
    assert spared([clean], reader)[0].aligned[0].covered is None
    assert reader.shown == 0


def test_without_motions_each_frame_stands_for_itself() -> None:
    reader = Reader()
    first, second = spared([item(0, slice(42, 64)), item(1)], reader)
    assert first.aligned[0].covered is not None
    assert second.aligned[0].covered is None
    assert reader.shown == 2


def test_any_split_gives_the_same() -> None:
    config = RestoreConfig()
    blocks = plan.blocks_of(0, 2 * plan.BLOCK, config)

    def items(span: range) -> list[FrameInWork]:
        inside = {index: next(b for b in blocks if b.start <= index < b.stop) for index in span}
        return [item(i, slice(40 + i % 9, 64), STILL if i != span.start else None, inside[i]) for i in span]

    def covers(done: list[FrameInWork]) -> dict[int, np.ndarray | None]:
        return {entry.index: entry.aligned[0].covered for entry in done}

    whole = covers(spared(items(range(2 * plan.BLOCK)), Reader()))
    parts = covers(spared(items(range(plan.BLOCK)), Reader()))
    parts |= covers(spared(items(range(plan.BLOCK, 2 * plan.BLOCK)), Reader()))
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[index], parts[index]) for index in whole)


def test_a_reader_that_does_not_tell_spares_nothing() -> None:
    [done] = spared([item(0, slice(42, 64))], Reader(tells=False))
    assert done.aligned[0].covered is None
    [none] = list(spare_covered([item(0, slice(42, 64))], lambda: None, MOST, StageClock()))
    assert none.aligned[0].covered is None


def test_a_bar_before_a_real_face_stays(shared: Path) -> None:
    face = cv2.imread(str(shared / "faces" / "test512" / "london_0000.webp"))[..., ::-1]
    image = np.ascontiguousarray(cv2.resize(face, (256, 256), interpolation=cv2.INTER_AREA))
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    image[170:205, 60:200] = (40, 90, 170)
    noise = np.random.default_rng(0).normal(0, 5, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    changes = {}
    for hidden in ("spare", "restore"):
        change = np.abs(revisage.restore_image(image, hidden=hidden).astype(int) - image).mean(axis=2)
        changes[hidden] = change[175:200, 80:180].mean(), change[110:160, 90:170].mean()
    assert changes["spare"][0] < 0.2 * changes["spare"][1]
    assert changes["restore"][0] > 2 * changes["spare"][0]
    assert changes["spare"][1] == pytest.approx(changes["restore"][1], rel=0.1)
