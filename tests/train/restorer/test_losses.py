"""Losses against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from revisage.measures import feature_distance
from revisage.nets import VGG19Deep, VGG19Features
from revisage.train.compute import Compute
from revisage.train.loop import Draws
from revisage.train.restorer.adversaries import (
    FeatureDiscriminator,
    PatchDiscriminator,
    StyleDiscriminator,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    minibatch_deviation,
)
from revisage.train.restorer.losses import (
    charbonnier,
    feature_l1,
    gram,
    gram_distance,
    lattice_gap,
    pyramid_loss,
    ssim,
)
from revisage.train.restorer.training import cut_windows
from revisage.train.settings import StageConfig


def test_charbonnier_is_l1_far_from_zero_and_smooth_at_it() -> None:
    zeros = torch.zeros(2, 3, 4, 4)
    assert float(charbonnier(zeros + 0.5, zeros)) == pytest.approx(0.5, abs=1e-5)
    assert float(charbonnier(zeros, zeros)) == pytest.approx(1e-3)
    x = torch.zeros(1, requires_grad=True)
    charbonnier(x, torch.zeros(1)).backward()
    assert float(x.grad) == 0


@pytest.mark.parametrize("size", [32, 64])
def test_a_lattice_of_rows_is_told_by_its_amplitude(size: int) -> None:
    face = torch.rand((2, 3, size, size), generator=torch.Generator().manual_seed(4))
    rows = torch.tensor([1.0, -1.0]).repeat(size // 2)[:, None]
    assert float(lattice_gap(face + 0.02 * rows, face)) == pytest.approx(0.01, rel=1e-4)  # none in the columns
    assert float(lattice_gap(face + 0.02 * (rows + rows.T), face)) == pytest.approx(0.02, rel=1e-4)


def test_texture_is_no_lattice() -> None:
    noise = 0.02 * torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(5))
    assert float(lattice_gap(noise, torch.zeros_like(noise))) < 0.02 / 17


def test_ssim_is_that_of_each_image() -> None:
    """Against scikit-image, image by image, and with a gradient that leads towards the target."""
    random = np.random.default_rng(0)
    targets = np.clip(random.normal(0.5, 0.2, (2, 40, 48, 3)), 0, 1).astype(np.float32)
    images = np.clip(targets + random.normal(0, [[[[0.05]]], [[[0.2]]]], targets.shape), 0, 1).astype(np.float32)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    maps = [
        structural_similarity(*pair, full=True, channel_axis=2, data_range=1, **window)[1]
        for pair in zip(images, targets, strict=True)
    ]
    expected = [values[5:-5, 5:-5].mean() for values in maps]
    pair = [torch.from_numpy(values).permute(0, 3, 1, 2) for values in (images, targets)]
    pair[0].requires_grad_(True)
    found = ssim(*pair)
    torch.testing.assert_close(found.detach(), torch.tensor(expected, dtype=torch.float32), atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(found.sum(), pair[0])
    better = ssim(pair[0].detach() + 0.01 * gradient / gradient.abs().max(), pair[1])
    assert bool((better > found).all())
    torch.testing.assert_close(ssim(pair[1], pair[1]), torch.ones(2))


def test_pyramid_compares_with_area_means() -> None:
    target = torch.rand(2, 3, 16, 16)
    halves = torch.nn.functional.avg_pool2d(target, 2)
    quarters = torch.nn.functional.avg_pool2d(target, 4)
    assert float(pyramid_loss([halves, quarters], target)) == pytest.approx(0, abs=1e-6)
    assert float(pyramid_loss([halves + 0.25, quarters - 0.5], target)) == pytest.approx(0.75, abs=1e-5)


def test_feature_distance_is_of_directions() -> None:
    """Two minus twice the cosine, averaged over positions; the length of a feature is of no matter."""
    random = np.random.default_rng(0)
    a, b = (torch.from_numpy(random.normal(size=(2, 5, 3, 3))).float() for _ in range(2))
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1)
    expected = (2 - 2 * cosine).mean(dim=(1, 2))
    torch.testing.assert_close(feature_distance([a], [b]), expected)
    torch.testing.assert_close(feature_distance([a, a], [3 * b, a]), expected, atol=1e-6, rtol=1e-6)


def test_layers_count_as_much_as_their_weights() -> None:
    a, b = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    assert float(feature_l1([a, a], [b, 2 * b], (0.5, 3.0))) == pytest.approx(0.5 + 6)
    assert float(feature_l1([a, b], [a, b])) == 0
    # Opposite directions are two apart; squared, four.
    assert feature_distance([b, b], [-b, b], (0.25, 9.0)).tolist() == pytest.approx([1, 1])


def test_gram_is_of_channels_and_blind_to_place() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    torch.testing.assert_close(gram(features), torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4)
    random = torch.rand(2, 3, 4, 4)
    assert float(gram_distance([random], [random.flip(3)])) == pytest.approx(0, abs=1e-6)
    assert float(gram_distance([2 * features], [features], (10.0,))) == pytest.approx(10 * 3 * (5 + 11 + 11 + 25) / 16)


def test_windows_lie_inside_and_cut_the_same_place() -> None:
    corners = Draws(StageConfig(batch=50), Compute(torch.device("cpu")), 0, 0).windows(1, 64, 24)
    assert all(0 <= top <= 40 and 0 <= left <= 40 for top, left in corners)
    assert len(set(corners)) > 20
    assert {(top % 2, left % 2) for top, left in corners} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    images = torch.arange(2 * 3 * 64 * 64).reshape(2, 3, 64, 64)
    cut, other = (cut_windows(batch, [(2, 4), (0, 40)], 24) for batch in (images, images + 1))
    assert torch.equal(cut[0], images[0, :, 2:26, 4:28])
    assert torch.equal(other - cut, torch.ones_like(cut))


def test_adversarial_losses_at_even_odds() -> None:
    even = torch.zeros(2, 1, 3, 3)
    assert float(generator_loss(even)) == pytest.approx(math.log(2))
    assert float(discriminator_loss(even, even)) == pytest.approx(2 * math.log(2))
    assert float(generator_loss(even + 9)) < 1e-3 < float(generator_loss(even - 9))


def test_gradient_penalty_of_a_linear_judge() -> None:
    """Of D(x) = w . x for each of 16 pixels the mean has the gradient w / 16 everywhere: half its square, 16 times."""
    judge = torch.nn.Conv2d(3, 1, 1, bias=False)
    images = torch.rand(2, 3, 4, 4)
    expected = 0.5 * float(judge.weight.detach().square().sum()) / 16
    assert float(gradient_penalty(judge, images).detach()) == pytest.approx(expected, rel=1e-5)


def test_gradient_penalty_of_features_is_the_sum_over_layers() -> None:
    layers = [torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2)]
    slopes = [torch.rand(3), torch.rand(5)]

    def judge(features: list[torch.Tensor]) -> torch.Tensor:
        parts = [torch.einsum("nchw,c->n", layer, slope) for layer, slope in zip(features, slopes, strict=True)]
        return torch.stack(parts, dim=1)

    expected = (
        0.5 * sum(float(slope.square().sum()) * pixels for slope, pixels in zip(slopes, (16, 4), strict=True)) / 4
    )
    assert float(gradient_penalty(judge, layers).detach()) == pytest.approx(expected, rel=1e-5)


def test_a_discriminator_judges_patches() -> None:
    assert PatchDiscriminator((8, 8, 8, 8))(torch.rand(2, 3, 64, 32)).shape == (2, 1, 4, 2)


def test_a_discriminator_of_features_learns_what_noise_does_to_them() -> None:
    """It tells clean from noisy windows of a net that was never trained, within eighty steps."""
    torch.manual_seed(0)
    backbone, judge = VGG19Features().requires_grad_(False), FeatureDiscriminator(8)
    optimiser = torch.optim.Adam(judge.parameters(), lr=5e-3)
    smooth = torch.nn.functional.interpolate(torch.rand(4, 3, 4, 4), size=(34, 32), mode="bilinear")
    noisy = (smooth + 0.1 * torch.randn_like(smooth)).clamp(0, 1)
    real, fake = backbone(smooth), backbone(noisy)
    assert judge(real).shape == (4, 3, 9, 8)
    for _ in range(80):
        optimiser.zero_grad()
        loss = discriminator_loss(judge(real), judge(fake))
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < math.log(2)


def test_a_style_discriminator_judges_whole_faces() -> None:
    judge = StyleDiscriminator(32, 0.0625)
    faces = torch.rand(4, 3, 32, 32) * 2 - 1
    assert judge(faces).shape == (4, 1)
    # R1 differentiates twice, through the deviation of the batch too.
    gradient_penalty(judge, faces).backward()
    assert all(
        bool(torch.isfinite(parameter.grad).all()) for parameter in judge.parameters() if parameter.grad is not None
    )


def test_minibatch_deviation_tells_alike_faces_from_different_ones() -> None:
    pairs = torch.stack([torch.zeros(3, 2, 2), 2 * torch.ones(3, 2, 2), torch.ones(3, 2, 2), torch.ones(3, 2, 2)])
    channel = minibatch_deviation(pairs, group=2)[:, 3]
    assert channel[:2].mean() == pytest.approx(1)  # of 0 and 2
    assert float(channel[2:].max()) == pytest.approx(1e-4)  # none: the root of what keeps it smooth
    assert minibatch_deviation(pairs[:3], group=2).shape == (3, 4, 2, 2)


def test_the_deep_vgg_has_torchvisions_layers() -> None:
    """The published convolutions of VGG19 up to conv5_4 lie at these indices; features halve four times."""
    net = VGG19Deep().requires_grad_(False)
    indexes = [int(key.split(".")[1]) for key in net.state_dict() if key.endswith("weight")]
    assert indexes == [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
    features = net(torch.rand(1, 3, 32, 32))
    shapes = [tuple(feature.shape[1:]) for feature in features]
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    assert all(float(feature.min()) < 0 for feature in features)  # taken before the ReLU
