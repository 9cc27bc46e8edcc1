"""The embedded face detector's two networks: one finds faces with five landmarks, one looks at each more closely.

The first stage, written after SCRFD (Guo et al. 2021, arXiv 2105.04714), YuNet (Wu et al. 2023) and FCOS (Tian et al.
2019, arXiv 1904.01355), has no anchors: a thin residual backbone of plain convolutions, a top-down feature pyramid
(Lin et al. 2017), and one light head per stride. Every cell of a map predicts one score, four distances to the sides of
a box and five points. It proposes faces at a low score, in a cascade after MTCNN (Zhang et al. 2016, arXiv 1604.02878):
the second stage sees each proposal upright in a small crop and gives a new score, box and landmarks. What they give is
read by `compact_decoding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from revisage.nets.arch_records import Architecture, Shapes
from revisage.nets.compact_decoding import CHANNELS, CROP, LYING_CHANNELS, OUTPUTS, STRIDES

__all__ = ["ARCH", "REFINER_WIDTHS", "CompactDetector", "CompactDetectorConfig", "CompactRefiner", "LyingBranch"]

REFINER_WIDTHS = (16, 32, 48, 56)

_RARE = -4.6
"""Score logits at the start: one cell in a hundred holds a face (the prior of focal loss, Lin et al. 2017)."""


def _unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _unit(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm(self.second(self.first(x))))


@dataclass(frozen=True)
class CompactDetectorConfig:
    """Widths and depths of a `CompactDetector`.

    Attributes:
        stem: channels at stride 2.
        stages: channels at strides 4, 8, 16, 32.
        blocks: residual blocks in each of those stages.
        neck: channels of the pyramid and the heads.
        refine: channels of the second stage; none without one.
        lying: channels of the branch that finds faces which lie; 0 without one.
    """

    stem: int = 16
    stages: tuple[int, int, int, int] = (32, 48, 80, 112)
    blocks: tuple[int, int, int, int] = (0, 3, 2, 1)
    neck: int = 48
    refine: tuple[int, ...] = ()
    lying: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CompactDetectorConfig:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a key that is not a field.
        """
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown compact detector setting {unknown[0]!r}")
        plain: dict[str, Any] = {n: tuple(v) if isinstance(v, (list, tuple)) else v for n, v in values.items()}
        return cls(**plain)


