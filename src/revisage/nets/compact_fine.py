"""The embedded `compact-fine` restorer: what is finer than `compact` sees, at the frame's own pixels.

`compact` works on crops of 256 px; of a face that is larger, noise, blocks and blur finer than such a crop's pixels are
left. This net takes them away where they are. It knows textures rather than faces, so it is small, fully convolutional
and works on any size that is a multiple of `FINE_STRIDE`.

* Pictures are read and written as blocks of 4x4 px (pixel-unshuffle: Shi et al., CVPR 2016), each in the basis of an
  orthonormal DCT of luma and two colour differences: nothing else is computed at full size.
* A U-Net of three levels (stride 4, 8, 16) with residual blocks, so that each pixel sees about 150 px around it: blocks
  of codecs, noise levels and textures are told apart by more than their next neighbours. Its trunk has no activations.
* Upwards, a map is enlarged smoothly, and beside it each cell says something of its own to each of its four places: the
  blocks of codecs are 8 and 16 px wide and lie at multiples of that, so that a picture which begins at such a multiple
  (`FINE_STRIDE`) shows by the place alone where an edge of a block may be and where none is.
* Two heads. One says how much of each varying coefficient goes (noise goes without a way through the trunk, and a clean
  picture stays as it is), the other what is put in its place. Without the first, 130 steps of training took 1 dB off
  noise of 12 levels, with it 4. Both begin at zero: an untrained net is the identity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from revisage.nets.arch_records import Architecture, Settings, Shapes

__all__ = ["ARCH", "FINE_STRIDE", "CompactFine", "CompactFineConfig", "FineChange"]

FINE_STRIDE = 16
"""Heights and widths must be multiples of this (px)."""
_BLOCK = 4
_COEFFICIENTS = 3 * _BLOCK**2
_SLOPE = 0.2
_RESIDUAL = 0.1
"""The head's answers are about this small: a residual of 0.1 is noise of 13 levels."""


class CompactFineConfig(BaseModel):
    """Everything that rebuilds a `CompactFine`; saved as JSON beside its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["compact-fine"] = "compact-fine"
    size: int = Field(
        default=512, multiple_of=FINE_STRIDE, description="side of the face images that it was trained from, px"
    )
    channels: tuple[int, int, int] = Field(default=(40, 64, 96), description="at strides of 4, 8 and 16 px")
    blocks: tuple[int, int, int] = Field(
        default=(1, 1, 1), description="residual blocks on the way down at these strides, as many on the way up"
    )


def _conv(in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1) -> nn.Conv2d:
    padding = kernel // 2 if stride == 1 else 0
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding)
    nn.init.kaiming_normal_(conv.weight, a=_SLOPE)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class _Block(nn.Module):
    """Two 3x3 convolutions beside an identity, the second quiet at the start so that sums keep their variance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels)
        with torch.no_grad():
            self.conv2.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.conv1(x), _SLOPE))


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(channels) for _ in range(count)))


