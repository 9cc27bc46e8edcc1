"""Losses against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from revisage.train.discriminator import PatchDiscriminator, discriminator_loss, generator_loss, gradient_penalty
from revisage.train.losses import charbonnier, feature_distance, pyramid_loss, random_windows, window_pair


def test_charbonnier_is_l1_far_from_zero_and_smooth_at_it() -> None:
    zeros = torch.zeros(2, 3, 4, 4)
    assert float(charbonnier(zeros + 0.5, zeros)) == pytest.approx(0.5, abs=1e-5)
    assert float(charbonnier(zeros, zeros)) == pytest.approx(1e-3)
    x = torch.zeros(1, requires_grad=True)
    charbonnier(x, torch.zeros(1)).backward()
    assert float(x.grad) == 0


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


def test_windows_lie_inside_and_cut_the_same_place() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = random_windows(50, 64, 24, generator)
    assert all(0 <= top <= 40 and 0 <= left <= 40 for top, left in corners)
    assert len(set(corners)) > 20
    assert {(top % 2, left % 2) for top, left in corners} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    images = torch.arange(2 * 3 * 64 * 64).reshape(2, 3, 64, 64)
    cut, other = window_pair(images, images + 1, [(2, 4), (0, 40)], 24)
    assert torch.equal(cut[0], images[0, :, 2:26, 4:28])
    assert torch.equal(other - cut, torch.ones_like(cut))


def test_adversarial_losses_at_even_odds() -> None:
    even = torch.zeros(2, 1, 3, 3)
    assert float(generator_loss(even)) == pytest.approx(math.log(2))
    assert float(discriminator_loss(even, even)) == pytest.approx(2 * math.log(2))
    assert float(generator_loss(even + 9)) < 1e-3 < float(generator_loss(even - 9))


def test_gradient_penalty_of_a_linear_judge() -> None:
    """Of D(x) = w . x the gradient is w everywhere: the penalty is half its square."""
    judge = torch.nn.Conv2d(3, 1, 1, bias=False)
    images = torch.rand(2, 3, 4, 4)
    expected = 0.5 * float(judge.weight.detach().square().sum()) * 16
    assert float(gradient_penalty(judge, images).detach()) == pytest.approx(expected, rel=1e-5)


def test_a_discriminator_judges_patches() -> None:
    assert PatchDiscriminator((8, 8, 8, 8))(torch.rand(2, 3, 64, 32)).shape == (2, 1, 4, 2)
