"""A frame of plain RGB that keeps the contract of media.frame.Frame, and faces to put on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from revisage.core.values import Face, Region
from revisage.faces.alignment import ffhq_template, transform


@dataclass(frozen=True, eq=False)
class RgbFrame:
    """RGB samples of ``bits`` each; rounds and clips as a native frame does."""

    samples: NDArray[np.uint16]
    bits: int = 8

    @classmethod
    def noise(cls, height: int, width: int, bits: int = 8, seed: int = 0) -> RgbFrame:
        generator = np.random.default_rng(seed)
        return cls(generator.integers(0, 2**bits, (height, width, 3)).astype(np.uint16), bits)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.samples.shape[:2]

    @property
    def unit(self) -> float:
        """Native steps in one step of 1/255."""
        return (2**self.bits - 1) / 255

    def rgb(self, region: Region | None = None) -> NDArray[np.uint8]:
        part = self.samples if region is None else self.samples[region.slices]
        return np.clip(np.round(part / self.unit), 0, 255).astype(np.uint8)

    def add_rgb(self, region: Region, delta: NDArray[np.float32]) -> RgbFrame:
        assert delta.shape == (*region.size_hw, 3) and delta.dtype == np.float32
        samples = self.samples.copy()
        changed = np.round(samples[region.slices] + delta * self.unit)
        samples[region.slices] = np.clip(changed, 0, 2**self.bits - 1).astype(np.uint16)
        return RgbFrame(samples, self.bits)

    def add_all_rgb(self, changes: Sequence[tuple[Region, NDArray[np.float32]]]) -> RgbFrame:
        frame = self
        for region, delta in changes:
            frame = frame.add_rgb(region, delta)
        return frame


def similarity(scale: float, degrees: float, x: float, y: float) -> NDArray[np.float64]:
    """Points of a 512 px crop to a frame: scaled and turned about the crop's middle, which lands on x, y."""
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack((linear, np.array([x, y]) - linear @ (255.5, 255.5)))


def face_at(x: float, y: float, scale: float, degrees: float = 0.0) -> Face:
    """A face whose 512 px crop is centred on x, y of a frame, ``scale`` frame pixels per crop pixel."""
    landmarks = transform(similarity(scale, degrees, x, y), ffhq_template(512))
    left, top = landmarks.min(axis=0)
    right, bottom = landmarks.max(axis=0)
    return Face((left, top, right - left, bottom - top), landmarks)


def smooth_picture(height: int, width: int, seed: int = 0, cell: float = 9.0) -> NDArray[np.uint8]:
    """A colourful picture without detail finer than ``cell`` px."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, 1, (height, width, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), cell)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    return np.ascontiguousarray(np.round(20 + 215 * soft).astype(np.uint8))