class CompactFine(nn.Module):
    """Clean pictures of faces: `(N, 3, H, W) float32 RGB [-1, 1]` to the same shape (not clamped).

    H and W are multiples of `FINE_STRIDE`. Deterministic; a batch equals its single images within rounding.
    """

    basis: Tensor
    varying: Tensor
    evened: Tensor

    def __init__(self, config: CompactFineConfig | None = None) -> None:
        super().__init__()
        self.config = config or CompactFineConfig()
        fine, middle, coarse = self.config.channels
        blocks = self.config.blocks
        basis = torch.from_numpy(_basis())[:, :, None, None]
        self.register_buffer("basis", basis, persistent=False)
        varying = (torch.arange(_COEFFICIENTS) % _BLOCK**2 > 0).float()
        self.register_buffer("varying", varying[None, :, None, None], persistent=False)
        self.register_buffer("evened", torch.from_numpy(_evening())[None, :, None, None], persistent=False)
        self.stem = _conv(_COEFFICIENTS, fine)
        self.encoder = nn.ModuleList([_blocks(fine, blocks[0]), _blocks(middle, blocks[1])])
        self.down = nn.ModuleList([_conv(fine, middle, 2, stride=2), _conv(middle, coarse, 2, stride=2)])
        self.bottom = _blocks(coarse, blocks[2])
        self.up = nn.ModuleList([_conv(middle, fine, 1), _conv(coarse, middle, 1)])
        self.place = nn.ModuleList([_conv(middle, 4 * fine, 1), _conv(coarse, 4 * middle, 1)])
        self.decoder = _blocks(fine, blocks[0])
        self.residual = nn.Conv2d(fine, _COEFFICIENTS, 3, padding=1)
        self.gate = nn.Conv2d(fine, _COEFFICIENTS, 1)
        for quiet in (self.residual, self.gate, *self.place):
            nn.init.zeros_(quiet.weight)
            nn.init.zeros_(quiet.bias)

    @classmethod
    def from_config(cls, config: CompactFineConfig | Mapping[str, Any]) -> CompactFine:
        """The net of a saved configuration.

        Raises:
            pydantic.ValidationError: an unknown key or another architecture.
        """
        return cls(CompactFineConfig.model_validate(dict(config)))

    def forward(self, x: Tensor, return_pyramid: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """The clean pictures; with `return_pyramid` also an empty list: there are no images between."""
        clean = x + self.change(x)
        return (clean, []) if return_pyramid else clean

    def change(self, x: Tensor) -> Tensor:
        """What makes of pictures the clean ones, of their shape."""
        found = F.conv2d(F.pixel_unshuffle(x, _BLOCK), self.basis)
        fine = self.encoder[0](self.stem(found * self.evened))
        middle = self.encoder[1](self.down[0](fine))
        coarse = self.bottom(self.down[1](middle))
        middle = middle + self._upsampled(coarse, 1)
        fine = self.decoder(fine + self._upsampled(middle, 0))
        # A gate on the mean of a block would shift colours that were rare in training.
        change = _RESIDUAL * self.residual(fine) - self.gate(fine) * (found * self.varying)
        return F.pixel_shuffle(F.conv2d(change, self.basis.transpose(0, 1)), _BLOCK)

    def _upsampled(self, x: Tensor, level: int) -> Tensor:
        """A map for the next finer level: smooth, and what belongs to each of the four places in a cell."""
        # Nearest copies would lay the coarse grid into the picture.
        smooth = F.interpolate(self.up[level](x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return smooth + F.pixel_shuffle(self.place[level](x), 2)


class FineChange(nn.Module):
    """A `CompactFine` as it is run and shipped: pictures in, their change out, same shape.

    Low precision then rounds what is changed alone. In bfloat16 a clean picture would lose its last bit otherwise.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return cast("CompactFine", self.net).change(x)


def _basis() -> NDArray[np.float32]:
    """An orthonormal basis of blocks of 4x4 px: luma and two colour differences by the DCT's frequencies.

    (48, 48) float32: a row for each coefficient, a column for each channel of a pixel-unshuffle.
    """
    steps = np.arange(_BLOCK)
    cosines = np.cos(np.pi * (2 * steps[None] + 1) * steps[:, None] / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    cosines[0] /= math.sqrt(2)
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
    basis = np.einsum("pc,iy,jx->pijcyx", colours, cosines, cosines)
    return basis.reshape(_COEFFICIENTS, _COEFFICIENTS).astype(np.float32)


def _evening() -> NDArray[np.float32]:
    """What brings the coefficients of faces with some noise to about the same deviation, (48,) float32.

    Over the training faces luma has 3.2 at frequency 0, 0.27 at the next and 0.05 at the highest, colours 0.9 (0.3),
    0.06 and 0.015: left so, the stem would learn of little but the mean of each block.
    """
    steps = np.arange(_BLOCK)
    fall = 1 / (1 + steps[:, None] ** 2 + steps[None] ** 2)
    evened = 1 / np.stack([0.1 + 0.3 * fall, 0.08 + 0.1 * fall, 0.08 + 0.1 * fall])
    evened[:, 0, 0] = (0.3, 1, 2)
    return evened.reshape(_COEFFICIENTS).astype(np.float32)


def _settings(shapes: Shapes) -> Settings:
    def count(prefix: str) -> int:
        return sum(key.startswith(prefix) and key.endswith(".conv1.weight") for key in shapes)

    return {
        "channels": (shapes["stem.weight"][0], *(shapes[f"down.{level}.weight"][0] for level in range(2))),
        "blocks": (count("decoder."), count("encoder.1."), count("bottom.")),
    }


def _of_settings(**settings: Any) -> CompactFine:
    return CompactFine.from_config(settings)


ARCH = Architecture(
    name="compact-fine",
    role="fine restorer",
    make=_of_settings,
    marks=("stem.weight", "gate.weight", "residual.weight", "bottom.0.conv1.weight"),
    read=_settings,
    bf16_agrees=True,
    size=lambda settings: CompactFineConfig.model_validate(dict(settings)).size,
    licence="Apache-2.0; see the model card beside the weights for the licence of the training data",
)
