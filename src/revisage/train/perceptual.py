"""The frozen networks that a restorer is judged by besides its adversaries: VGG19, and a recogniser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from revisage import models
from revisage.core import ConfigError, ModelError
from revisage.measures import feature_distance
from revisage.nets import VGG19Deep, VGG19Features
from revisage.train.identity import Recogniser, load_recogniser
from revisage.train.losses import feature_l1, gram_distance
from revisage.train.settings import RestorerTrainConfig

__all__ = ["Critics", "Perceptual", "load_critics", "load_vgg"]

_Net = TypeVar("_Net", bound=nn.Module)
_VGG_FILE = "vgg19_normalised_conv3_1.safetensors"
_TORCHVISION_FILE = "vgg19-dcbb9e9d.pth"


@dataclass(frozen=True)
class Perceptual:
    """A backbone, and how much each of its layers counts."""

    net: nn.Module
    weights: tuple[float, ...]

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of RGB [-1, 1]."""
        found: tuple[Tensor, ...] = self.net((images * 0.5 + 0.5).contiguous(memory_format=torch.channels_last))
        return found

    def distances(self, images: Tensor, targets: Tensor, *, form: str, style: bool) -> dict[str, Tensor]:
        """`perceptual`, and with `style` the distance of the Gram matrices, of images against targets."""
        with torch.no_grad():
            references = self.features(targets)
        features = self.features(images)
        if form == "normalised":
            found = {"perceptual": feature_distance(features, references, self.weights).mean()}
        else:
            found = {"perceptual": feature_l1(features, references, self.weights)}
        return {**found, "style": gram_distance(features, references, self.weights)} if style else found


@dataclass(frozen=True)
class Critics:
    """What a run's settings ask for; None where they do not.

    vgg is that of the measure VGGD; perceptual that of the losses.
    """

    vgg: VGG19Features | None
    perceptual: Perceptual | None
    recogniser: Recogniser | None


def load_critics(config: RestorerTrainConfig, device: torch.device) -> Critics:
    """Raises ConfigError when a loss lacks its backbone, ModelError when a file is absent, damaged or another net's."""
    vgg = _load_small(config)
    perceptual = None
    if config.perceptual_weight > 0 or config.style_weight > 0:
        perceptual = _load_perceptual(config, vgg)
        perceptual.net.to(device)
    recogniser = load_recogniser(config.identity).to(device) if config.identity is not None else None
    return Critics(vgg.to(device) if vgg is not None else None, perceptual, recogniser)


def load_vgg(weights: Path) -> VGG19Features:
    """The small frozen backbone from its safetensors file. Raises ModelError when it is not that."""
    return _filled(VGG19Features(), models.load_state(weights), weights)


def _load_small(config: RestorerTrainConfig) -> VGG19Features | None:
    path = config.vgg or models.folder() / _VGG_FILE
    return load_vgg(path) if config.vgg is not None or path.is_file() else None


def _load_perceptual(config: RestorerTrainConfig, small: VGG19Features | None) -> Perceptual:
    if config.perceptual_vgg is not None:
        path = config.perceptual_vgg
        file = Path(torch.hub.get_dir()) / "checkpoints" / _TORCHVISION_FILE if path == "torchvision" else Path(path)
        if path == "torchvision" and not file.is_file():
            raise ModelError(f"torchvision's VGG19 is not installed: put {_TORCHVISION_FILE} into {file.parent}")
        state = {key: value for key, value in models.load_state(file).items() if key.startswith("features.")}
        return Perceptual(_filled(VGG19Deep(), state, file), (0.1, 0.1, 1.0, 1.0, 1.0))
    if small is None:
        raise ConfigError(
            f"the perceptual loss needs a VGG19: set vgg to its file, put {_VGG_FILE} into {models.folder()}, "
            "or set perceptual_weight=0"
        )
    return Perceptual(small, (1.0, 1.0, 1.0))


def _filled(net: _Net, state: dict[str, Tensor], path: Path) -> _Net:
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path} does not hold the VGG19 that is wanted here") from error
    return net.eval().requires_grad_(False)
