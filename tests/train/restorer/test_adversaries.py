"""Regions of eyes and mouth: where they lie, how they are cut, and that they learn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from revisage.faces.alignment import ffhq_template
from revisage.train.restorer.adversaries import (
    COMPONENTS,
    ComponentAdversaries,
    component_boxes,
    component_side,
    roi_align,
)

SIZES = (64, 128, 256, 512)


@pytest.mark.parametrize("size", SIZES)
def test_boxes_hold_the_templates_eyes_and_mouth(size: int) -> None:
    boxes = component_boxes(size)
    points = ffhq_template(size) + 0.5
    marks = {"left_eye": points[[0]], "right_eye": points[[1]], "mouth": points[[3, 4]]}
    for name, (x0, y0, x1, y1) in boxes.items():
        assert 0 <= x0 < x1 <= size and 0 <= y0 < y1 <= size
        others = np.concatenate([marks[other] for other in COMPONENTS if other != name])
        assert all(x0 < x < x1 and y0 < y < y1 for x, y in marks[name])
        assert not any(x0 < x < x1 and y0 < y < y1 for x, y in others)
    np.testing.assert_allclose(boxes["mouth"] / size, component_boxes(512)["mouth"] / 512)


def test_a_mirrored_face_has_the_same_boxes() -> None:
    size = 256
    boxes = component_boxes(size)
    x0, y0, x1, y1 = boxes["left_eye"]
    np.testing.assert_allclose(boxes["right_eye"], (size - x1, y0, size - x0, y1))
    adversaries = ComponentAdversaries(size, (4, 4, 4))
    face = torch.rand(1, 3, size, size)
    regions, mirrored = adversaries.regions(face), adversaries.regions(face.flip(3))
    torch.testing.assert_close(mirrored["left_eye"].flip(3), regions["right_eye"], atol=1e-4, rtol=0)
    torch.testing.assert_close(mirrored["mouth"].flip(3), regions["mouth"], atol=1e-4, rtol=0)


def test_roi_align_of_a_ramp_is_the_ramp_at_its_centres() -> None:
    """Bilinear samples of a plane are exact."""
    ys, xs = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    plane = torch.stack([xs, ys])[None]
    found = roi_align(plane, np.array((4.0, 6.5, 12.0, 22.5)), 4)
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([4.5, 6.5, 8.5, 10.5]))
    torch.testing.assert_close(found[0, 1, :, 0], torch.tensor([8.0, 12.0, 16.0, 20.0]))


def test_roi_align_is_that_of_torchvision() -> None:
    ops = pytest.importorskip("torchvision.ops")
    images = torch.rand(2, 3, 40, 40)
    box = (3.3, 7.9, 25.1, 29.6)
    rows = torch.tensor([[index, *box] for index in range(2)])
    expected = ops.roi_align(images, rows, (9, 9), sampling_ratio=2, aligned=True)
    # Its box counts pixel edges as ours does: centres at half integers.
    torch.testing.assert_close(roi_align(images, np.array(box), 9), expected, atol=1e-5, rtol=0)


def test_regions_keep_the_published_proportions() -> None:
    assert [component_side(name, 512) for name in COMPONENTS] == [80, 80, 120]
    assert component_side("left_eye", 64) == 16


def test_regions_land_on_eyes_and_mouth_of_real_faces(shared: Path) -> None:
    """The detector's landmarks of aligned photos lie well inside their boxes."""
    from revisage.faces.detect import load_detector

    files = sorted((shared / "faces" / "test512").glob("*.webp"))[::45]
    if not files:
        pytest.skip("needs the aligned test faces")
    detector = load_detector("compact", device="cpu")
    boxes = component_boxes(256)
    seen = 0
    for file in files:
        image = cv2.resize(cv2.imread(str(file))[:, :, ::-1], (256, 256), interpolation=cv2.INTER_AREA)
        faces = detector(np.ascontiguousarray(image))
        if not faces:
            continue
        seen += 1
        points = np.asarray(max(faces, key=lambda face: face.score).landmarks) + 0.5
        for name, point in zip(("left_eye", "right_eye", "mouth", "mouth"), points[[0, 1, 3, 4]], strict=True):
            x0, y0, x1, y1 = boxes[name]
            assert x0 < point[0] < x1 and y0 < point[1] < y1, f"{file.name}: {name} at {point}"
    assert seen >= len(files) - 1


def test_adversaries_of_components_play_both_sides() -> None:
    torch.manual_seed(0)
    adversaries = ComponentAdversaries(64, (8, 8, 8))
    real = adversaries.regions(torch.rand(2, 3, 64, 64))
    fake = adversaries.regions(torch.zeros(2, 3, 64, 64))
    _, style = adversaries.fooled(real, real)
    assert float(style.detach()) == 0
    optimiser = torch.optim.Adam(adversaries.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = adversaries.judged(fake, real)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    adversarial, style = adversaries.fooled(fake, real)
    assert losses[-1] < 0.2 * losses[0]
    assert float(adversarial.detach()) > 3 and float(style.detach()) > 0
