"""The networks that a run trains as restorers, by its settings, and the weights that they may start from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from torch import Tensor, nn

from revisage import models
from revisage.core import ModelError
from revisage.nets import CompactConfig, CompactGFPGAN, GFPGANClean, StyleDecoder, channels_by_size
from revisage.restorers import load_weights
from revisage.train.checkpoint import read_checkpoint

__all__ = [
    "GFPGANConfig",
    "NetConfig",
    "RestorerNet",
    "architecture_of",
    "build_decoder",
    "build_restorer",
    "load_prior",
    "noise_sides",
    "restore_with_pyramid",
    "starting_net",
]

RestorerNet = CompactGFPGAN | GFPGANClean
#: Styles whose mean is what an untrained GFP-GAN asks of its prior.
_STYLES = 4096


class GFPGANConfig(BaseModel):
    """GFP-GAN's clean architecture at any size and width. The releases are size 512, channel_multiplier 2, narrow 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Literal["gfpgan-clean"] = "gfpgan-clean"
    size: int = Field(default=256, ge=64, le=1024, description="side of the square crop, px, a power of two")
    channel_multiplier: float = Field(default=1, gt=0, description="widens the scales above 32 px")
    narrow: float = Field(default=0.5, gt=0, le=2, description="factor of all widths")
    style_features: int = Field(default=512, ge=8, description="length of a latent")
    mapping_layers: int = Field(default=8, ge=1, description="layers of the prior's mapping network")
    different_w: bool = Field(default=True, description="a latent of its own for each layer of the decoder")
    sft_half: bool = Field(default=True, description="steer one half of the decoder's channels only")

    @model_validator(mode="after")
    def _check(self) -> GFPGANConfig:
        if self.size & (self.size - 1):
            raise ValueError(f"size must be a power of two, got {self.size}")
        whole = channels_by_size(self.channel_multiplier, self.narrow)
        half = channels_by_size(self.channel_multiplier, self.narrow * 0.5)
        if any(side <= self.size and (half[side] < 1 or whole[side] != 2 * half[side]) for side in whole):
            raise ValueError("channel_multiplier and narrow must leave an even number of channels at every scale")
        return self

    def settings(self) -> dict[str, Any]:
        """The same by the names of the published configurations, for `revisage.nets.build`."""
        return {
            "out_size": self.size,
            "num_style_feat": self.style_features,
            "channel_multiplier": self.channel_multiplier,
            "num_mlp": self.mapping_layers,
            "different_w": self.different_w,
            "narrow": self.narrow,
            "sft_half": self.sft_half,
        }

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> GFPGANConfig:
        """The inverse of `settings`; what is not named has the value of the releases."""
        official = cls(size=512, channel_multiplier=2, narrow=1).settings()
        given = {**official, **settings}
        return cls(
            size=given["out_size"],
            style_features=given["num_style_feat"],
            channel_multiplier=given["channel_multiplier"],
            mapping_layers=given["num_mlp"],
            different_w=given["different_w"],
            narrow=given["narrow"],
            sft_half=given["sft_half"],
        )


_KINDS: dict[str, type[CompactConfig] | type[GFPGANConfig]] = {
    "compact": CompactConfig,
    "compact-gfpgan": CompactConfig,
    "gfpgan-clean": GFPGANConfig,
}


def _of_its_kind(value: Any) -> Any:
    """The record of the architecture that a name or a dict asks for; `compact` where a dict names none."""
    if isinstance(value, str):
        value = {"architecture": value}
    if not isinstance(value, dict):
        return value
    name = value.get("architecture", "compact")
    if name not in _KINDS:
        raise ValueError(f"unknown architecture '{name}': choose compact or gfpgan-clean")
    return _KINDS[name].model_validate({key: item for key, item in value.items() if key != "architecture"})


NetConfig = Annotated[CompactConfig | GFPGANConfig, BeforeValidator(_of_its_kind)]


def build_restorer(config: CompactConfig | GFPGANConfig) -> RestorerNet:
    """The network of a run, with random weights."""
    return CompactGFPGAN(config) if isinstance(config, CompactConfig) else GFPGANClean(**config.settings())


