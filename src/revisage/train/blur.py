"""Blur kernels: (k, k) float32, k odd, sum 1."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["convolved", "gaussian_blur", "gaussian_kernel", "motion_kernel", "path_kernel"]

Kernel = NDArray[np.float32]

# Points that a path is drawn with, and how strongly its direction persists from one to the next.
_PATH_POINTS, _INERTIA = 48, 0.88
# Narrower than this (px) a Gaussian is one pixel.
_ONE_PIXEL = 0.2


def gaussian_kernel(sigma_x: float, sigma_y: float, angle: float) -> Kernel:
    """A Gaussian with the standard deviations along its own axes (px), turned by `angle` (radians)."""
    radius = max(1, math.ceil(3 * max(sigma_x, sigma_y)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    kernel = np.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


def motion_kernel(length: float, angle: float) -> Kernel:
    """A straight line of `length` px through the centre, turned by `angle` (radians)."""
    radius = max(1, math.ceil(length / 2))
    offsets = np.linspace(-length / 2, length / 2, 4 * radius + 1)
    return _rasterised(np.column_stack((offsets * math.cos(angle), offsets * math.sin(angle))), radius)


def path_kernel(length: float, random: np.random.Generator) -> Kernel:
    """The trace of a hand that shakes: a smooth random path of about `length` px, its middle in the centre.

    The velocity is a random walk with inertia (after Boracchi and Foi, IEEE TIP 2012, who draw the camera's path as a
    particle with inertia and noise).
    """
    turns = random.standard_normal((_PATH_POINTS, 2))
    velocity = np.empty_like(turns)
    velocity[0] = turns[0]
    for index in range(1, _PATH_POINTS):
        velocity[index] = _INERTIA * velocity[index - 1] + math.sqrt(1 - _INERTIA**2) * turns[index]
    path = np.cumsum(velocity, axis=0)
    path *= length / max(float(np.hypot(*np.diff(path, axis=0).T).sum()), 1e-6)
    path -= path.mean(axis=0)
    return _rasterised(path, max(1, math.ceil(float(np.abs(path).max()))))


def _rasterised(points: NDArray[np.float64], radius: int) -> Kernel:
    """Points (n, 2), x and y from the centre (px), each laid on the four pixels around it."""
    column, row = points[:, 0] + radius, points[:, 1] + radius
    left, top = (np.minimum(place.astype(int), 2 * radius - 1) for place in (column, row))
    right_part, bottom_part = column - left, row - top
    rows = np.stack((top, top, top + 1, top + 1), axis=1)
    columns = np.stack((left, left + 1, left, left + 1), axis=1)
    shares = np.stack((1 - right_part, right_part), axis=1)
    weights = np.concatenate((shares * (1 - bottom_part)[:, None], shares * bottom_part[:, None]), axis=1)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    np.add.at(kernel, (rows, columns), weights.astype(np.float32))
    return kernel / kernel.sum()


def convolved(image: NDArray[np.uint8], kernel: Kernel) -> NDArray[np.uint8]:
    """The image under a kernel, its border mirrored."""
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101).astype(np.uint8, copy=False)


def gaussian_blur(image: NDArray[np.uint8], sigma_x: float, sigma_y: float, angle: float) -> NDArray[np.uint8]:
    """The image under a Gaussian of these deviations (px) along axes turned by `angle` (radians)."""
    if max(sigma_x, sigma_y) <= _ONE_PIXEL:
        return image
    if sigma_x == sigma_y:
        blurred = cv2.GaussianBlur(image, (0, 0), sigma_x, borderType=cv2.BORDER_REFLECT_101)
        return blurred.astype(np.uint8, copy=False)
    return convolved(image, gaussian_kernel(max(sigma_x, 0.05), max(sigma_y, 0.05), angle))
