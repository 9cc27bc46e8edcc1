"""The recogniser: what it is shown, and that it tells people apart."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from revisage import nets
from revisage.core.errors import ModelError
from revisage.faces.alignment import ffhq_template
from revisage.train.images import to_tensor
from revisage.train.restorer import load_recogniser, losses

ARCFACE = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)])


@pytest.mark.parametrize("size", [128, 256, 512])
def test_landmarks_come_to_the_recognisers_template(size: int) -> None:
    """A dot at each FFHQ landmark is seen within 3 px of ArcFace's: no similarity brings all five closer."""
    image = np.zeros((size, size, 3), np.uint8)
    ys, xs = np.mgrid[:size, :size]
    for x, y in ffhq_template(size):
        image[(xs - x) ** 2 + (ys - y) ** 2 < (size / 64) ** 2] = 255
    shown = losses._arcface_112(to_tensor([image]))[0].sum(dim=0).numpy()
    shown -= shown.min()
    ys, xs = np.mgrid[:112, :112]
    for x, y in ARCFACE:
        near = shown * (((xs - x) ** 2 + (ys - y) ** 2) < 49)
        assert near.sum() > 0
        assert np.hypot((near * xs).sum() / near.sum() - x, (near * ys).sum() / near.sum() - y) < 3


def test_it_tells_people_apart(shared: Path) -> None:
    weights = shared / "weights" / "identity" / "mobilefacenet.fp16.safetensors"
    pairs = sorted((shared / "faces" / "test512").glob("london*.webp"))[:6]
    if not weights.is_file() or len(pairs) < 6:
        pytest.skip("needs the recogniser's weights and the test faces")
    recogniser = load_recogniser(weights)
    faces = to_tensor([cv2.resize(cv2.imread(str(file))[:, :, ::-1], (256, 256)) for file in pairs])
    softened = torch.nn.functional.avg_pool2d(faces, 3, 1, padding=1)
    assert float(recogniser.similarity(softened, faces).min()) > 0.8
    embeddings = torch.nn.functional.normalize(recogniser(faces).detach(), dim=1)
    similarity = embeddings @ embeddings.T
    assert float(similarity.median()) < 0.5
    assert 0 < float(recogniser.distance(softened, faces)) < float(recogniser.distance(faces.roll(1, 0), faces))


def test_arcface_is_shown_the_grey_crop(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(nets.build("arcface_resnet18").state_dict(), tmp_path / "arcface.safetensors")
    recogniser = load_recogniser(tmp_path / "arcface.safetensors")
    faces = torch.rand(2, 3, 64, 64) * 2 - 1
    grey = (faces * torch.tensor((0.299, 0.587, 0.114))[:, None, None]).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert recogniser(faces).shape == (2, 512)
    assert float(recogniser.distance(grey, faces)) == pytest.approx(0, abs=1e-4)
    assert not any(parameter.requires_grad for parameter in recogniser.parameters())


def test_another_net_is_refused(tmp_path: Path) -> None:
    save_file(nets.build("srvgg_x4", {"num_conv": 2}).state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"x\.safetensors holds srvgg_x4: identity needs ArcFace"):
        load_recogniser(tmp_path / "x.safetensors")