def architecture_of(config: CompactConfig | GFPGANConfig) -> tuple[str, dict[str, Any]]:
    """Name and settings by which `revisage.nets.build` makes the same network again: what an export writes down."""
    if isinstance(config, CompactConfig):
        return "compact", config.model_dump(mode="json")
    return "gfpgan_clean", config.settings()


def build_decoder(config: GFPGANConfig) -> StyleDecoder:
    """GFP-GAN's decoder alone: the StyleGAN2 prior."""
    settings = config.settings()
    del settings["different_w"]
    return StyleDecoder(**settings)


def restore_with_pyramid(forward: nn.Module, inputs: Tensor, noise: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
    """Restored crops (N, 3, size, size), and the U-Net's own images, largest first.

    noise: a tensor per decoder layer of a gfpgan-clean; None for a compact, which has none.
    """
    if noise is None:
        restored, pyramid = forward(inputs, return_pyramid=True)
        return restored, pyramid
    restored, pyramid = forward(inputs, noise=noise, return_pyramid=True)
    return restored, pyramid[::-1]


def noise_sides(size: int) -> list[int]:
    """Side (px) of each noise map of a StyleGAN2 decoder: one at 4 px, two at each scale above."""
    return [2 ** ((layer + 5) // 2) for layer in range(2 * round(math.log2(size)) - 3)]


def starting_net(name_or_path: str) -> tuple[CompactConfig | GFPGANConfig, dict[str, Tensor]]:
    """Settings and state of the weights that a run starts from: a model's name, a weights file, or a run.

    Raises ModelError when there are none, or they are of an architecture that cannot be trained here.
    """
    path = Path(name_or_path).expanduser()
    run = path / "last.pt" if path.is_dir() else path
    if run.suffix == ".pt" and run.name in ("last.pt", "best.pt"):
        return _from_checkpoint(run)
    weights = load_weights(name_or_path, ("compact", "gfpgan_clean", "gfpgan_clean_512"), "trainable face restorer")
    state = {key: value.float() for key, value in weights.net.state_dict().items()}
    if weights.architecture == "compact":
        return CompactConfig.model_validate(weights.settings), state
    return GFPGANConfig.from_settings(weights.settings), state


def _from_checkpoint(path: Path) -> tuple[CompactConfig | GFPGANConfig, dict[str, Tensor]]:
    content = read_checkpoint(path)
    if content.get("stage", "restorer") != "restorer":
        raise ModelError(f"{path} is of a prior, not of a restorer: give it as the setting prior")
    config: CompactConfig | GFPGANConfig = _of_its_kind(json.loads(content["config"])["net"])
    return config, content["average"]


@torch.no_grad()
def load_prior(net: RestorerNet, path: Path, *, seed: int) -> None:
    """Put a StyleGAN2 prior's weights into the decoder of a GFP-GAN, in place, and let it begin at the mean face.

    path: the run of `revisage train prior`, one of its checkpoints, or a weights file with the keys of the published
    priors (clean form). Raises ModelError when the prior is of another size, width or architecture.
    """
    if not isinstance(net, GFPGANClean):
        raise ModelError("a prior belongs to the net gfpgan-clean: set net=gfpgan-clean, or leave prior out")
    file = path / "last.pt" if path.is_dir() else path
    state = read_checkpoint(file)["average"] if file.suffix == ".pt" else models.load_state(file)
    decoder = net.stylegan_decoder
    wanted, found = ({key: tuple(value.shape) for key, value in part.items()} for part in (decoder.state_dict(), state))
    if wanted != found:
        differing = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        raise ModelError(
            f"{file} is a prior of another size, width or architecture than the net: {differing[0]} is "
            f"{found.get(differing[0], 'absent')}, and should be {wanted.get(differing[0], 'absent')}"
        )
    decoder.load_state_dict(state)
    draws = torch.randn((_STYLES, net.num_style_feat), generator=torch.Generator().manual_seed(seed))
    mean = decoder.style_mlp(draws).mean(dim=0)
    cast(nn.Linear, net.final_linear).bias.copy_(mean.repeat(decoder.latent_count if net.different_w else 1))
