"""The settings of the two stages of training: typed records, saved with each run; unknown keys are refused.

Defaults are those of the embedded models, which were trained on processors. The values of Wang et al. (CVPR 2021) and
of its published configuration stand in the descriptions; docs/training.md has them as one file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from revisage.nets import CompactConfig
from revisage.train.data import FaceSource
from revisage.train.degradation import MIXED, Degradation, find_preset
from revisage.train.networks import GFPGANConfig, NetConfig

__all__ = ["MAY_CHANGE", "PriorTrainConfig", "RestorerTrainConfig", "StageConfig"]


def _source(value: Any) -> Any:
    """A bare path stands for a source with nothing else said."""
    return {"path": value} if isinstance(value, (str, Path)) else value


def _sources(value: Any) -> Any:
    """A single source may stand for a list of one."""
    return [value] if isinstance(value, (str, Path, dict)) else value


Source = Annotated[FaceSource, BeforeValidator(_source)]


class StageConfig(BaseModel):
    """What both stages share: the data, how long, how fast, on what, and what is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Annotated[tuple[Source, ...], BeforeValidator(_sources)] = Field(
        min_length=1, description="folders of aligned faces, or CSV lists of them"
    )
    cache: Path | None = Field(
        default=None, description="folder for decoded images: made at the first start, mapped by later ones"
    )
    seed: int = 1
    steps: int = Field(default=10_000, ge=1)
    batch: int = Field(default=8, ge=1, description="images that go through the net at once, in each process")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients make one step")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto: bf16 where the processor has it, fp16 with scaled gradients on older GPUs"
    )
    compile: bool = Field(default=False, description="torch.compile the net; worth a try on GPUs")
    threads: int = Field(default=2, ge=1)
    workers: int = Field(default=1, ge=0)
    log_every: int = Field(default=50, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    tensorboard: bool = Field(default=False, description="write the log for TensorBoard too, into RUN/tensorboard")


class RestorerTrainConfig(StageConfig):
    """Stage (b), GFP-GAN, and stage (c), fine-tuning: one run."""

    vgg: Path | None = Field(
        default=None,
        description="safetensors of VGG19 up to relu3_1: the perceptual loss and the measure VGGD",
    )
    perceptual_vgg: Path | Literal["torchvision"] | None = Field(
        default=None, description="another backbone of the loss: a VGG19 of torchvision's, up to conv5_4"
    )
    validation: Source | None = Field(default=None, description="faces of the fixed check, at any size >= the net's")
    validation_images: int = Field(default=24, ge=1)
    validation_size: int = Field(default=512, ge=32, description="side at which the faces of the check are damaged, px")
    mixture: tuple[tuple[str, float], ...] = Field(default=MIXED, description="(degradation preset, share)")
    tone_probability: float = Field(
        default=0.25, ge=0, le=1, description="share of pairs with another exposure and gamma"
    )
    net: NetConfig = Field(default_factory=CompactConfig)
    start: str | None = Field(default=None, description="weights to start from: a model's name, a file, or a run")
    prior: Path | None = Field(default=None, description="a StyleGAN2 prior for the decoder: a run of `train prior`")

    optimiser: Literal["adam", "muon"] = Field(
        default="adam", description="muon: orthogonalised steps for the convolutions between hidden layers, Adam else"
    )
    learning_rate: float = Field(default=8e-4, gt=0, description="paper: 2e-3")
    decoder_rate: float = Field(
        default=1.0,
        ge=0,
        description="factor of the rate for a gfpgan-clean's decoder; published: 0",
    )
    schedule: Literal["cosine", "halving"] = Field(
        default="cosine", description="halving, the paper's: constant, halved after 3/4 and 7/8 of the steps"
    )
    warm_up_steps: int = Field(default=400, ge=0)
    gradient_norm: float = Field(default=1.0, gt=0, description="gradients are scaled down to this norm")
    ema: float = Field(default=0.999, ge=0, lt=1, description="the average of the weights that is exported")

    pixel_loss: Literal["charbonnier", "l1"] = Field(default="charbonnier", description="paper: l1")
    pixel_weight: float = Field(default=1.0, ge=0, description="paper: 0.1")
    structure_weight: float = Field(default=0.0, ge=0, description="1 - SSIM")
    lattice_weight: float = Field(default=0.0, ge=0, description="against a lattice of rows that perception likes")
    pyramid_weight: float = Field(default=0.1, ge=0, description="paper: 1")
    pyramid_end: int | None = Field(default=None, ge=0, description="the step at which it stops; published: 50,000")
    perceptual_loss: Literal["normalised", "l1"] = Field(
        default="normalised", description="unit-normalised features, squared, as VGGD; or the paper's l1"
    )
    perceptual_weight: float = Field(default=0.1, ge=0, description="paper: 1")
    style_weight: float = Field(default=0.0, ge=0, description="Gram matrices of the same features; published: 50")
    perceptual_window: int = Field(
        default=64, ge=32, description="both look at a random window of this side, px; paper: the whole face"
    )
    adversary: Literal["patch", "stylegan2"] = Field(
        default="patch", description="patches of a window, or the paper's StyleGAN2 judge of the whole face"
    )
    adversary_width: float = Field(default=0.5, gt=0, description="factor of a stylegan2 adversary's widths; paper: 1")
    adversarial_weight: float = Field(default=0.0, ge=0, description="0: no adversary; paper: 0.1")
    adversarial_start: int = Field(default=0, ge=0, description="the step at which the adversaries come in")
    adversarial_window: int = Field(
        default=128, ge=32, multiple_of=32, description="a patch adversary sees a random window, px"
    )
    adversarial_rate: float = Field(default=5e-4, gt=0, description="learning rate of the adversaries; paper: 2e-3")
    penalty_weight: float = Field(default=1.0, ge=0, description="R1, each 16th step; published: 10")
    component_weight: float = Field(default=0.0, ge=0, description="adversaries of both eyes and the mouth; paper: 1")
    component_style_weight: float = Field(default=0.0, ge=0, description="Gram matrices of their features; paper: 200")
    component_channels: tuple[int, int, int] = Field(default=(32, 64, 128), description="published: 64, 128, 256")
    identity_weight: float = Field(default=0.0, ge=0, description="paper: 10")
    identity: Path | None = Field(
        default=None, description="weights of ArcFace or MobileFaceNet: the loss and the measure `identity`"
    )

    validate_every: int = Field(default=1000, ge=1)
    best_by: tuple[Literal["medium", "paper", "clean"], str] = Field(
        default=("medium", "vggd"), description="the level and measure of the check that best.pt is chosen by"
    )

    @model_validator(mode="after")
    def _check(self) -> RestorerTrainConfig:
        if self.identity_weight > 0 and self.identity is None:
            raise ValueError("identity_weight needs the weights of a recogniser: set identity, or identity_weight=0")
        if self.component_style_weight > 0 and self.component_weight == 0:
            raise ValueError("component_style_weight needs component_weight: its features are those of the adversaries")
        return self

    def degradations(self) -> list[tuple[Degradation, float]]:
        """The mixture with the presets looked up. Raises ConfigError for an unknown one."""
        return [(find_preset(name), share) for name, share in self.mixture]


class PriorTrainConfig(StageConfig):
    """Stage (a), the StyleGAN2 prior: one run. Defaults after Karras et al. (CVPR 2020)."""

    net: GFPGANConfig = Field(default_factory=GFPGANConfig, description="the GFP-GAN whose decoder this will be")
    adversary_width: float = Field(default=0.5, gt=0, description="factor of the discriminator's widths; paper: 1")
    learning_rate: float = Field(default=2e-3, gt=0, description="of both; the mapping network learns at a hundredth")
    penalty_weight: float = Field(default=10.0, ge=0, description="R1, each 16th step")
    path_weight: float = Field(default=2.0, ge=0, description="path-length regularisation, each 4th step")
    mixing_probability: float = Field(default=0.9, ge=0, le=1, description="share of faces made of two styles")
    average_images: float = Field(
        default=10_000, gt=0, description="half-life of the averaged weights, in images; shorter at the start"
    )
    grid_every: int = Field(default=1000, ge=1)


#: What may change when a run goes on: how long it is, how fast it learns, what it watches and the losses' weights.
MAY_CHANGE = frozenset(
    {
        *("steps", "learning_rate", "device", "precision", "compile", "threads", "workers", "tensorboard", "cache"),
        *("log_every", "checkpoint_every", "validate_every", "grid_every", "best_by"),
        *("pixel_weight", "structure_weight", "lattice_weight", "pyramid_weight", "pyramid_end"),
        *("perceptual_weight", "perceptual_window", "style_weight"),
        *("adversarial_weight", "adversarial_start", "adversarial_window", "adversarial_rate", "penalty_weight"),
        *("component_weight", "component_style_weight", "identity_weight", "identity", "path_weight"),
    }
)
