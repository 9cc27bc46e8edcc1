"""The embedded face detector's first stage: anchor free, five landmarks per face.

Written after SCRFD (Guo et al. 2021, arXiv 2105.04714), YuNet (Wu et al. 2023) and FCOS (Tian et al. 2019,
arXiv 1904.01355): a thin residual backbone of plain convolutions, a top-down feature pyramid (Lin et al. 2017), and
one light head per stride. Every cell of a map predicts one score, four distances to the sides of a box and five
points.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from revisage.nets.compact_blocks import ResidualBlock, unit
from revisage.nets.compact_refiner import CompactRefiner

__all__ = [
    "CHANNELS",
    "STRIDES",
    "CompactDetector",
    "CompactDetectorConfig",
    "cell_centres",
    "decode_maps",
]

STRIDES = (8, 16, 32)
# Per cell: score logit; log distances left, top, right, bottom; x, y of the five points. All in units of the stride.
CHANNELS = 1 + 4 + 10
# exp(5) = 148 strides is far beyond any image; the bound keeps a bad weight file from overflowing to infinity.
_MAX_LOG_DISTANCE = 5.0

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CompactDetectorConfig:
    """Widths and depths of a `CompactDetector`.

    stem: channels at stride 2. stages: channels at strides 4, 8, 16, 32. blocks: residual blocks in each of those
    stages. neck: channels of the pyramid and the heads. refine: channels of the second stage; none without one.
    """

    stem: int = 16
    stages: tuple[int, int, int, int] = (32, 48, 80, 112)
    blocks: tuple[int, int, int, int] = (0, 3, 2, 1)
    neck: int = 48
    refine: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CompactDetectorConfig:
        """The inverse of `to_dict`. Raises ValueError for a key that is not a field."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown compact detector setting {unknown[0]!r}")
        plain: dict[str, Any] = {n: tuple(v) if isinstance(v, (list, tuple)) else v for n, v in values.items()}
        return cls(**plain)


class _Head(nn.Module):
    """One 3x3 convolution, then a depthwise separable tower for the score and a full one for box and points."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shared = unit(channels, channels)
        self.score_tower = nn.Sequential(unit(channels, channels, 3, groups=channels), unit(channels, channels, 1))
        self.shape_tower = unit(channels, channels)
        self.score = nn.Conv2d(channels, 1, 1)
        self.shape = nn.Conv2d(channels, CHANNELS - 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(x)
        return torch.cat((self.score(self.score_tower(x)), self.shape(self.shape_tower(x))), 1)


class CompactDetector(nn.Module):
    """Finds faces with five landmarks in an image.

    `forward` takes (N, 3, H, W) float32 RGB in [-1, 1], H and W multiples of 32, and gives three raw maps
    (N, 15, H/s, W/s) for the strides s of `STRIDES`; `decode_maps` turns those of one image into boxes. `refine` is the
    second stage, which looks at those boxes more closely, or None; it is run apart, as what it looks at is not known
    before.
    """

    def __init__(self, config: CompactDetectorConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else CompactDetectorConfig()
        widths = (self.config.stem, *self.config.stages)
        self.stem = unit(3, self.config.stem, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(unit(narrow, wide, stride=2), *(ResidualBlock(wide) for _ in range(count)))
            for narrow, wide, count in zip(widths[:-1], widths[1:], self.config.blocks, strict=True)
        )
        neck = self.config.neck
        self.laterals = nn.ModuleList(unit(width, neck, 1) for width in self.config.stages[1:])
        self.heads = nn.ModuleList(_Head(neck) for _ in STRIDES)
        self._initialise()
        self.refine = CompactRefiner(self.config.refine) if self.config.refine else None

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for head in self.heads:
            assert isinstance(head, _Head)
            nn.init.normal_(head.score.weight, std=0.01)
            nn.init.normal_(head.shape.weight, std=0.01)
            # One cell in a hundred holds a face at the start (the prior of focal loss, Lin et al. 2017).
            nn.init.constant_(head.score.bias, -4.6)  # type: ignore[arg-type]
            nn.init.zeros_(head.shape.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stem(x)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        at8, at16, at32 = (lateral(f) for lateral, f in zip(self.laterals, features[1:], strict=True))
        at16 = at16 + nn.functional.interpolate(at32, scale_factor=2.0, mode="nearest")
        at8 = at8 + nn.functional.interpolate(at16, scale_factor=2.0, mode="nearest")
        return self.heads[0](at8), self.heads[1](at16), self.heads[2](at32)


def cell_centres(rows: int, columns: int, stride: int) -> FloatArray:
    """Centres of a map's cells in pixels, pixel centres at integers: (rows * columns, 2) float32 x, y."""
    x = (np.arange(columns, dtype=np.float32) + 0.5) * stride - 0.5
    y = (np.arange(rows, dtype=np.float32) + 0.5) * stride - 0.5
    grid_x, grid_y = np.meshgrid(x, y)
    return np.stack((grid_x.ravel(), grid_y.ravel()), axis=1)


def decode_maps(
    maps: Sequence[npt.NDArray[np.floating[Any]]], *, min_score: float = 0.0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Boxes, landmarks and scores of one image from the raw maps of any engine.

    maps: one (15, H/s, W/s) or (1, 15, H/s, W/s) array per stride, in the order of `STRIDES`. min_score: cells below
    it are left out, which saves nearly all the work.

    Returns boxes (A, 4) float32 left, top, right, bottom; landmarks (A, 5, 2) float32 x, y; scores (A,) float32 in
    [0, 1]; pixels of the network's input, pixel centres at integers, not cut at the border, overlapping: suppress
    duplicates afterwards. Raises ValueError when the maps are not such maps.
    """
    if len(maps) != len(STRIDES):
        raise ValueError(f"expected {len(STRIDES)} maps, one per stride, got {len(maps)}")
    cells = np.concatenate([_cells(level) for level in maps], axis=1)
    # tanh form of the logistic function: no overflow for large negative logits.
    scores = 0.5 + 0.5 * np.tanh(0.5 * cells[0])
    chosen = np.flatnonzero(scores >= min_score)
    centres, strides = (values[chosen] for values in _grid(tuple(level.shape[-2:] for level in maps)))
    raw = cells[:, chosen].T
    distances = np.exp(np.minimum(raw[:, 1:5], _MAX_LOG_DISTANCE)) * strides
    boxes = np.concatenate((centres - distances[:, :2], centres + distances[:, 2:]), axis=1)
    landmarks = centres[:, None] + raw[:, 5:].reshape(-1, 5, 2) * strides[:, None]
    return boxes.astype(np.float32), landmarks.astype(np.float32), scores[chosen].astype(np.float32)


def _cells(level: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """A map as (15, cells)."""
    raw = level[0] if level.ndim == 4 and level.shape[0] == 1 else level
    if raw.ndim != 3 or raw.shape[0] != CHANNELS:
        raise ValueError(f"expected a map of shape ({CHANNELS}, rows, columns), got {level.shape}")
    return raw.reshape(CHANNELS, -1).astype(np.float32, copy=False)


@functools.lru_cache(maxsize=8)
def _grid(sizes: tuple[tuple[int, int], ...]) -> tuple[FloatArray, FloatArray]:
    """Centres (A, 2) and strides (A, 1) of the cells of all maps, whose rows and columns are given."""
    centres = [cell_centres(*size, stride) for size, stride in zip(sizes, STRIDES, strict=True)]
    strides = [np.full((len(c), 1), stride, np.float32) for c, stride in zip(centres, STRIDES, strict=True)]
    return np.concatenate(centres), np.concatenate(strides)
