"""The embedded face reader: who it is, where it looks, what its parts do and which of them are hidden, in one network.

The trunk is built as MobileFaceNet (Chen et al., CCBR 2018, arXiv 1804.07573) from its first map of 28 px on, so that
its maps can be taught by that network's; before it stands a stem of dense convolutions, and maps are halved by such
too, as filters per channel on large maps cost more time than they save. A second branch takes the trunk's maps at
strides 4 and 8, before identity forgets what a face does, and gives pose, 68 landmarks (the order of Sagonas et al.,
300-W, ICCVW 2013), expression and visibility by one hidden layer. A third goes back up from the smallest maps of both
to half of the window's side (as U-Net does: Ronneberger et al., MICCAI 2015) and says what is before the face.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture, Settings, Shapes
from revisage.nets.face_embedding import EmbeddingTrunk, GlobalDepthwise, InvertedBlock, conv_unit

__all__ = ["ARCH", "READER_SIZE", "CompactReader"]

READER_SIZE = 112
"""Side of what the network is shown, px: the window of ArcFace's template."""

_LANDMARKS, _EXPRESSIONS, _ANGLES = 68, 7, 3
_FINE_PART, _MIDDLE_PART, _COARSE_PART = 4, 11, 14
"""Parts of the trunk that are the last whose maps are 28, 14 and 7 px."""
_STEM = 48
_STAGES = ((64, 4), (128, 6), (128, 2))
"""Channels of the maps of 28, 14 and 7 px, and how many blocks keep their size; expansion 2."""
_BEFORE_POOLING, _EMBEDDING = 512, 128
_DEGREES = 30.0
"""An angle of 1 in the network: outputs of the same order learn alike."""

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What MobileFaceNet's colours are brought to mean 0 and deviation 1 by."""


def _unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _halved(inputs: int, outputs: int) -> nn.Sequential:
    """A map of half the size, by a dense convolution, with nothing bent behind its last layer."""
    last = nn.Conv2d(outputs, outputs, 1, bias=False)
    return nn.Sequential(*_unit(inputs, outputs, stride=2), last, nn.BatchNorm2d(outputs))


class ReaderTrunk(EmbeddingTrunk):
    """Identity of faces in ArcFace's window: (N, 3, 112, 112), normalised, to (N, 128), not normalised."""

    def __init__(self) -> None:
        super().__init__()
        widths = [width for width, _ in _STAGES]
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), _unit(12, _STEM), *_halved(_STEM, widths[0]))
        blocks: list[nn.Module] = []
        for before, (width, count) in zip((None, *widths), _STAGES, strict=False):
            blocks += [_halved(before, width)] if before else []
            blocks += [InvertedBlock(width, width, 1, 2) for _ in range(count)]
        self.features = nn.Sequential(*blocks)
        self.conv2 = conv_unit(widths[-1], _BEFORE_POOLING)
        self.gdconv = GlobalDepthwise(_BEFORE_POOLING)
        self.conv3 = nn.Conv2d(_BEFORE_POOLING, _EMBEDDING, 1)
        self.bn = nn.BatchNorm1d(_EMBEDDING)

    def parts(self) -> tuple[nn.Module, ...]:
        """The stem, blocks and halvings, the last convolution, the pooling."""
        return (self.stem, *self.features, self.conv2, self.gdconv)


