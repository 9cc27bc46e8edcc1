"""The backbone of the perceptual measures."""

from __future__ import annotations

from pathlib import Path

import cv2
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from revisage.nets import VGG19Features


@torch.no_grad()
def test_the_layers_are_those_of_vgg19() -> None:
    """Against the same layers called one by one; odd sides are pooled with a ceiling."""
    torch.manual_seed(0)
    net = VGG19Features()
    image = torch.rand(2, 3, 21, 18)
    x = net.get_submodule("0")(image)
    expected = []
    for key, pool, keep in (("2", 0, 0), ("5", 0, 1), ("9", 1, 0), ("12", 0, 1), ("16", 1, 1)):
        x = F.max_pool2d(x, 2, ceil_mode=True) if pool else x
        layer = net.get_submodule(key)
        x = F.relu(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), layer.weight, layer.bias))
        expected += [x] if keep else []
    features = net(image)
    assert [tuple(feature.shape) for feature in features] == [(2, 64, 21, 18), (2, 128, 11, 9), (2, 256, 6, 5)]
    for feature, reference in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, reference)


@torch.no_grad()
def test_published_weights_fit_and_are_normalised(shared: Path) -> None:
    """Gatys' normalisation: a filter's activation is 1 on average over natural images; here, roughly, on faces."""
    net = VGG19Features()
    net.load_state_dict(load_file(shared / "weights" / "quality" / "vgg19_normalised_conv3_1.safetensors"))
    for file in sorted((shared / "faces" / "test512").glob("london*"))[:2]:
        pixels = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)[128:384, 128:384]
        features = net(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
        for feature in features:
            assert 0.2 < float(feature.mean()) < 3.0