class CompactRefiner(nn.Module):
    """Looks at upright crops of proposals.

    `forward` takes (N, 3, 64, 64) float32 RGB in [-1, 1], the crops of `crop_affines`, and gives (N, 15);
    `decode_crops` turns those into boxes and landmarks of the image.
    """

    def __init__(self, widths: Sequence[int] = REFINER_WIDTHS) -> None:
        """Make one with random weights.

        Args:
            widths: channels at 32, 16, 8 and 4 px.

        Raises:
            ValueError: they are not four.
        """
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"a refiner has four widths, got {len(widths)}")
        first, second, third, last = widths
        self.features = nn.Sequential(
            _unit(3, first, stride=2),
            _unit(first, second, stride=2),
            _ResidualBlock(second),
            _unit(second, third, stride=2),
            _ResidualBlock(third),
            _unit(third, last, stride=2),
        )
        self.out = nn.Linear(last * (CROP // 16) ** 2, OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.features(x).flatten(1))
        return out


class _Head(nn.Module):
    """One 3x3 convolution, then a depthwise separable tower for the score and a full one for box and points."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shared = _unit(channels, channels)
        self.score_tower = nn.Sequential(_unit(channels, channels, 3, groups=channels), _unit(channels, channels, 1))
        self.shape_tower = _unit(channels, channels)
        self.score = nn.Conv2d(channels, 1, 1)
        self.shape = nn.Conv2d(channels, CHANNELS - 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(x)
        return torch.cat((self.score(self.score_tower(x)), self.shape(self.shape_tower(x))), 1)


class LyingBranch(nn.Module):
    """Finds faces that lie on their side or stand on their head, in the maps by which upright ones are found.

    `forward` takes the backbone's maps and the pyramid's of each stride of `STRIDES`, and gives one raw map
    (N, 4, H/s, W/s) for each; `decode_lying_maps` turns those of one image into faces.
    """

    def __init__(self, inputs: Sequence[int], channels: int) -> None:
        """Make one with random weights.

        Args:
            inputs: channels of both maps together at each stride.
            channels: of its own.
        """
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(_unit(width, channels, 1), _unit(channels, channels), nn.Conv2d(channels, LYING_CHANNELS, 1))
            for width in inputs
        )
        for level in self.levels:
            assert isinstance(level, nn.Sequential)
            last = level[-1]
            assert isinstance(last, nn.Conv2d) and last.bias is not None
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)
            nn.init.constant_(last.bias[:1], _RARE)

    def forward(self, backbone: Sequence[Tensor], pyramid: Sequence[Tensor]) -> list[Tensor]:
        pairs = zip(self.levels, backbone, pyramid, strict=True)
        return [level(torch.cat((seen, combined), 1)) for level, seen, combined in pairs]


class CompactDetector(nn.Module):
    """Finds faces with five landmarks in an image.

    `forward` takes (N, 3, H, W) float32 RGB in [-1, 1], H and W multiples of 32, and gives three raw maps
    (N, 15, H/s, W/s) for the strides s of `STRIDES`; `decode_maps` turns those of one image into boxes. With a branch
    `lying` its three maps follow. `refine` is the second stage, which looks at those boxes more closely, or None; it is
    run apart, as what it looks at is not known before.
    """

    def __init__(self, config: CompactDetectorConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else CompactDetectorConfig()
        widths = (self.config.stem, *self.config.stages)
        self.stem = _unit(3, self.config.stem, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(_unit(narrow, wide, stride=2), *(_ResidualBlock(wide) for _ in range(count)))
            for narrow, wide, count in zip(widths[:-1], widths[1:], self.config.blocks, strict=True)
        )
        neck = self.config.neck
        self.laterals = nn.ModuleList(_unit(width, neck, 1) for width in self.config.stages[1:])
        self.heads = nn.ModuleList(_Head(neck) for _ in STRIDES)
        self._initialise()
        self.refine = CompactRefiner(self.config.refine) if self.config.refine else None
        read = [width + neck for width in self.config.stages[1:]]
        self.lying = LyingBranch(read, self.config.lying) if self.config.lying else None

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for head in self.heads:
            assert isinstance(head, _Head)
            nn.init.normal_(head.score.weight, std=0.01)
            nn.init.normal_(head.shape.weight, std=0.01)
            nn.init.constant_(head.score.bias, _RARE)  # type: ignore[arg-type]
            nn.init.zeros_(head.shape.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        backbone, pyramid = self.maps(x)
        found = [head(combined) for head, combined in zip(self.heads, pyramid, strict=True)]
        return (*found, *(self.lying(backbone, pyramid) if self.lying is not None else ()))

    def maps(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What the branches read, for the strides of `STRIDES`: the backbone's maps, and the pyramid's."""
        x = self.stem(x)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        at8, at16, at32 = (lateral(f) for lateral, f in zip(self.laterals, features[1:], strict=True))
        at16 = at16 + nn.functional.interpolate(at32, scale_factor=2.0, mode="nearest")
        at8 = at8 + nn.functional.interpolate(at16, scale_factor=2.0, mode="nearest")
        return features[1:], [at8, at16, at32]


def _settings(shapes: Shapes) -> dict[str, Any]:
    def numbers(prefix: str) -> list[str]:
        """The numbers that follow the prefix, each once."""
        return sorted({key[len(prefix) :].split(".")[0] for key in shapes if key.startswith(prefix)}, key=int)

    stages = numbers("stages.")
    # The first layer of a stage is its convolution; all others are blocks.
    return {
        "stem": shapes["stem.0.weight"][0],
        "stages": tuple(shapes[f"stages.{stage}.0.0.weight"][0] for stage in stages),
        "blocks": tuple(len(numbers(f"stages.{stage}.")) - 1 for stage in stages),
        "neck": shapes["laterals.0.0.weight"][0],
        "refine": tuple(shapes[key][0] for key in _REFINER_CONVOLUTIONS if key in shapes),
        "lying": shapes["lying.levels.0.0.0.weight"][0] if "lying.levels.0.0.0.weight" in shapes else 0,
    }


def _of_settings(**settings: Any) -> CompactDetector:
    return CompactDetector(CompactDetectorConfig.from_dict(settings))


_REFINER_CONVOLUTIONS = tuple(f"refine.features.{layer}.0.weight" for layer in (0, 1, 3, 5))

ARCH = Architecture(
    name="compact-detector",
    role="face detector",
    make=_of_settings,
    marks=("laterals.0.0.weight", "heads.0.shape_tower.0.weight"),
    read=_settings,
    licence="Apache-2.0; see the model card beside the weights for the licence of the training data",
)