class CoverBranch(nn.Module):
    """Where something is before a face: logits (N, 56, 56) of maps of 7, 14, 28 and 56 px.

    Args:
        inputs: channels of these maps, in that order.
        width: channels of its own maps up to 28 px; half as many at 56.
    """

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__()
        widths = (width, width, width, width // 2)
        self.entries = nn.ModuleList(_unit(given, own, kernel=1) for given, own in zip(inputs, widths, strict=True))
        self.steps = nn.ModuleList(
            _unit(own, after) for own, after in zip(widths, (*widths[1:], widths[-1]), strict=True)
        )
        self.last = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x: Tensor | None = None
        for entry, step, map_ in zip(self.entries, self.steps, maps, strict=True):
            x = step(entry(map_) if x is None else entry(map_) + F.interpolate(x, scale_factor=2.0))
        logits: Tensor = self.last(x).squeeze(1)
        return logits


class CompactReader(nn.Module):
    """Reads faces: (N, 3, 112, 112) float32 RGB [-1, 1] in ArcFace's window to five tensors, all float32.

    1. identity (N, 128), not normalised: compare by cosine;
    2. pose (N, 3): yaw, pitch, roll in degrees, of what is shown;
    3. landmarks (N, 68, 2): x, y, the window's sides at -1 and 1; they may lie beyond;
    4. expression (N, 7): logits of neutral, happy, sad, angry, fearful, disgusted, surprised;
    5. visibility (N, 68): logits that a landmark is not hidden by something before it;
    6. with the third branch only, cover (N, 56, 56): logits that something is before the face, in rows of the window.

    Args:
        width: channels of the second branch.
        hidden: length of its hidden layer.
        cover: channels of the third branch; 0 leaves it out.
    """

    gain: Tensor
    offset: Tensor

    def __init__(self, width: int = 64, hidden: int = 160, cover: int = 0) -> None:
        super().__init__()
        self.identity = ReaderTrunk()
        self.fine = _unit(64, width, stride=2)
        self.middle = _unit(128, width, kernel=1)
        self.shape = nn.Sequential(
            _unit(width, width), _unit(width, width * 3 // 2, stride=2), _unit(width * 3 // 2, width)
        )
        self.hidden = nn.Sequential(nn.Linear(width * 49, hidden), nn.PReLU())
        self.answers = nn.Linear(hidden, _ANGLES + 2 * _LANDMARKS + _EXPRESSIONS + _LANDMARKS)
        inputs = (_STAGES[2][0] + width, _STAGES[1][0] + width, _STAGES[0][0], _STEM)
        self.cover = CoverBranch(inputs, cover) if cover else None
        mean, deviation = torch.tensor(_MEAN), torch.tensor(_DEVIATION)
        self.register_buffer("gain", (0.5 / deviation)[:, None, None], persistent=False)
        self.register_buffer("offset", ((0.5 - mean) / deviation)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        shown = self.normalised(x)
        maps = self.identity.maps(shown)
        answers = (self.identity.named(maps[-1]), *self.described(maps))
        return answers if self.cover is None else (*answers, self.covered(shown, maps))

    def normalised(self, x: Tensor) -> Tensor:
        """[-1, 1] as MobileFaceNet wants its colours."""
        return x * self.gain + self.offset

    def described(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pose, landmarks, expression, visibility, from the maps of the trunk's parts."""
        shape = self.shape(self.fine(maps[_FINE_PART]) + self.middle(maps[_MIDDLE_PART]))
        parts = (_ANGLES, 2 * _LANDMARKS, _EXPRESSIONS, _LANDMARKS)
        pose, landmarks, expression, visibility = self.answers(self.hidden(shape.flatten(1))).split(parts, dim=1)
        return pose * _DEGREES, landmarks.unflatten(1, (_LANDMARKS, 2)), expression, visibility

    def cover_maps(self, shown: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """What the third branch is given, the smallest first.

        Args:
            shown: what the trunk was shown, normalised.
            maps: of the trunk's parts.
        """
        coarse = self.shape[0](self.fine(maps[_FINE_PART]) + self.middle(maps[_MIDDLE_PART]))
        small = self.shape[2](self.shape[1](coarse))
        return [
            torch.cat((maps[_COARSE_PART], small), 1),
            torch.cat((maps[_MIDDLE_PART], coarse), 1),
            maps[_FINE_PART],
            self.identity.stem[1](self.identity.stem[0](shown)),
        ]

    def covered(self, shown: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """The third branch's logits; arguments as of :meth:`cover_maps`."""
        assert self.cover is not None
        logits: Tensor = self.cover(self.cover_maps(shown, maps))
        return logits


def _settings(shapes: Shapes) -> Settings:
    settings = {"width": shapes["middle.0.weight"][0], "hidden": shapes["answers.weight"][1]}
    cover = shapes.get("cover.entries.0.0.weight")
    return settings if cover is None else {**settings, "cover": cover[0]}


ARCH = Architecture(
    name="compact-reader",
    role="face reader",
    make=CompactReader,
    marks=("identity.stem.1.0.weight", "answers.weight"),
    read=_settings,
    size=lambda _settings: READER_SIZE,
    licence="Apache-2.0; see the model card beside the weights for the licence of the training data",
)
